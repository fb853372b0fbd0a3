/* What su was told to start. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

/* su can be told to start another shell than the account's (--shell, or $SHELL with --preserve-environment), and root
 * may always: that would be a way past the door. Long options may be cut short, short ones put together. */
static bool shell_option(char *arg, bool *value_follows)
{
	static const char *const forbidden[] = { "shell", "preserve-environment" };
	static const char *const valued[] = { "command", "session-command", "group", "supp-group",
					      "whitelist-environment" };

	*value_follows = false;
	if (strncmp(arg, "--", 2) == 0) {
		size_t length = strcspn(arg + 2, "=");

		for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
			if (strncmp(arg + 2, forbidden[i], length) == 0)
				return true;
		for (size_t i = 0; i < sizeof valued / sizeof *valued; i++)
			*value_follows |= strncmp(arg + 2, valued[i], length) == 0 && arg[2 + length] == '\0';
		return false;
	}
	for (arg++; *arg != '\0'; arg++) {
		if (strchr("smp", *arg) != NULL)
			return true;
		if (strchr("cgGuw", *arg) != NULL) {
			*value_follows = arg[1] == '\0';
			return false;
		}
	}
	return false;
}

void check_su(pid_t caller)
{
	static char text[131072];
	char path[32];
	bool value = true; /* argv[0] */

	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)caller);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
	if (size <= 0)
		refuse("login.shell-override", "the arguments of su cannot be read");
	close(fd);
	for (char *arg = text; arg < text + size; arg += strlen(arg) + 1) {
		if (value) {
			value = false;
			continue;
		}
		if (strcmp(arg, "--") == 0)
			return;
		if (arg[0] == '-' && shell_option(arg, &value))
			refuse("login.shell-override", "su with another shell");
	}
}

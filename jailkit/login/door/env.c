/* The session's environment: fixed, but for a list of variables that the client may set and that say no more than they
 * should (shellshock travelled in LC_ALL; LD_*, BASH_ENV, PYTHON*, IFS are not on the list). */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "door.h"

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static const struct {
	const char *name, *set; /* set: the characters it may be made of; NULL: whatever prints */
	size_t length;
} passed[] = {
	{ "TERM", ALNUM "-+._", 64 },
	{ "LANG", ALNUM "-_.@", 64 },
	{ "LANGUAGE", ALNUM "-_.@:", 128 },
	{ "COLORTERM", ALNUM "-_.", 32 },
	{ "NO_COLOR", ALNUM, 32 },
	{ "TZ", ALNUM "-+_/:,.<>", 64 },
	{ "GIT_PROTOCOL", ALNUM "-_.=:", 128 },
	{ "SSH_CONNECTION", ALNUM ".:% ", 256 },
	{ "SSH_CLIENT", ALNUM ".:% ", 256 },
	{ "SSH_ORIGINAL_COMMAND", NULL, 4096 },
};

extern char **environ;
static char store[12288], *list[64];
static size_t used, count;
static bool by_ssh; /* sshd named the host's terminal, so the inner one is to be named as well */

static void put(const char *name, size_t length, const char *value)
{
	size_t room = sizeof store - used;
	int n = snprintf(store + used, room, "%.*s=%s", (int)length, name, value);

	if (n < 0 || (size_t)n >= room || count >= sizeof list / sizeof *list - 1)
		refuse("login.bad-args", "the environment is too long");
	list[count++] = store + used;
	used += (size_t)n + 1;
}

static bool made_of(const char *value, const char *set, size_t most)
{
	size_t length = strnlen(value, most + 1);

	if (set != NULL)
		return length <= most && strspn(value, set) == length;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return false;
	return length <= most;
}

char **environment(const struct record *record)
{
	char text[40];
	const char *value;
	int locales = 0;

	put("HOME", 4, record->home);
	put("USER", 4, record->user);
	put("LOGNAME", 7, record->user);
	put("SHELL", 5, record->shell);
	put("PATH", 4, record->path);
	(void)snprintf(text, sizeof text, "/run/user/%u", record->uid);
	put("XDG_RUNTIME_DIR", 15, text);
	for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
		value = getenv(passed[i].name);
		if (value != NULL && made_of(value, passed[i].set, passed[i].length))
			put(passed[i].name, strlen(passed[i].name), value);
	}
	for (char **one = environ; *one != NULL && locales < 32; one++) {
		size_t length = strspn(*one, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

		if (strncmp(*one, "LC_", 3) == 0 && length <= 24 && (*one)[length] == '=' &&
		    made_of(*one + length + 1, ALNUM "-_.@", 64)) {
			put(*one, length, *one + length + 1);
			locales++;
		}
	}
	by_ssh = getenv("SSH_TTY") != NULL;
	return list;
}

void environment_tty(const struct relay *relay)
{
	char text[32];

	(void)snprintf(text, sizeof text, "/dev/pts/%d", relay->number);
	if (by_ssh)
		put("SSH_TTY", 7, text);
}

/* A jail that an administrator has suspended: nobody gets in, whether it runs or not, and the user is told why. The
 * file is provisioning's (provision/resolve.py, NOTICE): one line for the user, in a directory that is root's. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

void suspended_check(const char *user)
{
	static char text[1024];
	char path[sizeof OWN + sizeof "//suspended" + 32];

	(void)snprintf(path, sizeof path, "%s/%s/suspended", OWN, user);
	int seen, fd = walk_until(path, O_RDONLY | O_NONBLOCK, &seen);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0)
		refuse(open_code(), "%.*s %s", seen, path, errno == EPERM ? "is not root's alone" : strerror(errno));
	ssize_t size = read_all(fd, text, sizeof text - 2);
	close(fd);
	if (size > 0) { /* else the dull line: it is refused all the same */
		for (ssize_t i = 0; i < size; i++)
			if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
				text[i] = ' ';
		text[size - (text[size - 1] == ' ')] = '\n';
		voice.said = text;
	}
	refuse("login.suspended", "the jail is suspended");
}

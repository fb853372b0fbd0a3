/* A chroot jail has no process to enter: sshd itself changes its root to where the link "chroot" in the jail's runtime
 * directory leads (ChrootDirectory in etc/ssh/000-jailctl.conf.j2), and serves sftp there. The link is the verdict that
 * the door looks for in the other jails: it is there while a session is open that the hook has admitted. Who comes past
 * the hook (UsePAM no, a PAM line that is gone) finds none, and sshd refuses: no such directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#define LINK "chroot"

static void check_component(const char *path)
{
	int fd = strcmp(path, "/") == 0 ? open_safe(AT_FDCWD, path, O_PATH | O_DIRECTORY)
					: walk(path, O_PATH | O_DIRECTORY);

	if (fd < 0)
		refuse(errno == ENOENT ? "login.no-home" : open_code(), "%s: %s", path,
		       errno == EPERM ? "others than root may change it" : strerror(errno));
	close(fd);
}

/* Of each directory above it, too, which sshd would not look at behind a link: whoever may write one could put another
 * directory of root's, such as /, into the place of ours. The first that is wrong is named. */
void chroot_check(const struct record *record)
{
	char path[sizeof record->home];
	size_t end = 0;

	if ((record->flags & FLAG_CHROOT) == 0)
		return;
	check_component("/");
	while (record->home[end] != '\0') {
		end += 1 + strcspn(record->home + end + 1, "/");
		memcpy(path, record->home, end);
		path[end] = '\0';
		check_component(path);
	}
}

/* With the lock held, when all else is done. */
void chroot_open(int dir, const struct record *record)
{
	char have[sizeof record->home];
	size_t length = strlen(record->home);

	if ((record->flags & FLAG_CHROOT) == 0)
		return;
	if (readlinkat(dir, LINK, have, sizeof have) == (ssize_t)length && memcmp(have, record->home, length) == 0)
		return;
	if ((unlinkat(dir, LINK, 0) != 0 && errno != ENOENT) || symlinkat(record->home, dir, LINK) != 0)
		kernel("link chroot");
}

/* With the lock held, when no session is left. */
void chroot_shut(int dir, const struct record *record)
{
	if ((record->flags & FLAG_CHROOT) != 0 && unlinkat(dir, LINK, 0) != 0 && errno != ENOENT)
		kernel("unlink chroot");
}

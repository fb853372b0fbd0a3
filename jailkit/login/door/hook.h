/* What the parts of the hook know of each other. All of it runs as root. */
#ifndef JAILKIT_HOOK_H
#define JAILKIT_HOOK_H

#include "common.h"

#define OWN ROOT "/var/lib/jailctl/jails" /* what is a jail's own, by the user's name */

void suspended_check(const char *user); /* that no administrator has suspended the jail, or refuse */
int lock_jail(int dir, int seconds); /* the jail's lock, or -1 with errno: ENOENT: no jail, ETIMEDOUT */
int sessions_open(int dir);          /* the directory of its sessions, to be listed, or refuse */
unsigned prune(int sessions, int *one); /* with the lock held: drop what has ended, count what has not */
int null_streams(void);              /* 0 to 2 become /dev/null; 0, or -1 */
void chroot_check(const struct record *record);           /* that nobody but root can swap its root, or refuse */
void chroot_open(int dir, const struct record *record);   /* sshd may change its root to it, until */
void chroot_shut(int dir, const struct record *record);   /* ... there is no session any more */
void watch(int dir, const struct record *record, int lock); /* with the lock held: see to it that it ends */

#endif

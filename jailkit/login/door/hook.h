/* What the parts of the hook know of each other. All of it runs as root. */
#ifndef JAILKIT_HOOK_H
#define JAILKIT_HOOK_H

#include <poll.h>

#include "common.h"

#define OWN ROOT "/var/lib/jailctl/jails" /* what is a jail's own, by the user's name */

void suspended_check(const char *user); /* that no administrator has suspended the jail, or refuse */
int lock_jail(int dir, int seconds); /* the jail's lock, or -1 with errno: ENOENT: no jail, ETIMEDOUT */
int sessions_open(int dir);          /* the directory of its sessions, to be listed, or refuse */
/* with the lock held: drop what has ended, count what has not; logins: those of them that are no administrator's */
unsigned prune(int sessions, int *one, unsigned *logins);
int null_streams(void);              /* 0 to 2 become /dev/null; 0, or -1 */
void chroot_check(const struct record *record);           /* that nobody but root can swap its root, or refuse */
void chroot_open(int dir, const struct record *record);   /* sshd may change its root to it, until */
void chroot_shut(int dir, const struct record *record);   /* ... there is no session any more */
void watch(int dir, const struct record *record, int lock); /* with the lock held: see to it that it ends */
void meter_login(int dir);                                  /* with the lock held: one more session */
void meter_end(int dir, const struct record *record);       /* with the lock held: what its control group has used */


enum login_limit { LIMIT_HOURS, LIMIT_SOURCE, LIMIT_EXPIRED, LIMIT_SESSIONS };

bool of_administrator(const char *service);
_Noreturn void refuse_by_limit(enum login_limit limit);
void check_limits(const struct record *record, const char *service, const char *rhost, unsigned logins);
void join_groups(const struct record *record, int sessions, pid_t caller);
void check_su(pid_t caller);

int64_t now(void); /* ms of a clock that nobody sets */
int64_t end_overdue(int sessions, const struct record *record); /* ms until it is to be asked again, or -1 */
void tell_sessions(int sessions, const struct record *record, const char *text);

#define EVENTS 2
void events_open(const struct record *record); /* what counts how often a limit was hit */
void events_look(int sessions, const struct record *record); /* says what was */
bool events_hit(void); /* without a lock: whether a look is worth it */
int events_poll(struct pollfd on[EVENTS]); /* ms until they are to be looked at again, or -1: `on` says when */

#endif

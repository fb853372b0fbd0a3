/* The end of a jail: who is in it, and what happens `linger` seconds after the last one left. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hook.h"

#define ENDED (-2) /* there is nothing to wait for any more */
#define POKE SIGUSR1
#define LONGEST 60000 /* ms between two looks at a jail in use, should a poke ever be lost */

/* What the file "watch" holds: who has the lock on it. */
struct watcher {
	int32_t pid;
	uint32_t pad;
	uint64_t start;
};

/* Polls, as flock(2) knows no time limit and a login must have one. Held until the descriptor is closed. */
int lock_jail(int dir, int seconds)
{
	const struct timespec moment = { .tv_nsec = 5000000 };
	int fd = open_safe(dir, "lock", O_RDWR);

	for (long left = seconds * 200L; fd >= 0; left--) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (errno != EWOULDBLOCK || left <= 0) {
			int saved = errno == EWOULDBLOCK ? ETIMEDOUT : errno;
			close(fd);
			errno = saved;
			return -1;
		}
		(void)nanosleep(&moment, NULL);
	}
	return -1;
}

int sessions_open(int dir)
{
	int fd = open_safe(dir, "sessions", O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		refuse(open_code(), "sessions");
	return fd;
}

/* A process that was killed closes no session: what its start time disproves is gone. `one`, if asked for, becomes a
 * pidfd of one that lives; the caller's. */
unsigned prune(int sessions, int *one, unsigned *logins)
{
	struct session session;
	struct dirent *entry;
	uint64_t start;
	pid_t parent;
	unsigned alive = 0;
	int copy = openat(sessions, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);

	if (list == NULL)
		kernel("sessions");
	if (logins != NULL)
		*logins = 0;
	while ((entry = readdir(list)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (session_load(sessions, entry->d_name, &session) && session.pid == atoi(entry->d_name)) {
			int pidfd = (int)syscall(SYS_pidfd_open, session.pid, 0);

			if (pidfd >= 0 && process_stat(session.pid, &parent, &start) && start == session.start) {
				if (logins != NULL && !of_administrator(session.service))
					++*logins;
				if (alive++ == 0 && one != NULL)
					*one = pidfd;
				else
					close(pidfd);
				continue;
			}
			close(pidfd);
		}
		if (unlinkat(sessions, entry->d_name, 0) != 0 && errno != ENOENT)
			kernel("unlink session");
	}
	(void)closedir(list);
	return alive;
}

int null_streams(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || dup2(fd, 0) != 0 || dup2(fd, 1) != 1 || dup2(fd, 2) != 2)
		return -1;
	return 0;
}

/* Milliseconds of a clock that nobody sets and that does not stand still in a suspended machine. */
int64_t now(void)
{
	struct timespec at;

	if (clock_gettime(CLOCK_BOOTTIME, &at) != 0)
		kernel("clock_gettime");
	return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static void leave(const char *procs)
{
	int fd = walk(procs, O_WRONLY);

	if (fd < 0)
		return;
	(void)!write(fd, "0", 1); /* the writer */
	close(fd);
}

/* systemd would keep the session, and we the jail's own groups, for as long as this process is in it. The top of each
 * hierarchy takes anybody, always; where there is none, there is nothing to leave. */
static void leave_groups(const struct record *record)
{
	char path[sizeof record->cgroups];

	leave("/sys/fs/cgroup/cgroup.procs");
	leave("/sys/fs/cgroup/unified/cgroup.procs");
	leave("/sys/fs/cgroup/systemd/cgroup.procs");
	for (const char *procs = record->cgroups; *procs != '\0'; procs += strlen(procs) + 1) {
		const char *own = strstr(procs, "/jailctl/");

		(void)snprintf(path, sizeof path, "%.*s/cgroup.procs", own == NULL ? 0 : (int)(own - procs), procs);
		if (own != NULL)
			leave(path);
	}
}

static void remove_group(const char *procs)
{
	const struct timespec moment = { .tv_nsec = 5000000 };
	char path[sizeof ((struct record *)NULL)->cgroups];

	(void)snprintf(path, sizeof path, "%s", procs);
	char *last = strrchr(path, '/');
	if (last == NULL || strcmp(last, "/cgroup.procs") != 0)
		return;
	*last = '\0';
	/* it is empty a moment after the last process in it was reaped */
	for (int i = 0; i < 200 && rmdir(path) != 0 && errno == EBUSY; i++)
		(void)nanosleep(&moment, NULL);
}

/* With the lock held. The keeper's end is the end of its pid namespace: when its pidfd says so, nothing runs any more
 * (in a chroot jail nothing but sessions ever did).
 * The entry goes after that: a starter that finds none may take it that there is no jail. */
static void end_jail(int dir, const struct record *record, int pidfd)
{
	char link[sizeof NAMES + sizeof record->user];
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };

	meter_end(dir, record);
	if (pidfd >= 0 &&
	    (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0 || poll(&ended, 1, 10000) != 1))
		kernel("end the jail");
	if (unlinkat(dir, "entry", 0) != 0 && errno != ENOENT)
		kernel("unlink entry");
	(void)snprintf(link, sizeof link, "%s/%s", NAMES, record->user);
	if (unlink(link) != 0 && errno != ENOENT)
		kernel("unlink name");
	for (const char *procs = record->cgroups; *procs != '\0'; procs += strlen(procs) + 1)
		remove_group(procs);
}

/* Whether there is anything to wait for, session or not. */
static bool watched(const struct record *record)
{
	return record->linger != LINGER_FOREVER || record->idle != 0 || record->session != 0 || record->expires != 0 ||
	       record->events[0] != '\0';
}

static int64_t sooner(int64_t one, int64_t other)
{
	return one < 0 || (other >= 0 && other < one) ? other : one;
}

/* Milliseconds until the jail ends, or -1; ENDED when it just has. since: see look(). */
static int64_t unused(int dir, const struct record *record, int pidfd, int64_t *since)
{
	chroot_shut(dir, record);
	if (record->linger == LINGER_FOREVER)
		return -1;
	*since = *since < 0 ? now() : *since;
	int64_t left = *since + (int64_t)record->linger * 1000 - now();
	if (left > 0)
		return left;
	end_jail(dir, record, pidfd);
	return ENDED;
}

/* One look at the jail under its lock. Returns for how many milliseconds to wait (-1: for ever; `session` then is one
 * to wait for), or ENDED. since: when the last session was seen to be gone, or -1. */
static int64_t look(int dir, uid_t uid, int own, int64_t *since, int *session)
{
	static struct record record;
	int64_t left = ENDED;
	int pidfd, lock = lock_jail(dir, 3600);

	if (lock < 0)
		kernel("lock");
	int sessions = sessions_open(dir);
	if (record_load(dir, uid, &record) == NULL && watched(&record) && keeper_open(&record, &pidfd) == NULL) {
		events_open(&record);
		events_look(sessions, &record);
		if (prune(sessions, session, NULL) > 0) {
			*since = -1;
			left = end_overdue(sessions, &record);
		} else {
			left = unused(dir, &record, pidfd, since);
		}
		close(pidfd);
	}
	close(sessions);
	if (left == ENDED)
		close(own); /* before the lock: who holds that next finds no watcher, and becomes one */
	close(lock);
	return left;
}

static void only_poke(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, POKE);
}

static void wait_until(int pokes, int session, int64_t until)
{
	int64_t left;

	while ((left = until - now()) > 0) {
		struct pollfd on[2 + EVENTS] = { { .fd = pokes, .events = POLLIN }, { .fd = session, .events = POLLIN } };
		int n = poll(on, 2 + EVENTS, (int)sooner(left, events_poll(on + 2)));

		if (n < 0 && errno != EINTR)
			kernel("poll");
		if (n > 0 || events_hit())
			return;
	}
}

/* The watcher: waits for the end of a session (of its process, as one that is killed closes nothing; or for the poke of
 * the hook that closes it, as one that closes may live on) until there is none, then for `linger` seconds without a new
 * one. By signal, as root has 128 inotify instances (fs.inotify.max_user_instances) and the host 10,000 jails. */
static _Noreturn void attend(int dir, uid_t uid, int own)
{
	struct signalfd_siginfo poke;
	int64_t since = -1, left;
	int session = -1;
	sigset_t set;

	only_poke(&set);
	int pokes = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (pokes < 0)
		kernel("signalfd");
	while ((left = look(dir, uid, own, &since, &session)) != ENDED) {
		wait_until(pokes, session, now() + (left < 0 || left > LONGEST ? LONGEST : left));
		if (session >= 0)
			close(session);
		session = -1;
		if (read(pokes, &poke, sizeof poke) > 0)
			since = -1; /* somebody has been here */
	}
	_exit(0);
}

/* Whoever is watching looks again. A watcher that ended meanwhile needs no poke: it held the jail's lock then. */
static void poke_watcher(int own)
{
	struct watcher who;
	uint64_t start;
	pid_t parent;

	if (pread(own, &who, sizeof who, 0) != sizeof who || who.pid <= 1)
		return;
	int pidfd = (int)syscall(SYS_pidfd_open, who.pid, 0);
	if (pidfd < 0)
		return;
	if (process_stat(who.pid, &parent, &start) && start == who.start)
		(void)syscall(SYS_pidfd_send_signal, pidfd, POKE, NULL, 0);
	close(pidfd);
}

static void write_down(int own, pid_t child)
{
	struct watcher who = { .pid = child };
	pid_t parent;

	if (!process_stat(child, &parent, &who.start) || pwrite(own, &who, sizeof who, 0) != sizeof who)
		kernel("write watch");
}

/* One watcher a running jail: who holds the lock on its file is it. Called by each hook, as it may have been killed.
 * pam_exec waits for the end of our output, so the watcher holds none of our descriptors but two; nor our lock, which a
 * fork shares. */
void watch(int dir, const struct record *record, int lock)
{
	sigset_t set;

	int own = openat(dir, "watch", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (own < 0)
		kernel("watch");
	if (flock(own, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK)
			kernel("watch");
		poke_watcher(own);
		close(own);
		return;
	}
	if (!watched(record)) { /* asked last: whoever watches has to know that there is nothing to watch any more */
		close(own);
		return;
	}
	only_poke(&set);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) /* before there is anybody to be poked */
		kernel("sigprocmask");
	pid_t child = fork();
	if (child < 0)
		kernel("fork");
	if (child > 0) {
		write_down(own, child); /* we hold the jail's lock: no other hook looks before it is there */
		close(own);
		return;
	}
	close(lock);
	(void)alarm(0);
	voice.verb = "failed to watch";
	if (null_streams() != 0 || setsid() < 0 || prctl(PR_SET_NAME, "jailctl-watch") != 0)
		kernel("watcher");
	leave_groups(record);
	attend(dir, record->uid, own);
}

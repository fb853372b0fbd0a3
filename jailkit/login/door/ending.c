/* Sessions that have outlived a limit: the time at which the account expires, the length of a session, its idleness.
 * The terminal is told, then the process that carries the session gets SIGTERM and, if need be, SIGKILL.
 *
 * Idle is a session on whose terminal nothing was typed: the terminal's access time, as w(1) says it. The kernel sets
 * that in steps of 8 seconds. A session without a terminal (sftp, a command) is never idle. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "hook.h"

#define NEVER INT64_MAX
#define STEP 8      /* seconds: see above */
#define READ 500    /* ms between the sentence and SIGTERM: sshd forgets what it has not sent */
#define GRACE 2000  /* ms between SIGTERM and SIGKILL */
#define KNOWN 64    /* sessions of which more is known than their records say */
#define TERMINALS 16

/* idle_at: when it may be idle, by now(); before that nobody has to look for its terminals. stage: of its end. */
struct known {
	int32_t pid;
	uint64_t start;
	int64_t idle_at;
	enum { GOES_ON, TOLD, ASKED } stage;
};

static struct known known[KNOWN];
static char pids[65536];

static struct known *known_of(const struct session *session)
{
	static unsigned next;
	struct known *found;

	for (found = known; found < known + KNOWN; found++)
		if (found->pid == session->pid && found->start == session->start)
			return found;
	found = known + next++ % KNOWN;
	*found = (struct known){ .pid = session->pid, .start = session->start };
	return found;
}

static bool below(pid_t pid, pid_t above)
{
	struct process process;

	for (int up = 0; up <= 10 && pid > 1; up++, pid = process.parent) {
		if (pid == above)
			return true;
		if (!process_look(pid, &process))
			return false;
	}
	return false;
}

/* In our own pid namespace. A jail's processes have its own terminals, whose numbers mean others here. */
static bool outside(pid_t pid)
{
	struct stat own, its;
	char path[40];

	(void)snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
	return stat("/proc/self/ns/pid", &own) == 0 && stat(path, &its) == 0 && own.st_ino == its.st_ino;
}

/* The processes that may belong to `session`: those of the jail's group, or of the session's own in systemd's tree. */
static ssize_t read_pids(const struct record *record, pid_t session)
{
	char path[512], text[4096], *line;
	int fd;

	(void)snprintf(path, sizeof path, "%s", record->cgroups);
	if (path[0] == '\0') {
		(void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)session);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
		close(fd);
		text[n < 0 ? 0 : n] = '\0';
		line = strstr(text, "0::/");
		if (line == NULL)
			return -1;
		(void)snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/cgroup.procs", (int)strcspn(line + 3, "\n"), line + 3);
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, pids, sizeof pids - 1);
	close(fd);
	pids[n < 0 ? 0 : n] = '\0';
	return n;
}

/* Device numbers of the terminals of a session, on this host; how many. */
static size_t terminals(const struct record *record, pid_t session, uint32_t found[TERMINALS])
{
	size_t count = 0;
	struct process process;

	(void)read_pids(record, session);
	for (char *at = pids; *at != '\0' && count < TERMINALS; at += strcspn(at, "\n"), at += *at == '\n') {
		pid_t pid = (pid_t)strtol(at, NULL, 10);
		bool new = pid > 1 && process_look(pid, &process) && process.tty != 0 && below(pid, session) && outside(pid);

		for (size_t i = 0; new && i < count; i++)
			new = found[i] != process.tty;
		if (new)
			found[count++] = process.tty;
	}
	return count;
}

/* proc(5): the minor's low 8 bits are the lowest, its high ones above the major's 12. */
static int terminal_open(uint32_t tty, int flags)
{
	unsigned major_ = tty >> 8 & 0xfff, minor_ = (tty & 0xff) | (tty >> 12 & 0xfff00);
	char path[32];
	struct stat st;

	if (major_ == 136)
		(void)snprintf(path, sizeof path, "/dev/pts/%u", minor_);
	else if (major_ == 4)
		(void)snprintf(path, sizeof path, "/dev/tty%s%u", minor_ < 64 ? "" : "S", minor_ < 64 ? minor_ : minor_ - 64);
	else
		return -1;
	int fd = open(path, flags | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major_, minor_))
		return fd;
	close(fd);
	return -1;
}

static size_t tell(const struct record *record, pid_t session, const char *text)
{
	uint32_t found[TERMINALS];
	size_t count = terminals(record, session, found);

	for (size_t i = 0; i < count; i++) {
		int fd = terminal_open(found[i], O_WRONLY);

		if (fd >= 0)
			(void)!write(fd, text, strlen(text));
		close(fd);
	}
	return count;
}

/* ms until the session is idle, NEVER if it has no terminal. Looks for that only when it may be. */
static int64_t until_idle(const struct record *record, const struct session *session, struct known *of, int64_t age)
{
	uint32_t found[TERMINALS];
	int64_t limit = (int64_t)record->idle * 1000, left = NEVER;
	struct timespec wall;
	struct stat st;

	if (age < limit)
		return limit - age;
	if (of->idle_at > now())
		return of->idle_at - now();
	size_t count = terminals(record, session->pid, found);
	(void)clock_gettime(CLOCK_REALTIME, &wall);
	for (size_t i = 0; i < count; i++) {
		int fd = terminal_open(found[i], O_PATH);

		/* of several (one connection may have many) the one that was used last counts */
		if (fd >= 0 && fstat(fd, &st) == 0) {
			int64_t rest = limit + ((int64_t)st.st_atime + STEP - (int64_t)wall.tv_sec) * 1000;

			left = left == NEVER || rest > left ? rest : left;
		}
		close(fd);
	}
	if (left == NEVER)
		of->idle_at = now() + limit; /* it may open one */
	else
		of->idle_at = left > 0 ? now() + (left < limit ? left : limit) : 0;
	return left;
}

/* The sentence, SIGTERM, SIGKILL: one of them, and ms until the next. */
static int64_t end_session(const struct record *record, const struct session *session, struct known *of, const char *why)
{
	char text[160];
	struct process process;

	if (of->stage == GOES_ON) {
		(void)snprintf(voice.who, sizeof voice.who, "user=%s pid=%d", record->user, (int)session->pid);
		log_line("limit.session-ended", "%s", why);
		(void)snprintf(text, sizeof text, "\r\n%s This session ends now.\r\n", why);
		of->stage = TOLD;
		if (tell(record, session->pid, text) > 0)
			return READ;
	}
	int pidfd = (int)syscall(SYS_pidfd_open, session->pid, 0);
	if (pidfd >= 0 && process_look(session->pid, &process) && process.start == session->start)
		(void)syscall(SYS_pidfd_send_signal, pidfd, of->stage == ASKED ? SIGKILL : SIGTERM, NULL, 0);
	close(pidfd);
	of->stage = ASKED;
	return GRACE;
}

/* ms that are left to a session, and in `why` what ends it then. */
static int64_t left_of(const struct record *record, const struct session *session, struct known *of, const char **why)
{
	int64_t age = now() - (int64_t)session->start * 1000 / sysconf(_SC_CLK_TCK), left = NEVER, other;

	if (record->expires != 0) {
		left = ((int64_t)record->expires - (int64_t)time(NULL)) * 1000;
		*why = "This account has expired.";
	}
	other = record->session != 0 ? (int64_t)record->session * 1000 - age : NEVER;
	if (other < left) {
		left = other;
		*why = "The time that a session of this account may last is over.";
	}
	other = record->idle != 0 ? until_idle(record, session, of, age) : NEVER;
	if (other < left) {
		left = other;
		*why = "Nothing was typed for as long as this account may be idle.";
	}
	return left;
}

/* With the jail's lock held. */
int64_t end_overdue(int sessions, const struct record *record)
{
	struct session session;
	struct dirent *entry;
	int64_t next = NEVER;
	int copy = openat(sessions, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);

	if (list == NULL)
		kernel("sessions");
	while ((entry = readdir(list)) != NULL) {
		const char *why = "";

		if (entry->d_name[0] == '.' || !session_load(sessions, entry->d_name, &session) ||
		    of_administrator(session.service))
			continue;
		struct known *of = known_of(&session);
		int64_t left = left_of(record, &session, of, &why);
		if (left <= 0 || of->stage == ASKED)
			left = end_session(record, &session, of, why);
		else
			of->stage = GOES_ON; /* something was typed, or the limit is another one now */
		next = left < next ? left : next;
	}
	(void)closedir(list);
	return next == NEVER ? -1 : next;
}

void tell_sessions(int sessions, const struct record *record, const char *text)
{
	struct session session;
	struct dirent *entry;
	int copy = openat(sessions, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);

	while (list != NULL && (entry = readdir(list)) != NULL)
		if (entry->d_name[0] != '.' && session_load(sessions, entry->d_name, &session))
			(void)tell(record, session.pid, text);
	if (list != NULL)
		(void)closedir(list);
}

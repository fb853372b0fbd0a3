/* See common.h. Static, no NSS, no locale, no allocation: all that is known comes from the record and from /proc. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

struct voice voice = { .tag = "jailctl", .verb = "refused", .log = -1, .user = 2,
		       .said = "This account is not available at the moment.\n", .pipe = -1, .who = "user=-" };

/* Not syslog(3): it would look for /dev/log again at each line, by then perhaps in the jail, and reads TZ.
 * No socket, no log: that must not decide about a login. A full one may hold us up for a second. */
void log_open(void)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = LOG_SOCKET };
	const struct timeval patience = { .tv_sec = 1 };
	int saved = errno, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
	    connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
		voice.log = fd;
	else
		close(fd);
	errno = saved;
}

_Noreturn void refuse_text(const char *text)
{
	char line[768];
	int n = snprintf(line, sizeof line, "<%d>%s[%d]: %s %s %s", LOG_AUTHPRIV | LOG_WARNING, voice.tag,
			 (int)getpid(), voice.verb, voice.who, text);

	if (voice.log >= 0 && n > 0)
		(void)!send(voice.log, line, strnlen(line, sizeof line), MSG_NOSIGNAL);
	if (voice.restore != NULL)
		voice.restore();
	(void)!write(voice.user, voice.said, strlen(voice.said));
	_exit(1);
}

/* A line of the log about something that is no refusal. */
void log_line(const char *code, const char *format, ...)
{
	char detail[160], line[512];
	va_list list;

	va_start(list, format);
	(void)vsnprintf(detail, sizeof detail, format, list);
	va_end(list);
	int n = snprintf(line, sizeof line, "<%d>%s[%d]: %s code=%s %s", LOG_AUTHPRIV | LOG_WARNING, voice.tag,
			 (int)getpid(), voice.who, code, detail);
	if (voice.log >= 0 && n > 0)
		(void)!send(voice.log, line, strnlen(line, sizeof line), MSG_NOSIGNAL);
}

_Noreturn void refuse(const char *code, const char *format, ...)
{
	char detail[160], text[256];
	va_list list;

	va_start(list, format);
	(void)vsnprintf(detail, sizeof detail, format, list);
	va_end(list);
	(void)snprintf(text, sizeof text, "code=%s %s", code, detail);
	if (voice.pipe >= 0) {
		(void)!write(voice.pipe, text, strlen(text));
		_exit(1);
	}
	refuse_text(text);
}

_Noreturn void kernel(const char *call)
{
	refuse("login.kernel", "%s: %s", call, strerror(errno));
}

/* Whoever may write a directory decides what its names mean, so ownership is checked on the descriptor,
 * link by link (sshd does the same for ChrootDirectory). EPERM says that it was found wanting. */
int open_safe(int dir, const char *name, int flags)
{
	struct stat st;
	int fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		if (st.st_uid == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
			return fd;
		errno = EPERM;
	}
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int walk_until(const char *path, int flags, int *seen)
{
	char part[NAME_MAX + 1];
	const char *whole = path;
	int dir = open_safe(AT_FDCWD, "/", O_PATH | O_DIRECTORY);

	*seen = 1;
	while (dir >= 0) {
		path += strspn(path, "/");
		size_t length = strcspn(path, "/");
		bool last = path[length + strspn(path + length, "/")] == '\0';

		*seen = (int)(path + length - whole);
		if (length == 0 || length >= sizeof part) {
			close(dir);
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(part, path, length);
		part[length] = '\0';
		int next = open_safe(dir, part, last ? flags : O_PATH | O_DIRECTORY);
		int saved = errno;
		close(dir);
		errno = saved;
		if (last)
			return next;
		dir = next;
		path += length;
	}
	return -1;
}

int walk(const char *path, int flags)
{
	int seen;

	return walk_until(path, flags, &seen);
}

const char *open_code(void)
{
	switch (errno) {
	case ENOENT:
		return "login.no-jail";
	case EPERM:
	case EACCES:
	case ELOOP:
	case ENOTDIR:
		return "login.path-unsafe";
	default:
		return "login.kernel";
	}
}

/* The whole of `fd`, or -1 where a read fails or there is more than `size`. */
ssize_t read_all(int fd, void *buffer, size_t size)
{
	char *at = buffer, more;
	size_t used = 0;

	for (;;) {
		bool full = used == size;
		ssize_t n = read(fd, full ? &more : at + used, full ? 1 : size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (n > 0 && full)) {
			errno = n < 0 ? errno : EFBIG;
			return -1;
		}
		if (n == 0)
			return (ssize_t)used;
		used += (size_t)n;
	}
}

/* jailkit/names.py, user_name(): the one grammar. */
bool name_valid(const char *name)
{
	static const char *const reserved[] = { "root", "nobody", "nogroup", "all", "jailed", "jailed-chroot",
						 "self", "tags" };
	size_t length = strnlen(name, 33);

	if (length == 0 || length > 32 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != length)
		return false;
	if (strchr("0123456789.-", name[0]) != NULL || strchr(".-", name[length - 1]) != NULL)
		return false;
	if (strstr(name, "..") != NULL)
		return false;
	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strcmp(name, reserved[i]) == 0)
			return false;
	return true;
}

/* Fields 4, 7 and 22 of proc(5) stat. The command name in field 2 is the process's own choice and may hold anything,
 * so counting starts at the last ')'. */
bool process_look(pid_t pid, struct process *process)
{
	char path[32], text[1024], *at, *end;
	unsigned long long value = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read_all(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	at = strrchr(text, ')');
	if (at == NULL || at[1] != ' ' || strchr("ZX", at[2]) != NULL) /* zombies have ended; '\0' is found as well */
		return false;
	at += 3; /* behind the state, field 3 */
	for (int field = 4; field <= 22; field++, at = end) {
		errno = 0;
		value = strtoull(at, &end, 10);
		if (end == at || errno != 0)
			return false;
		if (field == 4)
			process->parent = (pid_t)value;
		if (field == 7)
			process->tty = (uint32_t)value;
	}
	process->start = value;
	return true;
}

bool process_stat(pid_t pid, pid_t *parent, uint64_t *start)
{
	struct process process;

	if (!process_look(pid, &process))
		return false;
	*parent = process.parent;
	*start = process.start;
	return true;
}

bool listed(const char *list, const char *name)
{
	for (; *list != '\0'; list += strlen(list) + 1)
		if (strcmp(list, name) == 0)
			return true;
	return false;
}

void bound_files(const struct record *record, pid_t pid)
{
	struct rlimit limit;

	if (record->open_files == 0)
		return;
	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) != 0)
		kernel("prlimit");
	if (limit.rlim_max > record->open_files)
		limit.rlim_max = record->open_files;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	if (prlimit(pid, RLIMIT_NOFILE, &limit, NULL) != 0)
		kernel("prlimit");
}

int jail_dir(uid_t uid)
{
	char path[sizeof JAILS + 16];

	(void)snprintf(path, sizeof path, "%s/%u", JAILS, uid);
	return walk(path, O_PATH | O_DIRECTORY);
}

#define ENDS(text) ((text)[sizeof(text) - 1] == '\0')
#define LIST_ENDS(list) (ENDS(list) && (list)[sizeof(list) - 2] == '\0')

static bool record_valid(const struct record *r, size_t size, uid_t uid)
{
	size_t head = offsetof(struct record, filter);

	if (size < head || memcmp(r->magic, RECORD_MAGIC, sizeof r->magic) != 0)
		return false;
	bool empty = (r->flags & FLAG_CHROOT) != 0; /* nothing to enter */
	if (r->pid < 0 || r->pid == 1 || empty != (r->pid == 0) || empty != (r->userns == 0) || empty != (r->nfilter == 0))
		return false;
	if (r->nfilter > MAX_FILTER || r->pad != 0 || r->size != size ||
	    size != head + r->nfilter * sizeof r->filter[0])
		return false;
	if (!ENDS(r->user) || !ENDS(r->home) || !ENDS(r->shell) || !ENDS(r->sftp) || !ENDS(r->path) || !ENDS(r->image))
		return false;
	if (!LIST_ENDS(r->cgroups) || !LIST_ENDS(r->events) || !LIST_ENDS(r->services))
		return false;
	if (r->nhours > MAX_HOURS || r->nsources > MAX_SOURCES)
		return false;
	return r->uid == uid && r->uid != 0 && r->gid != 0 &&
	       (r->flags & ~(FLAG_HOST_NETWORK | FLAG_CHROOT)) == 0 && name_valid(r->user) && r->home[0] == '/' &&
	       r->shell[0] == '/' && r->path[0] == '/' && (r->sftp[0] == '/' || r->sftp[0] == '\0');
}

const char *record_load(int dir, uid_t uid, struct record *record)
{
	struct stat st;
	int fd = open_safe(dir, "entry", O_RDONLY | O_NONBLOCK); /* a FIFO must not hold us up */

	if (fd < 0)
		return open_code();
	bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	ssize_t size = regular ? read_all(fd, record, sizeof *record) : -1;
	close(fd);
	return size >= 0 && record_valid(record, (size_t)size, uid) ? NULL : "login.bad-record";
}

/* A pid alone proves nothing, the kernel gives it out again. The pidfd pins one process; start time and user namespace
 * say whether it is the one that the record means; that it still runs afterwards says that they were read from it.
 * A chroot jail has none: -1. */
const char *keeper_open(const struct record *record, int *pidfd)
{
	*pidfd = -1;
	if ((record->flags & FLAG_CHROOT) != 0)
		return NULL;
	char path[40];
	struct stat st;
	pid_t parent;
	uint64_t start;
	int fd = (int)syscall(SYS_pidfd_open, record->pid, 0);

	if (fd < 0)
		return "login.keeper-dead";
	struct pollfd ended = { .fd = fd, .events = POLLIN };
	(void)snprintf(path, sizeof path, "/proc/%d/ns/user", (int)record->pid);
	if (process_stat(record->pid, &parent, &start) && start == record->start && stat(path, &st) == 0 &&
	    st.st_ino == record->userns && poll(&ended, 1, 0) == 0) {
		*pidfd = fd;
		return NULL;
	}
	close(fd);
	return "login.keeper-dead";
}

/* `dir` is the directory of sessions. A name is the decimal pid of a process. */
bool session_load(int dir, const char *name, struct session *session)
{
	int fd = open_safe(dir, name, O_RDONLY | O_NONBLOCK);

	if (fd < 0)
		return false;
	ssize_t size = read_all(fd, session, sizeof *session);
	close(fd);
	return size == sizeof *session && memcmp(session->magic, SESSION_MAGIC, sizeof session->magic) == 0 &&
	       ENDS(session->user);
}

/* The hook: what pam_exec runs, as root, at session open and close. It admits or refuses the login of a jailed user:
 * without the session record that it writes the door lets nobody in. A warm jail costs no more than this program; for a
 * cold one it starts the library.
 *
 * Whatever comes from outside (environment, caller's arguments) is data: held against a grammar, or escaped and logged.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hook.h"

#ifndef START_SECONDS
#define START_SECONDS 30
#endif
#define LOCK_SECONDS (START_SECONDS + 1) /* another login may be starting this jail */

extern char **environ;
static const char *type = "", *user = "", *service = "", *rhost = "", *tty = "", *auth = "";
static struct record record;

/* pam_exec hands over the PAM environment, which pam_env may have read from a file of the user's, and appends its own
 * variables: so of each of ours the last one counts. rhost and tty it leaves out where they are not set: so only those
 * behind its PAM_SERVICE are its own. SSH_AUTH_INFO_0 is sshd's, and only ever written down. */
static void read_environment(void)
{
	static const struct {
		const char *name, **value;
	} known[] = { { "PAM_TYPE=", &type },   { "PAM_USER=", &user }, { "PAM_SERVICE=", &service },
		      { "PAM_RHOST=", &rhost }, { "PAM_TTY=", &tty },   { "SSH_AUTH_INFO_0=", &auth } };

	for (char **one = environ; *one != NULL; one++)
		for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
			size_t length = strlen(known[i].name);

			if (strncmp(*one, known[i].name, length) != 0)
				continue;
			*known[i].value = *one + length;
			if (known[i].value == &service)
				rhost = tty = "";
		}
}

/* Nothing of the caller's: su is started by users, with their umask, directory, terminal, descriptors and signal
 * mask. A session of our own keeps ^C and ^Z of that terminal from us while we hold a lock. */
static void settle(void)
{
	const struct sigaction standard = { .sa_handler = SIG_DFL }, ignore = { .sa_handler = SIG_IGN };
	sigset_t none;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	while (fd >= 0 && fd < 3)
		fd = open("/dev/null", O_RDWR); /* 0 to 2 are taken now, whatever was there */
	(void)umask(077);
	(void)setsid(); /* fails where pam_exec has done it */
	(void)sigemptyset(&none);
	bool settled = fd >= 0 && syscall(SYS_close_range, 3U, ~0U, 0U) == 0 && chdir("/") == 0;
	log_open();
	if (!settled)
		kernel("settle");
	if (sigaction(SIGCHLD, &standard, NULL) != 0 || sigaction(SIGALRM, &standard, NULL) != 0 ||
	    sigaction(SIGPIPE, &ignore, NULL) != 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0)
		kernel("sigaction");
	if (setgroups(0, NULL) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
		refuse("login.bad-args", "the hook is root's");
	(void)alarm(120); /* everything below has a time limit; should one fail, so does the login */
}

/* Copy `from`, as much of it as fits: one word on one line, whatever it was, and still recoverable. */
static void escape(char *to, size_t size, const char *from)
{
	static const char hex[] = "0123456789abcdef";

	for (; *from != '\0' && size > 4; from++) {
		unsigned char c = (unsigned char)*from;

		if (c > 0x20 && c < 0x7f && strchr("=,\\", c) == NULL) {
			*to++ = (char)c;
			size--;
			continue;
		}
		*to++ = '\\';
		*to++ = 'x';
		*to++ = hex[c >> 4];
		*to++ = hex[c & 15];
		size -= 4;
	}
	*to = '\0';
}

static void introduce(void)
{
	char name[64], from[96], by[48];

	escape(name, sizeof name, user);
	escape(by, sizeof by, service);
	escape(from, sizeof from, rhost);
	(void)snprintf(voice.who, sizeof voice.who, "user=%s service=%s rhost=%s", name, by, from);
}

/* The uid that the host knew for `user` when the jail was started, from the link that the start made; 0: cold. No name
 * service is asked: in a static program it would load what the host's nsswitch.conf says. */
static uid_t warm_uid(void)
{
	char target[32];
	int names = walk(NAMES, O_PATH | O_DIRECTORY);

	if (names < 0 && errno == ENOENT)
		return 0;
	if (names < 0)
		refuse(open_code(), "%s", NAMES);
	ssize_t n = readlinkat(names, user, target, sizeof target - 1);
	close(names);
	if (n <= 0)
		return 0;
	target[n] = '\0';
	if (strncmp(target, "../jails/", 9) != 0 || target[9] < '1' || target[9] > '9')
		return 0;
	char *end;
	errno = 0;
	unsigned long uid = strtoul(target + 9, &end, 10);
	return *end == '\0' && errno == 0 && uid < 0xfffffffful ? (uid_t)uid : 0;
}

static void start_cold(void)
{
	static char python[] = ROOT "/opt/jailctl/venv/bin/python3";
	static char program[] = ROOT "/opt/jailctl/lib/jailkit/jail/cold.py";
	static char isolated[] = "-I", siteless[] = "-S", root[] = ROOT "/", name[40], from[48], host[256];
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", lang[] = "LANG=C.UTF-8";
	char *const argv[] = { python, isolated, siteless, program, name, from, root, host, NULL };
	char *const env[] = { path, lang, NULL };
	int status = 0;

	(void)snprintf(name, sizeof name, "%s", user);
	(void)snprintf(from, sizeof from, "%s", service);
	(void)snprintf(host, sizeof host, "%s", rhost);
	pid_t child = fork();
	if (child < 0)
		kernel("fork");
	if (child == 0) {
		if (setpgid(0, 0) == 0 && null_streams() == 0)
			(void)execve(python, argv, env);
		_exit(127);
	}
	struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN };
	int n = ended.fd < 0 ? -1 : poll(&ended, 1, START_SECONDS * 1000);
	if (n <= 0) {
		(void)kill(-child, SIGKILL); /* whoever is killed while starting leaves nothing: see jail/start.py */
		(void)kill(child, SIGKILL);
	}
	close(ended.fd);
	if (waitpid(child, &status, 0) != child)
		kernel("waitpid");
	if (n <= 0)
		refuse("login.start-failed", "no jail after %d s", START_SECONDS);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
		refuse("login.no-jail", "no such jail");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 4)
		refuse("login.disabled", "the jail is disabled");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 5)
		refuse("login.service-denied", "this service opens no session");
	if (WIFEXITED(status) && WEXITSTATUS(status) >= 6 && WEXITSTATUS(status) <= 8)
		refuse_by_limit((enum login_limit)(WEXITSTATUS(status) - 6));
	if (WIFEXITED(status))
		refuse("login.start-failed", "exit status %d: see the line of jailctl-start", WEXITSTATUS(status));
	refuse("login.start-failed", "ended by signal %d", WTERMSIG(status));
}

static void write_session(int sessions, pid_t caller)
{
	struct session session = { .pid = caller };
	char name[16], temporary[16];
	uint64_t start;
	pid_t parent;

	memcpy(session.magic, SESSION_MAGIC, sizeof session.magic);
	if (!process_stat(caller, &parent, &start))
		refuse("login.kernel", "who called has ended");
	session.start = start;
	session.time = (uint64_t)time(NULL);
	(void)snprintf(session.user, sizeof session.user, "%s", user);
	(void)snprintf(session.service, sizeof session.service, "%s", service);
	(void)snprintf(session.rhost, sizeof session.rhost, "%s", rhost);
	(void)snprintf(session.tty, sizeof session.tty, "%s", tty);
	(void)snprintf(session.auth, sizeof session.auth, "%s", auth);
	(void)snprintf(name, sizeof name, "%d", (int)caller);
	(void)snprintf(temporary, sizeof temporary, ".%d", (int)caller);
	(void)unlinkat(sessions, temporary, 0); /* of a hook that was killed: we hold the lock */
	int fd = openat(sessions, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, &session, sizeof session) != sizeof session || fchown(fd, 0, record.gid) != 0 ||
	    fchmod(fd, 0640) != 0 || close(fd) != 0)
		kernel("write session");
	if (renameat(sessions, temporary, sessions, name) != 0)
		kernel("rename session");
}

/* NULL: the login is admitted; else the code of why this jail cannot take it now, so that a start may mend it. All
 * under the lock: what is true of the jail when the session is written down stays true until the next holder has seen
 * it. */
static const char *admit(uid_t uid)
{
	pid_t caller = getppid();
	unsigned logins;
	int pidfd, dir = jail_dir(uid);

	if (dir < 0 && errno != ENOENT)
		refuse(open_code(), "%s/%u", JAILS, uid);
	if (dir < 0)
		return "login.no-jail";
	int lock = lock_jail(dir, LOCK_SECONDS);
	if (lock < 0 && errno != ENOENT)
		kernel("lock");
	const char *code = lock < 0 ? "login.no-jail" : record_load(dir, uid, &record);
	if (code == NULL && strcmp(record.user, user) != 0)
		code = "login.bad-record";
	if (code == NULL)
		code = keeper_open(&record, &pidfd);
	if (code == NULL)
		close(pidfd);
	if (code != NULL && strcmp(code, "login.path-unsafe") == 0)
		refuse(code, "%s/%u/entry", JAILS, uid);
	if (code != NULL) {
		close(lock);
		close(dir);
		return code;
	}
	watch(dir, &record, lock); /* first: a jail that was started for a login that is refused must end as well */
	if (caller <= 1)
		refuse("login.bad-args", "nobody called");
	if (!listed(record.services, service))
		refuse("login.service-denied", "this service opens no session");
	if (strcmp(service, "su") == 0 || strcmp(service, "su-l") == 0)
		check_su(caller);
	chroot_check(&record);
	int sessions = sessions_open(dir);
	(void)prune(sessions, NULL, &logins);
	check_limits(&record, service, rhost, logins);
	write_session(sessions, caller);
	join_groups(&record, sessions, caller);
	chroot_open(dir, &record);
	meter_login(dir);
	return NULL;
}

static int open_session(void)
{
	const char *code = "login.no-jail";

	if (!name_valid(user))
		refuse("login.bad-name", "no jail can have this name");
	suspended_check(user);
	for (int attempt = 0; attempt < 2; attempt++) {
		uid_t uid = warm_uid();

		if (uid != 0)
			code = admit(uid);
		if (uid != 0 && code == NULL)
			return 0;
		if (attempt == 0)
			start_cold();
	}
	refuse("login.start-failed", "after its start: %s", code);
}

static int close_session(void)
{
	char name[16];
	int pidfd, dir;
	uid_t uid = name_valid(user) ? warm_uid() : 0;

	if (uid == 0 || (dir = jail_dir(uid)) < 0)
		return 0; /* the jail has ended before its session */
	int lock = lock_jail(dir, LOCK_SECONDS);
	if (lock < 0 && errno == ENOENT)
		return 0; /* and so was its directory, a moment ago */
	if (lock < 0)
		kernel("lock");
	int sessions = sessions_open(dir);
	(void)snprintf(name, sizeof name, "%d", (int)getppid());
	if (unlinkat(sessions, name, 0) != 0 && errno != ENOENT)
		kernel("unlink session");
	bool last = prune(sessions, NULL, NULL) == 0;
	close(sessions);
	if (record_load(dir, uid, &record) == NULL && keeper_open(&record, &pidfd) == NULL) {
		close(pidfd);
		if (last)
			chroot_shut(dir, &record);
		watch(dir, &record, lock);
	}
	return 0;
}

/* Not of PAM's: the limits of a jail have changed, and whoever watches it has to know. */
static int limits_changed(void)
{
	uid_t uid = name_valid(user) ? warm_uid() : 0;
	int pidfd, dir = uid == 0 ? -1 : jail_dir(uid), lock = dir < 0 ? -1 : lock_jail(dir, LOCK_SECONDS);

	if (lock >= 0 && record_load(dir, uid, &record) == NULL && keeper_open(&record, &pidfd) == NULL) {
		close(pidfd);
		watch(dir, &record, lock);
	}
	return 0;
}

int main(void)
{
	voice.tag = "jailctl-hook";
	voice.user = STDOUT_FILENO;
	read_environment();
	if (strcmp(user, "root") == 0)
		return 0; /* break glass: before anything that can fail */
	introduce();
	settle();
	if (strcmp(type, "open_session") == 0)
		return open_session();
	if (strcmp(type, "close_session") == 0) {
		voice.verb = "failed to close";
		return close_session();
	}
	if (strcmp(type, "limits") == 0)
		return limits_changed();
	refuse("login.bad-args", "not a session");
}

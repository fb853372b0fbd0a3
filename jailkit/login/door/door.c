/* The door: account shell and ForceCommand of every jailed user. It runs on the host, as the user, without privilege,
 * enters the user's jail and becomes her shell there. What it does not know for certain it refuses.
 *
 *   door, -door        an interactive login
 *   door -c COMMAND    a command; the door's own path stands for what sshd was asked for (SSH_ORIGINAL_COMMAND)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "door.h"

static struct record record;
static struct relay relay;
static int report[2];

/* What may go into the jail as standard input, output or error. A directory, a disk or a namespace would be a way out
 * of it (CVE-2024-21626). */
static bool harmless(int fd)
{
	struct stat st;
	struct statfs fs;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_PATH) != 0 || fstat(fd, &st) != 0)
		return false;
	if (fstatfs(fd, &fs) != 0 || fs.f_type == NSFS_MAGIC)
		return false;
	return S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode);
}

/* Whoever calls us may have left anything open, or nothing. 0 to 2 stay what they are; the rest ends here, for the
 * relay as well. */
static void check_descriptors(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), bad = null < 3 ? null : -1;

	while (null >= 0 && null < 3) /* one was closed: our own files must not take its place */
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	long closed = syscall(SYS_close_range, 3U, ~0U, 0U);
	log_open();
	if (closed != 0)
		kernel("close_range");
	if (bad >= 0 || null < 0)
		refuse("login.bad-fd", "descriptor %d", bad);
	for (int fd = 0; fd <= 2; fd++)
		if (!harmless(fd))
			refuse("login.bad-fd", "descriptor %d", fd);
}

/* Who we are is what the kernel says; the environment is not asked. */
static void check_ids(uid_t *uid, gid_t *gid)
{
	uid_t euid, suid;
	gid_t egid, sgid;

	if (getresuid(uid, &euid, &suid) != 0 || getresgid(gid, &egid, &sgid) != 0)
		kernel("getresuid");
	(void)snprintf(voice.who, sizeof voice.who, "user=- uid=%u", *uid);
	if (*uid != euid || *uid != suid || *uid == 0 || *gid != egid || *gid != sgid || *gid == 0)
		refuse("login.bad-args", "not one user");
}

/* The account shell can be started in many ways; the PAM hook has admitted one of them: the process that it names, by
 * pid and start time, must be above us. A hook that is missing, skipped or failed leaves no such file. */
static void check_verdict(int dir)
{
	char name[16];
	struct session session;
	uint64_t start;
	pid_t pid = getpid(), parent = 0;
	int sessions = open_safe(dir, "sessions", O_PATH | O_DIRECTORY);

	for (int up = 0; sessions >= 0 && up <= 10 && pid > 1; up++, pid = parent) {
		if (!process_stat(pid, &parent, &start))
			break;
		(void)snprintf(name, sizeof name, "%d", (int)pid);
		if (session_load(sessions, name, &session) && session.pid == pid && session.start == start &&
		    strcmp(session.user, record.user) == 0) {
			close(sessions);
			return;
		}
	}
	refuse("login.no-verdict", "no session above pid %d", (int)getpid());
}

/* What is to run: the shell's argument vector. */
static char **wanted(int argc, char **argv)
{
	static char name[sizeof record.shell + 1], option[] = "-c", sftp[4096 + sizeof record.sftp];
	static char *result[4];
	char *command = argc == 3 ? argv[2] : NULL;
	bool login = argc == 1 || (argc == 3 && argv[0][0] == '-');

	if (argc != 1 && (argc != 3 || strcmp(argv[1], "-c") != 0))
		refuse("login.bad-args", "%d arguments", argc);
	if (command != NULL && strcmp(command, LIBEXEC "/door") == 0) {
		command = getenv("SSH_ORIGINAL_COMMAND");
		if (command != NULL && command[0] == '\0')
			command = NULL;
		login = command == NULL;
	}
	if (command != NULL && strncmp(command, "internal-sftp", 13) == 0 && strchr(" ", command[13]) != NULL) {
		/* sshd would have served this itself, on the host; inside, it takes a program */
		int n = snprintf(sftp, sizeof sftp, "%s%s", record.sftp, command + 13);

		if (record.sftp[0] == '\0' || n < 0 || (size_t)n >= sizeof sftp)
			refuse("login.service-denied", "sftp");
		command = sftp;
	}
	(void)snprintf(name, sizeof name, "%s%s", login ? "-" : "", strrchr(record.shell, '/') + 1);
	result[0] = name;
	result[1] = command != NULL ? option : NULL;
	result[2] = command;
	return result;
}

/* No signal is ignored (nohup, a daemon's SIGPIPE), here or in the session. In this process all that may be passed on
 * wait in a descriptor; those of a fault or of job control do what they always do. */
static int take_signals(void)
{
	static const int keep[] = { SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,	SIGTRAP, SIGABRT,
				    SIGSYS,  SIGTSTP, SIGTTIN, SIGTTOU, SIGURG };
	const struct sigaction standard = { .sa_handler = SIG_DFL };
	sigset_t set;

	for (int i = 1; i <= SIGRTMAX; i++)
		if (i != SIGKILL && i != SIGSTOP && sigaction(i, &standard, NULL) != 0 && errno != EINVAL)
			kernel("sigaction");
	(void)sigfillset(&set);
	for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
		(void)sigdelset(&set, keep[i]);
	if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
		kernel("sigprocmask");
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		kernel("signalfd");
	return fd;
}

/* The one privileged phase. The kernel lets us in as the jail's user namespace belongs to our uid, and joining it
 * gives us all capabilities over it. They serve three calls: to join the other namespaces (all at once, so never half
 * of them) and to be exactly this user with exactly this group. Then they go, before the fork, so that the relay has
 * none either. */
static void enter(int pidfd, uid_t uid, gid_t gid)
{
	int spaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;

	if ((record.flags & FLAG_HOST_NETWORK) == 0)
		spaces |= CLONE_NEWNET;
	if (setns(pidfd, spaces) != 0)
		kernel("setns");
	close(pidfd);
	if (setgroups(1, &gid) != 0)
		kernel("setgroups");
	if (setresgid(gid, gid, gid) != 0)
		kernel("setresgid");
	if (setresuid(uid, uid, uid) != 0)
		kernel("setresuid");
}

static int control(int option, unsigned long a, unsigned long b)
{
	return prctl(option, a, b, 0UL, 0UL);
}

/* Nobody of the same uid may trace us or read our memory: above all not the child, which the tenant's processes can
 * see as soon as it is forked, and which must still install its filter. Each change of credentials undoes this where
 * the host has fs.suid_dumpable=1, so it is done again after the last one. */
static void hide(void)
{
	if (control(PR_SET_DUMPABLE, 0, 0) != 0 || control(PR_GET_DUMPABLE, 0, 0) != 0)
		kernel("PR_SET_DUMPABLE");
}

/* For good, and proven: the capabilities, also those that a program could get at exec (bounding set), the way to them
 * (no_new_privs), other ids and groups. A call that succeeds here which must not is as final as one that fails. */
static void drop(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } }, left[2];
	uid_t uids[3];
	gid_t gids[3], group = 0;
	unsigned long cap, last;
	int is;

	/* How many there are is the running kernel's affair: up to the first EINVAL. Our floor, 5.19, has 41. */
	for (last = 0; (is = control(PR_CAPBSET_READ, last, 0)) >= 0; last++)
		if (is != 0 && control(PR_CAPBSET_DROP, last, 0) != 0)
			kernel("PR_CAPBSET_DROP");
	if (errno != EINVAL || last <= CAP_CHECKPOINT_RESTORE)
		kernel("PR_CAPBSET_READ");
	if (control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0) != 0)
		kernel("PR_CAP_AMBIENT_CLEAR_ALL");
	if (syscall(SYS_capset, &head, none) != 0)
		kernel("capset");
	if (control(PR_SET_NO_NEW_PRIVS, 1, 0) != 0)
		kernel("PR_SET_NO_NEW_PRIVS");

	for (cap = 0; cap < last; cap++)
		if (control(PR_CAPBSET_READ, cap, 0) != 0 || control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap) != 0)
			refuse("login.kernel", "capability %lu is left", cap);
	if (syscall(SYS_capget, &head, left) != 0 || memcmp(left, none, sizeof left) != 0)
		refuse("login.kernel", "capabilities are left");
	if (control(PR_GET_NO_NEW_PRIVS, 0, 0) != 1)
		refuse("login.kernel", "no_new_privs is not set");
	if (getresuid(&uids[0], &uids[1], &uids[2]) != 0 || getresgid(&gids[0], &gids[1], &gids[2]) != 0)
		kernel("getresuid");
	if (getgroups(1, &group) != 1 || group != gid)
		refuse("login.kernel", "the groups are not the user's");
	for (int i = 0; i < 3; i++)
		if (uids[i] != uid || gids[i] != gid)
			refuse("login.kernel", "the ids are not the user's");
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0 || setgroups(0, NULL) == 0)
		refuse("login.kernel", "could become root again");
}

/* The child: in the jail's pid namespace (only children of who joined it are), and about to be the user's shell. */
static _Noreturn void become(char **argv, char **env)
{
	const struct sock_fprog program = {
		.len = (unsigned short)record.nfilter,
		.filter = (void *)((char *)&record + offsetof(struct record, filter)),
	};
	sigset_t none;

	voice.pipe = report[1];
	if (getppid() != 0) /* our parent has a pid in our namespace, so we are in the wrong one, or it died */
		refuse("login.kernel", "not in the jail's pid namespace");
	relay_attach(&relay);
	/* A terminal hangs up when the relay dies. Without one, what kills the door (sshd, su, an administrator: they
	 * know only its pid) would leave the command running: so it ends, its background jobs do not. */
	if (relay.ttys == 0 && (control(PR_SET_PDEATHSIG, SIGKILL, 0) != 0 || getppid() != 0))
		kernel("PR_SET_PDEATHSIG");
	if (dup3(report[1], 3, O_CLOEXEC) != 3)
		kernel("dup3");
	voice.pipe = 3;
	if (syscall(SYS_close_range, 4U, ~0U, 0U) != 0)
		kernel("close_range");
	bound_files(&record, 0); /* for the session and all that it starts */
	(void)umask(022);
	(void)sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
		kernel("sigprocmask");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0U, &program) != 0)
		kernel("seccomp");
	if (control(PR_GET_SECCOMP, 0, 0) != SECCOMP_MODE_FILTER)
		refuse("login.kernel", "seccomp is not on");
	if (chdir(record.home) != 0 && chdir("/") != 0) /* no home today: still in the jail */
		kernel("chdir");
	(void)execve(record.shell, argv, env);
	kernel("execve");
}

/* The parent: waits until the child's exec has closed the pipe, or speaks for it. From then on it holds the terminal's
 * two ends and nothing else: a pipe's end kept open here would keep the other side from seeing the end of it. */
static void release(pid_t child)
{
	char text[256];

	close(report[1]);
	ssize_t n = read_all(report[0], text, sizeof text - 1);
	if (n != 0) {
		(void)kill(child, SIGKILL);
		text[n > 0 ? n : 0] = '\0';
		refuse_text(n > 0 ? text : "code=login.kernel read");
	}
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	close(report[0]);
	close(voice.log);
	voice.log = -1;
}

int main(int argc, char **argv)
{
	uid_t uid;
	gid_t gid;
	int pidfd, signals, status;
	const char *code;

	voice.tag = "jailctl-door";
	check_descriptors();
	check_ids(&uid, &gid);
	hide();
	if (argc < 1)
		refuse("login.bad-args", "no argv[0]");

	int dir = jail_dir(uid);
	if (dir < 0)
		refuse(open_code(), "%s/%u", JAILS, uid);
	code = record_load(dir, uid, &record);
	if (code == NULL && record.gid != gid)
		code = "login.bad-record";
	if (code != NULL)
		refuse(code, "%s/%u/entry", JAILS, uid);
	(void)snprintf(voice.who, sizeof voice.who, "user=%s uid=%u", record.user, uid);
	check_verdict(dir);
	close(dir);
	if ((record.flags & FLAG_CHROOT) != 0) /* sshd serves its files, without us, to members of jailed-chroot */
		refuse("login.service-denied", "this jail has files only");

	char **vector = wanted(argc, argv), **env = environment(&record);
	code = keeper_open(&record, &pidfd);
	if (code != NULL)
		refuse(code, "pid %d", (int)record.pid);
	signals = take_signals();
	relay_outer(&relay);
	if (pipe2(report, O_CLOEXEC) != 0)
		kernel("pipe2");

	enter(pidfd, uid, gid);
	drop(uid, gid);
	hide();
	relay_inner(&relay);
	environment_tty(&relay);
	pid_t child = fork();
	if (child < 0)
		kernel("fork");
	if (child == 0)
		become(vector, env);
	release(child);
	status = relay_run(&relay, signals, child);
	if (voice.restore != NULL)
		voice.restore();
	if (status < 0)
		return 128 + SIGHUP;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The terminal. The host's pty means nothing inside the jail (it is "not a tty" there, tmux and screen fail) and
 * lending it would let the jail type into the caller's shell (TIOCSTI), so the session gets one of the jail's devpts,
 * and the door's parent carries the bytes. It has no privilege left when the first byte flows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "door.h"

static char up[8192], down[65536]; /* pages cost memory only once bytes have been there */
static size_t up_at, up_end, down_at, down_end;
static int raw_fd = -1;
static struct termios found;

/* ioctl(2) as the kernel has it: C libraries differ in the type of the request. */
static int tty(int fd, unsigned request, const void *argument)
{
	return (int)syscall(SYS_ioctl, fd, request, argument);
}

static void restore(void)
{
	if (raw_fd >= 0)
		(void)tcsetattr(raw_fd, TCSADRAIN, &found); /* fails where the terminal is gone: nothing to put right */
}

static void go_raw(const struct relay *relay)
{
	struct termios raw = relay->modes;

	cfmakeraw(&raw);
	found = relay->modes;
	raw_fd = relay->in;
	voice.restore = restore;
	if (tcsetattr(relay->in, TCSADRAIN, &raw) != 0)
		kernel("tcsetattr");
}

/* O_NONBLOCK belongs to the open file, which the caller's shell shares and would keep: so open the terminal anew.
 * Under `su` it may be someone else's and that fails; then it stays blocking, and little is written at once. */
void relay_outer(struct relay *relay)
{
	char path[32];
	int first = -1;

	*relay = (struct relay){ .in = -1, .out = -1, .master = -1, .slave = -1, .chunk = sizeof down };
	for (int fd = 2; fd >= 0; fd--) {
		if (tty(fd, TIOCGWINSZ, &relay->size) == 0) { /* not isatty(3): musl's makes one errno of all */
			relay->ttys |= 1U << fd;
			first = fd;
		} else if (errno != ENOTTY && errno != EINVAL) /* EIO: a terminal that has hung up, not to be lent */
			refuse("login.bad-fd", "descriptor %d", fd);
	}
	if (first < 0)
		return;
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", first);
	relay->in = relay->out = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (relay->in < 0) {
		relay->chunk = 4096;
		for (int fd = first; fd <= 2; fd++) {
			int mode = (relay->ttys & 1U << fd) != 0 ? fcntl(fd, F_GETFL) : -1;

			if (mode >= 0 && relay->in < 0 && (mode & O_ACCMODE) != O_WRONLY)
				relay->in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
			if (mode >= 0 && relay->out < 0 && (mode & O_ACCMODE) != O_RDONLY)
				relay->out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		}
	}
	if (relay->in < 0 && relay->out < 0)
		kernel("fcntl");
	if (tcgetattr(first, &relay->modes) != 0)
		kernel("tcgetattr");
	if (relay->in >= 0) /* at once: what is typed from now on is for the inner terminal to see */
		go_raw(relay);
}

/* /dev is root's and read-only in the jail, and by now we may do no more than the tenant: what this opens is what she
 * could open. TIOCGPTPEER gives the other end without a path, so it is the end of this very master. */
void relay_inner(struct relay *relay)
{
	const int unlocked = 0;
	struct stat st;

	if (relay->ttys == 0)
		return;
	relay->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (relay->master < 0 || fstat(relay->master, &st) != 0)
		kernel("open /dev/ptmx");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
		refuse("login.path-unsafe", "/dev/ptmx");
	if (tty(relay->master, TIOCSPTLCK, &unlocked) != 0 || tty(relay->master, TIOCGPTN, &relay->number) != 0)
		kernel("TIOCGPTN");
	relay->slave = (int)syscall(SYS_ioctl, relay->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (relay->slave < 0)
		kernel("TIOCGPTPEER");
	if (tcsetattr(relay->slave, TCSANOW, &relay->modes) != 0 || tty(relay->master, TIOCSWINSZ, &relay->size) != 0)
		kernel("TIOCSWINSZ");
}

void relay_attach(const struct relay *relay)
{
	if (setsid() < 0)
		kernel("setsid");
	if (relay->ttys != 0 && tty(relay->slave, TIOCSCTTY, NULL) != 0)
		kernel("TIOCSCTTY");
	for (int fd = 0; fd <= 2; fd++)
		if ((relay->ttys & 1U << fd) != 0 && dup2(relay->slave, fd) != fd)
			kernel("dup2");
}

/* Takes one signal; false: the user is gone. What sshd, su or an administrator sends to the door is meant for the
 * session: its process group, as sshd would have sent it. */
static bool on_signal(const struct relay *relay, int signals, pid_t child, int *status, bool *ended)
{
	struct signalfd_siginfo info;
	struct winsize size;
	int outer = relay->in >= 0 ? relay->in : relay->out;

	if (read(signals, &info, sizeof info) != sizeof info)
		return true;
	switch (info.ssi_signo) {
	case SIGCHLD:
		*ended = *ended || waitpid(child, status, WNOHANG) == child;
		return true;
	case SIGCONT: /* someone else may have had the terminal while we were stopped */
		if (raw_fd >= 0)
			go_raw(relay);
		/* fall through */
	case SIGWINCH: /* the kernel tells the session's foreground group */
		if (outer >= 0 && tty(outer, TIOCGWINSZ, &size) == 0)
			(void)tty(relay->master, TIOCSWINSZ, &size);
		return true;
	case SIGPIPE:
		return true;
	default:
		if (*ended || (info.ssi_signo == SIGHUP && relay->master >= 0))
			return false; /* our end closes the master: the inner terminal hangs up as the outer one did */
		(void)kill(-child, (int)info.ssi_signo);
		return true;
	}
}

/* 1: bytes have moved or would block, 0: the other end is gone */
static bool carry_out(const struct relay *relay)
{
	size_t left = down_end - down_at;
	ssize_t n = write(relay->out, down + down_at, left < relay->chunk ? left : relay->chunk);

	if (n > 0)
		down_at += (size_t)n;
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* The master gives 4 KiB at a time: gather what there is, so that the client is woken once. Returns false when there
 * was nothing (the kernel moves all that was written to the terminal before it says EAGAIN, so nothing is on its
 * way). */
static bool gather(const struct relay *relay)
{
	down_at = down_end = 0;
	while (down_end < sizeof down) {
		ssize_t n = read(relay->master, down + down_end, sizeof down - down_end);

		if (n <= 0)
			break;
		down_end += (size_t)n;
	}
	bool some = down_end > 0;
	if (relay->out < 0) /* a terminal that was lent for reading only: its echo goes nowhere */
		down_end = 0;
	return some;
}

/* Runs until the child has ended and all that it wrote is with the user. We keep a descriptor of the inner terminal's
 * slave side, so the master never reports a hang-up (it would without end, once the session had closed its own):
 * the session is over when the child is, as for sshd; what its background processes write later is not waited for. */
int relay_run(struct relay *relay, int signals, pid_t child)
{
	const short gone = POLLHUP | POLLERR | POLLNVAL;
	size_t rounds = 0;
	bool ended = false;
	int status = 0;

	for (;;) {
		bool idle = down_at == down_end, quiet = up_at == up_end;
		struct pollfd on[] = {
			{ .fd = signals, .events = POLLIN },
			{ .fd = ended ? -1 : relay->in, .events = quiet ? POLLIN : 0 },
			{ .fd = relay->out, .events = idle ? 0 : POLLOUT },
			{ .fd = relay->master, .events = (short)((idle ? POLLIN : 0) | (quiet ? 0 : POLLOUT)) },
		};

		if (poll(on, 4, ended && idle ? 0 : -1) < 0 && errno != EINTR)
			return -1;
		if (((on[1].revents | on[2].revents) & gone) != 0)
			return -1;
		if ((on[0].revents & POLLIN) != 0 && !on_signal(relay, signals, child, &status, &ended))
			return -1;
		if (idle && (ended || (on[3].revents & POLLIN) != 0)) {
			/* a background process that never stops writing must not keep the user */
			if (ended && (rounds++ > 4 || relay->master < 0))
				return status;
			if (!gather(relay) && ended)
				return status;
		}
		if ((on[2].revents & POLLOUT) != 0 && !carry_out(relay))
			return -1;
		if (!ended && (on[1].revents & POLLIN) != 0) {
			ssize_t n = read(relay->in, up, sizeof up);

			if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
				return -1;
			up_at = 0;
			up_end = n > 0 ? (size_t)n : 0;
		}
		if ((on[3].revents & POLLOUT) != 0) {
			ssize_t n = write(relay->master, up + up_at, up_end - up_at);

			if (n < 0 && errno != EAGAIN && errno != EINTR)
				return -1;
			up_at += n > 0 ? (size_t)n : 0;
		}
	}
}

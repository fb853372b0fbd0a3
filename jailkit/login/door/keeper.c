/* The keeper: pid 1 of a running jail. It holds the namespaces by being there, and reaps.
 *
 * It is there once for each running jail, so it is written for its size: no C library, no page of data, no wake-up.
 * That is 8 KiB of its own and one page that all keepers share, whatever the host has (musl: 8 and 12; glibc: 44 and
 * 650). Its one input is the byte on descriptor 0 by which its starter says that the entry record is on disk: a starter
 * that was killed says nothing, and leaves no jail.
 *
 * - Ignoring SIGCHLD makes the kernel reap at once each child that is ours, the orphans that come to pid 1 too.
 * - Pid 1 of a pid namespace gets no signal from inside for which it has no handler, not even SIGKILL
 *   (pid_namespaces(7)), so it installs none. From the host SIGKILL ends it and with it, by the kernel's hand, all
 *   processes of the jail.
 * - It stays dumpable: the door's setns() on its pidfd needs ptrace read access. So it must own nothing of value:
 *   whoever starts it has dropped everything and installed the jail's seccomp filter, as the tenant may trace it.
 */
#include <asm/unistd.h>

#define SIGCHLD 17
#define SIG_IGN 1UL
#define PR_GET_DUMPABLE 3

static long call(long number, unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e)
{
#if defined(__x86_64__)
	register unsigned long r10 __asm__("r10") = d;
	register unsigned long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register unsigned long x0 __asm__("x0") = a;
	register unsigned long x1 __asm__("x1") = b;
	register unsigned long x2 __asm__("x2") = c;
	register unsigned long x3 __asm__("x3") = d;
	register unsigned long x4 __asm__("x4") = e;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return (long)x0;
#else
#error "the keeper makes its system calls itself: add this machine's way here"
#endif
}

__attribute__((noreturn)) void _start(void);

void _start(void)
{
	char go = 0;
	/* The kernel's struct sigaction: handler, flags, restorer, mask. */
	static const unsigned long ignore[4] = { SIG_IGN };
	long bad = call(__NR_getpid, 0, 0, 0, 0, 0) != 1;

	bad |= call(__NR_read, 0, (unsigned long)&go, 1, 0, 0) != 1 || go != 'g';

	/* The streams of whoever started the jail: a reader of their other end must see its end. */
	bad |= call(__NR_close_range, 0, ~0U, 0, 0, 0);
	bad |= call(__NR_rt_sigaction, SIGCHLD, (unsigned long)ignore, 0, 8, 0);
	bad |= call(__NR_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0) != 1;
	while (bad == 0)
		(void)call(__NR_ppoll, 0, 0, 0, 0, 8); /* pause(2), which aarch64 has not; only a debugger ends it */
	for (;;)
		(void)call(__NR_exit_group, 1, 0, 0, 0, 0);
}

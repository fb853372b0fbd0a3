/* The smallest program there is: what remains of a measurement with it is the way to it. Also a "shell": ignores its arguments. */
#include <asm/unistd.h>

__attribute__((noreturn)) void _start(void);

void _start(void)
{
	for (;;) {
#if defined(__x86_64__)
		__asm__ volatile("syscall" : : "a"(__NR_exit_group), "D"(0) : "rcx", "r11", "memory");
#else
		register long x8 __asm__("x8") = __NR_exit_group;
		register long x0 __asm__("x0") = 0;
		__asm__ volatile("svc 0" : : "r"(x8), "r"(x0) : "memory");
#endif
	}
}

/* fault UID [NUMBER ARGUMENT VALUE ERRNO]... -- PROGRAM ARGV0 ARGS: become UID, make system call NUMBER fail with ERRNO where
 * its argument (0 to 5; -1: whatever they are) has that value, and run PROGRAM. strace counts calls, this tells them apart. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter code[64];
static unsigned short used;

static void add(unsigned short op, unsigned char yes, unsigned char no, unsigned k)
{
	code[used++] = (struct sock_filter){ op, yes, no, k };
}

int main(int argc, char **argv)
{
	uid_t uid = (uid_t)strtoul(argv[1], NULL, 10);
	int at = 2;

	(void)argc;
	for (; strcmp(argv[at], "--") != 0; at += 4) {
		int argument = atoi(argv[at + 1]);

		add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
		add(BPF_JMP | BPF_JEQ | BPF_K, 0, argument < 0 ? 1 : 3, (unsigned)strtoul(argv[at], NULL, 0));
		if (argument >= 0) {
			add(BPF_LD | BPF_W | BPF_ABS, 0, 0, (unsigned)(offsetof(struct seccomp_data, args) + 8u * (unsigned)argument));
			add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)strtoul(argv[at + 2], NULL, 0));
		}
		add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | (unsigned)atoi(argv[at + 3]));
	}
	add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	int fd = open(argv[at + 1], O_RDONLY | O_CLOEXEC);
	struct sock_fprog program = { used, code };
	if (fd < 0 || setgroups(0, NULL) != 0 || setregid(uid, uid) != 0)
		return 90;
	if (used > 1 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		return 91;
	/* the other calls that change ids: setresuid and setresgid are the door's to be failed */
	if (syscall(SYS_setreuid, uid, uid) != 0)
		return 92;
	syscall(SYS_execveat, fd, "", argv + at + 2, environ, AT_EMPTY_PATH); /* execve is the door's to be failed */
	return 93;
}

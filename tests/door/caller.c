/* caller HOOK [ARGS...]: plays the process that calls PAM (sshd, su), under any argument vector. Reads the hook's environment
 * from standard input (entries that end in NUL, an empty one ends it), runs HOOK as pam_exec does, prints its wait status
 * and lives until its input ends. A second environment after the first runs it again, and so on. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char store[65536], *list[256];

static int environment(void)
{
	size_t used = 0, from = 0, count = 0;
	char c;

	while (read(0, &c, 1) == 1) {
		store[used++] = c;
		if (c != '\0')
			continue;
		if (used == from + 1) {
			list[count] = NULL;
			return 1;
		}
		list[count++] = store + from;
		from = used;
	}
	return 0;
}

int main(void)
{
	const char *hook = getenv("HOOK");

	while (environment()) {
		int status = 0, out = open(getenv("HOOK_OUT"), O_WRONLY | O_CREAT | O_APPEND, 0600);
		pid_t child = fork();

		if (child == 0) {
			int null = open("/dev/null", O_RDWR);
			dup2(null, 0);
			dup2(out, 1);
			dup2(out, 2);
			execve(hook, (char *const[]){ (char *)(long)hook, NULL }, list);
			_exit(127);
		}
		close(out);
		waitpid(child, &status, 0);
		printf("%d\n", status);
		fflush(stdout);
	}
	return 0;
}

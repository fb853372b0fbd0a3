/* A shell for the jail that says that it was started, how it is confined and what it has open; static and small, so that
 * little of it can fail. It leaves a mark in its working directory. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
	char text[4096];
	int mark = open("begun", O_CREAT | O_WRONLY, 0600);

	printf("fds");
	for (int fd = 0; fd < 1024; fd++)
		if (fd != mark && fcntl(fd, F_GETFD) >= 0)
			printf(" %d", fd);
	printf("\n");
	fflush(stdout);
	int status = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(status, text, sizeof text);
	return n <= 0 || write(1, text, (size_t)n) != n;
}

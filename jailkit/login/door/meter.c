/* What a jail has used since the boot: one small file in its runtime directory, which `jailctl usage` takes up. All of it
 * with the jail's lock held. Nothing here decides about a login or an end: what cannot be read or written is left out. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hook.h"

static int meter_open(int dir, struct meter *meter)
{
	int fd = openat(dir, "meter", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0 && (pread(fd, meter, sizeof *meter, 0) != sizeof *meter ||
			memcmp(meter->magic, METER_MAGIC, sizeof meter->magic) != 0)) {
		memset(meter, 0, sizeof *meter);
		memcpy(meter->magic, METER_MAGIC, sizeof meter->magic);
	}
	return fd;
}

void meter_login(int dir)
{
	struct meter meter;
	int fd = meter_open(dir, &meter);

	if (fd < 0)
		return;
	meter.logins++;
	(void)!pwrite(fd, &meter, sizeof meter, 0);
	close(fd);
}

/* The number after `key` at the beginning of `path`/`file`; group, if asked for: the inode of the directory. */
static bool number(const char *path, const char *file, const char *key, uint64_t *value, uint64_t *group)
{
	char text[128] = "";
	struct stat st;
	int dir = walk(path, O_RDONLY | O_DIRECTORY);
	int fd = dir < 0 ? -1 : openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	bool found = fd >= 0 && fstat(dir, &st) == 0 && read(fd, text, sizeof text - 1) > 0 &&
		     strncmp(text, key, strlen(key)) == 0;

	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	if (!found)
		return false;
	*value = strtoull(text + strlen(key), NULL, 10);
	if (group != NULL)
		*group = st.st_ino;
	return true;
}

/* CPU time in microseconds and most memory at once in bytes, where the control group at `path` counts them. */
static void group_read(const char *path, uint64_t *cpu, uint64_t *group, uint64_t *peak)
{
	uint64_t nanoseconds;

	if (!number(path, "cpu.stat", "usage_usec ", cpu, group) && number(path, "cpuacct.usage", "", &nanoseconds, group))
		*cpu = nanoseconds / 1000;
	if (!number(path, "memory.peak", "", peak, NULL))
		(void)number(path, "memory.max_usage_in_bytes", "", peak, NULL);
}

/* Each of the groups of v1 counts one of them; with systemd the user's slice counts both. */
static void groups_read(const struct record *record, uint64_t *cpu, uint64_t *group, uint64_t *peak)
{
	char path[sizeof record->cgroups];

	for (const char *procs = record->cgroups; *procs != '\0'; procs += strlen(procs) + 1) {
		(void)snprintf(path, sizeof path, "%s", procs);
		char *last = strrchr(path, '/');
		if (last != NULL)
			*last = '\0';
		group_read(path, cpu, group, peak);
	}
	if (record->cgroups[0] == '\0') {
		(void)snprintf(path, sizeof path, "/sys/fs/cgroup/user.slice/user-%u.slice", record->uid);
		group_read(path, cpu, group, peak);
	}
}

/* Before the group is gone. One group may be read more than once: the user's slice outlives a jail. */
void meter_end(int dir, const struct record *record)
{
	uint64_t cpu = 0, group = 0, peak = 0;
	struct meter meter;
	int fd;

	groups_read(record, &cpu, &group, &peak);
	if ((group == 0 && peak == 0) || (fd = meter_open(dir, &meter)) < 0)
		return;
	meter.cpu += group == meter.group && cpu >= meter.seen ? cpu - meter.seen : cpu;
	meter.group = group;
	meter.seen = cpu;
	if (peak > meter.peak)
		meter.peak = peak;
	(void)!pwrite(fd, &meter, sizeof meter, 0);
	close(fd);
}

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

#define CGROUPS "/sys/fs/cgroup"
#define V1 CGROUPS "/pids/"

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

/* CPU time in microseconds and most memory at once in bytes, of the jail's control group: v2, v1, or the user's slice where
 * systemd keeps it. */
static bool group_read(const struct record *record, uint64_t *cpu, uint64_t *group, uint64_t *peak)
{
	static const char *const accounts[] = { "cpuacct", "cpu,cpuacct" };
	char name[sizeof record->cgroup], path[sizeof name + sizeof CGROUPS + 16];

	(void)snprintf(name, sizeof name, "%s", record->cgroup);
	char *last = strrchr(name, '/');
	if (last != NULL)
		*last = '\0';
	*peak = 0;
	if (strncmp(name, V1, sizeof V1 - 1) == 0) {
		(void)snprintf(path, sizeof path, CGROUPS "/memory/%s", name + sizeof V1 - 1);
		(void)number(path, "memory.max_usage_in_bytes", "", peak, NULL);
		for (size_t i = 0; i < sizeof accounts / sizeof *accounts; i++) {
			(void)snprintf(path, sizeof path, CGROUPS "/%s/%s", accounts[i], name + sizeof V1 - 1);
			if (number(path, "cpuacct.usage", "", cpu, group)) {
				*cpu /= 1000;
				return true;
			}
		}
		return *peak != 0;
	}
	if (name[0] == '\0')
		(void)snprintf(path, sizeof path, CGROUPS "/user.slice/user-%u.slice", record->uid);
	else
		(void)snprintf(path, sizeof path, "%s", name);
	(void)number(path, "memory.peak", "", peak, NULL);
	return number(path, "cpu.stat", "usage_usec ", cpu, group) || *peak != 0;
}

/* Before the group is gone. One group may be read more than once: the user's slice outlives a jail. */
void meter_end(int dir, const struct record *record)
{
	uint64_t cpu = 0, group = 0, peak;
	struct meter meter;
	int fd;

	if (!group_read(record, &cpu, &group, &peak) || (fd = meter_open(dir, &meter)) < 0)
		return;
	meter.cpu += group == meter.group && cpu >= meter.seen ? cpu - meter.seen : cpu;
	meter.group = group;
	meter.seen = cpu;
	if (peak > meter.peak)
		meter.peak = peak;
	(void)!pwrite(fd, &meter, sizeof meter, 0);
	close(fd);
}

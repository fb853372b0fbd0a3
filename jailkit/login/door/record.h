/* The entry record and the session record: flat, root-owned files in the runtime directory.
 * jailkit/jail/record.py writes the same bytes; a test compares the offsets. Nothing is parsed. */
#ifndef JAILKIT_RECORD_H
#define JAILKIT_RECORD_H

#include <linux/filter.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORD_MAGIC "JAILREC3"
#define SESSION_MAGIC "JAILSES1"
#define METER_MAGIC "JAILMET1"
#define MAX_FILTER 512
#define MAX_HOURS 96
#define MAX_SOURCES 16
#define LINGER_FOREVER 0xffffffffu
#define FLAG_HOST_NETWORK 1u
#define FLAG_CHROOT 2u /* sshd's own sftp server in a ChrootDirectory: no keeper, no filter, no way in by the door */

struct hours {
	uint16_t begin, end; /* minutes since Monday 0:00, in the host's time; end is not in it */
} __attribute__((packed));

struct source {
	uint8_t length; /* of the address: 4 or 16 */
	uint8_t prefix; /* bits of it that count */
	uint8_t address[16];
} __attribute__((packed));

struct record {
	char magic[8];
	uint32_t size; /* of the whole file */
	uint32_t flags;
	uint32_t uid, gid;
	int32_t pid;       /* keeper; 0 in a chroot jail, as are start and userns */
	uint32_t linger;   /* seconds */
	uint64_t start;    /* keeper's start time, clock ticks since boot */
	uint64_t userns;   /* inode of its user namespace */
	char user[40];
	char home[256];
	char shell[128];
	char sftp[128];    /* sftp-server inside the jail, for an internal-sftp subsystem */
	char path[256];    /* PATH inside */
	char cgroups[384]; /* cgroup.procs files that take a session's process, NUL-separated, "" ends */
	char events[256];  /* files that count how often a limit was hit, as well */
	char services[256]; /* PAM services that may open a session, NUL-separated, "" ends */
	char image[72];
	uint32_t open_files, sessions, idle, session; /* seconds; 0: no limit, as below */
	uint64_t expires; /* since the epoch */
	uint32_t nhours, nsources; /* 0: always, from anywhere */
	struct hours hours[MAX_HOURS];
	struct source sources[MAX_SOURCES];
	uint32_t nfilter, pad;
	struct sock_filter filter[MAX_FILTER];
} __attribute__((packed));

struct session {
	char magic[8];
	int32_t pid; /* the process that called PAM */
	uint32_t pad;
	uint64_t start, time;
	char user[40];
	char service[40];
	char rhost[256];
	char tty[64];
	char auth[512];
} __attribute__((packed));

/* What a jail has used since the boot (meter.c; jailkit/jail/meter.py). */
struct meter {
	char magic[8];
	uint64_t logins;
	uint64_t group, seen; /* inode of the control group that was read last, and its CPU time then */
	uint64_t cpu;         /* microseconds, of all its groups */
	uint64_t peak;        /* bytes: most memory at once since that was taken up */
} __attribute__((packed));

#endif

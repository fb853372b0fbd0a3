/* What the door and the hook share: saying no, reading the entry record, knowing a process again. */
#ifndef JAILKIT_COMMON_H
#define JAILKIT_COMMON_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "record.h"

#ifndef ROOT
#define ROOT "" /* compiled in: nothing that a user starts may choose where records are read */
#endif
#ifndef LOG_SOCKET
#define LOG_SOCKET "/dev/log"
#endif

#define JAILS ROOT "/run/jailctl/jails"
#define NAMES ROOT "/run/jailctl/names"
#define LIBEXEC ROOT "/opt/jailctl/libexec"

/* How this program speaks. `who` goes into every line of the log, already escaped. */
struct voice {
	const char *tag, *verb;
	int log;               /* connected to syslog before the host's /dev/log goes out of sight, or -1 */
	int user;              /* where the one dull line goes */
	const char *said;      /* what goes there, with its line feed */
	int pipe;              /* in the door's child: the parent that speaks for it, else -1 */
	void (*restore)(void); /* puts the user's terminal right before we go, or NULL */
	char who[256];
};

struct process {
	pid_t parent;
	uint32_t tty;   /* device number of its terminal as proc(5) has it, or 0 */
	uint64_t start; /* clock ticks since boot */
};
extern struct voice voice;

void log_open(void);
_Noreturn void refuse_text(const char *text);
_Noreturn void refuse(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_line(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void kernel(const char *call); /* refuse with login.kernel, the call and errno */

int open_safe(int dir, const char *name, int flags); /* root's and only root's to write, or -1 */
int walk(const char *path, int flags);               /* the same for every component of an absolute path */
int walk_until(const char *path, int flags, int *seen); /* ... seen: so much of path, up to what it failed at */
const char *open_code(void);                         /* the code for errno after either of them */
ssize_t read_all(int fd, void *buffer, size_t size);

bool name_valid(const char *name);
bool listed(const char *list, const char *name); /* names with a NUL after each, "" ends */
bool process_look(pid_t pid, struct process *process);
bool process_stat(pid_t pid, pid_t *parent, uint64_t *start);
void bound_files(const struct record *record, pid_t pid); /* lower than they are for it (0: us), never higher */
int jail_dir(uid_t uid);
const char *record_load(int dir, uid_t uid, struct record *record);   /* NULL, or why not */
const char *keeper_open(const struct record *record, int *pidfd);     /* NULL, or why not */
bool session_load(int dir, const char *name, struct session *session); /* `name` in `dir` is there and whole */

#endif

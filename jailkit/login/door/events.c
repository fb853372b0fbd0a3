/* Limits of a jail that were hit: the counters of its control groups, which say when they have changed. The log gets a
 * line with the jail's name, terminals of open sessions a sentence; then nobody looks for a while, as a fork bomb hits
 * its limit some thousand times a second. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hook.h"

#define PAUSE 10000 /* ms */
#define SETTLE 200  /* v1 tells of a shortage of memory before it ends a process */
#define TICK 3000   /* v1's pids.events tells nobody: to be read so often */

/* One counter. note: v1's eventfd for memory.oom_control, else -1. silent: it never says that it has changed. */
struct event {
	int fd, note;
	bool memory, silent;
	unsigned long long count;
};

static struct event events[EVENTS] = { { .fd = -1, .note = -1 }, { .fd = -1, .note = -1 } };
static int64_t quiet_until;

/* The number behind `key` in a file of `key number` lines. */
static unsigned long long count_of(int fd, const char *key)
{
	char text[512], *line;
	size_t length = strlen(key);
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	for (line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n')
		if (strncmp(line, key, length) == 0 && line[length] == ' ')
			return strtoull(line + length + 1, NULL, 10);
	return 0;
}

static const char *key_of(const struct event *event)
{
	return event->memory ? "oom_kill" : "max";
}

/* cgroup-v1/memory.rst, 10: the kernel writes to an eventfd when memory runs out. */
static int v1_note(const char *path, int fd)
{
	char control[300], text[32];
	const char *last = strrchr(path, '/');

	if (strcmp(last + 1, "memory.oom_control") != 0)
		return -1;
	(void)snprintf(control, sizeof control, "%.*s/cgroup.event_control", (int)(last - path), path);
	int note = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), to = open(control, O_WRONLY | O_CLOEXEC);
	int length = snprintf(text, sizeof text, "%d %d", note, fd);
	if (note >= 0 && to >= 0 && write(to, text, (size_t)length) != length) {
		close(note);
		note = -1;
	}
	close(to);
	return note;
}

/* Anew where the jail is another one, or has other limits. */
void events_open(const struct record *record)
{
	static char names[sizeof record->events];
	static uint64_t start;
	size_t i = 0;

	if (memcmp(names, record->events, sizeof names) == 0 && start == record->start)
		return;
	memcpy(names, record->events, sizeof names);
	start = record->start;
	for (i = 0; i < EVENTS; i++) {
		close(events[i].fd);
		close(events[i].note);
		events[i] = (struct event){ .fd = -1, .note = -1 };
	}
	i = 0;
	for (const char *path = names; *path != '\0' && i < EVENTS; path += strlen(path) + 1, i++) {
		const char *last = strrchr(path, '/');
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		events[i].fd = fd;
		if (fd < 0 || last == NULL)
			continue;
		events[i].memory = strncmp(last + 1, "memory.", 7) == 0;
		events[i].note = v1_note(path, fd);
		events[i].silent = strncmp(path, "/sys/fs/cgroup/pids/", 20) == 0;
		events[i].count = count_of(fd, key_of(&events[i]));
	}
	quiet_until = 0;
}

static void told(int sessions, const struct record *record, const struct event *event, unsigned long long more)
{
	(void)snprintf(voice.who, sizeof voice.who, "user=%s", record->user);
	if (event->memory) {
		log_line("limit.memory", "memory ran out: processes ended: %llu", more);
		tell_sessions(sessions, record,
			      "\r\nThis account has used up its memory: a process of it was ended.\r\n");
	} else {
		log_line("limit.processes", "as many processes as there may be: refused: %llu", more);
		tell_sessions(sessions, record,
			      "\r\nThis account runs as many processes as it may: no other can be started.\r\n");
	}
}

void events_look(int sessions, const struct record *record)
{
	uint64_t notes;

	if (now() < quiet_until)
		return;
	for (size_t i = 0; i < EVENTS; i++) {
		struct event *event = &events[i];

		if (event->fd < 0)
			continue;
		if (event->note >= 0 && read(event->note, &notes, sizeof notes) == sizeof notes)
			(void)usleep(SETTLE * 1000);
		unsigned long long count = count_of(event->fd, key_of(event));
		if (count > event->count) {
			told(sessions, record, event, count - event->count);
			quiet_until = now() + PAUSE;
		}
		event->count = count;
	}
}

bool events_hit(void)
{
	bool hit = false;

	for (size_t i = 0; i < EVENTS; i++)
		hit |= events[i].silent && count_of(events[i].fd, key_of(&events[i])) > events[i].count;
	return hit && now() >= quiet_until;
}

int events_poll(struct pollfd on[EVENTS])
{
	int64_t quiet = quiet_until - now();
	bool silent = false;

	for (size_t i = 0; i < EVENTS; i++) {
		bool note = events[i].note >= 0;

		silent |= events[i].silent;

		on[i] = (struct pollfd){ .fd = note ? events[i].note : events[i].fd, .events = note ? POLLIN : POLLPRI };
		if (quiet > 0)
			on[i].fd = -1;
	}
	return quiet > 0 ? (int)quiet : silent ? TICK : -1;
}

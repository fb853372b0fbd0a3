/* What the parts of the door know of each other. */
#ifndef JAILKIT_DOOR_H
#define JAILKIT_DOOR_H

#include <sys/ioctl.h>
#include <termios.h>

#include "common.h"

/* The user's terminal on the host (outer) and the jail's own (inner). All descriptors are -1 where there is none. */
struct relay {
	unsigned ttys;        /* which of the descriptors 0, 1 and 2 are a terminal: bit 1 << fd */
	int in, out;          /* the outer one, to read from and to write to */
	size_t chunk;         /* how much may be written to `out` at once */
	struct termios modes; /* of the outer one, as we found them */
	struct winsize size;
	int master, slave;    /* the inner one */
	int number;           /* /dev/pts/`number` */
};

void relay_outer(struct relay *relay);  /* before entering: find the user's terminal, make it raw */
void relay_inner(struct relay *relay);  /* inside: open the jail's */
void relay_attach(const struct relay *relay); /* in the child: it becomes the session's terminal */
int relay_run(struct relay *relay, int signals, pid_t child); /* wait status of the child, or -1: the user is gone */

char **environment(const struct record *record);      /* before entering: made of the host's, by list */
void environment_tty(const struct relay *relay);      /* once the inner terminal has its number */

#endif

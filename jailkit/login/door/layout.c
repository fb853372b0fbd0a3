/* Prints `name offset size` for each field of each struct; a test compares them with jailkit/jail/record.py and
 * meter.py. */
#include <stddef.h>
#include <stdio.h>

#include "record.h"

#define FIELD(s, f) printf(#s "." #f " %zu %zu\n", offsetof(struct s, f), sizeof((struct s *)NULL)->f)

int main(void)
{
	printf("record 0 %zu\n", sizeof(struct record));
	FIELD(record, magic);
	FIELD(record, size);
	FIELD(record, flags);
	FIELD(record, uid);
	FIELD(record, gid);
	FIELD(record, pid);
	FIELD(record, linger);
	FIELD(record, start);
	FIELD(record, userns);
	FIELD(record, user);
	FIELD(record, home);
	FIELD(record, shell);
	FIELD(record, sftp);
	FIELD(record, path);
	FIELD(record, cgroups);
	FIELD(record, events);
	FIELD(record, services);
	FIELD(record, image);
	FIELD(record, open_files);
	FIELD(record, sessions);
	FIELD(record, idle);
	FIELD(record, session);
	FIELD(record, expires);
	FIELD(record, nhours);
	FIELD(record, nsources);
	FIELD(record, hours);
	FIELD(record, sources);
	FIELD(record, nfilter);
	FIELD(record, pad);
	FIELD(record, filter);
	printf("session 0 %zu\n", sizeof(struct session));
	FIELD(session, magic);
	FIELD(session, pid);
	FIELD(session, pad);
	FIELD(session, start);
	FIELD(session, time);
	FIELD(session, user);
	FIELD(session, service);
	FIELD(session, rhost);
	FIELD(session, tty);
	FIELD(session, auth);
	printf("meter 0 %zu\n", sizeof(struct meter));
	FIELD(meter, magic);
	FIELD(meter, logins);
	FIELD(meter, group);
	FIELD(meter, seen);
	FIELD(meter, cpu);
	FIELD(meter, peak);
	return 0;
}

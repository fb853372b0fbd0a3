/* Limits of logins (docs/limits.md): how many, when, from where, until when; and the groups that hold the others. An
 * administrator's way in (`jailctl enter`, `exec`) is bound by none of the first. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hook.h"

bool of_administrator(const char *service)
{
	return strcmp(service, "jailctl") == 0;
}

/* The user has proven who she is, so she may know why. */
_Noreturn void refuse_by_limit(enum login_limit limit)
{
	static const struct {
		const char *code, *log, *told;
	} all[] = {
		[LIMIT_HOURS] = { "login.hours", "not at this hour",
				  "This account cannot be used at this time of the day or week.\n" },
		[LIMIT_SOURCE] = { "login.source", "not from there", "This account cannot be used from this address.\n" },
		[LIMIT_EXPIRED] = { "login.expired", "it has expired", "This account has expired.\n" },
		[LIMIT_SESSIONS] = { "login.too-many", "as many sessions as there may be",
				     "This account has as many sessions as it may have: end another one first.\n" },
	};

	voice.said = all[limit].told;
	refuse(all[limit].code, "%s", all[limit].log);
}

/* By /etc/localtime as it is now: TZ may come from the PAM environment, and that from a file of the user's. */
static bool open_now(const struct record *record)
{
	struct tm at;
	time_t now = time(NULL);

	if (record->nhours == 0)
		return true;
	(void)unsetenv("TZ");
	tzset();
	if (localtime_r(&now, &at) == NULL)
		return false;
	int minute = (at.tm_wday + 6) % 7 * 1440 + at.tm_hour * 60 + at.tm_min; /* the week begins on Monday */
	for (uint32_t i = 0; i < record->nhours; i++)
		if (minute >= record->hours[i].begin && minute < record->hours[i].end)
			return true;
	return false;
}

/* An address as text; 0 bytes: none. What is IPv4 in the clothes of IPv6 (RFC 4291, 2.5.5.2) is IPv4. */
static size_t address_of(const char *text, uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char plain[INET6_ADDRSTRLEN];
	size_t length = strcspn(text, "%"); /* fe80::1%eth0 */

	if (length >= sizeof plain)
		return 0;
	memcpy(plain, text, length);
	plain[length] = '\0';
	if (inet_pton(AF_INET, plain, address) == 1)
		return 4;
	if (inet_pton(AF_INET6, plain, address) != 1)
		return 0;
	if (memcmp(address, mapped, sizeof mapped) != 0)
		return 16;
	memmove(address, address + sizeof mapped, 4);
	return 4;
}

static bool within(const struct source *source, const uint8_t *address, size_t length)
{
	unsigned whole = source->prefix / 8, rest = source->prefix % 8;

	if (source->length != length || source->prefix > 8 * length || memcmp(source->address, address, whole) != 0)
		return false;
	return rest == 0 || (source->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

/* sshd always says where from; with UseDNS by a name, which is whatever the other side's DNS says: no address, no way
 * in. The others leave it empty where nobody came over a network. */
static bool from_there(const struct record *record, const char *service, const char *rhost)
{
	uint8_t address[16];

	if (record->nsources == 0 || (rhost[0] == '\0' && strcmp(service, "sshd") != 0))
		return true;
	size_t length = address_of(rhost, address);
	for (uint32_t i = 0; length > 0 && i < record->nsources; i++)
		if (within(&record->sources[i], address, length))
			return true;
	return false;
}

/* logins: how many there are, without this one. */
void check_limits(const struct record *record, const char *service, const char *rhost, unsigned logins)
{
	if (of_administrator(service))
		return;
	if (record->expires != 0 && (uint64_t)time(NULL) >= record->expires)
		refuse_by_limit(LIMIT_EXPIRED);
	if (!from_there(record, service, rhost))
		refuse_by_limit(LIMIT_SOURCE);
	if (!open_now(record))
		refuse_by_limit(LIMIT_HOURS);
	if (record->sessions != 0 && logins >= record->sessions)
		refuse_by_limit(LIMIT_SESSIONS);
}

/* The caller's process, and so all that it starts, under the jail's limits: one that cannot be held is a refusal. */
void join_groups(const struct record *record, int sessions, pid_t caller)
{
	char text[16];
	int length = snprintf(text, sizeof text, "%d", (int)caller);

	for (const char *path = record->cgroups; *path != '\0'; path += strlen(path) + 1) {
		int fd = walk(path, O_WRONLY);

		if (fd < 0 || write(fd, text, (size_t)length) != length) {
			int saved = errno;
			(void)unlinkat(sessions, text, 0);
			errno = saved;
			kernel("cgroup.procs");
		}
		close(fd);
	}
	if ((record->flags & FLAG_CHROOT) != 0) /* sshd's own sftp server inherits it; else the door lowers it */
		bound_files(record, caller);
}

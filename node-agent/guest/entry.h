/* What E2B's EntryInfo tells of a file. */
#ifndef FLOTILLA_GUEST_ENTRY_H
#define FLOTILLA_GUEST_ENTRY_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "node-agent/guest/users.h"

/* Go's text for a mode: "-rw-r--r--", "drwxr-xr-x", "Lrwxrwxrwx", "dtrwxrwxrwx"; at most 15
 * characters. Pure. */
enum { ENTRY_MODE_MAX = 16 };
void entry_mode_text(mode_t mode, char out[ENTRY_MODE_MAX]);

/* RFC 3339 with nanoseconds, UTC. Pure. */
enum { ENTRY_TIME_MAX = 64 };
void entry_time_text(struct timespec at, char out[ENTRY_TIME_MAX]);

/* The names that were asked for last: entries of a folder mostly have one owner, and the files that
 * name it need not be read anew for each. Begins as zeroes. */
struct entry_owners {
	bool has_owner, has_group;
	uid_t uid;
	gid_t gid;
	char owner[USER_NAME_MAX], group[USER_NAME_MAX];
};

/*
 * NULL with errno when there is no such file.  path: absolute and clean.  A link has the type and
 * the mode of what it leads to; one that leads nowhere has neither, and itself as its target.
 */
json_t *entry_read(const char *path, struct entry_owners *owners);

#endif

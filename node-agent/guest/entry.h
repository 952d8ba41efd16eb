/* What E2B's EntryInfo tells of a file. */
#ifndef FLOTILLA_GUEST_ENTRY_H
#define FLOTILLA_GUEST_ENTRY_H

#include <jansson.h>
#include <sys/types.h>

/* Go's text for a mode: "-rw-r--r--", "drwxr-xr-x", "Lrwxrwxrwx", "dtrwxrwxrwx"; at most 15
 * characters. Pure. */
enum { ENTRY_MODE_MAX = 16 };
void entry_mode_text(mode_t mode, char out[ENTRY_MODE_MAX]);

/* RFC 3339 with nanoseconds, UTC. Pure. */
enum { ENTRY_TIME_MAX = 64 };
void entry_time_text(struct timespec at, char out[ENTRY_TIME_MAX]);

/* NULL with errno when there is no such file. path: absolute and clean. */
json_t *entry_read(const char *path);

/* User attributes "user.e2b.*" as an object; NULL when there are none. */
json_t *entry_metadata(const char *path);

#endif

/*
 * What the sandbox's processes did and said, the last of it, for the host to fetch: starts, ends
 * and lines of output.  Bounded in lines and bytes; what nobody fetched in time is lost, the
 * oldest first, and counted.
 */
#ifndef FLOTILLA_GUEST_LOGBOOK_H
#define FLOTILLA_GUEST_LOGBOOK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	LOGBOOK_LINES_MAX = 1024,         /* a power of two */
	LOGBOOK_BYTES_MAX = 128 * 1024,   /* of text, of all lines */
	LOGBOOK_LINE_MAX = 2048,          /* longer ones are broken */
	LOGBOOK_ANSWER_LINES_MAX = 128,   /* in one answer, */
	LOGBOOK_ANSWER_BYTES_MAX = 32768, /* and of their text */
};

/* The numbers are those of wire_log_event in proto/wire.def: the host passes them on. */
enum logbook_event {
	LOGBOOK_STDOUT = 1,
	LOGBOOK_STDERR = 2,
	LOGBOOK_STARTED = 3,
	LOGBOOK_ENDED = 4,
};

struct logbook_line {
	int64_t at_ms; /* wall clock */
	char *text;    /* valid UTF-8, no NUL inside; owned */
	uint32_t text_n;
	pid_t pid;
	enum logbook_event event;
	bool is_open; /* without its newline yet: the same process may go on with it */
};

struct logbook {
	struct logbook_line lines[LOGBOOK_LINES_MAX]; /* by their number */
	uint64_t first, end; /* numbers of those that are held: first..end-1; from 1 */
	size_t bytes_n;
};

void logbook_init(struct logbook *logbook);
void logbook_close(struct logbook *logbook);

/* config: {cmd, args}, as process.Process/List tells it. */
void logbook_started(struct logbook *logbook, pid_t pid, const json_t *config);
void logbook_output(struct logbook *logbook, pid_t pid, bool is_stderr, const char *bytes,
		    size_t bytes_n);
void logbook_ended(struct logbook *logbook, pid_t pid, int status); /* status: of waitpid */

/* {"next": N, "lost": N, "lines": [[at_ms, event, pid, text], …]}: those behind number `after`, as
 * many as one answer may have; `next` is what to ask for after them. */
json_t *logbook_json(struct logbook *logbook, uint64_t after);

#endif

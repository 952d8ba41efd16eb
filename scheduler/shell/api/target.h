/* Request targets ("/v2/sandboxes?limit=1"): split first, decoded piece by piece after.  Pure. */
#ifndef FLOTILLA_API_TARGET_H
#define FLOTILLA_API_TARGET_H

#include <stdbool.h>
#include <stddef.h>

enum { TARGET_SEGMENTS_MAX = 8, TARGET_SEGMENT_TEXT_MAX = 256 };

struct target_segment {
	const char *text; /* points into the target, not decoded */
	size_t n;
};

struct target {
	struct target_segment segments[TARGET_SEGMENTS_MAX];
	size_t segments_n;
	const char *query; /* behind the '?'; "" if there is none */
};

/* False: not an origin-form path, or more segments than any route has. */
bool target_split(const char *text, struct target *out);

/* Percent-decodes; plus: '+' is a space, as in queries.  False: broken escapes, a NUL, text that is
 * not UTF-8, or no room (out_max counts the NUL). */
bool target_decode(const char *text, size_t n, bool plus, char *out, size_t out_max);

struct target_pair {
	const char *name, *value;
	size_t name_n, value_n;
};

/* The next name=value of a query; *query moves on. False: no more. */
bool target_next_pair(const char **query, struct target_pair *out);

#endif

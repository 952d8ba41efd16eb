/* Request targets: path, query, and their percent encoding. */
#ifndef FLOTILLA_HTTP_TARGET_H
#define FLOTILLA_HTTP_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "common/http/text.h"

/* Both still encoded.  An absolute URL's path is what follows its authority ("/" if nothing). */
void http_target_split(struct http_text target, struct http_text *out_path,
		       struct http_text *out_query);

/*
 * Decodes into out, with a NUL behind.  is_query: '+' is a blank.  False when an escape is
 * malformed, a NUL would appear, or it does not fit.
 */
bool http_percent_decode(struct http_text text, bool is_query, char *out, size_t out_max);

enum http_query {
	HTTP_QUERY_ABSENT, /* out is "" */
	HTTP_QUERY_FOUND,
	HTTP_QUERY_BAD, /* malformed or too long */
};

/* The decoded value of the first parameter of that name. */
enum http_query http_query_get(struct http_text query, const char *name, char *out, size_t out_max);

#endif

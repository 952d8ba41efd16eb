/* Request targets: see target.h. */
#include "common/http/target.h"

#include <string.h>

void http_target_split(struct http_text target, struct http_text *out_path,
		       struct http_text *out_query)
{
	const char *mark;

	if (target.n && target.at[0] != '/' && target.at[0] != '*') {
		const char *slashes = memmem(target.at, target.n, "://", 3);
		size_t skip = slashes ? (size_t)(slashes - target.at) + 3 : 0;

		while (skip < target.n && target.at[skip] != '/' && target.at[skip] != '?')
			skip++;
		target.at += skip;
		target.n -= skip;
	}
	mark = target.n ? memchr(target.at, '?', target.n) : NULL;
	*out_path = (struct http_text){target.at, mark ? (size_t)(mark - target.at) : target.n};
	*out_query = (struct http_text){NULL, 0};
	if (mark)
		*out_query =
			(struct http_text){mark + 1, (size_t)(target.at + target.n - mark - 1)};
	if (!out_path->n)
		*out_path = http_text_of("/");
}

bool http_percent_decode(struct http_text text, bool is_query, char *out, size_t out_max)
{
	size_t out_n = 0;

	for (size_t i = 0; i < text.n; i++) {
		char c = text.at[i];

		if (c == '%') {
			int high = i + 2 < text.n ? http_hex_digit(text.at[i + 1]) : -1;
			int low = i + 2 < text.n ? http_hex_digit(text.at[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && is_query) {
			c = ' ';
		}
		if (!c || out_n + 1 >= out_max)
			return false;
		out[out_n++] = c;
	}
	if (!out_max)
		return false;
	out[out_n] = 0;
	return true;
}

enum http_query http_query_get(struct http_text query, const char *name, char *out, size_t out_max)
{
	if (out_max)
		out[0] = 0;
	while (query.n) {
		const char *end = memchr(query.at, '&', query.n);
		struct http_text pair = {query.at, end ? (size_t)(end - query.at) : query.n};
		const char *equals = pair.n ? memchr(pair.at, '=', pair.n) : NULL;
		struct http_text key = {pair.at, equals ? (size_t)(equals - pair.at) : pair.n};
		struct http_text value = {pair.at + pair.n, 0};

		if (equals)
			value = (struct http_text){equals + 1,
						   (size_t)(pair.at + pair.n - equals - 1)};
		if (http_text_equal(key, name))
			return http_percent_decode(value, true, out, out_max) ? HTTP_QUERY_FOUND
									      : HTTP_QUERY_BAD;
		query.at += pair.n + (end ? 1 : 0);
		query.n -= pair.n + (end ? 1 : 0);
	}
	return HTTP_QUERY_ABSENT;
}

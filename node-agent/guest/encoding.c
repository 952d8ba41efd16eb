/* The Accept-Encoding header: see encoding.h. */
#include "node-agent/guest/encoding.h"

#include <string.h>

/* "q=0", "q=0.0": zero in any of its spellings. */
static bool is_forbidden(struct http_text parameters)
{
	struct http_text q = http_text_trim(parameters);

	if (!http_text_starts_nocase(q, "q="))
		return false;
	for (size_t i = 2; i < q.n; i++)
		if (q.at[i] != '0' && q.at[i] != '.')
			return false;
	return q.n > 2;
}

bool encoding_identity_allowed(struct http_text accept)
{
	bool any_forbidden = false;
	struct http_text coding;

	while (http_text_list_next(&accept, &coding)) {
		const char *semicolon = coding.n ? memchr(coding.at, ';', coding.n) : NULL;
		struct http_text name = coding, parameters = {coding.at + coding.n, 0};

		if (semicolon) {
			name.n = (size_t)(semicolon - coding.at);
			parameters = (struct http_text){semicolon + 1, coding.n - name.n - 1};
		}
		name = http_text_trim(name);
		if (http_text_equal_nocase(name, "identity"))
			return !is_forbidden(parameters);
		if (http_text_equal(name, "*"))
			any_forbidden = is_forbidden(parameters);
	}
	return !any_forbidden;
}

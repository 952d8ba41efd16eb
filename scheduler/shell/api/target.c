#include "scheduler/shell/api/target.h"

#include <jansson.h>
#include <string.h>

bool target_split(const char *text, struct target *out)
{
	const char *end = text + strcspn(text, "?#");

	*out = (struct target){.query = *end == '?' ? end + 1 : ""};
	if (*text != '/')
		return false;
	while (text < end) {
		size_t n = strcspn(++text, "/?#");
		if (out->segments_n == TARGET_SEGMENTS_MAX)
			return false;
		out->segments[out->segments_n++] = (struct target_segment){text, n};
		text += n;
	}
	return true;
}

static int target_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool target_decode(const char *text, size_t n, bool plus, char *out, size_t out_max)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (c == '%') {
			int high = i + 2 < n ? target_hex(text[i + 1]) : -1;
			int low = high >= 0 ? target_hex(text[i + 2]) : -1;
			if (low < 0)
				return false;
			c = (char)(high * 16 + low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == 0 || used + 1 >= out_max)
			return false;
		out[used++] = c;
	}
	if (out_max == 0)
		return false;
	out[used] = 0;
	json_t *judged = json_stringn(out, used); /* refuses what is not UTF-8 */
	json_decref(judged);
	return judged != NULL;
}

bool target_next_pair(const char **query, struct target_pair *out)
{
	const char *at = *query;

	while (*at == '&')
		at++;
	if (*at == 0 || *at == '#')
		return false;
	out->name = at;
	out->name_n = strcspn(at, "=&#");
	at += out->name_n;
	if (*at == '=')
		at++;
	out->value = at;
	out->value_n = strcspn(at, "&#");
	*query = at + out->value_n;
	return true;
}

/* Slices of text: see text.h. */
#include "common/http/text.h"

#include <string.h>
#include <strings.h>

struct http_text http_text_of(const char *nul_terminated)
{
	return (struct http_text){nul_terminated, strlen(nul_terminated)};
}

bool http_text_equal(struct http_text text, const char *other)
{
	return text.n == strlen(other) && !memcmp(text.at, other, text.n);
}

bool http_text_equal_nocase(struct http_text text, const char *other)
{
	return text.n == strlen(other) && !strncasecmp(text.at, other, text.n);
}

bool http_text_same_nocase(struct http_text text, struct http_text other)
{
	return text.n == other.n && !strncasecmp(text.at, other.at, text.n);
}

bool http_text_starts_nocase(struct http_text text, const char *prefix)
{
	size_t prefix_n = strlen(prefix);

	return text.n >= prefix_n && !strncasecmp(text.at, prefix, prefix_n);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct http_text http_text_trim(struct http_text text)
{
	while (text.n && is_blank(text.at[0])) {
		text.at++;
		text.n--;
	}
	while (text.n && is_blank(text.at[text.n - 1]))
		text.n--;
	return text;
}

bool http_text_u64(struct http_text text, uint64_t *out_value)
{
	uint64_t value = 0;

	if (!text.n)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		unsigned digit = (unsigned)(unsigned char)text.at[i] - '0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*out_value = value;
	return true;
}

int http_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool http_text_copy(struct http_text text, char *out, size_t out_max)
{
	if (text.n >= out_max || (text.n && memchr(text.at, 0, text.n)))
		return false;
	if (text.n)
		memcpy(out, text.at, text.n);
	out[text.n] = 0;
	return true;
}

bool http_text_list_next(struct http_text *list, struct http_text *out_element)
{
	while (list->n) {
		const char *comma = memchr(list->at, ',', list->n);
		size_t n = comma ? (size_t)(comma - list->at) : list->n;
		struct http_text element = http_text_trim((struct http_text){list->at, n});

		n += comma ? 1 : 0;
		list->at += n;
		list->n -= n;
		if (element.n) {
			*out_element = element;
			return true;
		}
	}
	return false;
}

bool http_is_token_char(unsigned char c)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c);
}

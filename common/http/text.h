/* A borrowed slice of text, and the few comparisons that HTTP needs.  Nothing here allocates. */
#ifndef FLOTILLA_HTTP_TEXT_H
#define FLOTILLA_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Not NUL-terminated; lives as long as the bytes that it was cut from. */
struct http_text {
	const char *at;
	size_t n;
};

/* For printf's "%.*s". */
#define HTTP_TEXT_ARG(text) (int)(text).n, (text).at

struct http_text http_text_of(const char *nul_terminated);
bool http_text_equal(struct http_text text, const char *other);
bool http_text_equal_nocase(struct http_text text, const char *other);
bool http_text_same_nocase(struct http_text text, struct http_text other);
bool http_text_starts_nocase(struct http_text text, const char *prefix);

/* Without the spaces and tabs at both ends. */
struct http_text http_text_trim(struct http_text text);

/* Decimal digits only, no sign, no overflow; false otherwise. */
bool http_text_u64(struct http_text text, uint64_t *out_value);

/* A character of an RFC 9110 token (names of fields and methods). */
bool http_is_token_char(unsigned char c);

/* 0..15, or -1. */
int http_hex_digit(char c);

/* Copies with a NUL behind; false when it does not fit or holds a NUL itself. */
bool http_text_copy(struct http_text text, char *out, size_t out_max);

/*
 * Cuts the next element of a comma separated list off the front of *list, trimmed; empty elements
 * are skipped.  False when there is none left.
 */
bool http_text_list_next(struct http_text *list, struct http_text *out_element);

#endif

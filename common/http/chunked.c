/* The chunked transfer coding: see chunked.h. */
#include "common/http/chunked.h"

#include <stdbool.h>
#include <stdio.h>

#include "common/base/check.h"

static bool step_size(struct http_chunked *chunked, unsigned char c)
{
	int digit = http_hex_digit((char)c);

	if (digit >= 0) {
		/* 15 digits cannot overflow, and no honest chunk needs more. */
		if (++chunked->digits_n > 15)
			return false;
		chunked->left = chunked->left << 4 | (uint64_t)digit;
		return true;
	}
	if (!chunked->digits_n)
		return false;
	if (c == '\r')
		chunked->state = HTTP_CHUNKED_SIZE_LF;
	else if (c == ';' || c == ' ' || c == '\t')
		chunked->state = HTTP_CHUNKED_EXTENSION;
	else
		return false;
	return true;
}

static bool is_control(unsigned char c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

static bool expect(struct http_chunked *chunked, unsigned char c, unsigned char wanted,
		   enum http_chunked_state next)
{
	chunked->state = next;
	return c == wanted;
}

/* One byte that is not payload. */
static bool step(struct http_chunked *chunked, unsigned char c)
{
	switch (chunked->state) {
	case HTTP_CHUNKED_SIZE:
		return ++chunked->line_n <= HTTP_CHUNK_LINE_MAX && step_size(chunked, c);
	case HTTP_CHUNKED_EXTENSION:
		if (c == '\r')
			chunked->state = HTTP_CHUNKED_SIZE_LF;
		else if (is_control(c))
			return false;
		return ++chunked->line_n <= HTTP_CHUNK_LINE_MAX;
	case HTTP_CHUNKED_SIZE_LF:
		return expect(chunked, c, '\n',
			      chunked->left ? HTTP_CHUNKED_DATA : HTTP_CHUNKED_TRAILER_START);
	case HTTP_CHUNKED_DATA_CR:
		return expect(chunked, c, '\r', HTTP_CHUNKED_DATA_LF);
	case HTTP_CHUNKED_DATA_LF:
		chunked->line_n = chunked->digits_n = 0;
		return expect(chunked, c, '\n', HTTP_CHUNKED_SIZE);
	case HTTP_CHUNKED_TRAILER_START:
		if (c == '\r') {
			chunked->state = HTTP_CHUNKED_END_LF;
			return true;
		}
		chunked->state = HTTP_CHUNKED_TRAILER;
		return ++chunked->trailer_n <= HTTP_TRAILER_MAX && http_is_token_char(c);
	case HTTP_CHUNKED_TRAILER:
		if (c == '\r')
			chunked->state = HTTP_CHUNKED_TRAILER_LF;
		else if (is_control(c))
			return false;
		return ++chunked->trailer_n <= HTTP_TRAILER_MAX;
	case HTTP_CHUNKED_TRAILER_LF:
		return expect(chunked, c, '\n', HTTP_CHUNKED_TRAILER_START);
	case HTTP_CHUNKED_END_LF:
		return expect(chunked, c, '\n', HTTP_CHUNKED_END);
	case HTTP_CHUNKED_DATA:
	case HTTP_CHUNKED_END:
		break;
	}
	return false;
}

enum http_verdict http_chunked_read(struct http_chunked *chunked, const char *bytes, size_t bytes_n,
				    size_t *out_used, struct http_text *out_data)
{
	size_t used = 0;

	*out_data = (struct http_text){NULL, 0};
	while (chunked->state != HTTP_CHUNKED_END && used < bytes_n) {
		if (chunked->state == HTTP_CHUNKED_DATA) {
			size_t n = bytes_n - used;

			if (n > chunked->left)
				n = (size_t)chunked->left;
			chunked->left -= n;
			if (!chunked->left)
				chunked->state = HTTP_CHUNKED_DATA_CR;
			*out_data = (struct http_text){bytes + used, n};
			*out_used = used + n;
			return HTTP_OK;
		}
		if (!step(chunked, (unsigned char)bytes[used++])) {
			*out_used = used;
			return HTTP_BAD_CHUNK;
		}
	}
	*out_used = used;
	return chunked->state == HTTP_CHUNKED_END ? HTTP_OK : HTTP_MORE;
}

size_t http_chunk_head(char out[HTTP_CHUNK_HEAD_MAX], size_t data_n)
{
	int n = snprintf(out, HTTP_CHUNK_HEAD_MAX, "%zx\r\n", data_n);

	CHECK(data_n && n > 0 && n < HTTP_CHUNK_HEAD_MAX);
	return (size_t)n;
}

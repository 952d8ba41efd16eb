/*
 * The chunked transfer coding, both ways, a piece at a time.  Payload is never copied: the decoder
 * hands out slices of the caller's bytes, the encoder writes only what goes around a chunk.
 */
#ifndef FLOTILLA_HTTP_CHUNKED_H
#define FLOTILLA_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "common/http/head.h"

enum {
	HTTP_CHUNK_LINE_MAX = 1024,       /* a size line with its extensions */
	HTTP_TRAILER_MAX = 8 * 1024,      /* all trailer fields, which are read and forgotten */
	HTTP_CHUNK_HEAD_MAX = 16 + 2 + 1, /* what http_chunk_head may write */
};

enum http_chunked_state {
	HTTP_CHUNKED_SIZE,
	HTTP_CHUNKED_EXTENSION,
	HTTP_CHUNKED_SIZE_LF,
	HTTP_CHUNKED_DATA,
	HTTP_CHUNKED_DATA_CR,
	HTTP_CHUNKED_DATA_LF,
	HTTP_CHUNKED_TRAILER_START,
	HTTP_CHUNKED_TRAILER,
	HTTP_CHUNKED_TRAILER_LF,
	HTTP_CHUNKED_END_LF,
	HTTP_CHUNKED_END,
};

/* All zero is the beginning of a body. */
struct http_chunked {
	enum http_chunked_state state;
	uint64_t left;   /* bytes of the current chunk still to come */
	size_t line_n;   /* bytes of the current size line */
	size_t digits_n; /* of its size */
	size_t trailer_n;
};

/*
 * Takes bytes from the front of 'bytes'; *out_used says how many.  HTTP_OK with *out_data not
 * empty: these are payload, call again with the rest.  HTTP_OK with *out_data empty: the body is
 * complete, what is left belongs to the next message.  HTTP_MORE: all bytes were used.
 * HTTP_BAD_CHUNK: the connection cannot be trusted any further.
 */
enum http_verdict http_chunked_read(struct http_chunked *chunked, const char *bytes, size_t bytes_n,
				    size_t *out_used, struct http_text *out_data);

/* Writes the line that goes before a chunk of data_n > 0 bytes, and returns its length. */
size_t http_chunk_head(char out[HTTP_CHUNK_HEAD_MAX], size_t data_n);

/* What goes behind each chunk, and the last chunk of a body. */
#define HTTP_CHUNK_TAIL "\r\n"
#define HTTP_CHUNK_LAST "0\r\n\r\n"

#endif

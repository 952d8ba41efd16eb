/*
 * multipart/form-data, a piece at a time.  Pure: payload is handed out as slices, the only memory
 * is that of one part's header.
 */
#ifndef FLOTILLA_GUEST_MULTIPART_H
#define FLOTILLA_GUEST_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "common/http/text.h"

enum {
	MULTIPART_BOUNDARY_MAX = 200, /* the RFC says 70 */
	MULTIPART_HEADER_MAX = 8 * 1024,
	MULTIPART_NAME_MAX = 128,
	MULTIPART_FILENAME_MAX = 4096,
};

enum multipart_event {
	MULTIPART_MORE, /* all bytes were used */
	MULTIPART_PART, /* a part begins: name, filename */
	MULTIPART_DATA, /* a piece of it: out_data */
	MULTIPART_END,  /* the part is complete */
	MULTIPART_DONE, /* the last boundary was seen; what follows is of no interest */
	MULTIPART_BAD,  /* malformed, or a header too large */
};

enum multipart_state {
	MULTIPART_IN_PREAMBLE,
	MULTIPART_AFTER_BOUNDARY, /* "--" or the end of the line follows */
	MULTIPART_IN_HEADER,
	MULTIPART_IN_DATA,
	MULTIPART_IN_EPILOGUE,
};

struct multipart {
	enum multipart_state state;
	char delimiter[MULTIPART_BOUNDARY_MAX + 5]; /* CRLF, two dashes, the boundary */
	size_t delimiter_n;
	size_t matched_n; /* of the delimiter, by bytes that were used but not handed out */
	size_t virtual_n; /* of these, taken for granted where a boundary may stand at once */
	bool is_open;     /* a part is */
	char tail[2];     /* what followed the boundary so far */
	size_t tail_n;
	char header[MULTIPART_HEADER_MAX];
	size_t header_n;
	char name[MULTIPART_NAME_MAX];         /* of the part; "" when it has none */
	char filename[MULTIPART_FILENAME_MAX]; /* as sent, folders and all; "" when it has none */
};

/* The boundary out of "multipart/form-data; boundary=…"; false when there is none to be used. */
bool multipart_init(struct multipart *multipart, struct http_text content_type);

/* Takes bytes from the front, *out_used says how many, and tells the next thing found.  Call again
 * with the rest until MORE, DONE or BAD. out_data points into the bytes or into *multipart. */
enum multipart_event multipart_read(struct multipart *multipart, const char *bytes, size_t bytes_n,
				    size_t *out_used, struct http_text *out_data);

/* A parameter of a header's value, unquoted: disposition "form-data; name=\"file\"" and "name".
 * False when it is absent, does not fit or has a NUL; out is then as before, or empty. */
bool multipart_parameter(struct http_text value, const char *name, char *out, size_t out_max);

#endif

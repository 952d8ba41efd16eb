/*
 * Content-Encoding: gzip, decoded as it comes.  Pure: the only memory is zlib's window, and what
 * comes out is handed on in pieces of the caller's buffer, so that a small body which swells to
 * terabytes costs no more than one that does not.
 */
#ifndef FLOTILLA_GUEST_GUNZIP_H
#define FLOTILLA_GUEST_GUNZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <zlib.h>

struct gunzip {
	z_stream stream;
	bool is_complete; /* at least one member is, and nothing follows it so far */
};

/* False when there is no memory. */
bool gunzip_open(struct gunzip *gunzip);
void gunzip_close(struct gunzip *gunzip);

enum gunzip_event {
	GUNZIP_MORE, /* all bytes were used, and all that they hold was handed out */
	GUNZIP_DATA, /* *out_n bytes are in out */
	GUNZIP_BAD,  /* not gzip */
};

/* Takes bytes from the front; call again with the rest until MORE or BAD. */
enum gunzip_event gunzip_read(struct gunzip *gunzip, const char *bytes, size_t bytes_n,
			      size_t *out_used, char *out, size_t out_max, size_t *out_n);

#endif

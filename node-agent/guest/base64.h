/* Standard base64 (RFC 4648 §4), as protobuf's JSON writes bytes.  Pure. */
#ifndef FLOTILLA_GUEST_BASE64_H
#define FLOTILLA_GUEST_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "common/http/text.h"

/* Length of n bytes encoded, padding included. */
#define BASE64_N(n) (((n) + 2) / 3 * 4)

/* Writes BASE64_N(bytes_n) characters and returns that. No NUL. */
size_t base64_encode(const char *bytes, size_t bytes_n, char *out);

/* out: room for text.n / 4 * 3 + 3 bytes; may be text's own storage. Padding may be missing, the
 * URL alphabet is taken too; anything else is malformed: false. */
bool base64_decode(struct http_text text, char *out, size_t *out_n);

#endif

/*
 * TLS on memory (GnuTLS): ciphertext in, plaintext out, and the other way round.  It touches no
 * socket and no clock: whoever owns the connection reads, writes, and bounds how long a handshake
 * may take.  No renegotiation, no early data; TLS 1.2 and newer for servers.
 *
 *	on bytes from the peer:   tls_feed(...), use the plaintext
 *	to say something:         tls_write(...)
 *	after either:             send what tls_output gives, then tls_output_done
 *
 * Nothing is held back: a feed gives all the plaintext there is, so at most one record that is not
 * whole yet waits inside, and one that holds up its reading holds up the peer.
 */
#ifndef FLOTILLA_IO_TLS_H
#define FLOTILLA_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	TLS_RECORD_MAX = 16 * 1024, /* plaintext of one record */
	/* More than any number of fed bytes can give: what waited of a record before. */
	TLS_PLAIN_MORE = TLS_RECORD_MAX + 2048,
};

/* Certificate or trust, and habits, of one end; counted, since sessions go on with what they began
 * with. */
struct tls_config;

/* From PEM files; the key must fit the certificate. Sessions can be resumed by tickets, also with
 * the config that takes this one's place (older, may be NULL). */
int tls_config_server(struct tls_config **out_config, const char *certificate_path,
		      const char *key_path, const struct tls_config *older, struct err *err);

/* The same from texts in PEM, for a certificate that was made for this one peer: no tickets. */
int tls_config_server_pem(struct tls_config **out_config, const char *certificate, const char *key,
			  struct err *err);

/* Believes any server: for peers that are known by other means. */
int tls_config_client(struct tls_config **out_config, struct err *err);

/* Believes a server whose certificate names it (tls_open_to) and is vouched for by one of these:
 * PEM, as a text if there is one, else from a file. */
int tls_config_client_careful(struct tls_config **out_config, const char *trusted_path,
			      const char *trusted, struct err *err);
void tls_config_unref(struct tls_config *config); /* NULL is fine */

struct tls;

/* A client has something to send at once. NULL: no memory. */
struct tls *tls_open(struct tls_config *config);

/* A client that asks for a server by name, or by an address as text, copied. */
struct tls *tls_open_to(struct tls_config *config, const char *name);
void tls_close(struct tls *tls); /* NULL is fine */

/* What came of a feed. */
struct tls_read {
	size_t plain_n; /* bytes for the owner */
	bool is_ended;  /* the peer said, authenticated, that nothing more comes */
};

/*
 * All of the bytes are taken.  plain_max: at least bytes_n + TLS_PLAIN_MORE.  A fault ends the
 * session: there may be an alert to send, and *out is what came before it.
 */
int tls_feed(struct tls *tls, const uint8_t *bytes, size_t bytes_n, uint8_t *plain,
	     size_t plain_max, struct tls_read *out, struct err *err);

/* The handshake is done: tls_write may be called. */
bool tls_is_ready(const struct tls *tls);

/* All of it, as records, into the output. -1: no memory. */
int tls_write(struct tls *tls, const uint8_t *bytes, size_t bytes_n);

/* That nothing more comes from us, once; the peer may go on. Nothing before the handshake is done.
 */
void tls_end(struct tls *tls);

/* What is to be sent, good until the next call of anything here; NULL: nothing. */
const uint8_t *tls_output(const struct tls *tls, size_t *out_n);
void tls_output_done(struct tls *tls, size_t n); /* n of it were sent */

#endif

/* Two ends of TLS that are joined by nothing but their bytes; whoever includes this has cmocka too.
 */
#ifndef FLOTILLA_TESTS_IO_TLS_ENDS_H
#define FLOTILLA_TESTS_IO_TLS_ENDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/io/tls.h"

enum { PLAIN_MAX = 64 * 1024 };

struct end {
	struct tls *tls;
	uint8_t plain[2 * PLAIN_MAX + TLS_PLAIN_MORE]; /* all that came */
	size_t plain_n;
	bool is_ended;
	int status;
	struct err err;
};

static inline void end_feed(struct end *end, const uint8_t *bytes, size_t n)
{
	static uint8_t plain[PLAIN_MAX + TLS_PLAIN_MORE];
	struct tls_read read;

	end->status = tls_feed(end->tls, bytes, n, plain, sizeof(plain), &read, &end->err);
	assert_true(end->plain_n + read.plain_n <= sizeof(end->plain));
	memcpy(end->plain + end->plain_n, plain, read.plain_n);
	end->plain_n += read.plain_n;
	end->is_ended |= read.is_ended;
}

/* In pieces of at most so many bytes; false when there was nothing. */
static inline bool end_move(struct end *from, struct end *to, size_t piece_n)
{
	const uint8_t *bytes;
	size_t n;

	bytes = tls_output(from->tls, &n);
	if (!bytes)
		return false;
	if (n > piece_n)
		n = piece_n;
	end_feed(to, bytes, n);
	tls_output_done(from->tls, n);
	return true;
}

static inline void ends_exchange(struct end *client, struct end *server, size_t piece_n)
{
	bool any = true;

	while (any && server->status == 0 && client->status == 0) {
		any = end_move(client, server, piece_n);
		any |= end_move(server, client, piece_n);
	}
}

static inline void end_say(struct end *end, const char *text)
{
	assert_int_equal(tls_write(end->tls, (const uint8_t *)text, strlen(text)), 0);
}

static inline void end_assert_came(const struct end *end, const char *text)
{
	assert_int_equal(end->plain_n, strlen(text));
	assert_memory_equal(end->plain, text, end->plain_n);
}

#endif

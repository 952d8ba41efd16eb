/* What a running connection carries. See connection.h. */
#include "node-agent/egress/connection.h"

#include "common/base/check.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_MAX = INSPECT_TAKE_MAX - TLS_PLAIN_MORE };

/* One piece at a time is under way in this process. */
static uint8_t piece[PIECE_MAX], plain[PIECE_MAX + TLS_PLAIN_MORE];

bool side_flush(struct side *side)
{
	ssize_t sent;

	while (side->waiting.n) {
		sent = send(side->fd, side->waiting.at, side->waiting.n,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		bytes_remove(&side->waiting, (size_t)sent);
	}
	return true;
}

/* What does not go at once waits. False: broken. */
static bool side_say(struct side *side, const void *bytes, size_t n)
{
	ssize_t sent = 0;

	if (!n)
		return true;
	if (!side->waiting.n)
		sent = send(side->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (sent < 0)
		sent = 0;
	CHECK(bytes_append(&side->waiting, (const uint8_t *)bytes + sent, n - (size_t)sent));
	return true;
}

static bool say_proxy_output(struct connection *connection)
{
	const uint8_t *bytes;
	size_t n;
	bool is_good = true;

	while (is_good && (bytes = tls_output(connection->proxy, &n))) {
		is_good = side_say(&connection->far, bytes, n);
		tls_output_done(connection->proxy, n);
	}
	return is_good;
}

bool connection_say_far(struct connection *connection, const void *bytes, size_t n)
{
	if (!connection->proxy)
		return side_say(&connection->far, bytes, n);
	return (!n || tls_write(connection->proxy, bytes, n) == 0) && say_proxy_output(connection);
}

/* ---- what came ---- */

static bool take_inspected(struct connection *connection, enum inspect_side from,
			   const uint8_t *bytes, size_t n)
{
	struct bytes to_near = {0}, to_far = {0};
	bool is_good;

	if (!inspect_take(connection->inspect, from,
			  egress_rules_find(&connection->keeper->rules, connection->name), bytes, n,
			  &to_near, &to_far))
		connection->is_over = true;
	is_good = side_say(&connection->near, to_near.at, to_near.n) &&
		  connection_say_far(connection, to_far.at, to_far.n);
	bytes_remove(&to_near, to_near.n);
	bytes_remove(&to_far, to_far.n);
	return is_good;
}

static bool take_near(struct connection *connection, const uint8_t *bytes, size_t n)
{
	return connection->inspect ? take_inspected(connection, INSPECT_NEAR, bytes, n)
				   : connection_say_far(connection, bytes, n);
}

static bool take_far(struct connection *connection, const uint8_t *bytes, size_t n)
{
	if (!n)
		return true;
	return connection->inspect ? take_inspected(connection, INSPECT_FAR, bytes, n)
				   : side_say(&connection->near, bytes, n);
}

static bool take_proxied(struct connection *connection, size_t n)
{
	struct tls_read read;
	int status;

	status = tls_feed(connection->proxy, piece, n, plain, sizeof(plain), &read, NULL);
	if (read.is_ended)
		connection->far.is_read_out = true;
	return say_proxy_output(connection) && take_far(connection, plain, read.plain_n) &&
	       status == 0;
}

/* The far end is of no use before it has greeted. False: broken. */
static bool fail_greeting(struct connection *connection, const char *why)
{
	struct bytes to_near = {0};
	bool is_good;

	connection->far.is_read_out = true;
	if (!inspect_fail(connection->inspect, why, &to_near))
		connection->is_over = true;
	is_good = side_say(&connection->near, to_near.at, to_near.n);
	bytes_remove(&to_near, to_near.n);
	return is_good;
}

static bool is_greeting(const struct connection *connection)
{
	return connection->inspect && inspect_is_greeting(connection->inspect);
}

/* One piece from one side. False: broken. */
static bool take(struct connection *connection, struct side *from)
{
	ssize_t got = recv(from->fd, piece, sizeof(piece), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0 && from == &connection->far && is_greeting(connection))
		return fail_greeting(connection,
				     got ? strerror(errno) : "it ended before TLS had begun");
	if (got < 0)
		return false;
	if (got == 0) {
		from->is_read_out = true;
		return true;
	}
	if (from == &connection->near)
		return take_near(connection, piece, (size_t)got);
	return connection->proxy ? take_proxied(connection, (size_t)got)
				 : take_far(connection, piece, (size_t)got);
}

/* ---- ends ---- */

static void pass_near_end(struct connection *connection)
{
	struct side *far = &connection->far;

	if (!connection->near.is_read_out || far->waiting.n || far->is_shut)
		return;
	far->is_shut = true;
	/* A proxy that hears a FIN within its TLS takes it for an attack. */
	if (!connection->proxy) {
		shutdown(far->fd, SHUT_WR);
		return;
	}
	tls_end(connection->proxy);
	(void)say_proxy_output(connection);
}

static void pass_far_end(struct connection *connection)
{
	struct side *near = &connection->near;

	if (!connection->far.is_read_out || near->waiting.n || near->is_shut ||
	    (connection->inspect && inspect_owes_near(connection->inspect)))
		return;
	near->is_shut = true;
	shutdown(near->fd, SHUT_WR);
}

static bool is_done(const struct connection *connection)
{
	if (connection->is_over && !connection->near.waiting.n)
		return true;
	return connection->near.is_shut && connection->far.is_shut && !connection->far.waiting.n;
}

void connection_carry(struct connection *connection, struct side *side, int events)
{
	struct side *other = side == &connection->near ? &connection->far : &connection->near;
	bool is_good = true;

	if (events & UV_WRITABLE)
		is_good = side_flush(side);
	if (is_good && (events & UV_READABLE) && !side->is_read_out && !other->waiting.n)
		is_good = take(connection, side);
	if (!is_good) {
		connection_end(connection, true);
		return;
	}
	if (!is_greeting(connection))
		uv_timer_stop(&connection->patience);
	pass_near_end(connection);
	pass_far_end(connection);
	if (is_done(connection))
		connection_end(connection, false);
	else
		connection_watch(connection);
}

void connection_give_up(struct connection *connection)
{
	bool is_told = connection->inspect && inspect_owes_near(connection->inspect);

	if (!is_told && is_greeting(connection) &&
	    fail_greeting(connection, "it took too long to begin TLS") && connection->is_over)
		connection_carry(connection, &connection->near, 0);
	else
		connection_end(connection, true);
}

void connection_run(struct connection *connection)
{
	struct bytes sniffed = connection->sniffed, heard = connection->heard;
	bool is_good;

	connection->step = RUNS;
	connection->sniffed = connection->heard = (struct bytes){0};
	is_good = take_near(connection, sniffed.at, sniffed.n) &&
		  take_far(connection, heard.at, heard.n);
	bytes_remove(&sniffed, sniffed.n);
	bytes_remove(&heard, heard.n);
	if (is_good)
		connection_carry(connection, &connection->near, 0);
	else
		connection_end(connection, true);
}

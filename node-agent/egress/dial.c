/*
 * The way out of a connection: to the address that the sandbox meant, or to one of the name's own,
 * or through the tenant's proxy.  See connection.h.
 */
#include "node-agent/egress/connection.h"

#include "common/base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* ---- a proxy ---- */

static bool begin_socks(struct connection *connection)
{
	const struct wire_egress *rules = &connection->keeper->rules.wire;

	connection->socks = (struct socks){
		.user = rules->proxy_user,
		.password = rules->proxy_password,
		.name = connection->is_by_name ? connection->name : NULL,
		.address = connection->address,
		.port = connection->port,
	};
	socks_begin(&connection->socks);
	return connection_say_far(connection, connection->socks.said, connection->socks.said_n);
}

void connection_rules_changed(struct connection *connection)
{
	/* Texts of the rules before. */
	connection->socks.user = connection->keeper->rules.wire.proxy_user;
	connection->socks.password = connection->keeper->rules.wire.proxy_password;
}

static bool begin_proxy(struct connection *connection)
{
	const struct wire_egress *rules = &connection->keeper->rules.wire;

	if (!connection->keeper->proxy_trust)
		return begin_socks(connection);
	connection->proxy =
		tls_open_to(connection->keeper->proxy_trust,
			    rules->proxy_tls_name[0] ? rules->proxy_tls_name : rules->proxy_host);
	return connection->proxy && connection_say_far(connection, NULL, 0);
}

/* Of what it has said, as much as is wanted at a time. False: it refuses. */
static bool hear_socks(struct connection *connection)
{
	struct socks *socks = &connection->socks;
	struct err err;

	while (socks->step != SOCKS_OPEN && connection->heard.n >= socks->wanted_n) {
		size_t n = socks->wanted_n;

		if (socks_hear(socks, connection->heard.at, &err))
			return false;
		bytes_remove(&connection->heard, n);
		if (!connection_say_far(connection, socks->said, socks->said_n))
			return false;
	}
	return true;
}

/* A piece of what it says. Without TLS nothing of what comes behind is read. */
static bool hear_proxy(struct connection *connection)
{
	uint8_t bytes[4096], plain[sizeof(bytes) + TLS_PLAIN_MORE];
	struct tls *tls = connection->proxy;
	bool was_ready = tls && tls_is_ready(tls);
	size_t most = tls ? sizeof(bytes) : connection->socks.wanted_n - connection->heard.n;
	ssize_t got = recv(connection->far.fd, bytes, most, MSG_DONTWAIT);
	struct tls_read read = {.plain_n = got > 0 ? (size_t)got : 0};

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0 ||
	    (tls && tls_feed(tls, bytes, (size_t)got, plain, sizeof(plain), &read, NULL)))
		return false;
	CHECK(bytes_append(&connection->heard, tls ? plain : bytes, read.plain_n));
	if (!tls)
		return hear_socks(connection);
	if (!tls_is_ready(tls))
		return connection_say_far(connection, NULL, 0);
	return (was_ready || begin_socks(connection)) && hear_socks(connection);
}

/* ---- the far side ---- */

static void on_dialled(struct connection *connection, int status)
{
	socklen_t n = sizeof(int);
	int fault = 0;

	if (status < 0 || getsockopt(connection->far.fd, SOL_SOCKET, SO_ERROR, &fault, &n) ||
	    fault) {
		connection_end(connection, true);
	} else if (!keeper_has_proxy(connection->keeper)) {
		connection_run(connection);
	} else {
		connection->step = GREETS;
		if (begin_proxy(connection))
			connection_watch(connection);
		else
			connection_end(connection, true);
	}
}

void connection_on_far(uv_poll_t *poll, int status, int events)
{
	struct connection *connection = poll->data;

	/* An error is read, and told, as one. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	if (connection->step == DIALS) {
		on_dialled(connection, status);
	} else if (connection->step == RUNS) {
		connection_carry(connection, &connection->far, events);
	} else if (!side_flush(&connection->far) ||
		   ((events & UV_READABLE) && !hear_proxy(connection))) {
		connection_end(connection, true);
	} else if (connection->socks.step == SOCKS_OPEN) {
		connection_run(connection);
	} else {
		connection_watch(connection);
	}
}

static void dial(struct connection *connection, uint32_t address, uint16_t port)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	connection->step = DIALS;
	connection->far.fd = fd;
	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)) {
		connection_end(connection, true);
		return;
	}
	connection_set_options(fd);
	uv_poll_init(&connection->keeper->loop, &connection->far.poll, fd);
	connection->far.poll.data = connection;
	connection->far.is_watched = true;
	uv_timer_start(&connection->patience, connection->patience.timer_cb, KEEPER_DIAL_MS, 0);
	connection_watch(connection);
}

/* ---- names ---- */

static uint16_t port_out(const struct connection *connection)
{
	return keeper_has_proxy(connection->keeper) ? connection->keeper->rules.wire.proxy_port
						    : connection->port;
}

/*
 * The name's own addresses are dialled, whatever address the sandbox chose: else the name of a good
 * host would open the way to any.
 */
static void on_resolved(void *arg, const uint32_t *addresses, size_t n)
{
	struct connection *connection = arg;
	const uint32_t *best = NULL;

	connection->lookup = NULL;
	for (size_t i = 0; i < n; i++) {
		if (keeper_is_barred(connection->keeper, addresses[i]))
			continue;
		if (!best || addresses[i] == connection->address)
			best = &addresses[i];
	}
	if (best)
		dial(connection, *best, port_out(connection));
	else
		connection_end(connection, true);
}

static void resolve(struct connection *connection, const char *name)
{
	connection->step = RESOLVES;
	connection->lookup = resolve_name(connection->keeper, name, on_resolved, connection);
	if (connection->lookup)
		connection_watch(connection);
	else
		connection_end(connection, true);
}

void connection_go_out(struct connection *connection)
{
	const char *proxy = connection->keeper->rules.wire.proxy_host;
	struct egress_range literal;

	if (*proxy && egress_range_parse(proxy, &literal))
		on_resolved(connection, &literal.address, 1);
	else if (*proxy)
		resolve(connection, proxy);
	else if (connection->is_by_name)
		resolve(connection, connection->name);
	else
		dial(connection, connection->address, connection->port);
}

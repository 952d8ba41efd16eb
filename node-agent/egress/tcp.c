/*
 * Connections.  Each is taken from the sandbox, judged by where it was meant to go, and, if that
 * does not settle it or there may be a rule for its requests, by the name that its first bytes ask
 * for; then dialled from the host.  What is not allowed is reset.
 */
#include "node-agent/egress/connection.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/egress/sniff.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_MAX = 64, PORT_HTTP = 80, PORT_HTTPS = 443, TLS_HANDSHAKE = 0x16 };

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;

	if (--connection->closing_n)
		return;
	free(connection->name);
	free(connection);
}

static void side_close(struct connection *connection, struct side *side, bool is_reset)
{
	const struct linger at_once = {.l_onoff = 1};

	if (side->is_watched) {
		uv_close((uv_handle_t *)&side->poll, on_closed);
		connection->closing_n++;
	}
	if (side->fd >= 0) {
		if (is_reset)
			setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(side->fd);
	}
	bytes_remove(&side->waiting, side->waiting.n);
}

void connection_end(struct connection *connection, bool is_reset)
{
	list_remove(&connection->link);
	connection->keeper->connections_n--;
	connection->keeper->inspected_n -= connection->inspect != NULL;
	if (connection->lookup)
		resolve_cancel(connection->lookup);
	inspect_close(connection->inspect);
	tls_close(connection->proxy);
	bytes_remove(&connection->sniffed, connection->sniffed.n);
	bytes_remove(&connection->heard, connection->heard.n);
	connection->closing_n = 1;
	uv_close((uv_handle_t *)&connection->patience, on_closed);
	side_close(connection, &connection->near, is_reset);
	side_close(connection, &connection->far, is_reset);
}

/* ---- the name that it asks for ---- */

/* Whether its requests can get a rule's fields though its address alone would let it go. */
static bool may_have_rule(const struct connection *connection)
{
	return connection->keeper->rules.wire.rules_n &&
	       (connection->port == PORT_HTTP || connection->port == PORT_HTTPS);
}

/* False: not now, or not for this name. */
static bool inspect_begin(struct connection *connection)
{
	struct keeper *keeper = connection->keeper;
	bool is_tls = connection->sniffed.at[0] == TLS_HANDSHAKE;
	struct err err;

	if (keeper->inspected_n >= KEEPER_INSPECTED_MAX)
		return false;
	if (inspect_open(&connection->inspect, connection->name, is_tls ? keeper->issuer : NULL,
			 is_tls ? keeper->trust : NULL, &err)) {
		log_warn("egress", "a connection cannot be looked into", LOG_ERR(&err));
		connection->inspect = NULL;
		return false;
	}
	keeper->inspected_n++;
	return true;
}

static void on_name(struct connection *connection, const char *name, enum egress_verdict verdict)
{
	bool has_rule = egress_rules_find(&connection->keeper->rules, name) != NULL;

	connection->name = strdup(name);
	CHECK(connection->name);
	connection->is_by_name = has_rule || verdict == EGRESS_BY_NAME;
	if ((verdict == EGRESS_BY_NAME &&
	     !egress_name_is_allowed(&connection->keeper->policy, name)) ||
	    (has_rule && !inspect_begin(connection)))
		connection_end(connection, true);
	else
		connection_go_out(connection);
}

static void on_no_name(struct connection *connection, enum egress_verdict verdict)
{
	if (verdict == EGRESS_ALLOW)
		connection_go_out(connection);
	else
		connection_end(connection, true);
}

static void sniff(struct connection *connection)
{
	enum egress_verdict verdict = keeper_judge(connection->keeper, connection->address);
	struct bytes *sniffed = &connection->sniffed;
	uint8_t bytes[EGRESS_SNIFF_MAX];
	char name[EGRESS_NAME_MAX];
	ssize_t got = recv(connection->near.fd, bytes, EGRESS_SNIFF_MAX - sniffed->n, MSG_DONTWAIT);
	enum egress_sniff found;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0) {
		connection_end(connection, true);
		return;
	}
	connection->near.is_read_out = got == 0;
	CHECK(bytes_append(sniffed, bytes, (size_t)got));
	found = got ? egress_sniff(sniffed->at, sniffed->n, name) : EGRESS_SNIFF_NONE;
	if (found == EGRESS_SNIFF_NAME)
		on_name(connection, name, verdict);
	else if (found == EGRESS_SNIFF_NONE)
		on_no_name(connection, verdict);
}

/* A server that speaks first is let through, where its address is enough. */
static void on_too_long(uv_timer_t *timer)
{
	struct connection *connection = timer->data;

	if (connection->step == SNIFFS)
		on_no_name(connection, keeper_judge(connection->keeper, connection->address));
	else
		connection_give_up(connection);
}

/* ---- both sides ---- */

static void on_near(uv_poll_t *poll, int status, int events)
{
	struct connection *connection = poll->data;

	if (connection->step == SNIFFS)
		sniff(connection);
	else
		connection_carry(connection, &connection->near,
				 status < 0 ? UV_READABLE | UV_WRITABLE : events);
}

static void side_watch(struct side *side, bool reads, uv_poll_cb on_event)
{
	int events = (reads ? UV_READABLE : 0) | (side->waiting.n ? UV_WRITABLE : 0);

	if (events)
		uv_poll_start(&side->poll, events, on_event);
	else
		uv_poll_stop(&side->poll);
}

void connection_watch(struct connection *connection)
{
	struct side *near = &connection->near, *far = &connection->far;

	switch (connection->step) {
	case SNIFFS:
		uv_poll_start(&near->poll, UV_READABLE, on_near);
		return;
	case RESOLVES:
		uv_poll_stop(&near->poll);
		return;
	case DIALS:
		uv_poll_stop(&near->poll);
		uv_poll_start(&far->poll, UV_WRITABLE, connection_on_far);
		return;
	case GREETS:
		side_watch(far, true, connection_on_far);
		return;
	case RUNS:
		side_watch(
			near,
			!near->is_read_out && !far->waiting.n && !connection->is_over &&
				(!connection->inspect || inspect_wants_near(connection->inspect)),
			on_near);
		side_watch(far, !far->is_read_out && !near->waiting.n && !connection->is_over,
			   connection_on_far);
		return;
	}
}

void connection_set_options(int fd)
{
	const int on = 1, idle_s = 120;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* What neither end closes must not count for ever. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
}

/* ---- new ones ---- */

static void take(struct keeper *keeper, int fd, const struct sockaddr_in *meant_for)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	enum egress_verdict verdict;

	CHECK(connection);
	connection->keeper = keeper;
	connection->address = ntohl(meant_for->sin_addr.s_addr);
	connection->port = ntohs(meant_for->sin_port);
	connection->near.fd = fd;
	connection->far.fd = -1;
	list_append(&keeper->connections, &connection->link);
	keeper->connections_n++;
	uv_timer_init(&keeper->loop, &connection->patience);
	uv_poll_init(&keeper->loop, &connection->near.poll, fd);
	connection->near.is_watched = true;
	connection->patience.data = connection->near.poll.data = connection;
	connection_set_options(fd);
	verdict = keeper_judge(keeper, connection->address);
	if (verdict == EGRESS_DENY) {
		connection_end(connection, true);
		return;
	}
	uv_timer_start(&connection->patience, on_too_long, KEEPER_SNIFF_MS, 0);
	if (verdict == EGRESS_BY_NAME || may_have_rule(connection))
		connection_watch(connection);
	else
		connection_go_out(connection);
}

static void refuse(int fd)
{
	const struct linger at_once = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

static void on_accept(uv_poll_t *poll, int status, int events)
{
	struct keeper *keeper = poll->data;
	struct sockaddr_in meant_for;
	socklen_t n = sizeof(meant_for);

	(void)events;
	for (int i = 0; status == 0 && i < ACCEPTS_MAX; i++) {
		int fd = accept4(keeper->netns.tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		n = sizeof(meant_for);
		if (keeper->connections_n >= keeper->host.connections_max ||
		    !keeper_takes_new(keeper) || getsockname(fd, (struct sockaddr *)&meant_for, &n))
			refuse(fd);
		else
			take(keeper, fd, &meant_for);
	}
}

/* By what it was let out for: a name that a rule was for may be denied by address now. */
static bool is_still_allowed(const struct connection *connection)
{
	switch (keeper_judge(connection->keeper, connection->address)) {
	case EGRESS_ALLOW:
		return true;
	case EGRESS_BY_NAME:
		return connection->step == SNIFFS ||
		       (connection->name && connection->is_by_name &&
			egress_name_is_allowed(&connection->keeper->policy, connection->name));
	case EGRESS_DENY:
		break;
	}
	return false;
}

static bool is_on_its_way(const struct connection *connection)
{
	return connection->step != SNIFFS && connection->step != RUNS;
}

void tcp_rules_changed(struct keeper *keeper, bool is_same_proxy)
{
	struct list *link = keeper->connections.next, *next;

	for (; link != &keeper->connections; link = next) {
		struct connection *connection = LIST_OBJECT(link, struct connection, link);

		next = link->next;
		if (!is_still_allowed(connection) || (!is_same_proxy && is_on_its_way(connection)))
			connection_end(connection, true);
		else
			connection_rules_changed(connection);
	}
}

int tcp_open(struct keeper *keeper)
{
	keeper->tcp.data = keeper;
	return uv_poll_init(&keeper->loop, &keeper->tcp, keeper->netns.tcp) ||
			       uv_poll_start(&keeper->tcp, UV_READABLE, on_accept)
		       ? -1
		       : 0;
}

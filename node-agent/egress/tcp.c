/*
 * Connections.  Each is taken from the sandbox, judged by where it was meant to go, and, if that
 * does not settle it, by the name that its first bytes ask for; then dialled from the host.  What
 * is not allowed is reset.
 */
#include "node-agent/egress/keeper.h"

#include "common/base/check.h"
#include "node-agent/egress/sniff.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_MAX = 64 * 1024, ACCEPTS_MAX = 64, HANDLES_N = 3 };

enum step { SNIFFS, RESOLVES, DIALS, RUNS };

struct side {
	int fd; /* -1: none */
	uv_poll_t poll;
	bool is_watched;
	bool is_read_out; /* it has said its last word */
	bool is_shut;     /* and has been told that the other has */
	uint8_t *waiting; /* what is still to be written to it */
	size_t waiting_n, waiting_at;
};

struct connection {
	struct keeper *keeper;
	struct list link;
	uint32_t address;
	uint16_t port;
	char *name; /* by which it is allowed, or NULL */
	enum step step;
	struct side near, far; /* the sandbox, the world */
	uv_timer_t patience;
	struct lookup *lookup;
	int closing_n;
};

static void connection_watch(struct connection *connection);

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;

	if (--connection->closing_n)
		return;
	free(connection->name);
	free(connection->near.waiting);
	free(connection->far.waiting);
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
}

static void connection_end(struct connection *connection, bool is_reset)
{
	list_remove(&connection->link);
	connection->keeper->connections_n--;
	if (connection->lookup)
		resolve_cancel(connection->lookup);
	connection->closing_n = 1;
	uv_close((uv_handle_t *)&connection->patience, on_closed);
	side_close(connection, &connection->near, is_reset);
	side_close(connection, &connection->far, is_reset);
}

static void on_too_long(uv_timer_t *timer)
{
	connection_end(timer->data, true);
}

/* ---- what is carried ---- */

/* False: it is broken. */
static bool side_flush(struct side *side)
{
	ssize_t sent;

	while (side->waiting_n) {
		sent = send(side->fd, side->waiting + side->waiting_at, side->waiting_n,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		side->waiting_at += (size_t)sent;
		side->waiting_n -= (size_t)sent;
	}
	free(side->waiting);
	side->waiting = NULL;
	side->waiting_at = 0;
	return true;
}

/* One piece from one to the other, what does not go at once waits there. False: broken. */
static bool carry(struct side *from, struct side *to)
{
	static uint8_t piece[PIECE_MAX];
	ssize_t got = recv(from->fd, piece, sizeof(piece), MSG_DONTWAIT), sent;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0) {
		from->is_read_out = true;
		return true;
	}
	sent = send(to->fd, piece, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (sent < 0)
		sent = 0;
	if (sent < got) {
		to->waiting_n = (size_t)(got - sent);
		to->waiting = malloc(to->waiting_n);
		CHECK(to->waiting);
		memcpy(to->waiting, piece + sent, to->waiting_n);
	}
	return true;
}

static void side_pass_end(const struct side *from, struct side *to)
{
	if (from->is_read_out && to->waiting_n == 0 && !to->is_shut) {
		shutdown(to->fd, SHUT_WR);
		to->is_shut = true;
	}
}

static void run(struct connection *connection, struct side *side, struct side *other, int events)
{
	bool is_good = true;

	if (events & UV_WRITABLE)
		is_good = side_flush(side);
	if (is_good && (events & UV_READABLE) && !side->is_read_out && other->waiting_n == 0)
		is_good = carry(side, other);
	if (!is_good) {
		connection_end(connection, true);
		return;
	}
	side_pass_end(side, other);
	side_pass_end(other, side);
	if (side->is_shut && other->is_shut)
		connection_end(connection, false);
	else
		connection_watch(connection);
}

/* ---- the way out ---- */

static void on_far(uv_poll_t *poll, int status, int events)
{
	struct connection *connection = poll->data;
	socklen_t n = sizeof(int);
	int fault = 0;

	if (connection->step == DIALS) {
		if (status < 0 ||
		    getsockopt(connection->far.fd, SOL_SOCKET, SO_ERROR, &fault, &n) || fault) {
			connection_end(connection, true);
			return;
		}
		connection->step = RUNS;
		uv_timer_stop(&connection->patience);
		events = UV_WRITABLE;
	}
	/* An error is read, and told, as one. */
	run(connection, &connection->far, &connection->near,
	    status < 0 ? UV_READABLE | UV_WRITABLE : events);
}

static void set_options(int fd)
{
	const int on = 1, idle_s = 120;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* What neither end closes must not count for ever. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
}

static void dial(struct connection *connection, uint32_t address)
{
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons(connection->port),
				       .sin_addr.s_addr = htonl(address)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	connection->step = DIALS;
	connection->far.fd = fd;
	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)) {
		connection_end(connection, true);
		return;
	}
	set_options(fd);
	uv_poll_init(&connection->keeper->loop, &connection->far.poll, fd);
	connection->far.poll.data = connection;
	connection->far.is_watched = true;
	uv_timer_start(&connection->patience, on_too_long, KEEPER_DIAL_MS, 0);
	connection_watch(connection);
}

/* ---- by name ---- */

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
		dial(connection, *best);
	else
		connection_end(connection, true);
}

static void sniff(struct connection *connection)
{
	struct side *far = &connection->far;
	char name[EGRESS_NAME_MAX];
	ssize_t got = recv(connection->near.fd, far->waiting + far->waiting_n,
			   EGRESS_SNIFF_MAX - far->waiting_n, MSG_DONTWAIT);
	enum egress_sniff found;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	far->waiting_n += got > 0 ? (size_t)got : 0;
	found = got > 0 ? egress_sniff(far->waiting, far->waiting_n, name) : EGRESS_SNIFF_NONE;
	if (found == EGRESS_SNIFF_MORE)
		return;
	if (found == EGRESS_SNIFF_NAME &&
	    egress_name_is_allowed(&connection->keeper->policy, name)) {
		connection->name = strdup(name);
		CHECK(connection->name);
		connection->step = RESOLVES;
		connection->lookup =
			resolve_name(connection->keeper, name, on_resolved, connection);
	}
	if (connection->lookup)
		connection_watch(connection);
	else
		connection_end(connection, true);
}

static void on_near(uv_poll_t *poll, int status, int events)
{
	struct connection *connection = poll->data;

	if (connection->step == SNIFFS)
		sniff(connection);
	else
		run(connection, &connection->near, &connection->far,
		    status < 0 ? UV_READABLE | UV_WRITABLE : events);
}

/* ---- both ---- */

static void side_watch(struct side *side, bool reads, uv_poll_cb on_event)
{
	int events = (reads ? UV_READABLE : 0) | (side->waiting_n ? UV_WRITABLE : 0);

	if (events)
		uv_poll_start(&side->poll, events, on_event);
	else
		uv_poll_stop(&side->poll);
}

static void connection_watch(struct connection *connection)
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
		uv_poll_start(&far->poll, UV_WRITABLE, on_far);
		return;
	case RUNS:
		side_watch(near, !near->is_read_out && far->waiting_n == 0, on_near);
		side_watch(far, !far->is_read_out && near->waiting_n == 0, on_far);
		return;
	}
}

/* ---- new ones ---- */

static void take(struct keeper *keeper, int fd, const struct sockaddr_in *meant_for)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	uint32_t address = ntohl(meant_for->sin_addr.s_addr);

	CHECK(connection);
	connection->keeper = keeper;
	connection->address = address;
	connection->port = ntohs(meant_for->sin_port);
	connection->near.fd = fd;
	connection->far.fd = -1;
	list_append(&keeper->connections, &connection->link);
	keeper->connections_n++;
	uv_timer_init(&keeper->loop, &connection->patience);
	uv_poll_init(&keeper->loop, &connection->near.poll, fd);
	connection->near.is_watched = true;
	connection->patience.data = connection->near.poll.data = connection;
	set_options(fd);
	switch (keeper_judge(keeper, address)) {
	case EGRESS_ALLOW:
		dial(connection, address);
		return;
	case EGRESS_BY_NAME:
		connection->far.waiting = malloc(EGRESS_SNIFF_MAX);
		CHECK(connection->far.waiting);
		uv_timer_start(&connection->patience, on_too_long, KEEPER_SNIFF_MS, 0);
		connection_watch(connection);
		return;
	case EGRESS_DENY:
		connection_end(connection, true);
		return;
	}
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

void tcp_rules_changed(struct keeper *keeper)
{
	struct list *link = keeper->connections.next, *next;

	for (; link != &keeper->connections; link = next) {
		struct connection *connection = LIST_OBJECT(link, struct connection, link);
		enum egress_verdict verdict = keeper_judge(keeper, connection->address);

		next = link->next;
		if (verdict == EGRESS_DENY ||
		    (verdict == EGRESS_BY_NAME && connection->step != SNIFFS &&
		     !(connection->name &&
		       egress_name_is_allowed(&keeper->policy, connection->name))))
			connection_end(connection, true);
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

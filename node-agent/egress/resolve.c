/*
 * Names.  A sandbox's questions go on to the operator's servers, from a fresh port and under a
 * fresh number each, if the rules let the name be asked for; and names by which connections are
 * allowed are looked up here in the same way.
 */
#include "node-agent/egress/keeper.h"

#include "common/base/check.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

struct lookup {
	struct keeper *keeper;
	struct list link;
	struct dns_question question;
	uint8_t query[DNS_QUERY_MAX];
	size_t query_n;
	uint16_t id; /* of ours to the server */
	size_t server;
	int fd;
	uv_poll_t poll;
	uv_timer_t patience;
	int handles_n;
	/* Who asked: a connection, or the sandbox from a port, of whom it believes to have asked.
	 */
	resolve_cb done;
	void *arg;
	uint16_t port, at_port;
	uint32_t at;
};

static void on_closed(uv_handle_t *handle)
{
	struct lookup *lookup = handle->data;

	if (--lookup->handles_n == 0)
		free(lookup);
}

/* ---- the end ---- */

static void lookup_end(struct lookup *lookup)
{
	list_remove(&lookup->link);
	lookup->keeper->lookups_n--;
	lookup->handles_n = 1;
	uv_close((uv_handle_t *)&lookup->patience, on_closed);
	if (lookup->fd >= 0) {
		lookup->handles_n++;
		uv_close((uv_handle_t *)&lookup->poll, on_closed);
		close(lookup->fd);
	}
}

static void answer_sandbox(const struct lookup *lookup, const uint8_t *answer, size_t n)
{
	udp_answer(lookup->keeper, lookup->at, lookup->at_port, lookup->port, answer, n);
}

static void lookup_done(struct lookup *lookup, uint8_t *answer, size_t n)
{
	uint32_t addresses[DNS_ADDRESSES_MAX];

	if (lookup->done) {
		lookup->done(lookup->arg, addresses, dns_addresses_read(answer, n, addresses));
	} else {
		answer[0] = (uint8_t)(lookup->question.id >> 8);
		answer[1] = (uint8_t)lookup->question.id;
		answer_sandbox(lookup, answer, n);
	}
	lookup_end(lookup);
}

static void lookup_failed(struct lookup *lookup)
{
	uint8_t answer[DNS_QUERY_MAX];
	size_t n = dns_answer_empty(lookup->query, &lookup->question, DNS_SERVER_FAILS, answer);

	lookup_done(lookup, answer, n);
}

/* ---- servers ---- */

static void on_answer(uv_poll_t *poll, int status, int events)
{
	struct lookup *lookup = poll->data;
	uint8_t answer[DNS_ANSWER_MAX + 1];
	ssize_t got = status == 0 ? recv(lookup->fd, answer, sizeof(answer), MSG_DONTWAIT) : -1;
	size_t n = got > 0 ? (size_t)got : 0;

	(void)events;
	/* What does not fit is said to be cut off. */
	if (n > DNS_ANSWER_MAX) {
		n = lookup->question.end;
		answer[2] |= 2;
		memset(answer + 6, 0, 6);
	}
	/* Anything else may be forged: the right answer may still come. */
	if (dns_answers(answer, n, &lookup->question, lookup->id))
		lookup_done(lookup, answer, n);
}

static bool lookup_ask(struct lookup *lookup);

static void on_silence(uv_timer_t *timer)
{
	struct lookup *lookup = timer->data;

	lookup->server++;
	if (!lookup_ask(lookup))
		lookup_failed(lookup);
}

static bool lookup_ask(struct lookup *lookup)
{
	const struct egress_host *host = &lookup->keeper->host;
	const struct egress_server *server = &host->servers[lookup->server];
	struct sockaddr_in to = {.sin_family = AF_INET};

	if (lookup->server >= host->servers_n)
		return false;
	to.sin_port = htons(server->port);
	to.sin_addr.s_addr = htonl(server->address);
	/* To the next server by the same socket: only its answers are heard from then on. */
	if (connect(lookup->fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		(void)send(lookup->fd, lookup->query, lookup->query_n, MSG_DONTWAIT | MSG_NOSIGNAL);
	uv_timer_start(&lookup->patience, on_silence, KEEPER_LOOKUP_MS, 0);
	return true;
}

/* The query is in it, with any number. NULL: not now. */
static struct lookup *lookup_begin(struct keeper *keeper, const struct lookup *from)
{
	struct lookup *lookup;
	int fd;

	if (keeper->lookups_n >= KEEPER_LOOKUPS_MAX || keeper->host.servers_n == 0 ||
	    !keeper_takes_new(keeper))
		return NULL;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	lookup = malloc(sizeof(*lookup));
	CHECK(lookup);
	*lookup = *from;
	lookup->keeper = keeper;
	lookup->fd = fd;
	CHECK(getrandom(&lookup->id, sizeof(lookup->id), 0) == sizeof(lookup->id));
	lookup->query[0] = (uint8_t)(lookup->id >> 8);
	lookup->query[1] = (uint8_t)lookup->id;
	list_append(&keeper->lookups, &lookup->link);
	keeper->lookups_n++;
	uv_timer_init(&keeper->loop, &lookup->patience);
	uv_poll_init(&keeper->loop, &lookup->poll, fd);
	lookup->patience.data = lookup->poll.data = lookup;
	uv_poll_start(&lookup->poll, UV_READABLE, on_answer);
	CHECK(lookup_ask(lookup));
	return lookup;
}

/* ---- who asks ---- */

void resolve_for_sandbox(struct keeper *keeper, uint16_t port, uint32_t at, uint16_t at_port,
			 const uint8_t *query, size_t n)
{
	struct lookup asked = {.port = port, .at = at, .at_port = at_port, .query_n = n};
	uint8_t answer[DNS_QUERY_MAX];
	uint8_t code;

	if (!dns_question_read(query, n, &asked.question))
		return;
	memcpy(asked.query, query, n);
	if (!egress_name_is_answered(&keeper->policy, asked.question.name))
		code = DNS_REFUSED;
	else if (asked.question.type == DNS_TYPE_AAAA)
		code = DNS_NO_ERROR; /* there is no way to such an address */
	else if (lookup_begin(keeper, &asked))
		return;
	else
		code = DNS_SERVER_FAILS;
	n = dns_answer_empty(query, &asked.question, code, answer);
	udp_answer(keeper, at, at_port, port, answer, n);
}

struct lookup *resolve_name(struct keeper *keeper, const char *name, resolve_cb done, void *arg)
{
	struct lookup asked = {.done = done, .arg = arg};

	asked.query_n = dns_query_write(name, 0, asked.query);
	if (!asked.query_n || !dns_question_read(asked.query, asked.query_n, &asked.question))
		return NULL;
	return lookup_begin(keeper, &asked);
}

void resolve_cancel(struct lookup *lookup)
{
	lookup_end(lookup);
}

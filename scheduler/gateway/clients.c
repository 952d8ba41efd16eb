/* All tenants' connections together: taking them, time limits, what happens to tunnels, stopping.
 */
#include "scheduler/gateway/client.h"

#include <stdlib.h>

#include "common/io/tls.h"

enum { SWEEP_MAX_MS = 1000, SWEEP_MIN_MS = 10 };

static void on_deadline(struct client *client)
{
	client->deadline_ms = 0;
	if (client->is_shut) {
		client_close(client);
		return;
	}
	switch (client->request) {
	case REQUEST_HEAD:
		if (client->in.n)
			response_answer(client, OUTCOME_HEAD_TIMEOUT);
		else if (client->queued_n)
			client_finish(client);
		else
			client_close(client);
		return;
	case REQUEST_HELD:
		response_answer(client, client->is_waking ? OUTCOME_WAKE_LATE
					: client->search  ? OUTCOME_BAD_SIGNATURE
							  : OUTCOME_NOT_FOUND);
		return;
	case REQUEST_SEARCHED:
		return;
	case REQUEST_BODY:
		if (client->response == RESPONSE_HEAD)
			response_answer(client, OUTCOME_BODY_TIMEOUT);
		else
			client_close(client);
		return;
	case REQUEST_DONE:
		client_close(client);
		return;
	case REQUEST_RAW:
	case REQUEST_DISCARD:
		return;
	}
}

/* One timer for all: looking at each client now and then is cheaper than a timer each. */
static void on_sweep(uv_timer_t *timer)
{
	struct gateway *gateway = timer->data;
	uint64_t now_ms = gateway_now_ms(gateway);
	struct list *link = list_first(&gateway->clients);

	while (link) {
		struct client *client = LIST_OBJECT(link, struct client, link);

		link = list_next(&gateway->clients, link);
		if (client->deadline_ms && now_ms >= client->deadline_ms)
			on_deadline(client);
	}
}

static void sweep_start(struct gateway *gateway)
{
	const struct gateway_options *options = gateway->options;
	uint64_t every_ms = SWEEP_MAX_MS;
	const uint64_t waits_ms[] = {options->head_ms, options->idle_ms, options->body_ms,
				     options->hold_ms, options->wake_ms, options->half_closed_ms};

	for (size_t at = 0; at < ARRAY_N(waits_ms); at++) {
		if (waits_ms[at] / 4 < every_ms)
			every_ms = waits_ms[at] / 4;
	}
	if (every_ms < SWEEP_MIN_MS)
		every_ms = SWEEP_MIN_MS;
	uv_timer_start(&gateway->sweep, on_sweep, every_ms, every_ms);
}

void clients_open(struct gateway *gateway)
{
	list_init(&gateway->clients);
	uv_timer_init(gateway->loop, &gateway->sweep);
	gateway->sweep.data = gateway;
}

void clients_on_connection(uv_stream_t *listener, int status)
{
	struct gateway *gateway = listener->data;
	struct client *client = status < 0 ? NULL : calloc(1, sizeof(*client));

	if (!client)
		return;
	client->gateway = gateway;
	client->tcp.data = client;
	client->keep_alive = true;
	uv_tcp_init(gateway->loop, &client->tcp);
	list_append(&gateway->clients, &client->link);
	if (!gateway->metrics.clients++)
		sweep_start(gateway);
	if (uv_accept(listener, (uv_stream_t *)&client->tcp) < 0) {
		client_close(client);
		return;
	}
	gateway->metrics.clients_accepted++;
	mux_link_tune(&client->tcp);
	if (listener == (uv_stream_t *)&gateway->tls_listener) {
		client->tls = tls_open(gateway->tls);
		if (!client->tls) {
			client_close(client);
			return;
		}
	}
	if (gateway->metrics.clients > (int64_t)gateway->options->clients_max) {
		gateway->metrics.clients_rejected++;
		response_answer(client, OUTCOME_FULL);
		return;
	}
	/* The first head, with its handshake, has its time from here on, a later one from its first
	 * byte. */
	client->is_head_timed = true;
	client_set_deadline(client, gateway->options->head_ms);
	client_set_reading(client, true);
}

void clients_on_bound(struct gateway *gateway, const struct sandbox_slot *slot)
{
	struct list *link = list_first(&gateway->clients);

	while (link) {
		struct client *client = LIST_OBJECT(link, struct client, link);

		link = list_next(&gateway->clients, link);
		if (client->request != REQUEST_HELD)
			continue;
		if (client->search) {
			search_on_bound(client, slot);
		} else if (id_equal(&client->route.sandbox, &slot->sandbox)) {
			client->request = REQUEST_HEAD;
			client_resume(client);
		}
	}
}

static bool waits_for(const struct client *client, const struct id *sandbox)
{
	return client->request == REQUEST_HELD && client->is_waking &&
	       id_equal(&client->route.sandbox, sandbox);
}

bool clients_wait_for(const struct gateway *gateway, const struct id *sandbox)
{
	for (const struct list *link = list_first(&gateway->clients); link;
	     link = list_next(&gateway->clients, link))
		if (waits_for(LIST_OBJECT(link, struct client, link), sandbox))
			return true;
	return false;
}

void clients_on_refused(struct gateway *gateway, const struct id *sandbox, enum outcome outcome)
{
	struct list *link = list_first(&gateway->clients);

	while (link) {
		struct client *client = LIST_OBJECT(link, struct client, link);

		link = list_next(&gateway->clients, link);
		if (waits_for(client, sandbox))
			response_answer(client, outcome);
	}
}

void clients_on_tunnel_lost(struct gateway *gateway, struct tunnel *tunnel)
{
	struct mux_event lost = {.kind = MUX_RESET, .reason = MUX_REASON_GONE};
	struct list *link = list_first(&gateway->clients);

	while (link) {
		struct client *client = LIST_OBJECT(link, struct client, link);

		link = list_next(&gateway->clients, link);
		if (client->response != RESPONSE_NONE && client->leg.tunnel == tunnel)
			client_on_mux_event(client, &lost);
	}
}

void clients_stop(struct gateway *gateway)
{
	struct list *link = list_first(&gateway->clients);

	while (link) {
		struct client *client = LIST_OBJECT(link, struct client, link);

		link = list_next(&gateway->clients, link);
		client->is_last = true;
		/* Who keeps volumes comes again, to whoever is here then. */
		if (client->request == REQUEST_RAW && client->route.port == MOUNT_PORT)
			client_close(client);
		else if (client->request == REQUEST_HEAD && !client->in.n && client->queued_n)
			client_finish(client);
		else if (client->request == REQUEST_HEAD && !client->in.n)
			client_close(client);
		else if (client->request == REQUEST_HELD)
			response_answer(client, OUTCOME_NOT_FOUND);
	}
}

void clients_close_all(struct gateway *gateway)
{
	struct list *link;

	while ((link = list_first(&gateway->clients)))
		client_reset(LIST_OBJECT(link, struct client, link));
}

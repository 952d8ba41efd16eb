/*
 * The leg to a guest.  With TLS one record at most waits for room in the stream, and credit for
 * ciphertext is given when all plaintext that came of it has been taken: a tenant who does not
 * read holds up the guest as ever.
 */
#include "scheduler/gateway/leg.h"

#include "common/io/tls.h"
#include "scheduler/gateway/client.h"

static struct mux *mux_of(const struct client *client)
{
	return tunnel_mux(client->leg.tunnel);
}

bool leg_open_guest(struct client *client, struct tunnel *tunnel, bool is_tls)
{
	struct leg leg = {.tunnel = tunnel};

	if (is_tls && !(leg.tls = tls_open(client->gateway->guest_tls)))
		return false;
	leg.stream = mux_open(tunnel_mux(tunnel), client->route.port, client);
	if (!leg.stream) {
		tls_close(leg.tls);
		return false;
	}
	client->leg = leg;
	return true;
}

/* A flush makes room in a full engine; only a full socket or no credit ends it. */
static size_t stream_write(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct mux *mux = mux_of(client);
	size_t all_n = 0;

	for (;;) {
		size_t n = mux_write(mux, client->leg.stream, bytes + all_n, bytes_n - all_n);

		all_n += n;
		if (!n || all_n == bytes_n)
			break;
		tunnel_flush(client->leg.tunnel);
	}
	client->gateway->metrics.bytes_in += all_n;
	return all_n;
}

/* False: some records wait for room. */
static bool send_records(struct client *client)
{
	struct leg *leg = &client->leg;
	const uint8_t *bytes;
	size_t bytes_n;

	while ((bytes = tls_output(leg->tls, &bytes_n))) {
		size_t n = stream_write(client, bytes, bytes_n);

		tls_output_done(leg->tls, n);
		if (n < bytes_n)
			return false;
	}
	if (leg->waits_to_end) {
		leg->waits_to_end = false;
		mux_end(mux_of(client), leg->stream);
	}
	return true;
}

static size_t write_sealed(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct leg *leg = &client->leg;
	size_t all_n = 0;

	while (send_records(client) && tls_is_ready(leg->tls) && all_n < bytes_n) {
		size_t n = bytes_n - all_n < TLS_RECORD_MAX ? bytes_n - all_n : TLS_RECORD_MAX;

		if (tls_write(leg->tls, bytes + all_n, n)) {
			client_close(client);
			break;
		}
		all_n += n;
	}
	return all_n;
}

size_t leg_write(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	if (client->leg.api)
		return leg_api_write(client, bytes, bytes_n);
	if (client->leg.tls)
		return write_sealed(client, bytes, bytes_n);
	return stream_write(client, bytes, bytes_n);
}

size_t leg_room(struct client *client)
{
	struct leg *leg = &client->leg;
	size_t room;

	if (leg->api)
		return leg_api_room(client);
	if (leg->tls)
		return send_records(client) && tls_is_ready(leg->tls) ? TLS_RECORD_MAX : 0;
	room = mux_write_room(mux_of(client), leg->stream);
	if (!room) {
		tunnel_flush(leg->tunnel);
		room = mux_write_room(mux_of(client), leg->stream);
	}
	if (!room)
		mux_want(mux_of(client), leg->stream);
	return room;
}

static void give_credit(struct client *client)
{
	struct leg *leg = &client->leg;

	if (leg->unread_n)
		return;
	mux_consumed(mux_of(client), leg->stream, leg->sealed_n);
	leg->sealed_n = 0;
}

void leg_consumed(struct client *client, size_t n)
{
	struct leg *leg = &client->leg;

	if (!leg->api && !leg->tls) {
		mux_consumed(mux_of(client), leg->stream, n);
		return;
	}
	CHECK(n <= leg->unread_n);
	leg->unread_n -= n;
	if (leg->api)
		leg_api_consumed(client);
	else
		give_credit(client);
}

void leg_end(struct client *client)
{
	struct leg *leg = &client->leg;

	if (leg->api) {
		leg_api_end(client);
	} else if (leg->tls) {
		tls_end(leg->tls);
		leg->waits_to_end = true;
		send_records(client);
	} else {
		mux_end(mux_of(client), leg->stream);
	}
}

void leg_flush(struct client *client)
{
	if (client->leg.tunnel)
		tunnel_flush(client->leg.tunnel);
}

void leg_close(struct client *client)
{
	struct leg leg = client->leg;

	if (leg.api)
		leg_api_close(client);
	client->leg = (struct leg){0};
	tls_close(leg.tls);
	if (!leg.tunnel)
		return;
	mux_reset(tunnel_mux(leg.tunnel), leg.stream, MUX_REASON_CANCELLED);
	tunnel_flush(leg.tunnel);
}

/* ---- what the stream tells ---- */

static void on_sealed(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct gateway *gateway = client->gateway;
	struct leg *leg = &client->leg;
	uint64_t exchange_n = client->exchange_n;
	bool was_ready = tls_is_ready(leg->tls);
	struct tls_read read;
	struct err err;
	int status = tls_feed(leg->tls, bytes, bytes_n, gateway->guest_plain,
			      sizeof(gateway->guest_plain), &read, &err);

	leg->sealed_n += bytes_n;
	leg->unread_n += read.plain_n;
	send_records(client);
	if (read.plain_n)
		response_on_data(client, gateway->guest_plain, read.plain_n);
	/* What it was told may have ended it, and what follows is not for the next one. */
	if (client->is_closing || client->response == RESPONSE_NONE ||
	    client->exchange_n != exchange_n)
		return;
	give_credit(client);
	if (status < 0)
		response_on_reset(client, was_ready ? OUTCOME_BAD_ANSWER : OUTCOME_NO_TLS);
	else if (read.is_ended)
		response_on_end(client);
	else if (!was_ready && tls_is_ready(leg->tls))
		request_on_writable(client);
}

/* is_lost: with the whole tunnel. */
static enum outcome outcome_of(enum mux_reason reason, bool is_lost)
{
	switch (reason) {
	case MUX_REASON_REFUSED:
		return OUTCOME_PORT_CLOSED;
	case MUX_REASON_LIMIT:
		return OUTCOME_TOO_MANY;
	case MUX_REASON_GONE:
		return is_lost ? OUTCOME_NOT_FOUND : OUTCOME_NO_ANSWER;
	case MUX_REASON_PROTOCOL:
	case MUX_REASON_CANCELLED:
	case MUX_REASON_TIMEOUT:
		return OUTCOME_NO_ANSWER;
	}
	return OUTCOME_NO_ANSWER;
}

void client_on_mux_event(struct client *client, const struct mux_event *event)
{
	switch (event->kind) {
	case MUX_DATA:
		if (client->leg.tls)
			on_sealed(client, event->data, event->data_n);
		else
			response_on_data(client, event->data, event->data_n);
		return;
	case MUX_END:
		response_on_end(client);
		return;
	case MUX_RESET:
		response_on_reset(client, outcome_of(event->reason, event->stream == 0));
		return;
	case MUX_WRITABLE:
		if (!client->leg.tls || send_records(client))
			request_on_writable(client);
		return;
	case MUX_READY:
	case MUX_RESTARTED:
	case MUX_OPENED:
	case MUX_ACCEPTED:
	case MUX_CREDIT:
	case MUX_PONG:
	case MUX_BROKEN:
		return;
	}
}

/* A request's way to the guest: its head is read, routed, rewritten; its body passes as it is. */
#include "scheduler/gateway/client.h"

ssize_t body_measure(struct body *body, const uint8_t *bytes, size_t bytes_n, bool *out_ended)
{
	size_t all_n = 0;

	*out_ended = false;
	switch (body->kind) {
	case HTTP_BODY_NONE:
		*out_ended = true;
		return 0;
	case HTTP_BODY_CLOSE:
		return (ssize_t)bytes_n;
	case HTTP_BODY_LENGTH:
		all_n = bytes_n < body->left ? bytes_n : (size_t)body->left;
		body->left -= all_n;
		*out_ended = !body->left;
		return (ssize_t)all_n;
	case HTTP_BODY_CHUNKED:
		break;
	}
	while (all_n < bytes_n) {
		struct http_text data;
		size_t used_n;
		enum http_verdict verdict =
			http_chunked_read(&body->chunked, (const char *)bytes + all_n,
					  bytes_n - all_n, &used_n, &data);

		if (verdict != HTTP_OK && verdict != HTTP_MORE)
			return -1;
		all_n += used_n;
		if (verdict == HTTP_OK && !data.n) {
			*out_ended = true;
			break;
		}
		if (verdict == HTTP_MORE)
			break;
	}
	return (ssize_t)all_n;
}

size_t request_write(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct mux *mux = tunnel_mux(client->tunnel);
	size_t all_n = 0;

	/* A flush makes room in a full engine; only a full socket or no credit ends it. */
	for (;;) {
		size_t n = mux_write(mux, client->stream, bytes + all_n, bytes_n - all_n);

		all_n += n;
		if (!n || all_n == bytes_n)
			break;
		tunnel_flush(client->tunnel);
	}
	client->gateway->metrics.bytes_in += all_n;
	return all_n;
}

static void begin_exchange(struct client *client, const struct http_head *head,
			   struct tunnel *tunnel, uint32_t stream)
{
	struct gateway *gateway = client->gateway;

	client->exchange_n++;
	client->tunnel = tunnel;
	client->stream = stream;
	client->response = RESPONSE_HEAD;
	client->response_scanned_n = 0;
	client->status = 0;
	client->dechunk = false;
	client->asked_at_ns = uv_hrtime();
	gateway->metrics.exchanges++;
	if (head->body == HTTP_BODY_NONE) {
		client->request = REQUEST_DONE;
		client_set_deadline(client, 0);
	} else {
		client->request = REQUEST_BODY;
		client_set_deadline(client, gateway->options->body_ms);
	}
}

/* False when it has to wait: the head stays where it is. */
static bool begin(struct client *client, const struct http_head *head)
{
	struct gateway *gateway = client->gateway;
	struct tunnel *tunnel;
	size_t head_n, sent_n;
	uint32_t stream;

	client->request_minor = head->minor;
	client->to_head = http_text_equal(head->method, "HEAD");
	client->keep_alive = head->keep_alive;
	client->wants_html = rewrite_wants_html(head);
	client->wants_upgrade = head->upgrade;
	client->request_body = (struct body){.kind = head->body, .left = head->length};
	client->route = route_decide(head);
	tunnel = client->route.outcome == OUTCOME_ROUTED
			 ? tunnels_find(gateway, &client->route.sandbox)
			 : NULL;
	if (client->route.outcome == OUTCOME_ROUTED && !tunnel && gateway_is_starting(gateway) &&
	    !gateway->is_stopping) {
		client->request = REQUEST_HELD;
		client_set_deadline(client, gateway->options->hold_ms);
		return false;
	}
	gateway->metrics.requests++;
	client->is_head_timed = false;
	if (!tunnel) {
		response_answer(client, client->route.outcome == OUTCOME_ROUTED
						? OUTCOME_NOT_FOUND
						: client->route.outcome);
		return true;
	}
	head_n = rewrite_request(head, gateway->head_buffer);
	stream = head_n ? mux_open(tunnel_mux(tunnel), client->route.port, client) : 0;
	if (!stream) {
		response_answer(client, head_n ? OUTCOME_TOO_MANY : OUTCOME_BAD_HEAD);
		return true;
	}
	begin_exchange(client, head, tunnel, stream);
	sent_n = request_write(client, (const uint8_t *)gateway->head_buffer, head_n);
	if (!bytes_append(&client->up, (const uint8_t *)gateway->head_buffer + sent_n,
			  head_n - sent_n))
		client_close(client);
	return true;
}

/* How many bytes were used: those of a whole head, or none. */
static size_t take_head(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct http_head head;
	size_t head_n;
	enum http_verdict verdict = http_request_parse((const char *)bytes, bytes_n,
						       &client->in_scanned_n, &head, &head_n);

	if (verdict == HTTP_MORE) {
		if (!client->is_head_timed)
			client_set_deadline(client, client->gateway->options->head_ms);
		client->is_head_timed = true;
		return 0;
	}
	client->in_scanned_n = 0;
	if (verdict != HTTP_OK) {
		response_refuse_head(client, http_verdict_status(verdict),
				     http_verdict_text(verdict));
		return 0;
	}
	return begin(client, &head) ? head_n : 0;
}

/* The head's rest, if the tunnel was too full for it, goes before anything else. */
static bool send_head_rest(struct client *client)
{
	if (client->up.n)
		bytes_remove(&client->up, request_write(client, client->up.at, client->up.n));
	return !client->up.n;
}

/* Measured only as far as it can be written, so that nothing is measured twice. */
static size_t take_body(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct mux *mux = tunnel_mux(client->tunnel);
	size_t room, written_n;
	ssize_t body_n;
	bool ended;

	if (!send_head_rest(client))
		return 0;
	room = mux_write_room(mux, client->stream);
	if (!room) {
		tunnel_flush(client->tunnel);
		room = mux_write_room(mux, client->stream);
	}
	if (!room) {
		mux_want(mux, client->stream);
		return 0;
	}
	body_n =
		body_measure(&client->request_body, bytes, room < bytes_n ? room : bytes_n, &ended);
	if (body_n < 0) {
		response_refuse_head(client, http_verdict_status(HTTP_BAD_CHUNK),
				     http_verdict_text(HTTP_BAD_CHUNK));
		return 0;
	}
	written_n = request_write(client, bytes, (size_t)body_n);
	CHECK(written_n == (size_t)body_n);
	if (ended) {
		client->request = REQUEST_DONE;
		client_set_deadline(client, 0);
	} else {
		client_set_deadline(client, client->gateway->options->body_ms);
	}
	return (size_t)body_n;
}

size_t request_take(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	size_t all_n = 0;
	size_t n = 1;

	while (n && all_n < bytes_n && !client->is_closing) {
		switch (client->request) {
		case REQUEST_HEAD:
			n = take_head(client, bytes + all_n, bytes_n - all_n);
			break;
		case REQUEST_BODY:
			n = take_body(client, bytes + all_n, bytes_n - all_n);
			break;
		case REQUEST_RAW:
			n = send_head_rest(client)
				    ? request_write(client, bytes + all_n, bytes_n - all_n)
				    : 0;
			break;
		case REQUEST_HELD:
		case REQUEST_DONE:
			n = 0;
			break;
		case REQUEST_DISCARD:
			n = bytes_n - all_n;
			break;
		}
		all_n += n;
	}
	if (!client->is_closing && client->response != RESPONSE_NONE)
		tunnel_flush(client->tunnel);
	return all_n;
}

void request_on_writable(struct client *client)
{
	if (send_head_rest(client))
		client_resume(client);
}

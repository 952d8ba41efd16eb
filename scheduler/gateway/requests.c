/* A request's way to the guest: its head is read, routed, rewritten; its body passes as it is. */
#include <sodium.h>

#include "scheduler/gateway/client.h"

static void begin_exchange(struct client *client, const struct http_head *head)
{
	struct gateway *gateway = client->gateway;

	client->exchange_n++;
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

static void read_head(struct client *client, const struct http_head *head)
{
	client->request_minor = head->minor;
	client->to_head = http_text_equal(head->method, "HEAD");
	client->keep_alive = head->keep_alive;
	client->wants_html = rewrite_wants_html(head);
	client->wants_upgrade = head->upgrade;
	client->request_body = http_body_begin(head);
}

/* A request that names no sandbox may be one for a signed URL. */
static enum outcome route(struct client *client, const struct http_head *head)
{
	struct route *to = &client->route;

	*to = route_decide(head,
			   (struct route_backends){
				   .api = client->gateway->options->api_backend.host[0],
				   .volumes = client->gateway->options->volumes_backend.host[0],
			   });
	if (to->outcome != OUTCOME_MISSING_HEADER && to->outcome != OUTCOME_BAD_HOST)
		return to->outcome;
	if (!client->found.text[0]) {
		to->outcome = search_begin(client, head, to->outcome);
		return to->outcome;
	}
	*to = (struct route){
		.outcome = OUTCOME_ROUTED, .sandbox = client->found, .port = ENVD_PORT};
	client->found = (struct id){{0}};
	return OUTCOME_ROUTED;
}

/* Where the request goes by what its sandbox is known for, and what its host becomes. */
static enum outcome open_leg(struct client *client, const struct http_head *head,
			     struct tunnel *tunnel, const char **out_host,
			     char host[INGRESS_MASKED_MAX])
{
	const struct ingress *ingress;
	uint16_t port = client->route.port;
	enum outcome outcome;

	*out_host = NULL;
	if (client->route.is_api || client->route.is_volumes)
		return leg_open_api(client) ? OUTCOME_ROUTED : leg_api_away(client);
	if (!tunnel)
		return OUTCOME_NOT_FOUND;
	if (port == MOUNT_PORT)
		return leg_open_guest(client, tunnel, false) ? OUTCOME_ROUTED : OUTCOME_TOO_MANY;
	ingress = tunnel_ingress(tunnel);
	outcome = ingress_judge(ingress, port, head);
	if (outcome != OUTCOME_ROUTED)
		return outcome;
	*out_host = ingress_host(ingress, port, host);
	return leg_open_guest(client, tunnel, ingress_wants_tls(ingress, port)) ? OUTCOME_ROUTED
										: OUTCOME_TOO_MANY;
}

/* Mounts are for who keeps volumes alone: others hear what they hear of envd's internal paths. */
static bool may_mount(const struct client *client, const struct http_head *head)
{
	struct http_text given = http_head_value(head, MOUNT_TOKEN_FIELD);
	char right[ENVD_TOKEN_TEXT_MAX];

	if (given.n != sizeof(right) - 1)
		return false;
	fleet_key_mount_token(&client->gateway->key, &client->route.sandbox, right);
	return !sodium_memcmp(given.at, right, given.n);
}

/* Its sandbox is not here: perhaps it is paused, or its shim still on the way. */
static bool hold(struct client *client)
{
	struct gateway *gateway = client->gateway;

	if (gateway->is_stopping)
		return false;
	/* A volume is no reason to let a paused sandbox go on. */
	client->is_waking =
		client->route.port != MOUNT_PORT && wake_begin(gateway, &client->route.sandbox);
	if (!client->is_waking && !gateway_is_starting(gateway))
		return false;
	client->request = REQUEST_HELD;
	client_set_deadline(client, client->is_waking ? gateway->options->wake_ms
						      : gateway->options->hold_ms);
	return true;
}

/* The API limits who asks by his address, which it cannot see; guests are told nothing of it. */
static const char *told_address(const struct client *client, struct address *out)
{
	struct sockaddr_storage peer = client_peer(client);

	return client->route.is_api && address_from_sockaddr((struct sockaddr *)&peer, out)
		       ? out->host
		       : NULL;
}

/* False when it has to wait: the head stays where it is. */
static bool begin(struct client *client, const struct http_head *head)
{
	struct gateway *gateway = client->gateway;
	char masked[INGRESS_MASKED_MAX];
	struct tunnel *tunnel = NULL;
	enum outcome outcome;
	struct address peer;
	size_t head_n, sent_n;
	bool is_for_sandbox;
	const char *host;

	read_head(client, head);
	outcome = route(client, head);
	if (client->search) {
		client->request = REQUEST_SEARCHED;
		client_set_deadline(client, 0);
		return false;
	}
	if (outcome == OUTCOME_ROUTED && client->route.port == MOUNT_PORT &&
	    !may_mount(client, head))
		outcome = OUTCOME_INTERNAL;
	is_for_sandbox =
		outcome == OUTCOME_ROUTED && !client->route.is_api && !client->route.is_volumes;
	if (is_for_sandbox)
		tunnel = tunnels_find(gateway, &client->route.sandbox);
	if (is_for_sandbox && !tunnel && hold(client))
		return false;
	client->is_waking = false;
	gateway->metrics.requests++;
	client->is_head_timed = false;
	if (outcome == OUTCOME_ROUTED)
		outcome = open_leg(client, head, tunnel, &host, masked);
	if (outcome != OUTCOME_ROUTED) {
		response_answer(client, outcome);
		return true;
	}
	begin_exchange(client, head);
	head_n = rewrite_request(head, host, told_address(client, &peer), gateway->head_buffer);
	if (!head_n) {
		response_answer(client, OUTCOME_BAD_HEAD);
		return true;
	}
	sent_n = leg_write(client, (const uint8_t *)gateway->head_buffer, head_n);
	if (!client->is_closing &&
	    !bytes_append(&client->up, (const uint8_t *)gateway->head_buffer + sent_n,
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
		bytes_remove(&client->up, leg_write(client, client->up.at, client->up.n));
	return !client->up.n && !client->is_closing;
}

/* Measured only as far as it can be written, so that nothing is measured twice. */
static size_t take_body(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	size_t room, written_n;
	ssize_t body_n;
	bool ended;

	if (!send_head_rest(client))
		return 0;
	room = leg_room(client);
	if (!room)
		return 0;
	body_n = http_body_measure(&client->request_body, bytes, room < bytes_n ? room : bytes_n,
				   &ended);
	if (body_n < 0) {
		response_refuse_head(client, http_verdict_status(HTTP_BAD_CHUNK),
				     http_verdict_text(HTTP_BAD_CHUNK));
		return 0;
	}
	written_n = leg_write(client, bytes, (size_t)body_n);
	if (client->is_closing)
		return 0;
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
				    ? leg_write(client, bytes + all_n, bytes_n - all_n)
				    : 0;
			break;
		case REQUEST_HELD:
		case REQUEST_SEARCHED:
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
		leg_flush(client);
	return all_n;
}

void request_on_writable(struct client *client)
{
	/* Also when nothing waits: the tenant's end may have waited for it. */
	if (send_head_rest(client))
		client_resume(client);
}

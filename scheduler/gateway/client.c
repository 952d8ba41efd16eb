/* One tenant's connection: reading, writing, ending.  See client.h. */
#include "scheduler/gateway/client.h"

#include <stdlib.h>
#include <string.h>

#include "common/io/tls.h"

enum { LINGER_MS = 2000 };

static void on_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;
	struct gateway *gateway = client->gateway;

	bytes_remove(&client->in, client->in.n);
	tls_close(client->tls);
	free(client);
	gateway_check_stopped(gateway);
}

static void forget(struct client *client)
{
	client->is_closing = true;
	search_cancel(client);
	if (client->response != RESPONSE_NONE)
		exchange_end(client, OUTCOME_CLIENT_GONE);
	list_remove(&client->link);
	client->gateway->metrics.clients--;
	if (!client->gateway->metrics.clients)
		uv_timer_stop(&client->gateway->sweep);
}

void client_close(struct client *client)
{
	if (client->is_closing)
		return;
	forget(client);
	uv_close((uv_handle_t *)&client->tcp, on_closed);
}

void client_reset(struct client *client)
{
	if (client->is_closing)
		return;
	forget(client);
	/* Not possible when an end is already on its way; then that end has to do. */
	if (uv_tcp_close_reset(&client->tcp, on_closed) < 0)
		uv_close((uv_handle_t *)&client->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
	struct client *client = request->data;

	if (client->is_closing)
		return;
	if (status < 0 || client->has_ended)
		client_close(client);
	else if (client->is_shut)
		client_set_deadline(client, LINGER_MS);
}

/* False when the connection had to be closed. */
static bool shut(struct client *client)
{
	if (client->is_half_shut)
		return true;
	if (client->tls) {
		tls_end(client->tls);
		client_send_sealed(client);
		if (client->is_closing)
			return false;
	}
	client->is_half_shut = true;
	client->shutdown.data = client;
	if (!uv_shutdown(&client->shutdown, (uv_stream_t *)&client->tcp, on_shutdown))
		return true;
	client_close(client);
	return false;
}

void client_half_close(struct client *client)
{
	shut(client);
}

/* Until the tenant has read it all and closes too: closing before would throw away what is still on
 * its way when the tenant is still sending. */
void client_finish(struct client *client)
{
	if (client->is_closing || client->is_shut)
		return;
	client->is_shut = true;
	client->request = REQUEST_DISCARD;
	bytes_remove(&client->in, client->in.n);
	if (!shut(client))
		return;
	client_set_deadline(client,
			    client->queued_n ? client->gateway->options->idle_ms : LINGER_MS);
	client_set_reading(client, true);
}

void client_set_deadline(struct client *client, uint64_t wait_ms)
{
	client->deadline_ms = wait_ms ? gateway_now_ms(client->gateway) + wait_ms : 0;
}

/* Once all that the tenant sent has been passed on. */
static void end_request(struct client *client)
{
	if (client->is_request_ended || client->in.n || client->up.n ||
	    client->response != RESPONSE_RAW)
		return;
	client->is_request_ended = true;
	leg_end(client);
	leg_flush(client);
}

/*
 * The tenant's end of the connection is over.  Who has asked may still be waiting for the answer:
 * some half-close after their last request.  Or the tenant is gone, which shows only when bytes are
 * sent to it: so a silent answer gets some time and no more.
 */
static void on_end(struct client *client)
{
	client->has_ended = true;
	client->is_reading = false;
	switch (client->request) {
	case REQUEST_HEAD:
		if (client->queued_n)
			client_finish(client);
		else
			client_close(client);
		return;
	case REQUEST_BODY:
		client_close(client);
		return;
	case REQUEST_HELD:
	case REQUEST_SEARCHED:
		client->is_last = true;
		return;
	case REQUEST_DONE:
		client->is_last = true;
		client_set_deadline(client, client->gateway->options->half_closed_ms);
		return;
	case REQUEST_RAW:
		end_request(client);
		if (client->is_guest_ended && !client->queued_n)
			client_close(client);
		return;
	case REQUEST_DISCARD:
		if (!client->queued_n)
			client_close(client);
		return;
	}
}

static void keep(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	if (!bytes_append(&client->in, bytes, bytes_n)) {
		client_close(client);
		return;
	}
	client_set_reading(client, !client->in.n || client->request == REQUEST_HEAD);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct client *client = handle->data;

	(void)suggested_n;
	*out_buffer = uv_buf_init((char *)client->gateway->read_buffer, GATEWAY_READ_MAX);
}

static void take(struct client *client, const uint8_t *bytes, size_t n)
{
	size_t used_n;

	if (client->in.n) {
		if (!bytes_append(&client->in, bytes, n))
			client_close(client);
		else
			client_resume(client);
		return;
	}
	client->is_taking = true;
	used_n = request_take(client, bytes, n);
	client->is_taking = false;
	if (!client->is_closing && !client->is_shut)
		keep(client, bytes + used_n, n - used_n);
}

static void take_sealed(struct client *client, const uint8_t *bytes, size_t n)
{
	struct gateway *gateway = client->gateway;
	struct tls_read read;
	struct err err;
	int status = tls_feed(client->tls, bytes, n, gateway->client_plain,
			      sizeof(gateway->client_plain), &read, &err);

	client_send_sealed(client);
	if (read.plain_n && !client->is_closing)
		take(client, gateway->client_plain, read.plain_n);
	if (client->is_closing)
		return;
	if (status < 0) {
		gateway->metrics.tls_broken++;
		client_close(client);
	} else if (read.is_ended) {
		client_set_reading(client, false);
		on_end(client);
	}
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct client *client = stream->data;
	const uint8_t *bytes = (const uint8_t *)buffer->base;

	if (client->is_closing || n == 0)
		return;
	if (n > 0 && client->tls)
		take_sealed(client, bytes, (size_t)n);
	else if (n > 0)
		take(client, bytes, (size_t)n);
	/* With TLS an end that was not announced is somebody's who cut the connection. */
	else if (n == UV_EOF && !client->tls)
		on_end(client);
	else
		client_close(client);
}

void client_resume(struct client *client)
{
	size_t used_n;

	if (client->is_taking || client->is_closing)
		return;
	client->is_taking = true;
	used_n = request_take(client, client->in.at, client->in.n);
	client->is_taking = false;
	if (client->is_closing || client->is_shut)
		return;
	bytes_remove(&client->in, used_n);
	if (client->has_ended && client->request == REQUEST_BODY && !client->in.n) {
		client_close(client);
		return;
	}
	if (client->has_ended)
		end_request(client);
	client_set_reading(client, !client->in.n || client->request == REQUEST_HEAD);
}

void client_set_reading(struct client *client, bool on)
{
	if (client->has_ended || client->is_closing || on == client->is_reading)
		return;
	client->is_reading = on;
	if (!on)
		uv_read_stop((uv_stream_t *)&client->tcp);
	else if (uv_read_start((uv_stream_t *)&client->tcp, on_allocate, on_read) < 0)
		client_close(client);
}

struct sockaddr_storage client_peer(const struct client *client)
{
	struct sockaddr_storage address = {.ss_family = AF_INET};
	int n = sizeof(address);

	(void)uv_tcp_getpeername(&client->tcp, (struct sockaddr *)&address, &n);
	return address;
}

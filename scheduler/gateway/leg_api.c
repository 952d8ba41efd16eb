/*
 * The leg to the API, for requests to api.<domain>, or to who keeps volumes: a connection of its
 * own for each, which nothing is read from while the tenant has not taken what came before.
 */
#include "scheduler/gateway/leg.h"

#include <stdlib.h>
#include <string.h>

#include "scheduler/gateway/client.h"

struct api_link {
	struct client *client; /* NULL: let go of, and closing */
	uv_tcp_t tcp;
	uv_connect_t connect;
	uv_shutdown_t shutdown;
	bool is_connected, is_reading, has_ended;
	size_t queued_n; /* what the socket has not taken yet */
};

struct api_write {
	uv_write_t request;
	struct api_link *link;
	size_t n;
	char bytes[];
};

enum outcome leg_api_away(const struct client *client)
{
	return client->route.is_volumes ? OUTCOME_VOLUMES_AWAY : OUTCOME_API_AWAY;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void leg_api_close(struct client *client)
{
	struct api_link *link = client->leg.api;

	link->client = NULL;
	uv_close((uv_handle_t *)&link->tcp, on_closed);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct api_link *link = handle->data;

	(void)suggested_n;
	*out_buffer = uv_buf_init((char *)link->client->gateway->read_buffer, GATEWAY_READ_MAX);
}

static void set_reading(struct api_link *link, bool on);

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct api_link *link = stream->data;
	struct client *client = link->client;

	if (!client || n == 0)
		return;
	if (n == UV_EOF) {
		set_reading(link, false);
		link->has_ended = true;
		response_on_end(client);
	} else if (n < 0) {
		response_on_reset(client, leg_api_away(client));
	} else {
		client->leg.unread_n += (size_t)n;
		response_on_data(client, (const uint8_t *)buffer->base, (size_t)n);
		if (link->client)
			set_reading(link, !client->leg.unread_n);
	}
}

static void set_reading(struct api_link *link, bool on)
{
	if (on == link->is_reading || link->has_ended)
		return;
	link->is_reading = on;
	if (on)
		uv_read_start((uv_stream_t *)&link->tcp, on_allocate, on_read);
	else
		uv_read_stop((uv_stream_t *)&link->tcp);
}

static void on_connect(uv_connect_t *request, int status)
{
	struct api_link *link = request->data;

	if (!link->client)
		return;
	if (status < 0) {
		response_on_reset(link->client, leg_api_away(link->client));
		return;
	}
	link->is_connected = true;
	uv_tcp_nodelay(&link->tcp, 1);
	set_reading(link, true);
	request_on_writable(link->client);
}

bool leg_open_api(struct client *client)
{
	const struct gateway_options *options = client->gateway->options;
	struct api_link *link = calloc(1, sizeof(*link));
	struct sockaddr_storage to;

	if (!link)
		return false;
	link->client = client;
	link->tcp.data = link;
	link->connect.data = link;
	uv_tcp_init(client->gateway->loop, &link->tcp);
	client->leg = (struct leg){.api = link};
	CHECK(address_to_sockaddr(
		client->route.is_volumes ? &options->volumes_backend : &options->api_backend, &to));
	if (!uv_tcp_connect(&link->connect, &link->tcp, (struct sockaddr *)&to, on_connect))
		return true;
	leg_api_close(client);
	client->leg = (struct leg){0};
	return false;
}

static void on_written(uv_write_t *request, int status)
{
	struct api_write *write = request->data;
	struct api_link *link = write->link;

	link->queued_n -= write->n;
	free(write);
	if (!link->client)
		return;
	if (status < 0)
		response_on_reset(link->client, leg_api_away(link->client));
	else if (!link->queued_n)
		request_on_writable(link->client);
}

/* All or nothing: what the socket does not take is copied, once. */
size_t leg_api_write(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	struct api_link *link = client->leg.api;
	uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)bytes_n);
	struct api_write *write;
	int n;

	if (!leg_api_room(client) || !bytes_n)
		return 0;
	n = uv_try_write((uv_stream_t *)&link->tcp, &buffer, 1);
	if (n == (int)bytes_n)
		return bytes_n;
	n = n < 0 ? 0 : n; /* a fault shows again below */
	write = malloc(sizeof(*write) + bytes_n - (size_t)n);
	if (!write) {
		client_close(client);
		return 0;
	}
	write->link = link;
	write->request.data = write;
	write->n = bytes_n - (size_t)n;
	memcpy(write->bytes, bytes + n, write->n);
	buffer = uv_buf_init(write->bytes, (unsigned)write->n);
	link->queued_n += write->n;
	if (uv_write(&write->request, (uv_stream_t *)&link->tcp, &buffer, 1, on_written)) {
		link->queued_n -= write->n;
		free(write);
		client_close(client);
	}
	return bytes_n;
}

size_t leg_api_room(const struct client *client)
{
	const struct api_link *link = client->leg.api;

	return link->is_connected && !link->queued_n ? GATEWAY_READ_MAX : 0;
}

void leg_api_consumed(struct client *client)
{
	if (!client->leg.unread_n && client->leg.api->is_connected)
		set_reading(client->leg.api, true);
}

void leg_api_end(struct client *client)
{
	struct api_link *link = client->leg.api;

	uv_shutdown(&link->shutdown, (uv_stream_t *)&link->tcp, NULL);
}

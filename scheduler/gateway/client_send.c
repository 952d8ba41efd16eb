/* What goes to a tenant: at once if the socket takes it, sealed if it speaks TLS. */
#include "scheduler/gateway/client.h"

#include <stdlib.h>
#include <string.h>

#include "common/io/tls.h"

/* A write that the socket did not take at once. */
struct queued_write {
	uv_write_t request;
	struct client *client;
	uint64_t exchange_n; /* that the bytes belong to */
	size_t bytes_n, consumed_n;
	char bytes[];
};

static void on_written(uv_write_t *request, int status)
{
	struct queued_write *write = request->data;
	struct client *client = write->client;

	client->queued_n -= write->bytes_n;
	if (!client->is_closing) {
		if (status < 0) {
			client_close(client);
		} else if (client->response != RESPONSE_NONE &&
			   client->exchange_n == write->exchange_n) {
			leg_consumed(client, write->consumed_n);
			leg_flush(client);
		}
	}
	free(write);
}

static void queue(struct client *client, const uv_buf_t *buffers, unsigned buffers_n, size_t skip_n,
		  size_t bytes_n, size_t consumed_n)
{
	struct queued_write *write = malloc(sizeof(*write) + bytes_n);
	uv_buf_t rest;
	size_t at = 0;

	if (!write) {
		client_close(client);
		return;
	}
	*write = (struct queued_write){
		.client = client,
		.exchange_n = client->exchange_n,
		.bytes_n = bytes_n,
		.consumed_n = consumed_n,
	};
	for (unsigned i = 0; i < buffers_n; i++) {
		size_t skipped_n = skip_n < buffers[i].len ? skip_n : buffers[i].len;

		memcpy(write->bytes + at, buffers[i].base + skipped_n, buffers[i].len - skipped_n);
		at += buffers[i].len - skipped_n;
		skip_n -= skipped_n;
	}
	write->request.data = write;
	rest = uv_buf_init(write->bytes, (unsigned)bytes_n);
	if (uv_write(&write->request, (uv_stream_t *)&client->tcp, &rest, 1, on_written) < 0) {
		free(write);
		client_close(client);
		return;
	}
	client->queued_n += bytes_n;
}

/* Bytes as they go over the connection. */
static void send_raw(struct client *client, const uv_buf_t *buffers, unsigned buffers_n,
		     size_t consumed_n)
{
	size_t total_n = 0, sent_n = 0;

	for (unsigned i = 0; i < buffers_n; i++)
		total_n += buffers[i].len;
	if (!client->queued_n && total_n) {
		int n = uv_try_write((uv_stream_t *)&client->tcp, buffers, buffers_n);

		if (n < 0 && n != UV_EAGAIN) {
			client_close(client);
			return;
		}
		sent_n = n < 0 ? 0 : (size_t)n;
	}
	if (sent_n < total_n)
		queue(client, buffers, buffers_n, sent_n, total_n - sent_n, consumed_n);
	else if (client->response != RESPONSE_NONE)
		leg_consumed(client, consumed_n);
}

/* What the session has to say: records, its handshake, alerts. */
static void send_sealed(struct client *client, size_t consumed_n)
{
	size_t n;
	const uint8_t *bytes = tls_output(client->tls, &n);
	uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)n);

	/* After our end not even an alert can be sent. */
	if (!client->is_half_shut)
		send_raw(client, &buffer, 1, consumed_n);
	tls_output_done(client->tls, n);
}

void client_send(struct client *client, const uv_buf_t *buffers, unsigned buffers_n,
		 size_t consumed_n)
{
	int status = 0;

	/* Who was told that nothing more comes is told nothing more. */
	if (client->is_closing || client->is_half_shut)
		return;
	if (!client->tls) {
		send_raw(client, buffers, buffers_n, consumed_n);
		return;
	}
	/* Before the handshake is done there is nobody to say anything to. */
	if (!tls_is_ready(client->tls)) {
		client_close(client);
		return;
	}
	for (unsigned i = 0; i < buffers_n && status == 0; i++)
		status = tls_write(client->tls, (uint8_t *)buffers[i].base, buffers[i].len);
	if (status < 0)
		client_close(client);
	else
		send_sealed(client, consumed_n);
}

void client_send_sealed(struct client *client)
{
	send_sealed(client, 0);
}

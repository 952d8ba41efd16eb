/* See gate.h. */
#include "tests/vm/gate.h"

#include "common/base/check.h"
#include "common/mux/link.h"
#include "common/mux/tunnel.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gate {
	struct rig *rig;
	struct rig_clone *clone; /* once bound */
	uv_tcp_t tcp;
	uv_write_t verdict_write;
	uint8_t verdict[TUNNEL_VERDICT_N];
	uint8_t bind[TUNNEL_BIND_N];
	size_t bind_n;
	struct mux *mux;
	struct mux_link link;
	uint8_t input[32 * 1024];
};

static void on_closed(uv_handle_t *handle)
{
	struct gate *gate = handle->data;

	mux_destroy(gate->mux);
	free(gate);
}

void gate_close(struct gate *gate)
{
	if (gate->clone && gate->clone->gate == gate)
		gate->clone->gate = NULL;
	if (!uv_is_closing((uv_handle_t *)&gate->tcp))
		uv_close((uv_handle_t *)&gate->tcp, on_closed);
}

static void on_link_room(struct mux_link *link)
{
	(void)link;
}

static void on_link_fault(struct mux_link *link, int error)
{
	(void)error;
	gate_close(link->arg);
}

static void take_data(struct gate *gate, const struct mux_event *event)
{
	struct rig_clone *clone = gate->clone;
	size_t room = sizeof(clone->answer) - 1 - clone->answer_n;
	size_t n = event->data_n < room ? event->data_n : room;

	memcpy(clone->answer + clone->answer_n, event->data, n);
	clone->answer_n += n;
	clone->answer[clone->answer_n] = 0;
	mux_consumed(gate->mux, event->stream, event->data_n);
}

static void take_events(struct gate *gate)
{
	struct mux_event event;

	while (mux_next(gate->mux, &event)) {
		if (event.kind == MUX_DATA) {
			take_data(gate, &event);
		} else if (event.kind == MUX_END) {
			mux_end(gate->mux, event.stream);
			gate->clone->is_answered = true;
		} else if (event.kind == MUX_RESET) {
			gate->clone->is_answered = true;
		}
		CHECK(event.kind != MUX_BROKEN);
	}
	if (mux_link_flush(&gate->link))
		gate_close(gate);
}

static void bind_tunnel(struct gate *gate)
{
	const struct mux_config config = {
		.initiator = true, .open_max = MUX_STREAMS_EARLY, .output_max = 64 * 1024};
	struct ticket ticket;
	struct id sandbox;
	uv_buf_t buf;

	CHECK(tunnel_bind_decode(gate->bind, &sandbox, &ticket));
	for (size_t i = 0; i < gate->rig->clones_n; i++)
		if (id_equal(&gate->rig->clones[i].sandbox, &sandbox))
			gate->clone = &gate->rig->clones[i];
	CHECK(gate->clone && !gate->clone->gate);
	tunnel_verdict_encode(TUNNEL_BOUND, gate->verdict);
	buf = uv_buf_init((char *)gate->verdict, sizeof(gate->verdict));
	uv_write(&gate->verdict_write, (uv_stream_t *)&gate->tcp, &buf, 1, NULL);
	gate->mux = mux_create(&config);
	CHECK(gate->mux);
	gate->link = (struct mux_link){.mux = gate->mux,
				       .stream = (uv_stream_t *)&gate->tcp,
				       .on_room = on_link_room,
				       .on_fault = on_link_fault,
				       .arg = gate};
	gate->clone->gate = gate;
	mux_link_flush(&gate->link);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct gate *gate = handle->data;

	(void)suggested;
	if (!gate->mux)
		*buf = uv_buf_init((char *)gate->bind + gate->bind_n,
				   (unsigned)(TUNNEL_BIND_N - gate->bind_n));
	else
		*buf = uv_buf_init((char *)gate->input, sizeof(gate->input));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct gate *gate = stream->data;

	(void)buf;
	if (n < 0) {
		gate_close(gate);
	} else if (!gate->mux) {
		gate->bind_n += (size_t)n;
		if (gate->bind_n == TUNNEL_BIND_N)
			bind_tunnel(gate);
	} else if (n > 0) {
		mux_feed(gate->mux, gate->input, (size_t)n);
		take_events(gate);
	}
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct gate *gate = calloc(1, sizeof(*gate));

	CHECK(status == 0 && gate);
	gate->rig = listener->data;
	uv_tcp_init(listener->loop, &gate->tcp);
	gate->tcp.data = gate;
	CHECK(uv_accept(listener, (uv_stream_t *)&gate->tcp) == 0);
	mux_link_tune(&gate->tcp);
	CHECK(uv_read_start((uv_stream_t *)&gate->tcp, on_alloc, on_read) == 0);
}

void gate_listen(struct rig *rig)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int at_n = sizeof(at);

	uv_tcp_init(&rig->loop, &rig->listener);
	rig->listener.data = rig;
	CHECK(uv_tcp_bind(&rig->listener, (struct sockaddr *)&at, 0) == 0);
	CHECK(uv_listen((uv_stream_t *)&rig->listener, 128, on_connection) == 0);
	CHECK(uv_tcp_getsockname(&rig->listener, (struct sockaddr *)&at, &at_n) == 0);
	snprintf(rig->gateway, sizeof(rig->gateway), "127.0.0.1:%u", ntohs(at.sin_port));
}

void gate_request(struct gate *gate, const char *text, size_t text_n)
{
	uint32_t stream = mux_open(gate->mux, 49983, NULL);

	CHECK(stream);
	CHECK(mux_write(gate->mux, stream, (const uint8_t *)text, text_n) == text_n);
	CHECK(mux_link_flush(&gate->link) == 0);
}

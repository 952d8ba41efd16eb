/*
 * Serves a template, or what is saved, to whoever the gateway lets in: the tunnel is bound under
 *the transfer's name with the ticket that the scheduler made, as a shim does it for a sandbox, and
 *what comes over it are plain requests:
 *
 *	GET /listing            the listing
 *	GET /piece/FILE/PIECE   a piece, by the numbers of both in the listing
 *
 * Nobody else is there to be served, so one process, one thread, and 1 MiB for each request.
 */
#include "node-agent/carry/carry.h"

#include "common/base/check.h"
#include "common/base/list.h"
#include "common/http/head.h"
#include "common/io/address.h"
#include "common/mux/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	HEAD_MAX = 8 * 1024,
	OUTPUT_MAX = 256 * 1024,
	READ_MAX = 64 * 1024,
	IDLE_MS = 60000,
	AGAIN_MS = 500,
};

struct send {
	const struct carry_order *order;
	struct listing listing;
	const char *text;
	size_t text_n;
	bool is_offered;
	uv_loop_t loop;
	uv_timer_t idle, again;
	struct sockaddr_storage to;
	uv_connect_t connect;
	uv_tcp_t tcp;
	bool is_closing; /* the connection */
	uint8_t verdict[TUNNEL_VERDICT_N];
	size_t verdict_n; /* all of it: bound */
	struct mux *mux;
	struct mux_link link;
	struct list requests;
	uint8_t read_buffer[READ_MAX];
};

/* One request. */
struct request {
	struct list link; /* in send.requests */
	char head[HEAD_MAX];
	size_t head_n, scanned_n;
	bool answers;
	char answer_head[128];
	uint8_t *piece; /* owned; NULL: body is not */
	const uint8_t *body;
	size_t head_left, body_left;
};

static void dial(struct send *send);

/* ---- requests ---- */

static void request_free(struct request *request)
{
	list_remove(&request->link);
	free(request->piece);
	free(request);
}

/* As much as goes; once all of it went the request is over. */
static void request_write(struct send *send, uint32_t stream, struct request *request)
{
	size_t n = strlen(request->answer_head);

	if (request->head_left) {
		const uint8_t *at = (const uint8_t *)request->answer_head + n - request->head_left;
		request->head_left -= mux_write(send->mux, stream, at, request->head_left);
	}
	if (!request->head_left && request->body_left) {
		n = mux_write(send->mux, stream, request->body, request->body_left);
		request->body += n;
		request->body_left -= n;
	}
	if (request->head_left || request->body_left)
		return;
	mux_owner_set(send->mux, stream, NULL);
	mux_end(send->mux, stream);
	request_free(request);
}

static void answer(struct request *request, int status, const uint8_t *body, size_t body_n)
{
	request->answers = true;
	request->body = body;
	request->body_left = body_n;
	snprintf(request->answer_head, sizeof(request->answer_head),
		 "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
		 status == 200 ? "OK" : "Not Found", body_n);
	request->head_left = strlen(request->answer_head);
}

static bool read_piece(const struct send *send, const struct listing_file *file,
		       const struct listing_piece *piece, uint8_t *out)
{
	const char *dir = send->order->store, *name = file->path;
	char path[PATH_MAX];
	size_t got = 0;
	ssize_t n = 1;
	int fd;

	if (send->order->saved[0]) {
		dir = send->order->saved;
		name = strrchr(file->path, '/') + 1;
	}
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= PATH_MAX)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	while (fd >= 0 && n > 0 && got < piece->length) {
		n = pread(fd, out + got, piece->length - got, (off_t)(piece->offset + got));
		got += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	return got == piece->length;
}

static void answer_piece(struct send *send, struct request *request, unsigned file, unsigned piece)
{
	const struct listing_file *it;

	if (file >= send->listing.files_n || piece >= send->listing.files[file].pieces_n) {
		answer(request, 404, NULL, 0);
		return;
	}
	it = &send->listing.files[file];
	request->piece = malloc(LISTING_PIECE_MAX);
	CHECK(request->piece);
	if (read_piece(send, it, &send->listing.pieces[it->first_piece + piece], request->piece))
		answer(request, 200, request->piece,
		       send->listing.pieces[it->first_piece + piece].length);
	else
		answer(request, 404, NULL, 0);
}

static void request_answer(struct send *send, struct request *request, const struct http_head *head)
{
	char target[64];
	unsigned file, piece;
	int used = 0;

	uv_timer_again(&send->idle);
	if (!http_text_equal(head->method, "GET") ||
	    !http_text_copy(head->target, target, sizeof(target)))
		answer(request, 404, NULL, 0);
	else if (!strcmp(target, "/listing"))
		answer(request, 200, (const uint8_t *)send->text, send->text_n);
	else if (sscanf(target, "/piece/%6u/%9u%n", &file, &piece, &used) == 2 && !target[used])
		answer_piece(send, request, file, piece);
	else
		answer(request, 404, NULL, 0);
}

/* False: it is not to go on. */
static bool request_read(struct send *send, struct request *request, const uint8_t *bytes, size_t n)
{
	struct http_head head;
	enum http_verdict verdict;
	size_t head_n;

	if (request->answers)
		return true; /* a body that nobody asked for */
	if (n > sizeof(request->head) - request->head_n)
		return false;
	memcpy(request->head + request->head_n, bytes, n);
	request->head_n += n;
	verdict = http_request_parse(request->head, request->head_n, &request->scanned_n, &head,
				     &head_n);
	if (verdict == HTTP_OK)
		request_answer(send, request, &head);
	return verdict == HTTP_OK || verdict == HTTP_MORE;
}

/* ---- the tunnel ---- */

static void on_again(uv_timer_t *timer)
{
	dial(timer->data);
}

static void on_closed_dial_again(uv_handle_t *handle)
{
	struct send *send = handle->data;

	send->is_closing = false;
	if (!uv_is_closing((uv_handle_t *)&send->again))
		uv_timer_start(&send->again, on_again, AGAIN_MS, 0);
}

/* Whoever was fetching asks again. */
static void lose(struct send *send)
{
	struct list *link;

	if (send->is_closing)
		return;
	send->is_closing = true;
	while ((link = list_first(&send->requests)))
		request_free(LIST_OBJECT(link, struct request, link));
	uv_close((uv_handle_t *)&send->tcp, on_closed_dial_again);
}

static void on_event(struct send *send, const struct mux_event *event)
{
	struct request *request = event->owner;

	switch (event->kind) {
	case MUX_OPENED:
		request = calloc(1, sizeof(*request));
		CHECK(request);
		mux_accept(send->mux, event->stream);
		mux_owner_set(send->mux, event->stream, request);
		list_append(&send->requests, &request->link);
		break;
	case MUX_DATA:
		mux_consumed(send->mux, event->stream, event->data_n);
		if (!request)
			break;
		if (!request_read(send, request, event->data, event->data_n)) {
			mux_owner_set(send->mux, event->stream, NULL);
			request_free(request);
			mux_reset(send->mux, event->stream, MUX_REASON_PROTOCOL);
		} else if (request->answers) {
			request_write(send, event->stream, request);
		}
		break;
	case MUX_WRITABLE:
		if (request && request->answers)
			request_write(send, event->stream, request);
		break;
	case MUX_RESET:
		if (request)
			request_free(request);
		break;
	case MUX_BROKEN:
		lose(send);
		break;
	case MUX_READY:
	case MUX_RESTARTED:
	case MUX_ACCEPTED:
	case MUX_END:
	case MUX_CREDIT:
	case MUX_PONG:
		break;
	}
}

static void pump(struct send *send)
{
	struct mux_event event;
	bool any = true;

	while (any && !send->is_closing) {
		any = false;
		while (!send->is_closing && mux_next(send->mux, &event)) {
			any = true;
			on_event(send, &event);
		}
		if (!send->is_closing && mux_link_flush(&send->link) < 0)
			lose(send);
	}
}

static void on_link_room(struct mux_link *link)
{
	pump(link->arg);
}

static void on_link_fault(struct mux_link *link, int error)
{
	(void)error;
	lose(link->arg);
}

static void on_verdict(struct send *send)
{
	enum tunnel_verdict verdict;
	struct err err;

	if (!tunnel_verdict_decode(send->verdict, &verdict) || verdict == TUNNEL_BUSY) {
		lose(send);
		return;
	}
	if (verdict == TUNNEL_REFUSED) {
		err_set(&err, "the gateway refuses the ticket");
		say_failed(REFUSAL_TRANSFER_LOST, &err);
	}
	mux_restart(send->mux);
	if (!send->is_offered) {
		uint8_t digest[LISTING_DIGEST_N];
		digest_of(send->text, send->text_n, digest);
		say_offered(send->listing.bytes, digest, send->listing.id);
	}
	send->is_offered = true;
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct send *send = handle->data;

	(void)suggested_n;
	*out_buffer = uv_buf_init((char *)send->read_buffer, READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct send *send = stream->data;
	const uint8_t *bytes = (const uint8_t *)buffer->base;
	size_t left = n > 0 ? (size_t)n : 0;

	if (send->is_closing || n == 0)
		return;
	if (n < 0) {
		lose(send);
		return;
	}
	while (left && send->verdict_n < TUNNEL_VERDICT_N) {
		send->verdict[send->verdict_n++] = *bytes++;
		left--;
		if (send->verdict_n == TUNNEL_VERDICT_N)
			on_verdict(send);
	}
	if (!left || send->is_closing)
		return;
	mux_feed(send->mux, bytes, left);
	pump(send);
}

static void on_connect(uv_connect_t *connect, int status)
{
	struct send *send = connect->data;
	uint8_t bind[TUNNEL_BIND_MAX];
	uv_buf_t buffer;

	if (send->is_closing)
		return;
	buffer = uv_buf_init(
		(char *)bind,
		(unsigned)tunnel_bind_encode(&send->order->transfer, &send->order->ticket,
					     send->order->ingress, send->order->ingress_n, bind));
	/* The first bytes of a connection always fit into an empty socket buffer. */
	if (status < 0 || uv_try_write((uv_stream_t *)&send->tcp, &buffer, 1) != (int)buffer.len ||
	    uv_read_start((uv_stream_t *)&send->tcp, on_allocate, on_read) < 0) {
		lose(send);
		return;
	}
	mux_link_tune(&send->tcp);
}

static void dial(struct send *send)
{
	uv_tcp_init(&send->loop, &send->tcp);
	send->tcp.data = send;
	send->connect.data = send;
	send->verdict_n = 0;
	send->link = (struct mux_link){.mux = send->mux,
				       .stream = (uv_stream_t *)&send->tcp,
				       .on_room = on_link_room,
				       .on_fault = on_link_fault,
				       .arg = send};
	if (uv_tcp_connect(&send->connect, &send->tcp, (struct sockaddr *)&send->to, on_connect) <
	    0)
		lose(send);
}

/* ---- the whole ---- */

static void on_idle(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

int send_run(const struct carry_order *order, struct err *err)
{
	static struct send send;
	struct address address;
	char *text;

	send.order = order;
	if (!address_parse(order->gateway, &address) || !address_to_sockaddr(&address, &send.to))
		return err_set(err, "`%s` is no numeric address of a gateway", order->gateway);
	if (gather(order, &text, &send.text_n, err) ||
	    listing_parse(text, send.text_n, &send.listing, err))
		return -1;
	send.text = text;
	send.mux = mux_create(
		&(struct mux_config){.accept_max = MUX_STREAMS_EARLY, .output_max = OUTPUT_MAX});
	if (!send.mux)
		return err_errno(err, ENOMEM, "a tunnel");
	list_init(&send.requests);
	uv_loop_init(&send.loop);
	uv_timer_init(&send.loop, &send.idle);
	uv_timer_init(&send.loop, &send.again);
	send.idle.data = send.again.data = &send;
	uv_timer_start(&send.idle, on_idle, IDLE_MS, IDLE_MS);
	dial(&send);
	uv_run(&send.loop, UV_RUN_DEFAULT);
	return 0; /* what is open goes with the process */
}

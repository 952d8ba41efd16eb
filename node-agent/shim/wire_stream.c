/* See wire_stream.h. */
#include "node-agent/shim/wire_stream.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

struct pending_write {
	uv_write_t req;
	uint8_t bytes[];
};

static void on_freed(uv_handle_t *handle)
{
	free(handle);
}

void wire_stream_close(struct wire_stream *stream)
{
	if (!stream->pipe)
		return;
	stream->pipe->data = NULL;
	uv_close((uv_handle_t *)stream->pipe, on_freed);
	stream->pipe = NULL;
	free(stream->input);
	stream->input = NULL;
	stream->input_n = stream->input_size = 0;
}

bool wire_stream_is_open(const struct wire_stream *stream)
{
	return stream->pipe != NULL;
}

static void fail(struct wire_stream *stream, const struct err *why)
{
	wire_stream_close(stream);
	stream->callbacks.on_closed(stream->callbacks.arg, why);
}

static void on_written(uv_write_t *req, int status)
{
	(void)status; /* a broken connection is noticed by reading */
	free((char *)req - offsetof(struct pending_write, req));
}

void wire_stream_send(struct wire_stream *stream, const struct wire_shape *shape,
		      const void *message)
{
	size_t max = FRAME_HEAD_N + wire_size(shape, message);
	struct pending_write *write;
	uv_buf_t buf;
	size_t n;
	int sent;

	if (!stream->pipe)
		return;
	write = malloc(sizeof(*write) + max);
	CHECK(write);
	CHECK(frame_encode(shape, message, write->bytes, max, &n, NULL) == 0);
	buf = uv_buf_init((char *)write->bytes, (unsigned)n);
	sent = uv_try_write((uv_stream_t *)stream->pipe, &buf, 1);
	if (sent == (int)n) {
		free(write);
		return;
	}
	if (sent > 0)
		buf = uv_buf_init(buf.base + sent, (unsigned)n - (unsigned)sent);
	if (uv_write(&write->req, (uv_stream_t *)stream->pipe, &buf, 1, on_written))
		free(write);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct wire_stream *stream = handle->data;

	(void)suggested;
	if (stream->input_size - stream->input_n < 4096) {
		size_t size = stream->input_size ? stream->input_size * 2 : 4096;
		uint8_t *larger;

		if (size > WIRE_STREAM_FRAME_MAX)
			size = WIRE_STREAM_FRAME_MAX;
		larger = realloc(stream->input, size);
		CHECK(larger);
		stream->input = larger;
		stream->input_size = size;
	}
	*buf = uv_buf_init((char *)stream->input + stream->input_n,
			   (unsigned)(stream->input_size - stream->input_n));
}

/* False: the stream has been closed, by us or by what a message led to. */
static bool take_frames(uv_stream_t *handle, struct wire_stream *stream)
{
	const struct wire_shape *shape;
	struct wire_bytes body;
	size_t taken = 0, used;
	struct err err;

	for (;;) {
		if (frame_next(stream->input + taken, stream->input_n - taken, &used, &shape, &body,
			       &err)) {
			fail(stream, &err);
			return false;
		}
		if (used == 0)
			break;
		taken += used;
		if (shape)
			stream->callbacks.on_message(stream->callbacks.arg, shape, &body);
		if (!handle->data)
			return false;
	}
	stream->input_n -= taken;
	memmove(stream->input, stream->input + taken, stream->input_n);
	return true;
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
	struct wire_stream *stream = handle->data;
	struct err err;

	(void)buf;
	if (!stream || n == 0)
		return;
	if (n < 0) {
		err_set(&err, "%s",
			n == UV_ENOBUFS ? "a message is too long" : uv_strerror((int)n));
		fail(stream, &err);
		return;
	}
	stream->input_n += (size_t)n;
	if (!take_frames(handle, stream) || stream->input_n > 0)
		return;
	free(stream->input);
	stream->input = NULL;
	stream->input_size = 0;
}

void wire_stream_open(struct wire_stream *stream, uv_pipe_t *pipe,
		      const struct wire_stream_callbacks *callbacks)
{
	memset(stream, 0, sizeof(*stream));
	stream->callbacks = *callbacks;
	stream->pipe = pipe;
	pipe->data = stream;
	CHECK(uv_read_start((uv_stream_t *)pipe, on_alloc, on_read) == 0);
}

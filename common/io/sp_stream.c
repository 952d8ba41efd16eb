/* NNG's TCP mapping; see sp_stream.h. */
#include "common/io/sp_stream.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 4096 };

void sp_stream_init(struct sp_stream *stream, uint16_t peer, size_t message_max)
{
	*stream = (struct sp_stream){.peer = peer, .message_max = message_max};
}

void sp_stream_close(struct sp_stream *stream)
{
	free(stream->message);
	stream->message = NULL;
}

void sp_greeting(uint16_t self, uint8_t out[SP_HEAD_N])
{
	memcpy(out, (uint8_t[]){0, 'S', 'P', 0, (uint8_t)(self >> 8), (uint8_t)self, 0, 0},
	       SP_HEAD_N);
}

void sp_length(size_t n, uint8_t out[SP_HEAD_N])
{
	for (int i = 0; i < SP_HEAD_N; i++)
		out[i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
}

static void take(const uint8_t **data, size_t *n, uint8_t *out, size_t taken_n)
{
	memcpy(out, *data, taken_n);
	*data += taken_n;
	*n -= taken_n;
}

/* True once the head is all there. */
static bool fill_head(struct sp_stream *stream, const uint8_t **data, size_t *n)
{
	size_t missing_n = SP_HEAD_N - stream->head_n;

	if (missing_n > *n)
		missing_n = *n;
	take(data, n, stream->head + stream->head_n, missing_n);
	stream->head_n += missing_n;
	if (stream->head_n < SP_HEAD_N)
		return false;
	stream->head_n = 0;
	return true;
}

/* Adds what has come to the message in pieces. */
static void gather(struct sp_stream *stream, const uint8_t **data, size_t *n)
{
	size_t missing_n = stream->message_size - stream->message_n;
	size_t taken_n = missing_n < *n ? missing_n : *n;
	size_t needed = stream->message_n + taken_n;

	if (needed > stream->room || !stream->message) {
		stream->room = needed < ROOM_MIN ? ROOM_MIN : needed * 2;
		if (stream->room > stream->message_size)
			stream->room = stream->message_size;
		stream->message = realloc(stream->message, stream->room);
		CHECK(stream->message);
	}
	take(data, n, stream->message + stream->message_n, taken_n);
	stream->message_n += taken_n;
}

static enum sp_found greet(struct sp_stream *stream)
{
	uint8_t wanted[SP_HEAD_N];

	sp_greeting(stream->peer, wanted);
	if (memcmp(stream->head, wanted, SP_HEAD_N) != 0)
		return SP_BROKEN;
	stream->phase = SP_IN_LENGTH;
	return SP_GREETED;
}

/* The head is a length: is it one that may be? */
static bool start_message(struct sp_stream *stream)
{
	uint64_t size = 0;

	for (int i = 0; i < SP_HEAD_N; i++)
		size = size << 8 | stream->head[i];
	stream->message_size = (size_t)size;
	stream->message_n = 0;
	stream->room = 0;
	return size <= stream->message_max;
}

enum sp_found sp_stream_next(struct sp_stream *stream, const uint8_t **data, size_t *n,
			     const uint8_t **out_message, size_t *out_n)
{
	if (stream->phase != SP_IN_MESSAGE) {
		sp_stream_close(stream); /* the last one was given out */
		if (!fill_head(stream, data, n))
			return SP_NEED_MORE;
		if (stream->phase == SP_IN_GREETING)
			return greet(stream);
		if (!start_message(stream))
			return SP_BROKEN;
		if (stream->message_size <= *n) {
			*out_message = *data;
			*out_n = stream->message_size;
			*data += stream->message_size;
			*n -= stream->message_size;
			return SP_MESSAGE;
		}
		stream->phase = SP_IN_MESSAGE;
	}
	gather(stream, data, n);
	if (stream->message_n < stream->message_size)
		return SP_NEED_MORE;
	stream->phase = SP_IN_LENGTH;
	*out_message = stream->message;
	*out_n = stream->message_size;
	return SP_MESSAGE;
}

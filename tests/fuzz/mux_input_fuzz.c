/*
 * A hostile peer against one engine: the first bytes choose the configuration and what our own
 * user does, the rest is what the peer sends.  Whatever it is, events keep their promises.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mux/mux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void react(struct mux *mux, const struct mux_event *event, uint8_t habits)
{
	static const uint8_t bytes[MUX_WINDOW];

	switch (event->kind) {
	case MUX_OPENED:
		CHECK(event->port);
		if (habits & 1) {
			mux_accept(mux, event->stream);
			mux_write(mux, event->stream, bytes, event->port);
		} else if (habits & 2) {
			mux_reset(mux, event->stream, MUX_REASON_REFUSED);
		}
		break;
	case MUX_DATA:
		CHECK(event->data_n >= 1 && event->data_n <= MUX_PAYLOAD_MAX);
		CHECK(mux_is_live(mux, event->stream));
		if (habits & 4)
			mux_consumed(mux, event->stream, event->data_n);
		if (habits & 8 && event->data[0] == 0)
			mux_reset(mux, event->stream, MUX_REASON_CANCELLED);
		break;
	case MUX_WRITABLE:
		mux_write(mux, event->stream, bytes, 1000);
		break;
	case MUX_RESET:
		CHECK(!mux_is_live(mux, event->stream));
		break;
	case MUX_BROKEN:
		CHECK(event->problem);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t request[300];
	struct mux_slice slices[2];
	struct mux_event event;
	struct mux *mux;
	uint8_t setting, habits, step;
	uint32_t id;

	if (size < 3)
		return 0;
	setting = data[0];
	habits = data[1];
	step = data[2];
	data += 3;
	size -= 3;
	mux = mux_create(&(struct mux_config){
		.initiator = setting & 1,
		.restartable = setting & 2,
		.open_max = 4,
		.accept_max = setting & 4 ? 0 : MUX_STREAMS_EARLY,
		.output_max = MUX_OUTPUT_MIN,
	});
	CHECK(mux);
	id = setting & 8 ? mux_open(mux, 80, mux) : 0;
	if (id && setting & 16)
		mux_write(mux, id, request, sizeof(request));
	while (size) {
		size_t n = step && step < size ? step : size;
		/* A copy of exactly this size: the sanitizer sees a read past its end. */
		uint8_t *copy = malloc(n);
		int slices_n;

		CHECK(copy);
		memcpy(copy, data, n);
		mux_feed(mux, copy, n);
		while (mux_next(mux, &event))
			react(mux, &event, habits);
		free(copy);
		data += n;
		size -= n;
		if (habits & 16 && (slices_n = mux_output(mux, slices)))
			mux_output_done(mux, slices[0].n + (slices_n > 1 ? slices[1].n : 0));
		CHECK(mux_streams_n(mux) <= 4 + MUX_STREAMS_EARLY);
	}
	mux_destroy(mux);
	return 0;
}

/*
 * A whole connection of the guest, behind a stream that takes and gives as little as the input's
 * first two bytes say.  The sandbox has a token that the input does not know, so that nothing is
 * started or written: what is exercised is the way of requests in and answers out.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fake {
	struct stream stream;
	size_t delivered_n, consumed_n;
	size_t write_max;
	bool is_closed;
	bool wants_room;
};

static size_t fake_write(struct stream *stream, const char *bytes, size_t bytes_n)
{
	struct fake *fake = (struct fake *)stream;
	volatile char seen = bytes[bytes_n - 1];

	(void)seen;
	CHECK(!fake->is_closed && bytes_n);
	fake->wants_room = bytes_n > fake->write_max;
	return fake->wants_room ? fake->write_max : bytes_n;
}

static void fake_consumed(struct stream *stream, size_t bytes_n)
{
	struct fake *fake = (struct fake *)stream;

	fake->consumed_n += bytes_n;
	CHECK(!fake->is_closed && fake->consumed_n <= fake->delivered_n);
}

static void fake_close(struct stream *stream, bool abort)
{
	struct fake *fake = (struct fake *)stream;

	(void)abort;
	CHECK(!fake->is_closed);
	fake->is_closed = true;
}

static void drain(struct fake *fake)
{
	while (!fake->is_closed && fake->wants_room) {
		fake->wants_room = false;
		fake->stream.events->on_writable(fake->stream.user);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct stream_ops ops = {fake_write, fake_consumed, fake_close};
	static struct guest guest;
	struct fake fake = {.stream.ops = &ops};
	size_t piece_max;

	if (size < 2)
		return 0;
	if (!guest.conns.conns) {
		CHECK(!conn_pool_open(&guest.conns, &guest));
		settings_init(&guest.settings);
	}
	memcpy(guest.settings.token, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0", 33);
	fake.write_max = 1 + data[0];
	piece_max = 1 + data[1] * 16u;
	data += 2;
	size -= 2;
	CHECK(conn_accept(&guest.conns, &fake.stream));
	while (size && !fake.is_closed) {
		size_t room = STREAM_WINDOW - (fake.delivered_n - fake.consumed_n);
		size_t n = size < piece_max ? size : piece_max;

		n = n < room ? n : room;
		CHECK(n); /* a connection that reads no more would wait for ever */
		fake.delivered_n += n;
		fake.stream.events->on_data(fake.stream.user, (const char *)data, n);
		data += n;
		size -= n;
		drain(&fake);
	}
	if (!fake.is_closed)
		fake.stream.events->on_end(fake.stream.user);
	drain(&fake);
	if (!fake.is_closed) {
		fake.is_closed = true;
		fake.stream.events->on_gone(fake.stream.user);
	}
	CHECK(guest.conns.bodies_bytes == 0);
	return 0;
}

/* Any byte stream as a shim's control socket would read it: frames until it ends or cannot be
 * followed. */
#include "common/base/check.h"
#include "proto/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 1 << 20 };

static uint8_t room[ROOM];
static _Alignas(WIRE_ALIGN) uint8_t message[8192];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wire_shape *shape;
	struct wire_bytes body;
	struct err err;
	size_t used;

	while (frame_next(data, size, &used, &shape, &body, &err) == 0 && used > 0) {
		struct wire_arena arena = {room, ROOM, 0};

		CHECK(used <= size && body.data >= data && body.data + body.n == data + used);
		if (shape)
			(void)wire_decode(shape, body.data, body.n, &arena, message, &err);
		data += used;
		size -= used;
	}
	return 0;
}

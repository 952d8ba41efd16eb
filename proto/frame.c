/* Length and kind around a message; see frame.h. */
#include "proto/frame.h"

#include "common/base/check.h"

int frame_encode(const struct wire_shape *shape, const void *message, uint8_t *out, size_t out_max,
		 size_t *out_n, struct err *err)
{
	size_t n, body_max = out_max < FRAME_HEAD_N ? 0 : out_max - FRAME_HEAD_N;

	CHECK(shape->kind);
	if (wire_encode(shape, message, out + FRAME_HEAD_N, body_max, &n, err))
		return -1;
	*out_n = FRAME_HEAD_N + n;
	n += 2;
	out[0] = (uint8_t)(n >> 24);
	out[1] = (uint8_t)(n >> 16);
	out[2] = (uint8_t)(n >> 8);
	out[3] = (uint8_t)n;
	out[4] = (uint8_t)(shape->kind >> 8);
	out[5] = (uint8_t)shape->kind;
	return 0;
}

int frame_next(const uint8_t *data, size_t n, size_t *out_used, const struct wire_shape **out_shape,
	       struct wire_bytes *out_body, struct err *err)
{
	uint32_t length;

	*out_used = 0;
	if (n < 4)
		return 0;
	length = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 |
		 data[3];
	if (length <= 2 || length > WIRE_MESSAGE_MAX + 2)
		return err_set(err, "frame: %u bytes long", length);
	if (n - 4 < length)
		return 0;
	*out_used = 4 + (size_t)length;
	*out_shape = wire_shape_of((uint32_t)data[4] << 8 | data[5]);
	*out_body = (struct wire_bytes){data + FRAME_HEAD_N, length - 2};
	return 0;
}

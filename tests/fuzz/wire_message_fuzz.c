/*
 * Any bytes as any message: refused, or valid; and a valid one survives being sent on.
 * The first byte picks the shape.
 */
#include "common/base/check.h"
#include "proto/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 1 << 20 };

static uint8_t first_room[ROOM], second_room[ROOM], encoded[WIRE_ENVELOPE_MAX];
static _Alignas(WIRE_ALIGN) uint8_t first[8192], second[8192];

static const struct wire_shape *shape_of(uint8_t number)
{
	size_t n = 0;

	while (wire_shapes[n])
		n++;
	return wire_shapes[number % n];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_arena first_arena = {first_room, ROOM, 0},
			  second_arena = {second_room, ROOM, 0};
	const struct wire_shape *shape;
	struct err err;
	size_t n;

	if (size == 0)
		return 0;
	shape = shape_of(data[0]);
	CHECK(shape->size <= sizeof(first) && wire_arena_need(shape) <= ROOM);
	if (wire_decode(shape, data + 1, size - 1, &first_arena, first, &err))
		return 0;
	CHECK(wire_validate(shape, first, &err) == 0);
	CHECK(wire_encode(shape, first, encoded, sizeof(encoded), &n, &err) == 0);
	CHECK(n == wire_size(shape, first));
	CHECK(wire_decode(shape, encoded, n, &second_arena, second, &err) == 0);
	CHECK(wire_equal(shape, first, second));
	return 0;
}

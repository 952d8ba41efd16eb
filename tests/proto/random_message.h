/* Random valid messages from the wire's tables, for property tests, fuzz seeds and benchmarks. */
#ifndef FLOTILLA_TESTS_PROTO_RANDOM_MESSAGE_H
#define FLOTILLA_TESTS_PROTO_RANDOM_MESSAGE_H

#include "common/base/rng.h"
#include "proto/wire.h"

/*
 * Fills *out with a message that wire_validate accepts.  Lists have at most list_max elements; they
 * and bytes live in the arena, which must have room (the arena_need of the shape and 128 KiB a
 * message).
 */
void random_message(struct rng *rng, const struct wire_shape *shape, size_t list_max,
		    struct wire_arena *arena, void *out);

/* Changes 1..8 bytes of data: flips, overwrites, or shortens it by setting *n. */
void random_damage(struct rng *rng, uint8_t *data, size_t *n);

#endif

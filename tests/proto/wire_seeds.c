/*
 * wire_seeds CORPUS: writes seeds for the fuzzers of the wire into CORPUS/wire_message,
 * CORPUS/wire_stream and CORPUS/envelope_read.  To be run again when wire.def has grown.
 */
#include "common/base/check.h"
#include "proto/frame.h"
#include "proto/handshake.h"
#include "tests/proto/random_message.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM = 4 << 20 };

static uint8_t room[ROOM], message[8192], bytes[WIRE_ENVELOPE_MAX + 1];
static const char *corpus;

static void write_seed(const char *target, const char *name, int number, const uint8_t *data,
		       size_t n)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s/%s-%d", corpus, target, name, number);
	file = fopen(path, "wb");
	if (!file || fwrite(data, 1, n, file) != n || fclose(file)) {
		perror(path);
		exit(1);
	}
}

/* A message small enough for a seed. */
static void make(struct rng *rng, const struct wire_shape *shape)
{
	struct wire_arena arena;

	do {
		arena = (struct wire_arena){room, ROOM, 0};
		random_message(rng, shape, 3, &arena, message);
	} while (wire_size(shape, message) > 4000);
}

static void write_messages(struct rng *rng, uint8_t place, const struct wire_shape *shape)
{
	struct err err;
	size_t n;

	for (int i = 0; i < 2; i++) {
		make(rng, shape);
		CHECK(wire_encode(shape, message, bytes + 1, sizeof(bytes) - 1, &n, &err) == 0);
		bytes[0] = place;
		write_seed("wire_message", shape->name, i, bytes, n + 1);
	}
	if (!shape->kind)
		return;
	CHECK(frame_encode(shape, message, bytes, sizeof(bytes), &n, &err) == 0);
	write_seed("wire_stream", shape->name, 0, bytes, n);
}

static void write_envelopes(struct rng *rng)
{
	static const uint8_t node_seed[IDENTITY_SEED_N] = {1},
			     scheduler_seed[IDENTITY_SEED_N] = {2};
	static const uint8_t start_random[HANDSHAKE_START_RANDOM_N] = {8},
			     accept_random[HANDSHAKE_ACCEPT_RANDOM_N] = {9};
	static const struct id id = {"nod_abc"};
	struct session session = {.number = 7, .node = id, .send_key = {1}}, made;
	struct wire_session_welcome welcome;
	struct identity node, scheduler;
	struct handshake handshake;
	struct err err;
	size_t n;

	identity_make(node_seed, &node);
	identity_make(scheduler_seed, &scheduler);
	handshake_start(&handshake, &node, &id, "boot", scheduler.public_key, start_random);
	CHECK(handshake_accept(&scheduler, node.public_key, &handshake.hello, 3, accept_random,
			       &welcome, &made, &err) == 0);
	CHECK(envelope_write_clear(&wire_shape_session_hello, &handshake.hello, &id, bytes,
				   sizeof(bytes), &n, &err) == 0);
	write_seed("envelope_read", "hello", 0, bytes, n);
	CHECK(envelope_write_clear(&wire_shape_session_welcome, &welcome, &id, bytes, sizeof(bytes),
				   &n, &err) == 0);
	write_seed("envelope_read", "welcome", 0, bytes, n);
	for (int i = 0; i < 4; i++) {
		const struct wire_shape *shape = i % 2 ? &wire_shape_poll : &wire_shape_answer;

		make(rng, shape);
		CHECK(envelope_seal(&session, shape, message, bytes, WIRE_ENVELOPE_MAX, &n, &err) ==
		      0);
		write_seed("envelope_read", shape->name, i, bytes, n);
	}
}

int main(int argc, char **argv)
{
	struct rng rng = {11};

	if (argc != 2 || sodium_init() < 0) {
		fprintf(stderr, "usage: wire_seeds CORPUS\n");
		return 2;
	}
	corpus = argv[1];
	for (uint8_t place = 0; wire_shapes[place]; place++)
		write_messages(&rng, place, wire_shapes[place]);
	write_envelopes(&rng);
	return 0;
}

/* How long the wire takes for the message it carries most: a poll with 16 records.  Medians of
 * rounds. */
#include "common/base/check.h"
#include "proto/handshake.h"
#include "tests/proto/random_message.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 201, REPEATS = 200, RECORDS_N = 16, ROOM = 1 << 20 };

static uint8_t room[ROOM], bytes[WIRE_ENVELOPE_MAX], sealed[WIRE_ENVELOPE_MAX],
	plain[WIRE_BODY_MAX];
static struct wire_record records[RECORDS_N];
static struct wire_template template = {.name = "base",
					.template_id = "b3:0123456789abcdef0123456789abcdef",
					.vcpus = 2,
					.mem_mib = 512,
					.warm_n = 4,
					.ready = true};
static struct wire_poll poll = {.boot_id = "0b6f8f0e-8a55-4d4e-9c1d-6c9c4a1b2c3d",
				.at_wall_ns = 1790000000000000000,
				.uptime_ms = 86400000,
				.capacity = {64, 262144, 1048576, 500},
				.used = {32, 131072, 524288, 250},
				.templates = &template,
				.templates_n = 1,
				.first_seq = 1000000,
				.records = records,
				.records_n = RECORDS_N};
static size_t bytes_n, sealed_n;
static struct session session = {.number = 1, .node = {"nod_abcdefghij0123456789"}};
static struct session opening;

static void fill_records(void)
{
	for (size_t i = 0; i < RECORDS_N; i++) {
		records[i] = (struct wire_record){
			.kind = WIRE_RECORD_USAGE,
			.seq = 1000000 + i,
			.sandbox = {"iabcdefghij0123456789"},
			.attempt = 4294967296000 + i,
			.incarnation = 1,
			.tenant = {"ten_abcdefghij0123456789"},
			.plan = "hobby",
			.price_version = 3,
			.template = "base",
			.vcpus = 2,
			.mem_mib = 512,
			.at_wall_ns = 1790000000000000000,
			.from_ms = 60000,
			.to_ms = 120000,
			.from_wall_ns = 1789999940000000000,
			.boot_id = "0b6f8f0e-8a55-4d4e-9c1d-6c9c4a1b2c3d",
		};
	}
}

static void encode(void)
{
	CHECK(wire_poll_encode(&poll, bytes, sizeof(bytes), &bytes_n, NULL) == 0);
}

static void decode(void)
{
	struct wire_arena arena = {room, ROOM, 0};
	struct wire_poll decoded;

	CHECK(wire_poll_decode(bytes, bytes_n, &arena, &decoded, NULL) == 0);
	CHECK(decoded.records_n == RECORDS_N);
}

static void seal(void)
{
	CHECK(envelope_seal(&session, &wire_shape_poll, &poll, sealed, sizeof(sealed), &sealed_n,
			    NULL) == 0);
}

static void open_and_decode(void)
{
	struct wire_arena arena = {room, ROOM, 0};
	struct wire_envelope envelope;
	struct wire_bytes body;
	struct wire_poll decoded;

	opening.received = 0; /* the same one again and again */
	opening.window = 0;
	CHECK(envelope_read(sealed, sealed_n, &envelope, NULL) == 0);
	CHECK(envelope_open(&opening, &envelope, plain, sizeof(plain), &body, NULL) == 0);
	CHECK(wire_poll_decode(body.data, body.n, &arena, &decoded, NULL) == 0);
}

static int64_t now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

static void measure(const char *name, void (*work)(void))
{
	static int64_t ns[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		int64_t start = now_ns();

		for (int i = 0; i < REPEATS; i++)
			work();
		ns[round] = (now_ns() - start) / REPEATS;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	printf("%-28s p50 %6.2f us  p10 %6.2f us  p90 %6.2f us\n", name,
	       (double)ns[ROUNDS / 2] / 1000, (double)ns[ROUNDS / 10] / 1000,
	       (double)ns[ROUNDS * 9 / 10] / 1000);
}

int main(void)
{
	if (sodium_init() < 0)
		return 1;
	fill_records();
	opening = session;
	encode();
	printf("a poll with %d records: %zu bytes\n", RECORDS_N, bytes_n);
	measure("encode", encode);
	measure("decode", decode);
	measure("encode and seal", seal);
	measure("open and decode", open_and_decode);
	return 0;
}

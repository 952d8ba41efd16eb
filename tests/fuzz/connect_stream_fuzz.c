/* Any bytes as the stream that a sandbox answers with, whole and in pieces: both must tell the same
 * events, or the same fault. */
#include "common/base/check.h"
#include "scheduler/cli/connect.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
	size_t events_n;
	uint64_t hash;
};

static void mix(struct told *told, const void *data, size_t n)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < n; i++)
		told->hash = (told->hash ^ bytes[i]) * 0x100000001b3u;
}

static void hear(void *user, const struct connect_event *event)
{
	struct told *told = user;
	int status = connect_exit_status(event);

	CHECK(status >= 0 && status <= 255);
	CHECK(memchr(event->text, 0, sizeof(event->text)));
	told->events_n++;
	mix(told, &event->kind, sizeof(event->kind));
	mix(told, &event->pid, sizeof(event->pid));
	mix(told, event->data, event->data_n);
	mix(told, event->text, strlen(event->text));
}

static int decode(const uint8_t *data, size_t size, size_t piece, struct told *told)
{
	struct connect_decoder decoder = {0};
	struct err err = {""};
	int failed = 0;

	for (size_t at = 0; at < size && !failed; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		failed = connect_decode(&decoder, data + at, n, hear, told, &err);
	}
	CHECK(!failed || err.text[0]);
	connect_close(&decoder);
	return failed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told whole = {0}, pieces = {0};
	int failed = decode(data, size, size ? size : 1, &whole);

	CHECK(decode(data, size, 3, &pieces) == failed);
	CHECK(whole.events_n == pieces.events_n && whole.hash == pieces.hash);
	return 0;
}

/*
 * Any bytes as a connection of the bus, in two ways of arriving: all at once, and in pieces whose
 * sizes the first byte picks.  Both must find the same.
 */
#include "common/base/check.h"
#include "common/io/sp_stream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 1 << 12 };

/* What was found, as a number that depends on all of it and on its order. */
struct tale {
	uint64_t hash;
	bool broken;
};

static void tell(struct tale *tale, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tale->hash = (tale->hash ^ data[i]) * 0x100000001b3u;
	tale->hash = (tale->hash ^ n) * 0x100000001b3u;
}

static void feed(struct sp_stream *stream, struct tale *tale, const uint8_t *data, size_t n)
{
	const uint8_t *message;
	size_t message_n;

	while (!tale->broken) {
		switch (sp_stream_next(stream, &data, &n, &message, &message_n)) {
		case SP_NEED_MORE:
			CHECK(n == 0);
			return;
		case SP_GREETED:
			tell(tale, NULL, 0);
			break;
		case SP_MESSAGE:
			CHECK(message_n <= MESSAGE_MAX);
			tell(tale, message, message_n);
			break;
		case SP_BROKEN:
			tale->broken = true;
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sp_stream whole, pieces;
	struct tale told = {1, false}, told_in_pieces = {1, false};
	size_t piece_n;

	if (size == 0)
		return 0;
	piece_n = data[0] % 32 + 1;
	data++;
	size--;
	sp_stream_init(&whole, SP_REQ, MESSAGE_MAX);
	sp_stream_init(&pieces, SP_REQ, MESSAGE_MAX);
	feed(&whole, &told, data, size);
	while (size > 0) {
		size_t n = piece_n < size ? piece_n : size;
		uint8_t *piece = malloc(n); /* exactly as large, for the sanitizer */

		CHECK(piece);
		memcpy(piece, data, n);
		feed(&pieces, &told_in_pieces, piece, n);
		free(piece);
		data += n;
		size -= n;
	}
	CHECK(told.hash == told_in_pieces.hash && told.broken == told_in_pieces.broken);
	sp_stream_close(&whole);
	sp_stream_close(&pieces);
	return 0;
}

/* What another node says that there is to copy: whatever is accepted stays inside a store, and
 * inside its files. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/carry/listing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_file(const struct listing *listing, const struct listing_file *file)
{
	uint64_t from = 0;

	CHECK(memchr(file->path, 0, sizeof(file->path)));
	/* What is saved is listed alone. */
	CHECK(listing_is_saved(file) == listing_is_saved(&listing->files[0]));
	CHECK(!strncmp(file->path, "snapshot/", 9) || !strncmp(file->path, "rootfs/", 7) ||
	      !strncmp(file->path, "saved/", 6));
	CHECK(!strstr(file->path, "/.") && !strstr(file->path, "//"));
	CHECK((file->mode & ~0777u) == 0);
	for (size_t i = 0; i < file->pieces_n; i++) {
		const struct listing_piece *piece = &listing->pieces[file->first_piece + i];
		CHECK(piece->offset >= from && piece->length >= 1);
		CHECK(piece->length <= LISTING_PIECE_MAX);
		from = piece->offset + piece->length;
	}
	CHECK(from <= file->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct listing listing;
	struct err err;
	size_t pieces_n = 0;

	if (listing_parse((const char *)data, size, &listing, &err)) {
		CHECK(memchr(err.text, 0, sizeof(err.text)));
		return 0;
	}
	CHECK(listing.files_n >= 1 && listing.files_n <= LISTING_FILES_MAX);
	for (size_t i = 0; i < listing.files_n; i++) {
		CHECK(listing.files[i].first_piece == pieces_n);
		pieces_n += listing.files[i].pieces_n;
		CHECK(pieces_n <= listing.pieces_n);
		look_at_file(&listing, &listing.files[i]);
	}
	CHECK(pieces_n == listing.pieces_n);
	listing_free(&listing);
	return 0;
}

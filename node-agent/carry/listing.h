/*
 * What there is to copy of an artefact, or of what is saved: its files, and of each the pieces that
 *are no holes, with the digest of each piece.  The digest of the listing itself, which the
 *scheduler passes on, thus stands for every byte.  Text, a line each:
 *
 *	flotilla-listing 1 ID
 *	file snapshot/ID/mem SIZE MODE        size in bytes, mode in octal; rootfs/ID/NAME too; or
 *	file saved/ID/NAME SIZE MODE          for all of them: it is saved of the artefact ID
 *	OFFSET LENGTH DIGEST                  of that file, in ascending order; digest: 64 hex
 *digits
 *	...
 *	end
 *
 * Pure.  What is parsed comes from the network: what is accepted has paths inside a store and
 * pieces inside their files, and nothing else is said of it.
 */
#ifndef FLOTILLA_CARRY_LISTING_H
#define FLOTILLA_CARRY_LISTING_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LISTING_PIECE_MAX = 1 << 20, /* bytes of a piece */
	LISTING_DIGEST_N = 32,
	LISTING_ID_N = 40, /* hex digits of an artefact's name */
	LISTING_PATH_MAX = 128,
	LISTING_FILES_MAX = 32,
	LISTING_TEXT_MAX = 64 << 20,
};

struct listing_piece {
	uint64_t offset;
	uint32_t length;
	uint8_t digest[LISTING_DIGEST_N];
};

struct listing_file {
	/* Below the store: snapshot/ID/NAME or rootfs/ID/NAME; or saved/ID/NAME. */
	char path[LISTING_PATH_MAX];
	uint64_t size;
	uint32_t mode;
	size_t first_piece, pieces_n; /* in the listing's pieces */
};

struct listing {
	char id[LISTING_ID_N + 1];
	struct listing_file files[LISTING_FILES_MAX];
	size_t files_n;
	struct listing_piece *pieces; /* of all files */
	size_t pieces_n, pieces_cap;
	uint64_t bytes; /* of all pieces */
};

/* A fault leaves nothing to free. */
int listing_parse(const char *text, size_t text_n, struct listing *out_listing, struct err *err);
void listing_free(struct listing *listing);

/* The second part of the file's path; the third. */
void listing_folder_id(const struct listing_file *file, char out_id[LISTING_ID_N + 1]);
bool listing_is_snapshot(const struct listing_file *file);

/* Of what is saved; all of a listing are, or none. */
bool listing_is_saved(const struct listing_file *file);

#endif

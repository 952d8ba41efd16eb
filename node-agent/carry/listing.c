/* See listing.h. */
#include "node-agent/carry/listing.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_ = 64 };

/* The rest of what is parsed; lines end in a line feed, fields are parted by one blank. */
struct cursor {
	const char *at, *end;
};

static bool take_text(struct cursor *cursor, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(cursor->end - cursor->at) < n || memcmp(cursor->at, text, n) != 0)
		return false;
	cursor->at += n;
	return true;
}

static bool take_number(struct cursor *cursor, unsigned base, uint64_t max, uint64_t *out)
{
	const char *from = cursor->at;
	uint64_t number = 0;

	while (cursor->at < cursor->end && *cursor->at >= '0' &&
	       (unsigned)(*cursor->at - '0') < base) {
		unsigned digit = (unsigned)(*cursor->at++ - '0');
		if (digit > max || number > (max - digit) / base)
			return false;
		number = number * base + digit;
	}
	*out = number;
	return cursor->at > from && (cursor->at - from == 1 || *from != '0');
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_digest(struct cursor *cursor, uint8_t out[LISTING_DIGEST_N])
{
	for (size_t i = 0; i < LISTING_DIGEST_N; i++) {
		int high, low;
		if (cursor->end - cursor->at < 2)
			return false;
		high = hex_value(cursor->at[0]);
		low = hex_value(cursor->at[1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
		cursor->at += 2;
	}
	return true;
}

static bool take_id(struct cursor *cursor, char out[LISTING_ID_N + 1])
{
	if (cursor->end - cursor->at < LISTING_ID_N)
		return false;
	for (size_t i = 0; i < LISTING_ID_N; i++)
		if (hex_value(cursor->at[i]) < 0)
			return false;
	memcpy(out, cursor->at, LISTING_ID_N);
	out[LISTING_ID_N] = 0;
	cursor->at += LISTING_ID_N;
	return true;
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

static bool take_path(struct cursor *cursor, const struct listing *listing,
		      char out[LISTING_PATH_MAX])
{
	const char *from = cursor->at, *name;
	bool snapshot = take_text(cursor, "snapshot/");
	bool saved = !snapshot && take_text(cursor, "saved/");
	bool rootfs = !snapshot && !saved && take_text(cursor, "rootfs/");
	char id[LISTING_ID_N + 1];

	if ((!snapshot && !saved && !rootfs) || !take_id(cursor, id) || !take_text(cursor, "/") ||
	    (!rootfs && strcmp(id, listing->id) != 0))
		return false;
	name = cursor->at;
	while (cursor->at < cursor->end && is_name_char(*cursor->at))
		cursor->at++;
	if (cursor->at == name || *name == '.' || cursor->at - name > NAME_MAX_)
		return false;
	memset(out, 0, LISTING_PATH_MAX);
	memcpy(out, from, (size_t)(cursor->at - from));
	for (size_t i = 0; i < listing->files_n; i++) {
		if (!strcmp(listing->files[i].path, out) ||
		    listing_is_saved(&listing->files[i]) != saved)
			return false;
		/* One root filesystem, at the most. */
		if (rootfs && !listing_is_snapshot(&listing->files[i]) &&
		    memcmp(listing->files[i].path, out, strlen("rootfs/") + LISTING_ID_N) != 0)
			return false;
	}
	return true;
}

static bool parse_file(struct cursor *cursor, struct listing *listing)
{
	struct listing_file *file = &listing->files[listing->files_n];
	uint64_t mode;

	if (listing->files_n == LISTING_FILES_MAX || !take_path(cursor, listing, file->path) ||
	    !take_text(cursor, " ") || !take_number(cursor, 10, 1ULL << 44, &file->size) ||
	    !take_text(cursor, " ") || !take_number(cursor, 8, 0777, &mode) ||
	    !take_text(cursor, "\n"))
		return false;
	file->mode = (uint32_t)mode;
	file->first_piece = listing->pieces_n;
	file->pieces_n = 0;
	listing->files_n++;
	return true;
}

static struct listing_piece *add_piece(struct listing *listing)
{
	if (listing->pieces_n == listing->pieces_cap) {
		listing->pieces_cap = listing->pieces_cap ? 2 * listing->pieces_cap : 256;
		listing->pieces =
			realloc(listing->pieces, listing->pieces_cap * sizeof(*listing->pieces));
		CHECK(listing->pieces);
	}
	return &listing->pieces[listing->pieces_n];
}

static bool parse_piece(struct cursor *cursor, struct listing *listing)
{
	struct listing_file *file = &listing->files[listing->files_n - 1];
	struct listing_piece *piece = add_piece(listing);
	uint64_t length, from = 0;

	if (!listing->files_n)
		return false;
	if (file->pieces_n)
		from = piece[-1].offset + piece[-1].length;
	if (!take_number(cursor, 10, file->size, &piece->offset) || piece->offset < from ||
	    !take_text(cursor, " ") || !take_number(cursor, 10, LISTING_PIECE_MAX, &length) ||
	    length == 0 || length > file->size - piece->offset || !take_text(cursor, " ") ||
	    !take_digest(cursor, piece->digest) || !take_text(cursor, "\n"))
		return false;
	piece->length = (uint32_t)length;
	listing->pieces_n++;
	listing->bytes += length;
	file->pieces_n++;
	return true;
}

int listing_parse(const char *text, size_t text_n, struct listing *out_listing, struct err *err)
{
	struct cursor cursor = {text, text + text_n};
	struct listing listing = {.files_n = 0};
	bool good = take_text(&cursor, "flotilla-listing 1 ") && take_id(&cursor, listing.id) &&
		    take_text(&cursor, "\n");

	while (good && !take_text(&cursor, "end\n")) {
		if (take_text(&cursor, "file "))
			good = parse_file(&cursor, &listing);
		else
			good = listing.files_n && parse_piece(&cursor, &listing);
	}
	if (!good || cursor.at != cursor.end || !listing.files_n) {
		listing_free(&listing);
		return err_set(err, "the listing is malformed at byte %zu",
			       (size_t)(cursor.at - text));
	}
	*out_listing = listing;
	return 0;
}

void listing_free(struct listing *listing)
{
	free(listing->pieces);
	memset(listing, 0, sizeof(*listing));
}

void listing_folder_id(const struct listing_file *file, char out_id[LISTING_ID_N + 1])
{
	memcpy(out_id, strchr(file->path, '/') + 1, LISTING_ID_N);
	out_id[LISTING_ID_N] = 0;
}

bool listing_is_snapshot(const struct listing_file *file)
{
	return strncmp(file->path, "snapshot/", strlen("snapshot/")) == 0;
}

bool listing_is_saved(const struct listing_file *file)
{
	return strncmp(file->path, "saved/", strlen("saved/")) == 0;
}

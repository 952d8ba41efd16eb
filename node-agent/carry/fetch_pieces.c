/*
 * The pieces of a listing: what is here already is proved and left, what is missing is asked for,
 * proved, and written where it belongs.  So a copy that was cut off, whenever and by whatever, goes
 * on with what it has, and nothing of that is believed unseen.
 */
#include "node-agent/carry/fetch.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAY_MS = 250 };

static uint8_t buffer[LISTING_PIECE_MAX];

static const struct listing_piece *piece_of(const struct fetch *fetch, size_t file, size_t piece)
{
	return &fetch->listing.pieces[fetch->listing.files[file].first_piece + piece];
}

static void say_moved(struct fetch *fetch)
{
	uint64_t now_ms;

	uv_update_time(&fetch->loop);
	now_ms = uv_now(&fetch->loop);
	fetch->moved_ms = now_ms;
	if (now_ms - fetch->said_ms < SAY_MS)
		return;
	fetch->said_ms = now_ms;
	say_progress(fetch->done_bytes);
}

/* Whether it is here already, whole. A hole is not read: a piece that is listed is not zeros. */
static bool is_here(const struct fetch *fetch, size_t file, const struct listing_piece *piece)
{
	uint8_t digest[LISTING_DIGEST_N];
	off_t data = lseek(fetch->fds[file], (off_t)piece->offset, SEEK_DATA);

	if (data < 0 || data >= (off_t)(piece->offset + piece->length))
		return false;
	if (pread(fetch->fds[file], buffer, piece->length, (off_t)piece->offset) !=
	    (ssize_t)piece->length)
		return false;
	digest_of(buffer, piece->length, digest);
	return memcmp(digest, piece->digest, sizeof(digest)) == 0;
}

/* ---- the files ---- */

static int file_open(struct fetch *fetch, size_t i, struct err *err)
{
	const struct listing_file *file = &fetch->listing.files[i];
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", fetch->dir, file->path) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", fetch->dir);
	*strrchr(path, '/') = 0;
	if (file_make_dirs(path, 0755, err))
		return -1;
	path[strlen(path)] = '/';
	fetch->fds[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fetch->fds[i] < 0 || ftruncate(fetch->fds[i], (off_t)file->size))
		return err_errno(err, errno, "%s", path);
	return 0;
}

/* What was to be zeros and is not, after a try that broke off. */
static int file_clear_holes(struct fetch *fetch, size_t i, struct err *err)
{
	const struct listing_file *file = &fetch->listing.files[i];
	uint64_t at = 0;

	for (size_t n = 0; n <= file->pieces_n; n++) {
		uint64_t end = n < file->pieces_n ? piece_of(fetch, i, n)->offset : file->size;
		off_t data = lseek(fetch->fds[i], (off_t)at, SEEK_DATA);
		if (end > at && data >= 0 && data < (off_t)end &&
		    fallocate(fetch->fds[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			      (off_t)(end - at)))
			return err_errno(err, errno, "%s", file->path);
		if (n < file->pieces_n)
			at = end + piece_of(fetch, i, n)->length;
	}
	return 0;
}

/* ---- fetching ---- */

static void lane_go_on(struct lane *lane);

static int write_piece(const struct fetch *fetch, size_t file, const struct listing_piece *piece,
		       const uint8_t *bytes, struct err *err)
{
	for (size_t done = 0; done < piece->length;) {
		ssize_t n = pwrite(fetch->fds[file], bytes + done, piece->length - done,
				   (off_t)(piece->offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, n ? errno : ENOSPC, "%s",
					 fetch->listing.files[file].path);
		done += (size_t)n;
	}
	return 0;
}

static void lane_ask(uv_timer_t *timer)
{
	struct lane *lane = timer->data;

	lane_go_on(lane);
}

static void on_piece(void *data, const struct http_client_answer *answer)
{
	struct lane *lane = data;
	struct fetch *fetch = lane->fetch;
	const struct listing_piece *piece = piece_of(fetch, lane->file, lane->piece);
	uint8_t digest[LISTING_DIGEST_N];
	struct err err;

	if (answer->status != 200) {
		fetch_check_time(fetch);
		uv_timer_start(&lane->again, lane_ask, FETCH_AGAIN_MS, 0);
		return;
	}
	digest_of(answer->body, answer->body_n, digest);
	if (answer->body_n != piece->length || memcmp(digest, piece->digest, sizeof(digest)) != 0) {
		fetch_corrupt(fetch, "a piece");
		uv_timer_start(&lane->again, lane_ask, FETCH_SOON_MS, 0);
		return;
	}
	if (write_piece(fetch, lane->file, piece, answer->body, &err))
		say_failed(REFUSAL_TRANSFER_NO_SPACE, &err);
	fetch->done_bytes += piece->length;
	say_moved(fetch);
	lane->url[0] = 0;
	lane_go_on(lane);
}

/* The next piece that is missing; false: there is none. */
static bool lane_take(struct lane *lane)
{
	struct fetch *fetch = lane->fetch;

	while (fetch->next_file < fetch->listing.files_n) {
		size_t file = fetch->next_file, piece = fetch->next_piece;

		if (fetch->skipped[file] || piece == fetch->listing.files[file].pieces_n) {
			fetch->next_file++;
			fetch->next_piece = 0;
			continue;
		}
		fetch->next_piece++;
		if (is_here(fetch, file, piece_of(fetch, file, piece))) {
			fetch->done_bytes += piece_of(fetch, file, piece)->length;
			say_moved(fetch);
			continue;
		}
		lane->file = file;
		lane->piece = piece;
		snprintf(lane->url, sizeof(lane->url), "%s/piece/%zu/%zu", fetch->order->url, file,
			 piece);
		return true;
	}
	return false;
}

static void lane_go_on(struct lane *lane)
{
	struct fetch *fetch = lane->fetch;

	if (!lane->url[0] && !lane_take(lane)) {
		if (--fetch->lanes_busy == 0)
			uv_stop(&fetch->loop);
		return;
	}
	fetch_get(fetch, lane->url, LISTING_PIECE_MAX, on_piece, lane);
}

int pieces_begin(struct fetch *fetch, struct err *err)
{
	for (size_t i = 0; i < fetch->listing.files_n; i++) {
		const struct listing_file *file = &fetch->listing.files[i];
		fetch->fds[i] = -1;
		fetch->skipped[i] = install_has(fetch->order, file);
		for (size_t n = 0; fetch->skipped[i] && n < file->pieces_n; n++)
			fetch->done_bytes += piece_of(fetch, i, n)->length;
		if (!fetch->skipped[i] &&
		    (file_open(fetch, i, err) || file_clear_holes(fetch, i, err)))
			return -1;
	}
	fetch->lanes_busy = FETCH_LANES;
	for (size_t i = 0; i < FETCH_LANES; i++) {
		fetch->lanes[i].url[0] = 0;
		lane_go_on(&fetch->lanes[i]);
	}
	return 0;
}

int pieces_sync(struct fetch *fetch, struct err *err)
{
	for (size_t i = 0; i < fetch->listing.files_n; i++) {
		const struct listing_file *file = &fetch->listing.files[i];
		if (fetch->skipped[i])
			continue;
		if (fchmod(fetch->fds[i], file->mode) || fsync(fetch->fds[i]))
			return err_errno(err, errno, "%s", file->path);
		close(fetch->fds[i]);
		fetch->fds[i] = -1;
	}
	return 0;
}

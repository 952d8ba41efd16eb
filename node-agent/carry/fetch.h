/* What fetch.c and fetch_pieces.c share. */
#ifndef FLOTILLA_CARRY_FETCH_H
#define FLOTILLA_CARRY_FETCH_H

#include "common/io/http_client.h"
#include "node-agent/carry/carry.h"

enum {
	FETCH_LANES = 4, /* requests at a time: the window of one stream is short for a long way */
	FETCH_CALL_MS = 30000,
	FETCH_AGAIN_MS = 500,
	FETCH_SOON_MS = 20,     /* what came was wrong */
	FETCH_LOST_MS = 45000,  /* nothing came for so long */
	FETCH_CORRUPT_MAX = 16, /* pieces that were not what was promised */
};

struct fetch;

/* One piece at a time is asked for by each. */
struct lane {
	struct fetch *fetch;
	uv_timer_t again;
	size_t file, piece; /* numbers, the piece's within its file */
	char url[256];
};

struct fetch {
	const struct carry_order *order;
	uv_loop_t loop;
	struct http_client *client;
	char dir[PATH_MAX]; /* where it gathers */
	int lock;           /* of that */
	struct listing listing;
	uint8_t digest[LISTING_DIGEST_N]; /* of the listing that came */
	bool skipped[LISTING_FILES_MAX];  /* the store has the file's folder */
	int fds[LISTING_FILES_MAX];
	struct lane lanes[FETCH_LANES];
	size_t next_file, next_piece; /* to be asked for */
	uint32_t lanes_busy, corrupt_n;
	uint64_t done_bytes, said_bytes;
	uint64_t moved_ms, said_ms; /* of the loop's clock */
};

/* One GET of the transfer. */
void fetch_get(struct fetch *fetch, const char *url, size_t body_max, http_client_done_cb on_done,
	       void *data);

/* Ends with `failed` when nothing came for too long. */
void fetch_check_time(struct fetch *fetch);

/* Ends with `failed` when too much of it was wrong. */
void fetch_corrupt(struct fetch *fetch, const char *what);

/* fetch_pieces.c: all pieces that are not here yet; the loop ends when they are. */
int pieces_begin(struct fetch *fetch, struct err *err);

/* On the disk for good. */
int pieces_sync(struct fetch *fetch, struct err *err);

#endif

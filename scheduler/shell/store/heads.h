/*
 * What the chain of facts promises beyond its hashes.  A hash alone shows that a row was changed;
 * whoever can write the file can compute all hashes behind it anew.  So the chain has heads: its
 * hash at one event, signed by the fleet's identity, whose key is not in the file.
 *
 * A walk recomputes the chain over any read-only connection that has the reader's statements.  The
 * audit is a walk on a thread of its own, slow enough not to be felt.  What nothing inside the file
 * can show is that its newest rows and heads were all taken away: that takes a copy elsewhere.
 */
#ifndef FLOTILLA_SHELL_STORE_HEADS_H
#define FLOTILLA_SHELL_STORE_HEADS_H

#include "common/base/err.h"
#include "common/io/sqlite.h"
#include "proto/handshake.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	LEDGER_HASH_N = 32,
	LEDGER_STEP = 4096, /* rows at once, when nobody is waited for */
	LEDGER_SIGNATURE_N = 64,
	LEDGER_HEAD_EVENTS = 1000,           /* a head at least every so many events */
	LEDGER_HEAD_S = 600,                 /* and every so many seconds, if there are any */
	LEDGER_CHECK_NOW_MAX = 64 * 1048576, /* bytes of a file that are checked at every start */
};

/* A connection of its own for reading DIR/scheduler.db. */
int ledger_open(struct sqlite *reader, const char *dir, struct err *err);

/* ---- walks ---- */

struct ledger_walk {
	struct sqlite *reader;
	const uint8_t *public_key; /* of the fleet; NULL: signatures are not looked at */
	/* private until it is over */
	int64_t events_n; /* the last event that was found right */
	int64_t seen_n;   /* events looked at */
	int64_t heads_n;  /* heads that were found right */
	int64_t head_event;
	uint8_t hash[LEDGER_HASH_N];
	bool damaged;      /* with a fault: what was read is wrong, rather than could not be read */
	bool trusts_first; /* the next row's prev_hash is believed: its own hash is signed */
};

void ledger_walk_begin(struct ledger_walk *walk, struct sqlite *reader, const uint8_t *public_key);

/* From the last head on, which is right then too; from the first event if there is none. */
int ledger_walk_begin_at_head(struct ledger_walk *walk, struct sqlite *reader,
			      const uint8_t *public_key, struct err *err);

/* At most max events.  1: more may come; 0: the end, and all is right; -1: the fault names the
 * first row that does not fit. */
int ledger_walk_step(struct ledger_walk *walk, int64_t max, struct err *err);

/* All of it. Returns 0 or -1. */
int ledger_walk_all(struct ledger_walk *walk, struct err *err);

/* ---- books: every movement adds up to zero, and all that lines cost was earned ---- */

struct ledger_books {
	struct sqlite *reader;
	/* private */
	int64_t lines_end, entries_end; /* of one instant: beside a writer more may come */
	int64_t line, entry;            /* looked at so far */
	int64_t lines_nano, earned_nano;
	char movement[64]; /* of the last entry, and its sum so far */
	int64_t movement_nano;
	bool damaged; /* as above */
};

int ledger_books_begin(struct ledger_books *books, struct sqlite *reader, struct err *err);
/* As ledger_walk_step. */
int ledger_books_step(struct ledger_books *books, int64_t max, struct err *err);
int ledger_check_books(struct sqlite *reader, struct err *err); /* all of it */

/* ---- the audit ---- */

struct ledger_audit;

enum ledger_audit_state { LEDGER_AUDIT_RUNS, LEDGER_AUDIT_PASSED, LEDGER_AUDIT_DAMAGED };

struct ledger_audit_status {
	enum ledger_audit_state state; /* DAMAGED lasts until the process ends */
	int64_t events_n, of_n;        /* how far it came */
	struct err err; /* when damaged; else empty, or why it could not read lately */
};

/* Called on the loop, once: the whole chain is right, or it is damaged. */
typedef void (*ledger_audit_cb)(void *data, const struct ledger_audit_status *status);

/* Begins now, and again each day. The key is copied. */
int ledger_audit_open(struct ledger_audit **out_audit, uv_loop_t *loop, const char *dir,
		      const uint8_t public_key[IDENTITY_PUBLIC_N], ledger_audit_cb on_end,
		      void *data, struct err *err);
void ledger_audit_status(struct ledger_audit *audit, struct ledger_audit_status *out);
void ledger_audit_close(struct ledger_audit *audit); /* NULL is fine */

#endif

/*
 * The node's journal, journal.db in its state folder: where usage is born.  What the core calls
 * durable is written here before anybody is told; at a start the core is loaded from here.
 *
 * One connection writes (its calls come from one thread at a time: the commit's), another reads
 * records for polls on the loop's thread.
 */
#ifndef FLOTILLA_NODE_JOURNAL_H
#define FLOTILLA_NODE_JOURNAL_H

#include "common/base/err.h"
#include "common/io/sqlite.h"
#include "node-agent/core/core.h"
#include "proto/wire.h"

#include <stddef.h>
#include <stdint.h>

enum { JOURNAL_NOTES_MAX = 512 * 1024 };

struct journal {
	struct sqlite writer;
	struct sqlite reader;
	uint8_t *notes; /* of the records read last; NULL: none had one so far */
};

/* Checks the whole file's structure (SQLite's quick_check, a second for each gigabyte) before
 * anything is read from it: a damaged journal is refused. */
int journal_open(struct journal *journal, const char *state_dir, struct err *err);

/* Takes a zeroed or half-open object too. */
void journal_close(struct journal *journal);

/* LOAD_META, LOAD_ATTEMPT and LOAD_SANDBOX, in the order that the core wants; now and wall of the
 * event are the callback's to fill in. */
int journal_load(struct journal *journal, void (*on_event)(void *arg, struct node_event *event),
		 void *arg, struct err *err);

/* Writes the DURABLE effects of a batch in one transaction: all of them, or a fault and none. */
int journal_commit(struct journal *journal, const struct node_effect *effects, size_t n,
		   struct err *err);

/* Writes, and changes nothing: whether the journal can be written now. */
int journal_probe(struct journal *journal, struct err *err);

/* The journaled row for who polls without having loaded; all 0 when there is none. */
int journal_meta(struct journal *journal, struct node_meta *out_meta, struct err *err);

/* Up to max records from first_seq on, or from the oldest that is left. out_n may be less when the
 * journal ends, or when their notes are more than JOURNAL_NOTES_MAX bytes, so that a poll has room
 * for them; they are good until the next call. */
int journal_records(struct journal *journal, uint64_t first_seq, struct wire_record *out_records,
		    size_t max, size_t *out_n, struct err *err);

#endif

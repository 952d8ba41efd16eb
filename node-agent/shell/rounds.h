/*
 * The rule of the core's shell: effects gather while the round before them is being committed; a
 * round's durable effects go into one transaction, and the others are carried out only after it.
 */
#ifndef FLOTILLA_NODE_ROUNDS_H
#define FLOTILLA_NODE_ROUNDS_H

#include "node-agent/core/core.h"
#include "node-agent/shell/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct rounds_list {
	struct node_effect *items;
	size_t n, cap;
};

struct round {
	struct rounds_list durable;
	struct rounds_list after;
};

struct rounds_callbacks {
	void (*on_after)(void *arg, const struct node_effect *effect); /* carry it out */
	/* May be NULL: something was written and is durable. */
	void (*on_committed)(void *arg);
	/* A commit failed, and with it went all that gathered behind it: start over. */
	void (*on_lost)(void *arg, const struct err *err);
	void *arg;
};

struct rounds {
	uv_loop_t *loop;
	struct journal *journal;
	struct rounds_callbacks callbacks;
	struct round gathering, committing;
	uv_work_t work;
	bool wants_probe;
	bool is_committing;
	bool is_dropped; /* the commit under way is of a state that was dropped */
	int status;      /* of the commit */
	struct err err;
};

void rounds_open(struct rounds *rounds, uv_loop_t *loop, struct journal *journal,
		 const struct rounds_callbacks *callbacks);

/* DURABLE and AFTER effects, in order. */
void rounds_add(struct rounds *rounds, const struct node_effect *effect);

/* Writes to the journal even if nothing durable gathers, to find out whether it can be written:
 * on_committed or on_lost tell. */
void rounds_probe(struct rounds *rounds);

/* Begins the next commit unless one is under way. */
void rounds_flush(struct rounds *rounds);

/* Forgets what was not committed yet; nothing of it will be carried out. */
void rounds_drop(struct rounds *rounds);

/* False while a commit is under way: the journal belongs to its thread then. */
bool rounds_are_idle(const struct rounds *rounds);

void rounds_close(struct rounds *rounds); /* when idle */

#endif

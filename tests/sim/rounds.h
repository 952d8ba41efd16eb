/*
 * The rule of both shells, once: what the core wants gathers in a round while the round before it
 * is being committed; a round's durable items are written all or not at all; the others are carried
 * out after that, in order, and never if the commit failed or the program died.
 */
#ifndef FLOTILLA_SIM_ROUNDS_H
#define FLOTILLA_SIM_ROUNDS_H

#include "tests/sim/world.h"

struct rounds_kind {
	size_t item_size;
	bool (*is_durable)(const void *item);
	void (*write)(struct world *world, void *owner, const void *item); /* to the disk */
	void (*carry_out)(struct world *world, void *owner, const void *item);
	void (*failed)(struct world *world, void *owner); /* a commit did */
	void (*die)(struct world *world, void *owner);    /* crashes the owner */
};

struct items {
	char *data;
	size_t n, cap;
};

struct rounds {
	const struct rounds_kind *kind;
	void *owner;
	uint32_t of; /* the owner's program, as in struct call */
	struct items gathering, committing;
	bool is_committing, is_written;
	uint64_t life; /* grows when the owner dies: what was planned for it is void */
	bool disk_fails;
};

void rounds_open(struct rounds *rounds, const struct rounds_kind *kind, void *owner, uint32_t of);
void rounds_close(struct rounds *rounds);
void rounds_add(struct world *world, struct rounds *rounds, const void *item);

/* Begins the next commit, unless one is under way. */
void rounds_flush(struct world *world, struct rounds *rounds);

/* Nothing is being committed, and nothing waits. */
bool rounds_are_idle(const struct rounds *rounds);

/* The owner dies, or drops its state: nothing more is carried out.  A commit under way may have
 * reached the disk or not. */
void rounds_die(struct world *world, struct rounds *rounds);

#endif

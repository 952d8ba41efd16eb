/*
 * Where decisions are made durable: tenants, keys, nodes, tokens.  With one scheduler they are rows
 * of the round; with several they are in etcd first, and become rows of every replica, this one
 * too, when they come back from there.  Either way the core hears of them when they are durable
 * here, and then whoever made them is answered.
 */
#ifndef FLOTILLA_SHELL_DECISIONS_H
#define FLOTILLA_SHELL_DECISIONS_H

#include "proto/reasons.h"
#include "scheduler/ha/ha.h"
#include "scheduler/shell/engine.h"

struct decisions {
	struct engine *engine;
	struct ha *ha;          /* NULL: one scheduler, or etcd is not spoken with at this moment */
	uint32_t ha_generation; /* counts them */
	bool is_replica;
	/* A node is enrolled: the bus shall know it. */
	void (*on_node)(void *data, const struct store_node *node);
	void *data;
};

/* REFUSAL_NONE: it is durable here. STORE_UNAVAILABLE, NO_LEADER: as ha_decide says. */
typedef void (*decisions_cb)(void *data, enum refusal refusal);

/* op is copied; its wall_ns is filled in. Calls back from the loop, once. */
void decisions_make(struct decisions *decisions, const struct store_op *op, decisions_cb cb,
		    void *data);

/* on_decisions of ha.h: writes them, tells the core, and answers with ha_applied. */
void decisions_apply(struct decisions *decisions, const struct store_op *ops, size_t n,
		     uint64_t revision);

#endif

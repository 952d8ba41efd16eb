/*
 * Shims as they are, around a test host: they keep leases, freeze and thaw by themselves, outlive
 * agents, and know to the millisecond what ran.  Everything that the core wants of them is carried
 * out at once, and its records are held against what ran.
 */
#ifndef FLOTILLA_TESTS_NODE_CORE_WALK_H
#define FLOTILLA_TESTS_NODE_CORE_WALK_H

#include "common/base/rng.h"
#include "tests/node_core/host.h"

enum { WALK_SHIMS = 64, WALK_ATTEMPTS = 4096 };

enum walk_state { WALK_NONE, WALK_STARTING, WALK_READY, WALK_CLAIMING, WALK_RUNS };

struct walk_shim {
	enum walk_state state;
	uint64_t vm;
	bool killed;
	struct wire_order claim;
	struct mono lease;   /* 0: without end */
	struct mono resumed; /* moved on by each thaw */
	struct mono frozen;  /* 0: it is not */
};

struct walk {
	struct host *host;
	struct rng rng;
	struct walk_shim shims[WALK_SHIMS];
	uint64_t lost_below;             /* as told to the node */
	uint64_t told_ms[WALK_ATTEMPTS]; /* running time that records tell */
	uint64_t ran_ms[WALK_ATTEMPTS];  /* of what has ended */
	size_t records_n;                /* looked at */
	uint64_t ended_n, thaws_n;
};

/* A host that is not booted. */
void walk_open(struct walk *walk, uint64_t seed);

/* Time passes; what has no lease any more freezes, and its agent is mostly told. */
void walk_pass(struct walk *walk, int64_t ms);

/* Some shim does what it is about: gets ready, is claimed, ends, says what it ran. */
void walk_shim(struct walk *walk);

/* The agent dies, and another one finds what there is. */
void walk_restart(struct walk *walk);

#endif

/*
 * Batches of a scheduler's life, and what each must have made of the sums: added up in arrays, by
 * an arithmetic that knows nothing of the store's.
 */
#ifndef FLOTILLA_TESTS_DURABILITY_STORE_TRACE_H
#define FLOTILLA_TESTS_DURABILITY_STORE_TRACE_H

#include "common/base/rng.h"
#include "scheduler/shell/store/store.h"

enum {
	TRACE_TENANTS = 8,
	TRACE_NODES = 3,
	TRACE_OPEN_MAX = 40,
	TRACE_BOXES_MAX = 20000,
	TRACE_SECRETS = 3, /* names of a tenant's */
};

/* What the sums must be. Each field is what a query of subject_store.c yields, in their order. */
struct sums {
	int64_t epoch, events, lines, entries, tenants, boxes, running, paused, credit, next_seqs;
	int64_t secrets, volumes; /* their versions, added up; those that are there */
	/* only when thorough */
	int64_t events_n, ms, seconds, free_seconds, amount, books, revenue, receivable;
};

enum { SUMS_N = sizeof(struct sums) / sizeof(int64_t), SUMS_QUICK_N = 12 };

struct fact {
	int node, box;
	int64_t seq, from_ms, to_ms;
};

struct box {
	int tenant, node;
	int64_t vcpus, mem_mib;
	int64_t ms;  /* of this life */
	int lives_n; /* one more with each resume */
	enum sandbox_state state;
};

struct store_trace {
	struct rng rng;
	struct store_batch *batches; /* [0] is empty */
	struct sums *sums;           /* [b]: after b batches */
	size_t batches_n, ops_n;
	struct fact *facts; /* [id - 1] */
	struct wire_record *records;
	size_t facts_n;
	struct box boxes[TRACE_BOXES_MAX];
	int boxes_n, open[TRACE_OPEN_MAX], open_n;
	int64_t credit[TRACE_TENANTS], next_seq[TRACE_NODES];
	int64_t secrets[TRACE_TENANTS][TRACE_SECRETS]; /* versions; 0: not there */
	bool has_volume[TRACE_TENANTS];                /* its newest one is there */
	int volumes_n, volumes[TRACE_TENANTS];         /* the number of its newest one */
	struct sums now;
};

extern struct store_trace trace;

/* Makes it: about ops_n operations. */
void store_trace_make(uint64_t seed, size_t ops_n);
void store_trace_free(void);

#endif

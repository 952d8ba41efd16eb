/*
 * The core's surroundings: steps it, makes its durable effects durable, and only then lets the
 * others out, in order.
 *
 * Work gathers in a round while the round before it is being committed.  When a commit fails,
 * nothing of that round or the one behind it is told; the state is dropped, and as soon as
 * writing works again it is rebuilt from the store: under a new epoch, or, where there are several
 * schedulers, as a standby, whatever it was.
 */
#ifndef FLOTILLA_SHELL_ENGINE_H
#define FLOTILLA_SHELL_ENGINE_H

#include "scheduler/core/core.h"
#include "scheduler/shell/metrics.h"
#include "scheduler/shell/store/store.h"

#include <uv.h>

struct engine;

/* What the core wants told, and the engine itself. Called on the loop. */
struct engine_hooks {
	void *data;
	void (*on_tell)(void *data,
			const struct core_effect *effect); /* all that are not durable */
	/* Everything under way is lost: requests have to be refused, polls to be forgotten. */
	void (*on_lost)(void *data);
	void (*on_round)(void *data); /* a round of work is done: carry on with what it set free */
	/* The state is there again after it was lost. May be NULL. */
	void (*on_rebuilt)(void *data);
};

struct engine_options {
	const char *state_dir;
	struct core_limits limits;
	uint32_t retry_ms; /* between attempts to write again */
	/* One of several schedulers: begins as a standby, and gets its epochs by engine_lead. */
	bool is_replica;
	const struct identity *signer; /* of the ledger's heads; NULL: there are none */
};

/* Opens the store, begins a new epoch and rebuilds the state. */
int engine_open(struct engine **out_engine, uv_loop_t *loop, const struct engine_options *options,
		const struct engine_hooks *hooks, struct scheduler_metrics *metrics,
		struct err *err);

/* Waits for the commit that is under way; callbacks of engine_then are called with false. */
void engine_close(struct engine *engine);

/* False while nothing can be written: new work is to be refused. */
bool engine_is_available(const struct engine *engine);

/* Of this scheduler's leadership; a standby's last one, or 1. */
uint32_t engine_epoch(const struct engine *engine);

/* This replica leads from now on, if its store works (false otherwise). The caller answers every
 * parked poll then. */
bool engine_lead(struct engine *engine, uint32_t epoch);

/* It does not lead any more: what is under way is lost, and it begins again as a standby. Not from
 * within a hook. */
void engine_follow(struct engine *engine);

/* A scheduler alone was told of an epoch that is not its own (an older copy of its database runs
 * here): begins again under a newer one, soon. */
void engine_renew(struct engine *engine, uint64_t seen_epoch);

/* For its questions; good until the next step. Old, and maybe NULL, while it is not available. */
struct core *engine_core(struct engine *engine);
struct store *engine_store(struct engine *engine);
struct mono engine_mono(void);
struct wall engine_wall(void);
struct wall engine_wall_of(struct mono at); /* 0 for 0 */

/* Steps the core, with now and wall filled in. Nothing while the engine is not available. */
void engine_step(struct engine *engine, struct core_event *event);

/* Steps CREATE or SNAPSHOT; what the core does not keep of a sandbox is written with its first row.
 * The texts of extra are taken over. */
void engine_create(struct engine *engine, struct core_event *event,
		   struct store_sandbox_extra *extra);

/* Steps SET_NETWORK; network: JSON of what is asked for of it, never empty, taken over. */
void engine_network(struct engine *engine, struct core_event *event, char *network);

/* Steps RECORD; note: what its scheduler wrote into the claim, or NULL. What of it only the store
 * keeps is copied when the sandbox is adopted. */
void engine_record(struct engine *engine, struct core_event *event,
		   const struct wire_sandbox_note *note);

/* Adds a decision of the shell to the round, to be filled in. Only while it is available. */
struct store_op *engine_write(struct engine *engine, enum store_op_kind kind);

/* Commits the round on the spot: while starting, before the loop runs. */
int engine_settle(struct engine *engine, struct err *err);

/* Calls back when all that was written so far is durable (true) or lost (false). */
typedef void (*engine_then_cb)(void *data, bool durable);
void engine_then(struct engine *engine, engine_then_cb cb, void *data);

#endif

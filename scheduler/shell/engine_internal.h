/* What the two files of the engine share. */
#ifndef FLOTILLA_SHELL_ENGINE_INTERNAL_H
#define FLOTILLA_SHELL_ENGINE_INTERNAL_H

#include "scheduler/shell/engine.h"

struct engine_tell {
	engine_then_cb then; /* NULL: the effect */
	void *data;
	struct core_effect effect;
};

struct engine_round {
	struct store_batch batch;
	struct engine_tell *tells;
	size_t tells_n, tells_cap;
};

enum engine_state {
	ENGINE_WORKS,
	ENGINE_WAITS, /* the state is lost, but a round of it is still being committed */
	ENGINE_MENDS, /* it is tried whether writing works */
	ENGINE_FAILS, /* it did not; tried again after a pause */
};

struct engine {
	uv_loop_t *loop;
	struct engine_options options;
	struct engine_hooks hooks;
	struct scheduler_metrics *metrics;
	struct store *store;
	struct core *core;
	void *core_memory;
	size_t core_memory_n;
	struct core_effects effects; /* of the step being taken */
	struct store_sandbox_extra *creating;
	const struct wire_sandbox_note *adopting; /* of the record being stepped, or NULL */
	bool is_network_told; /* and that record is of a change of what a sandbox may reach */
	char *network;        /* of the SET_NETWORK being stepped, or NULL */
	struct engine_round rounds[2];
	size_t gathering; /* index; the other round is being committed or empty */
	bool flushing;
	enum engine_state state;
	uint32_t epoch;
	uint64_t epoch_floor;       /* the next one is to be above it */
	uv_prepare_t *before_sleep; /* these are freed by their close callbacks */
	uv_timer_t *tick, *retry, *renew;
};

/* engine.c: steps and rounds. */
void engine_take_step(struct engine *engine, struct core_event *event);
void engine_tell_all(struct engine *engine, struct engine_round *round);
void engine_drop_tells(struct engine_round *round);
void engine_drop(struct engine_round *round); /* tells nobody, and whoever waits that it is lost */
void engine_flush(struct engine *engine);
void engine_on_committed(struct engine *engine, struct engine_round *round);

#endif

#include "scheduler/shell/engine.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

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
	struct engine_round rounds[2];
	size_t gathering; /* index; the other round is being committed or empty */
	bool available, flushing;
	uint32_t epoch;
	uv_prepare_t *before_sleep; /* these are freed by their close callbacks */
	uv_timer_t *tick, *retry;
};

static void engine_flush(struct engine *engine);
static void engine_tell_all(struct engine *engine, struct engine_round *round);

static struct mono engine_mono(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (struct mono){now.tv_sec * NS_PER_S + now.tv_nsec};
}

struct wall engine_wall(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct wall){now.tv_sec * NS_PER_S + now.tv_nsec};
}

struct wall engine_wall_of(struct mono at)
{
	if (at.ns == 0)
		return (struct wall){0};
	return (struct wall){engine_wall().ns - (engine_mono().ns - at.ns)};
}

/* ---- rounds ---- */

static struct engine_tell *engine_add_tell(struct engine *engine)
{
	struct engine_round *round = &engine->rounds[engine->gathering];

	if (round->tells_n == round->tells_cap) {
		round->tells_cap = round->tells_cap ? round->tells_cap * 2 : 32;
		round->tells = realloc(round->tells, round->tells_cap * sizeof(*round->tells));
		CHECK(round->tells);
	}
	return &round->tells[round->tells_n++];
}

static void engine_take_effect(struct engine *engine, const struct core_effect *effect,
			       int64_t wall_ns)
{
	struct store_batch *batch = &engine->rounds[engine->gathering].batch;
	struct store_op *op;

	if (!core_effect_is_durable(effect->kind)) {
		struct engine_tell *tell = engine_add_tell(engine);
		tell->then = NULL;
		tell->effect = *effect;
		return;
	}
	if (effect->kind == CORE_EFFECT_SAVE_SANDBOX && engine->creating) {
		op = store_batch_add(batch, STORE_OP_SANDBOX_NEW, wall_ns);
		op->sandbox.row = effect->sandbox;
		op->sandbox.extra = *engine->creating;
		memset(engine->creating, 0, sizeof(*engine->creating));
		engine->creating = NULL;
		return;
	}
	op = store_batch_add(batch, STORE_OP_EFFECT, wall_ns);
	op->effect = *effect;
}

static void engine_take_step(struct engine *engine, struct core_event *event)
{
	event->now = engine_mono();
	event->wall = engine_wall();
	core_step(engine->core, event, &engine->effects);
	for (uint32_t i = 0; i < engine->effects.n; i++)
		engine_take_effect(engine, &engine->effects.items[i], event->wall.ns);
}

void engine_step(struct engine *engine, struct core_event *event)
{
	if (engine->available)
		engine_take_step(engine, event);
}

void engine_create(struct engine *engine, struct core_event *event,
		   struct store_sandbox_extra *extra)
{
	CHECK(event->kind == CORE_EVENT_CREATE);
	engine->creating = extra;
	engine_step(engine, event);
	engine->creating = NULL;
	/* Refused: there is no row, and nothing to keep. */
	free(extra->metadata);
	free(extra->envs);
	free(extra->idempotency_key);
	memset(extra, 0, sizeof(*extra));
}

struct store_op *engine_write(struct engine *engine, enum store_op_kind kind)
{
	CHECK(engine->available);
	return store_batch_add(&engine->rounds[engine->gathering].batch, kind, engine_wall().ns);
}

int engine_settle(struct engine *engine, struct err *err)
{
	struct engine_round *round = &engine->rounds[engine->gathering];

	CHECK(engine->available && !store_is_busy(engine->store));
	if (round->batch.ops_n > 0 && store_commit_now(engine->store, &round->batch, err))
		return -1;
	engine->gathering ^= 1;
	engine_tell_all(engine, round);
	return 0;
}

void engine_then(struct engine *engine, engine_then_cb cb, void *data)
{
	struct engine_tell *tell = engine_add_tell(engine);

	tell->then = cb;
	tell->data = data;
}

/* ---- telling ---- */

static void engine_tell_all(struct engine *engine, struct engine_round *round)
{
	for (size_t i = 0; i < round->tells_n; i++) {
		struct engine_tell *tell = &round->tells[i];
		if (tell->then)
			tell->then(tell->data, true);
		else
			engine->hooks.on_tell(engine->hooks.data, &tell->effect);
	}
	round->tells_n = 0;
	store_batch_clear(&round->batch);
}

static void engine_drop(struct engine_round *round)
{
	for (size_t i = 0; i < round->tells_n; i++)
		if (round->tells[i].then)
			round->tells[i].then(round->tells[i].data, false);
	round->tells_n = 0;
	store_batch_clear(&round->batch);
}

/* A tenant whose credit has changed may have come to its end. */
static void engine_note_credits(struct engine *engine, const struct store_batch *batch)
{
	for (size_t i = 0; i < batch->credits_n; i++) {
		struct core_event event = {.kind = CORE_EVENT_TENANT_SET};
		struct store_tenant tenant;
		struct err err;
		int got =
			store_tenant_find(engine->store, &batch->credits[i].tenant, &tenant, &err);
		if (got < 0)
			log_error("engine", "cannot read a tenant", LOG_ERR(&err));
		if (got != 1 || !tenant.prepaid)
			continue;
		store_tenant_core(&tenant, &event.tenant);
		engine_step(engine, &event);
	}
}

static void engine_fail(struct engine *engine, const struct err *err);

/* Rounds go out while there are any; one with something durable in it goes by way of the store. */
static void engine_flush(struct engine *engine)
{
	if (engine->flushing || !engine->available)
		return;
	engine->flushing = true;
	while (engine->available && !store_is_busy(engine->store)) {
		struct engine_round *round = &engine->rounds[engine->gathering];
		if (round->batch.ops_n == 0 && round->tells_n == 0)
			break;
		engine->gathering ^= 1;
		if (round->batch.ops_n > 0)
			store_commit(engine->store, &round->batch);
		else
			engine_tell_all(engine, round);
	}
	engine->flushing = false;
	engine->hooks.on_round(engine->hooks.data);
}

static void engine_on_committed(struct engine *engine, struct engine_round *round)
{
	engine->metrics->commits++;
	engine->metrics->committed_ops += round->batch.ops_n;
	engine->metrics->unrated += round->batch.unrated_n;
	metric_observe(&engine->metrics->commit_ns, round->batch.took_ns);
	if (round->batch.unrated_n)
		log_error("ledger", "usage cannot be billed",
			  LOG_UINT("records", round->batch.unrated_n));
	engine_note_credits(engine, &round->batch);
	engine_tell_all(engine, round);
	engine_flush(engine);
}

/* ---- building and rebuilding ---- */

static void engine_on_loaded(void *data, const struct core_event *event)
{
	struct engine *engine = data;
	struct core_event copy = *event;

	engine_take_step(engine, &copy);
}

/* From the store's rows to a core that has booted; its first effects gather in the round. */
static int engine_rebuild(struct engine *engine, uint32_t epoch, struct err *err)
{
	struct core_event boot = {.kind = CORE_EVENT_BOOT, .boot.epoch = epoch};

	if (engine->core_memory)
		munmap(engine->core_memory, engine->core_memory_n);
	engine->core_memory = NULL;
	engine->core = NULL;
	engine->core_memory_n = core_size(&engine->options.limits);
	/* Untouched pages cost nothing, so that generous limits are free. */
	void *memory = mmap(NULL, engine->core_memory_n, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return err_set(err, "no memory for the core");
	engine->core_memory = memory;
	engine->core = core_init(memory, &engine->options.limits);
	if (store_load(engine->store, engine_on_loaded, engine, err))
		return -1;
	engine_take_step(engine, &boot);
	engine->epoch = epoch;
	engine->metrics->epoch = epoch;
	engine->metrics->ready = 1;
	engine->available = true;
	return 0;
}

static void engine_on_retry(uv_timer_t *timer)
{
	struct engine *engine = timer->data;
	struct engine_round *round = &engine->rounds[engine->gathering];

	CHECK(!engine->available && round->batch.ops_n == 0);
	engine->gathering ^= 1;
	store_batch_add(&round->batch, STORE_OP_EPOCH, engine_wall().ns);
	store_commit(engine->store, &round->batch);
}

static void engine_fail(struct engine *engine, const struct err *err)
{
	bool was_available = engine->available;

	engine->available = false;
	engine->metrics->ready = 0;
	engine_drop(&engine->rounds[0]);
	engine_drop(&engine->rounds[1]);
	if (was_available) {
		log_error("store", "cannot write: nothing new is accepted until it works again",
			  LOG_ERR(err));
		engine->hooks.on_lost(engine->hooks.data);
		engine->hooks.on_round(engine->hooks.data);
	}
	uv_timer_stop(engine->tick);
	uv_timer_start(engine->retry, engine_on_retry, engine->options.retry_ms, 0);
}

static void engine_on_done(void *data, struct store_batch *batch)
{
	struct engine *engine = data;
	struct engine_round *round = &engine->rounds[engine->gathering ^ 1];
	uint32_t epoch = batch->epoch;
	struct err err = batch->err;

	CHECK(batch == &round->batch);
	if (!batch->committed)
		engine->metrics->commit_faults++;
	if (batch->committed && engine->available) {
		engine_on_committed(engine, round);
		return;
	}
	if (!batch->committed) {
		engine_fail(engine, &err);
		return;
	}
	engine_drop(round);
	if (engine_rebuild(engine, epoch, &err)) {
		engine_fail(engine, &err);
		return;
	}
	log_info("store", "writing works again", LOG_UINT("epoch", epoch));
	engine_flush(engine);
}

/* ---- the loop ---- */

static void engine_on_tick(uv_timer_t *timer)
{
	struct core_event event = {.kind = CORE_EVENT_TICK};

	engine_step(timer->data, &event);
}

static void engine_before_sleep(uv_prepare_t *prepare)
{
	struct engine *engine = prepare->data;
	struct mono at;

	engine_flush(engine);
	if (!engine->available)
		return;
	if (!core_next_deadline(engine->core, &at)) {
		uv_timer_stop(engine->tick);
		return;
	}
	int64_t wait_ns = at.ns - engine_mono().ns;
	uv_update_time(engine->loop);
	uv_timer_start(engine->tick, engine_on_tick,
		       wait_ns <= 0 ? 0 : (uint64_t)((wait_ns + NS_PER_MS - 1) / NS_PER_MS), 0);
}

static int engine_boot(struct engine *engine, struct err *err)
{
	struct store_batch batch = {0};
	uint32_t epoch;
	int fault;

	store_batch_add(&batch, STORE_OP_EPOCH, engine_wall().ns);
	fault = store_commit_now(engine->store, &batch, err);
	epoch = batch.epoch;
	store_batch_free(&batch);
	return fault ? -1 : engine_rebuild(engine, epoch, err);
}

static void *engine_handle(size_t n, struct engine *engine)
{
	uv_handle_t *handle = calloc(1, n);

	CHECK(handle);
	handle->data = engine;
	return handle;
}

int engine_open(struct engine **out_engine, uv_loop_t *loop, const struct engine_options *options,
		const struct engine_hooks *hooks, struct scheduler_metrics *metrics,
		struct err *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));

	CHECK(engine);
	engine->loop = loop;
	engine->options = *options;
	engine->hooks = *hooks;
	engine->metrics = metrics;
	engine->tick = engine_handle(sizeof(*engine->tick), engine);
	engine->retry = engine_handle(sizeof(*engine->retry), engine);
	engine->before_sleep = engine_handle(sizeof(*engine->before_sleep), engine);
	uv_timer_init(loop, engine->tick);
	uv_timer_init(loop, engine->retry);
	uv_prepare_init(loop, engine->before_sleep);
	if (store_open(&engine->store, loop, options->state_dir, engine_on_done, engine, err) ||
	    engine_boot(engine, err)) {
		engine_close(engine);
		return -1;
	}
	uv_prepare_start(engine->before_sleep, engine_before_sleep);
	*out_engine = engine;
	return 0;
}

static void engine_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void engine_close(struct engine *engine)
{
	if (!engine)
		return;
	engine->available = false;
	store_close(engine->store);
	for (size_t i = 0; i < ARRAY_N(engine->rounds); i++) {
		engine_drop(&engine->rounds[i]);
		store_batch_free(&engine->rounds[i].batch);
		free(engine->rounds[i].tells);
	}
	uv_close((uv_handle_t *)engine->tick, engine_free_handle);
	uv_close((uv_handle_t *)engine->retry, engine_free_handle);
	uv_close((uv_handle_t *)engine->before_sleep, engine_free_handle);
	if (engine->core_memory)
		munmap(engine->core_memory, engine->core_memory_n);
	free(engine);
}

bool engine_is_available(const struct engine *engine)
{
	return engine->available;
}

uint32_t engine_epoch(const struct engine *engine)
{
	return engine->epoch;
}

struct core *engine_core(struct engine *engine)
{
	return engine->core;
}

struct store *engine_store(struct engine *engine)
{
	return engine->store;
}

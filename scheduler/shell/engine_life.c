/* How the engine begins, loses its store, begins again, and ends. */
#include "scheduler/shell/engine_internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdlib.h>
#include <sys/mman.h>

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
	struct core_event boot = {
		.kind = CORE_EVENT_BOOT,
		.boot = {.epoch = epoch, .standby = engine->options.is_replica},
	};

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
	engine->state = ENGINE_WORKS;
	return 0;
}

/* What shows that writing works: alone, a new epoch. */
static void engine_add_trial(const struct engine *engine, struct store_batch *batch)
{
	bool is_replica = engine->options.is_replica;
	struct store_op *op = store_batch_add(batch, is_replica ? STORE_OP_PROBE : STORE_OP_EPOCH,
					      engine_wall().ns);

	if (!is_replica)
		op->epoch_floor = engine->epoch_floor;
}

static uint32_t engine_epoch_after(const struct engine *engine, const struct store_batch *trial)
{
	if (!engine->options.is_replica)
		return trial->epoch;
	return engine->epoch ? engine->epoch : 1;
}

static void engine_mend(struct engine *engine)
{
	struct engine_round *round = &engine->rounds[engine->gathering];

	CHECK(engine->state != ENGINE_WORKS && round->batch.ops_n == 0);
	engine->state = ENGINE_MENDS;
	engine->gathering ^= 1;
	engine_add_trial(engine, &round->batch);
	store_commit(engine->store, &round->batch);
}

static void engine_on_retry(uv_timer_t *timer)
{
	engine_mend(timer->data);
}

static void engine_fail(struct engine *engine)
{
	engine->state = ENGINE_FAILS;
	uv_timer_start(engine->retry, engine_on_retry, engine->options.retry_ms, 0);
}

/* Whoever waited hears that it is lost. A round that is being committed goes on; nobody is told of
 * it, and what it wrote is found in the store. */
static void engine_lose(struct engine *engine)
{
	engine->state = ENGINE_WAITS;
	engine->metrics->ready = 0;
	engine_drop(&engine->rounds[engine->gathering]);
	if (store_is_busy(engine->store))
		engine_drop_tells(&engine->rounds[engine->gathering ^ 1]);
	else
		engine_drop(&engine->rounds[engine->gathering ^ 1]);
	uv_timer_stop(engine->tick);
	engine->hooks.on_lost(engine->hooks.data);
	engine->hooks.on_round(engine->hooks.data);
}

static void engine_on_tried(struct engine *engine, const struct store_batch *batch)
{
	uint32_t epoch = engine_epoch_after(engine, batch);
	bool committed = batch->committed;
	struct err err;

	engine_drop(&engine->rounds[engine->gathering ^ 1]);
	if (!committed || engine_rebuild(engine, epoch, &err)) {
		engine_fail(engine);
		return;
	}
	log_info("store", "the state is rebuilt", LOG_UINT("epoch", epoch));
	if (engine->hooks.on_rebuilt)
		engine->hooks.on_rebuilt(engine->hooks.data);
	engine_flush(engine);
}

static void engine_on_done(void *data, struct store_batch *batch)
{
	struct engine *engine = data;
	struct engine_round *round = &engine->rounds[engine->gathering ^ 1];

	CHECK(batch == &round->batch);
	if (!batch->committed)
		engine->metrics->commit_faults++;
	switch (engine->state) {
	case ENGINE_WORKS:
		if (batch->committed) {
			engine_on_committed(engine, round);
			return;
		}
		log_error("store", "cannot write: nothing new is accepted until it works again",
			  LOG_ERR(&batch->err));
		engine_lose(engine);
		engine_fail(engine);
		return;
	case ENGINE_WAITS:
		engine_drop(round);
		engine_mend(engine);
		return;
	case ENGINE_MENDS:
		engine_on_tried(engine, batch);
		return;
	case ENGINE_FAILS:
		break;
	}
	check_broken("nothing is committed while it fails", __FILE__, __LINE__);
}

/* ---- roles ---- */

bool engine_lead(struct engine *engine, uint32_t epoch)
{
	struct core_event lead = {.kind = CORE_EVENT_LEAD, .lead.epoch = epoch};

	CHECK(engine->options.is_replica);
	if (!engine_is_available(engine))
		return false;
	engine->epoch = epoch;
	engine->metrics->epoch = epoch;
	engine->metrics->takeovers++;
	engine_take_step(engine, &lead);
	return true;
}

static void engine_begin_again(struct engine *engine)
{
	engine_lose(engine);
	if (!store_is_busy(engine->store))
		engine_mend(engine);
}

void engine_follow(struct engine *engine)
{
	if (engine_is_available(engine) && core_role(engine->core) != CORE_STANDBY)
		engine_begin_again(engine);
}

static void engine_on_renew(uv_timer_t *timer)
{
	struct engine *engine = timer->data;

	if (!engine_is_available(engine) || engine->epoch > engine->epoch_floor)
		return;
	log_error("store", "an older copy of the database: begins again above what nodes have seen",
		  LOG_UINT("seen", engine->epoch_floor), LOG_UINT("ours", engine->epoch));
	engine_begin_again(engine);
}

/* Not at once: whoever says so is in the middle of a round. */
void engine_renew(struct engine *engine, uint64_t seen_epoch)
{
	CHECK(!engine->options.is_replica);
	if (seen_epoch > engine->epoch_floor)
		engine->epoch_floor = seen_epoch;
	uv_timer_start(engine->renew, engine_on_renew, 0, 0);
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
	if (!engine_is_available(engine))
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

	engine_add_trial(engine, &batch);
	fault = store_commit_now(engine->store, &batch, err);
	epoch = engine_epoch_after(engine, &batch);
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
	engine->state = ENGINE_FAILS; /* until it is booted */
	engine->tick = engine_handle(sizeof(*engine->tick), engine);
	engine->retry = engine_handle(sizeof(*engine->retry), engine);
	engine->renew = engine_handle(sizeof(*engine->renew), engine);
	engine->before_sleep = engine_handle(sizeof(*engine->before_sleep), engine);
	uv_timer_init(loop, engine->tick);
	uv_timer_init(loop, engine->retry);
	uv_timer_init(loop, engine->renew);
	uv_prepare_init(loop, engine->before_sleep);
	if (store_open(&engine->store, loop, options->state_dir, engine_on_done, engine, err))
		goto fail;
	if (options->signer)
		store_sign_with(engine->store, options->signer);
	if (engine_boot(engine, err))
		goto fail;
	uv_prepare_start(engine->before_sleep, engine_before_sleep);
	*out_engine = engine;
	return 0;
fail:
	engine_close(engine);
	return -1;
}

static void engine_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void engine_close(struct engine *engine)
{
	if (!engine)
		return;
	engine->state = ENGINE_FAILS;
	store_close(engine->store);
	for (size_t i = 0; i < ARRAY_N(engine->rounds); i++) {
		engine_drop(&engine->rounds[i]);
		store_batch_free(&engine->rounds[i].batch);
		free(engine->rounds[i].tells);
	}
	uv_close((uv_handle_t *)engine->tick, engine_free_handle);
	uv_close((uv_handle_t *)engine->retry, engine_free_handle);
	uv_close((uv_handle_t *)engine->renew, engine_free_handle);
	uv_close((uv_handle_t *)engine->before_sleep, engine_free_handle);
	if (engine->core_memory)
		munmap(engine->core_memory, engine->core_memory_n);
	free(engine);
}

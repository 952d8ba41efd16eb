/* Steps of the core, rounds of work, and telling what is durable; its life is in engine_life.c. */
#include "scheduler/shell/engine_internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct mono engine_mono(void)
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

static void engine_take_note(struct store_sandbox_extra *extra,
			     const struct wire_sandbox_note *note)
{
	if (!note)
		return;
	extra->auto_resume = note->auto_resume;
	if (note->metadata.n) {
		extra->metadata = strndup((const char *)note->metadata.data, note->metadata.n);
		CHECK(extra->metadata);
	}
	if (note->network.n) {
		extra->network = strndup((const char *)note->network.data, note->network.n);
		CHECK(extra->network);
	}
	if (note->mounts.n) {
		extra->mounts = strndup((const char *)note->mounts.data, note->mounts.n);
		CHECK(extra->mounts);
	}
	if (note->idempotency_key[0]) {
		extra->idempotency_key = strdup(note->idempotency_key);
		CHECK(extra->idempotency_key);
		memcpy(extra->idempotency_hash, note->idempotency_hash, STORE_HASH_N);
	}
}

/* With the row whose version it goes by: in the same transaction, and behind it. */
static void engine_add_network(struct engine *engine, const struct id *sandbox, int64_t wall_ns)
{
	struct store_batch *batch = &engine->rounds[engine->gathering].batch;
	struct store_op *op;

	if (!engine->network && !engine->is_network_told)
		return;
	op = store_batch_add(batch, STORE_OP_NETWORK, wall_ns);
	op->network.sandbox = *sandbox;
	op->network.is_next = engine->network != NULL;
	op->network.text = engine->network;
	engine->network = NULL;
	if (!op->network.is_next) {
		op->network.text = strndup((const char *)engine->adopting->network.data,
					   engine->adopting->network.n);
		CHECK(op->network.text);
	}
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
	if (effect->kind == CORE_EFFECT_ADOPT_SANDBOX) {
		op = store_batch_add(batch, STORE_OP_SANDBOX_ADOPT, wall_ns);
		op->sandbox.row = effect->sandbox;
		engine_take_note(&op->sandbox.extra, engine->adopting);
		return;
	}
	op = store_batch_add(batch, STORE_OP_EFFECT, wall_ns);
	op->effect = *effect;
	if (effect->kind == CORE_EFFECT_SAVE_SANDBOX)
		engine_add_network(engine, &effect->sandbox.id, wall_ns);
}

void engine_take_step(struct engine *engine, struct core_event *event)
{
	event->now = engine_mono();
	event->wall = engine_wall();
	core_step(engine->core, event, &engine->effects);
	for (uint32_t i = 0; i < engine->effects.n; i++)
		engine_take_effect(engine, &engine->effects.items[i], event->wall.ns);
}

void engine_step(struct engine *engine, struct core_event *event)
{
	if (engine_is_available(engine))
		engine_take_step(engine, event);
}

void engine_create(struct engine *engine, struct core_event *event,
		   struct store_sandbox_extra *extra)
{
	CHECK(event->kind == CORE_EVENT_CREATE || event->kind == CORE_EVENT_SNAPSHOT);
	engine->creating = extra;
	engine_step(engine, event);
	engine->creating = NULL;
	/* Refused: there is no row, and nothing to keep. */
	free(extra->metadata);
	free(extra->envs);
	free(extra->network);
	free(extra->mounts);
	free(extra->idempotency_key);
	memset(extra, 0, sizeof(*extra));
}

void engine_network(struct engine *engine, struct core_event *event, char *network)
{
	CHECK(event->kind == CORE_EVENT_SET_NETWORK);
	engine->network = network;
	engine_step(engine, event);
	/* Refused. */
	free(engine->network);
	engine->network = NULL;
}

void engine_record(struct engine *engine, struct core_event *event,
		   const struct wire_sandbox_note *note)
{
	CHECK(event->kind == CORE_EVENT_RECORD);
	if (note) {
		event->record.created_at.ns = note->created_at_ns;
		event->record.timeout_s = note->timeout_s;
	}
	engine->adopting = note;
	engine->is_network_told =
		note && note->network.n && event->record.record->kind == WIRE_RECORD_USAGE;
	engine_step(engine, event);
	engine->adopting = NULL;
	engine->is_network_told = false;
}

struct store_op *engine_write(struct engine *engine, enum store_op_kind kind)
{
	CHECK(engine_is_available(engine));
	return store_batch_add(&engine->rounds[engine->gathering].batch, kind, engine_wall().ns);
}

int engine_settle(struct engine *engine, struct err *err)
{
	struct engine_round *round = &engine->rounds[engine->gathering];

	CHECK(engine_is_available(engine) && !store_is_busy(engine->store));
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

void engine_tell_all(struct engine *engine, struct engine_round *round)
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

void engine_drop_tells(struct engine_round *round)
{
	for (size_t i = 0; i < round->tells_n; i++)
		if (round->tells[i].then)
			round->tells[i].then(round->tells[i].data, false);
	round->tells_n = 0;
}

void engine_drop(struct engine_round *round)
{
	engine_drop_tells(round);
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

/* Rounds go out while there are any; one with something durable in it goes by way of the store. */
void engine_flush(struct engine *engine)
{
	if (engine->flushing || !engine_is_available(engine))
		return;
	engine->flushing = true;
	while (engine_is_available(engine) && !store_is_busy(engine->store)) {
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

void engine_on_committed(struct engine *engine, struct engine_round *round)
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

/* ---- questions ---- */

bool engine_is_available(const struct engine *engine)
{
	return engine->state == ENGINE_WORKS;
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

/* A batch into SQL, in the order of its ops, on the thread that commits. */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"
#include "scheduler/ledger/rate.h"

#include <stdio.h>

int store_seed(struct sqlite *writer, struct err *err)
{
	if (sqlite_begin(writer, err))
		return -1;
#define PLAN(name, concurrent, session_s, credit, prepaid)                                         \
	if (sqlite_run(writer, STORE_WRITE_PLAN_SEED,                                              \
		       SQL(SQL_TEXT(name), SQL_INT(concurrent), SQL_INT(session_s),                \
			   SQL_INT((int64_t)(credit)*1000000000), SQL_INT(prepaid)),               \
		       err))                                                                       \
		goto fail;
#include "scheduler/shell/store/plans.def"
#undef PLAN
#define METER(name, number, text, divisor, price_nano, unit)                                       \
	if (sqlite_run(writer, STORE_WRITE_PRICE_SEED,                                             \
		       SQL(SQL_INT(1), SQL_INT(number), SQL_INT(price_nano), SQL_INT(divisor)),    \
		       err))                                                                       \
		goto fail;
#include "scheduler/ledger/meters.def"
#undef METER
	return sqlite_commit(writer, err);
fail:
	sqlite_rollback(writer);
	return err_wrap(err, "seed");
}

int store_move(struct sqlite *writer, const char *movement, const char *tenant,
	       enum store_account debit, enum store_account credit, int64_t amount_nano,
	       int64_t at_wall, struct err *err)
{
	if (amount_nano == 0)
		return 0;
	if (sqlite_run(writer, STORE_WRITE_ENTRY_ADD,
		       SQL(SQL_TEXT(movement), SQL_TEXT(tenant), SQL_INT(debit),
			   SQL_INT(amount_nano), SQL_INT(at_wall)),
		       err))
		return -1;
	return sqlite_run(writer, STORE_WRITE_ENTRY_ADD,
			  SQL(SQL_TEXT(movement), SQL_TEXT(tenant), SQL_INT(credit),
			      SQL_INT(-amount_nano), SQL_INT(at_wall)),
			  err);
}

static int store_apply_epoch(struct sqlite *writer, struct store_batch *batch, uint64_t floor,
			     struct err *err)
{
	int64_t epoch;

	if (sqlite_get_int(writer, STORE_WRITE_META_GET, SQL(SQL_TEXT("epoch")), 0, &epoch, err))
		return -1;
	if (epoch < INT32_MAX && (uint64_t)epoch < floor)
		epoch = floor < INT32_MAX ? (int64_t)floor : INT32_MAX;
	/* Attempt numbers are epoch << 32 and must stay positive in SQLite. */
	if (++epoch >= INT32_MAX)
		return err_set(err, "epochs are used up");
	batch->epoch = (uint32_t)epoch;
	return sqlite_run(writer, STORE_WRITE_META_SET, SQL(SQL_TEXT("epoch"), SQL_INT(epoch)),
			  err);
}

static int store_apply_sandbox_new(struct sqlite *writer, const struct core_sandbox *row,
				   const struct store_sandbox_extra *extra, struct err *err)
{
	const char *key = extra->idempotency_key;
	struct sqlite_value hash = key ? SQL_BLOB(extra->idempotency_hash, STORE_HASH_N) : SQL_NULL;

	if (key && sqlite_run(writer, STORE_WRITE_SANDBOX_KEY_PASS,
			      SQL(SQL_TEXT(row->id.text), SQL_TEXT(row->tenant.text),
				  SQL_INT((int64_t)row->attempt), SQL_TEXT(key)),
			      err))
		return -1;

	if (extra->mounts && sqlite_run(writer, STORE_WRITE_MOUNTS_ADD,
					SQL(SQL_TEXT(row->id.text), SQL_TEXT(extra->mounts)), err))
		return -1;
	return sqlite_run(
		writer, STORE_WRITE_SANDBOX_ADD,
		SQL(SQL_TEXT(row->id.text), SQL_TEXT(row->tenant.text), SQL_TEXT(row->node.text),
		    SQL_TEXT(row->template_), SQL_INT(row->vcpus), SQL_INT(row->mem_mib),
		    SQL_INT(row->disk_mib), SQL_INT(row->state), SQL_INT(row->refusal),
		    SQL_INT(row->cause), SQL_INT((int64_t)row->attempt), SQL_INT(row->tries),
		    SQL_INT((int64_t)row->deadline_version), SQL_INT((int64_t)row->deadline_known),
		    SQL_INT(row->created_at.ns), SQL_INT(row->started_at.ns),
		    SQL_INT(row->end_at.ns), SQL_INT(row->ended_at.ns), SQL_TEXT(row->plan),
		    SQL_INT(row->price_version), SQL_TEXT(extra->metadata ? extra->metadata : "{}"),
		    SQL_TEXT(extra->envs), SQL_TEXT(extra->idempotency_key), hash,
		    SQL_INT(row->timeout_s), SQL_TEXT(extra->network), SQL_INT(row->incarnation),
		    SQL_INT(row->on_limit), SQL_INT(row->life_at.ns), SQL_INT(extra->auto_resume),
		    SQL_TEXT(row->source.text), SQL_INT((int64_t)row->source_attempt),
		    SQL_INT(row->transient), SQL_INT((int64_t)row->from_attempt), SQL_INT(row->how),
		    SQL_INT((int64_t)row->saved_mib)),
		err);
}

static int store_apply_sandbox(struct sqlite *writer, const struct core_sandbox *row,
			       struct err *err)
{
	if (sqlite_run(
		    writer, STORE_WRITE_SANDBOX_SAVE,
		    SQL(SQL_TEXT(row->id.text), SQL_TEXT(row->node.text), SQL_INT(row->state),
			SQL_INT(row->refusal), SQL_INT(row->cause), SQL_INT((int64_t)row->attempt),
			SQL_INT(row->tries), SQL_INT((int64_t)row->deadline_version),
			SQL_INT((int64_t)row->deadline_known), SQL_INT(row->started_at.ns),
			SQL_INT(row->end_at.ns), SQL_INT(row->ended_at.ns), SQL_INT(row->timeout_s),
			SQL_INT(row->incarnation), SQL_INT((int64_t)row->saved_attempt),
			SQL_INT((int64_t)row->save), SQL_INT(row->how),
			SQL_INT((int64_t)row->saved_mib), SQL_INT(row->life_at.ns),
			SQL_TEXT(row->plan), SQL_INT(row->price_version)),
		    err))
		return -1;
	CHECK(sqlite_changes(writer) == 1); /* a sandbox is added before it is saved again */
	return 0;
}

static int store_apply_effect(struct sqlite *writer, struct store_batch *batch,
			      const struct store_op *op, struct err *err)
{
	const struct core_node *node = &op->effect.node;
	const struct core_template *template_ = &op->effect.template_;

	switch (op->effect.kind) {
	case CORE_EFFECT_SAVE_NODE:
		return sqlite_run(writer, STORE_WRITE_NODE_SAVE,
				  SQL(SQL_TEXT(node->id.text), SQL_INT(node->capacity.vcpus),
				      SQL_INT((int64_t)node->capacity.mem_mib),
				      SQL_INT((int64_t)node->capacity.disk_mib),
				      SQL_INT(node->capacity.sandboxes),
				      SQL_INT((int64_t)node->next_seq),
				      SQL_INT((int64_t)node->lost_below)),
				  err);
	case CORE_EFFECT_SAVE_TEMPLATE:
		return sqlite_run(writer, STORE_WRITE_TEMPLATE_SAVE,
				  SQL(SQL_TEXT(template_->name), SQL_INT(template_->vcpus),
				      SQL_INT(template_->mem_mib), SQL_INT(template_->disk_mib)),
				  err);
	case CORE_EFFECT_SAVE_SANDBOX:
		return store_apply_sandbox(writer, &op->effect.sandbox, err);
	case CORE_EFFECT_POST_USAGE:
		return store_post(writer, batch, op, err);
	case CORE_EFFECT_REPLY:
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_ADMITTING:
	case CORE_EFFECT_EPOCH_OVER:
	case CORE_EFFECT_WAKE:
	case CORE_EFFECT_ORDER:
	case CORE_EFFECT_ACK:
	case CORE_EFFECT_N:
		break;
	}
	check_broken("only durable effects are written", __FILE__, __LINE__);
}

static int store_apply_op(struct sqlite *writer, struct store_batch *batch,
			  const struct store_op *op, struct err *err)
{
	switch (op->kind) {
	case STORE_OP_EPOCH:
		return store_apply_epoch(writer, batch, op->epoch_floor, err);
	case STORE_OP_PROBE:
		return sqlite_run(writer, STORE_WRITE_META_SET,
				  SQL(SQL_TEXT("probed_at"), SQL_INT(op->wall_ns)), err);
	case STORE_OP_SANDBOX_NEW:
	case STORE_OP_SANDBOX_ADOPT:
		return store_apply_sandbox_new(writer, &op->sandbox.row, &op->sandbox.extra, err);
	case STORE_OP_NETWORK:
		return sqlite_run(
			writer,
			op->network.is_next ? STORE_WRITE_SANDBOX_NETWORK_NEXT
					    : STORE_WRITE_SANDBOX_NETWORK,
			SQL(SQL_TEXT(op->network.sandbox.text), SQL_TEXT(op->network.text)), err);
	case STORE_OP_EFFECT:
		return store_apply_effect(writer, batch, op, err);
	case STORE_OP_TENANT:
	case STORE_OP_KEY:
	case STORE_OP_NODE:
	case STORE_OP_TOKEN:
	case STORE_OP_NODE_SET:
	case STORE_OP_PLAN:
	case STORE_OP_PRICE:
	case STORE_OP_TEMPLATE:
	case STORE_OP_BUILD:
	case STORE_OP_TAG:
	case STORE_OP_SECRET:
	case STORE_OP_VOLUME:
	case STORE_OP_REVISION:
		return store_decide(writer, op, err);
	}
	return -1;
}

int store_apply(struct sqlite *writer, const struct identity *signer, struct store_batch *batch,
		struct err *err)
{
	if (sqlite_begin(writer, err))
		return -1;
	for (size_t i = 0; i < batch->ops_n; i++) {
		if (store_apply_op(writer, batch, &batch->ops[i], err)) {
			sqlite_rollback(writer);
			return err_wrap(err, "commit");
		}
	}
	if (signer && batch->ops_n &&
	    store_head_write(writer, signer, batch->ops[batch->ops_n - 1].wall_ns, false, err)) {
		sqlite_rollback(writer);
		return err_wrap(err, "commit: head");
	}
	if (sqlite_commit(writer, err))
		return err_wrap(err, "commit");
	return 0;
}

/*
 * Posting: one usage record becomes a fact in the chain, then a rated line per meter, then money.
 * A record that is there already (same node and sequence) changes nothing.
 */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"
#include "proto/reasons.h"
#include "scheduler/ledger/rate.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void store_hash_int(crypto_generichash_state *state, int64_t value)
{
	uint8_t bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
	crypto_generichash_update(state, bytes, sizeof(bytes));
}

/* With its length in front, so that no two rows have the same bytes. */
static void store_hash_text(crypto_generichash_state *state, const char *text)
{
	store_hash_int(state, (int64_t)strlen(text));
	crypto_generichash_update(state, (const uint8_t *)text, strlen(text));
}

void store_fact_hash(const struct store_fact *fact, const uint8_t prev_hash[STORE_HASH_N],
		     uint8_t out_hash[STORE_HASH_N])
{
	const int64_t numbers[] = {
		fact->id,          fact->seq,       fact->kind,        fact->attempt,
		fact->incarnation, fact->refusal,   fact->cause,       fact->price_version,
		fact->vcpus,       fact->mem_mib,   fact->at_wall,     fact->from_ms,
		fact->to_ms,       fact->from_wall, fact->received_at,
	};
	const char *texts[] = {fact->node,      fact->sandbox, fact->tenant, fact->plan,
			       fact->template_, fact->boot_id, fact->detail};
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, STORE_HASH_N);
	crypto_generichash_update(&state, prev_hash, STORE_HASH_N);
	if (fact->hash_version != 1) {
		store_hash_int(&state, fact->hash_version);
		store_hash_int(&state, fact->billable);
	}
	for (size_t i = 0; i < ARRAY_N(numbers); i++)
		store_hash_int(&state, numbers[i]);
	for (size_t i = 0; i < ARRAY_N(texts); i++)
		store_hash_text(&state, texts[i]);
	crypto_generichash_final(&state, out_hash, STORE_HASH_N);
}

int store_chain_end(struct sqlite *writer, int64_t *out_id, uint8_t out_hash[STORE_HASH_N],
		    struct err *err)
{
	size_t n;
	int got = -1;

	*out_id = 0;
	memset(out_hash, 0, STORE_HASH_N);
	if (sqlite_bind(writer, STORE_WRITE_EVENT_LAST, SQL_NONE, err))
		return -1;
	got = sqlite_next(writer, STORE_WRITE_EVENT_LAST, err);
	if (got == 1) {
		*out_id = sqlite_int(writer, STORE_WRITE_EVENT_LAST, 0);
		const void *hash = sqlite_blob(writer, STORE_WRITE_EVENT_LAST, 1, &n);
		if (n == STORE_HASH_N)
			memcpy(out_hash, hash, STORE_HASH_N);
		sqlite_reset(writer, STORE_WRITE_EVENT_LAST);
	}
	return got < 0 ? -1 : 0;
}

/* The record decides by itself, so that every replica decides alike. */
static bool store_record_is_billable(const struct wire_record *record)
{
	return record->kind != WIRE_RECORD_ENDED ||
	       cause_info(record->cause)->billing == CAUSE_BILLING_BILLED;
}

static struct store_fact store_fact_of(const struct store_op *op)
{
	const struct wire_record *record = &op->effect.usage.record;

	return (struct store_fact){
		.node = op->effect.usage.node.text,
		.sandbox = record->sandbox.text,
		.tenant = record->tenant.text,
		.plan = record->plan,
		.template_ = record->template,
		.boot_id = record->boot_id,
		.detail = record->detail,
		.seq = (int64_t)record->seq,
		.kind = (int64_t)record->kind,
		.attempt = (int64_t)record->attempt,
		.incarnation = record->incarnation,
		.refusal = (int64_t)record->refusal,
		.cause = (int64_t)record->cause,
		.price_version = record->price_version,
		.vcpus = record->vcpus,
		.mem_mib = record->mem_mib,
		.at_wall = record->at_wall_ns,
		.from_ms = (int64_t)record->from_ms,
		.to_ms = (int64_t)record->to_ms,
		.from_wall = record->from_wall_ns,
		.received_at = op->wall_ns,
		.hash_version = STORE_HASH_VERSION,
		.billable = store_record_is_billable(record),
	};
}

/* 1: posted, 0: it was there already. */
static int store_post_fact(struct sqlite *writer, struct store_fact *fact, struct err *err)
{
	uint8_t prev_hash[STORE_HASH_N], hash[STORE_HASH_N];

	if (store_chain_end(writer, &fact->id, prev_hash, err))
		return -1;
	fact->id++;
	store_fact_hash(fact, prev_hash, hash);
	if (sqlite_run(writer, STORE_WRITE_EVENT_ADD,
		       SQL(SQL_INT(fact->id), SQL_TEXT(fact->node), SQL_INT(fact->seq),
			   SQL_INT(fact->kind), SQL_TEXT(fact->sandbox), SQL_TEXT(fact->tenant),
			   SQL_INT(fact->attempt), SQL_INT(fact->incarnation),
			   SQL_INT(fact->refusal), SQL_INT(fact->cause), SQL_TEXT(fact->plan),
			   SQL_INT(fact->price_version), SQL_TEXT(fact->template_),
			   SQL_INT(fact->vcpus), SQL_INT(fact->mem_mib), SQL_INT(fact->at_wall),
			   SQL_INT(fact->from_ms), SQL_INT(fact->to_ms), SQL_INT(fact->from_wall),
			   SQL_TEXT(fact->boot_id), SQL_TEXT(fact->detail),
			   SQL_INT(fact->received_at), SQL_BLOB(prev_hash, STORE_HASH_N),
			   SQL_BLOB(hash, STORE_HASH_N), SQL_INT(fact->hash_version),
			   SQL_INT(fact->billable)),
		       err))
		return -1;
	return sqlite_changes(writer) ? 1 : 0;
}

static void store_credit_note(struct store_batch *batch, const char *tenant, int64_t left_nano)
{
	struct store_credit *credit = NULL;

	for (size_t i = 0; i < batch->credits_n; i++)
		if (strcmp(batch->credits[i].tenant.text, tenant) == 0)
			credit = &batch->credits[i];
	if (!credit) {
		if (batch->credits_n == batch->credits_cap) {
			batch->credits_cap = batch->credits_cap ? batch->credits_cap * 2 : 8;
			batch->credits = realloc(batch->credits,
						 batch->credits_cap * sizeof(*batch->credits));
			CHECK(batch->credits);
		}
		credit = &batch->credits[batch->credits_n++];
		CHECK(id_parse(tenant, strlen(tenant), &credit->tenant));
	}
	credit->left_nano = left_nano;
}

/* Uses up the tenant's credit first; the rest is owed. */
static int store_charge(struct sqlite *writer, struct store_batch *batch, int64_t line,
			const struct store_fact *fact, int64_t amount_nano, struct err *err)
{
	char movement[64];
	int64_t left, from_credit;

	if (sqlite_get_int(writer, STORE_WRITE_TENANT_CREDIT, SQL(SQL_TEXT(fact->tenant)), 0, &left,
			   err))
		return -1;
	from_credit = left <= 0 ? 0 : left < amount_nano ? left : amount_nano;
	snprintf(movement, sizeof(movement), "line:%" PRId64, line);
	if (store_move(writer, movement, fact->tenant, STORE_ACCOUNT_CREDIT, STORE_ACCOUNT_REVENUE,
		       from_credit, fact->at_wall, err) ||
	    store_move(writer, movement, fact->tenant, STORE_ACCOUNT_RECEIVABLE,
		       STORE_ACCOUNT_REVENUE, amount_nano - from_credit, fact->at_wall, err))
		return -1;
	if (from_credit == 0)
		return 0;
	store_credit_note(batch, fact->tenant, left - from_credit);
	return sqlite_run(writer, STORE_WRITE_TENANT_SPEND,
			  SQL(SQL_TEXT(fact->tenant), SQL_INT(from_credit)), err);
}

static int store_price(struct sqlite *writer, int64_t version, enum meter meter,
		       struct rate_price *out, struct err *err)
{
	if (sqlite_bind(writer, STORE_WRITE_PRICE_GET, SQL(SQL_INT(version), SQL_INT(meter)), err))
		return -1;
	int got = sqlite_next(writer, STORE_WRITE_PRICE_GET, err);
	if (got == 1) {
		out->price_nano = sqlite_int(writer, STORE_WRITE_PRICE_GET, 0);
		out->divisor = sqlite_int(writer, STORE_WRITE_PRICE_GET, 1);
		sqlite_reset(writer, STORE_WRITE_PRICE_GET);
	}
	return got;
}

static int store_add_line(struct sqlite *writer, const struct store_fact *fact, enum meter meter,
			  const struct rate_slice *slice, const struct rate_result *result,
			  int64_t *out_line, struct err *err)
{
	if (sqlite_bind(writer, STORE_WRITE_LINE_ADD,
			SQL(SQL_INT(fact->id), SQL_TEXT(fact->tenant), SQL_TEXT(fact->sandbox),
			    SQL_INT(fact->incarnation), SQL_INT(meter),
			    SQL_INT(fact->price_version), SQL_INT(slice->from_ms),
			    SQL_INT(slice->to_ms), SQL_INT(result->seconds),
			    SQL_INT(result->quantity), SQL_INT(result->amount_nano),
			    SQL_INT(fact->at_wall), SQL_INT(result->unbilled_seconds)),
			err) ||
	    sqlite_next(writer, STORE_WRITE_LINE_ADD, err) != 1)
		return -1;
	*out_line = sqlite_int(writer, STORE_WRITE_LINE_ADD, 0);
	/* An INSERT … RETURNING is only done when it was stepped to its end. */
	return sqlite_next(writer, STORE_WRITE_LINE_ADD, err);
}

struct store_billed_so_far {
	int64_t to_ms, seconds;
};

/* What earlier lines have of this incarnation. */
static int store_billed(struct sqlite *writer, const struct store_fact *fact, enum meter meter,
			struct store_billed_so_far *out, struct err *err)
{
	if (sqlite_bind(writer, STORE_WRITE_LINE_BILLED,
			SQL(SQL_TEXT(fact->sandbox), SQL_INT(fact->incarnation), SQL_INT(meter)),
			err) ||
	    sqlite_next(writer, STORE_WRITE_LINE_BILLED, err) != 1)
		return -1;
	out->to_ms = sqlite_int(writer, STORE_WRITE_LINE_BILLED, 0);
	out->seconds = sqlite_int(writer, STORE_WRITE_LINE_BILLED, 1);
	sqlite_reset(writer, STORE_WRITE_LINE_BILLED);
	return 0;
}

static int store_rate(struct sqlite *writer, struct store_batch *batch,
		      const struct store_fact *fact, enum meter meter, int64_t units,
		      struct err *err)
{
	struct rate_slice slice = {fact->from_ms, fact->to_ms, fact->kind == WIRE_RECORD_ENDED,
				   !fact->billable};
	struct rate_result result;
	struct rate_price price;
	struct store_billed_so_far billed;
	int64_t line;
	int got = store_price(writer, fact->price_version, meter, &price, err);

	if (got < 0)
		return -1;
	if (store_billed(writer, fact, meter, &billed, err))
		return -1;
	/* Whatever a node says, nothing is billed twice: no millisecond, and no first second. */
	if (slice.from_ms < billed.to_ms)
		slice.from_ms = billed.to_ms;
	if (slice.to_ms < slice.from_ms)
		slice.to_ms = slice.from_ms;
	if (billed.seconds > 0)
		slice.final = false;
	if (got == 0 || !rate_slice(&slice, units, &price, &result)) {
		batch->unrated_n++;
		return 0;
	}
	if (store_add_line(writer, fact, meter, &slice, &result, &line, err))
		return -1;
	return store_charge(writer, batch, line, fact, result.amount_nano, err);
}

int store_post(struct sqlite *writer, struct store_batch *batch, const struct store_op *op,
	       struct err *err)
{
	struct store_fact fact = store_fact_of(op);
	int posted = store_post_fact(writer, &fact, err);

	if (posted < 0)
		return err_wrap(err, "usage");
	if (!posted || (fact.kind != WIRE_RECORD_USAGE && fact.kind != WIRE_RECORD_ENDED))
		return 0;
	if (fact.tenant[0] == 0) { /* an end of something that never was a tenant's */
		batch->unrated_n++;
		return 0;
	}
	if (store_rate(writer, batch, &fact, METER_VCPU, fact.vcpus, err) ||
	    store_rate(writer, batch, &fact, METER_MEMORY, fact.mem_mib, err))
		return err_wrap(err, "rate");
	return 0;
}

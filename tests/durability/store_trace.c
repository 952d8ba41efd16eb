#include "tests/durability/store_trace.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_A_BATCH = 12 };

struct store_trace trace;

static struct store_op *add(struct store_batch *batch, enum store_op_kind kind)
{
	trace.ops_n++;
	return store_batch_add(batch, kind, (int64_t)trace.ops_n * 1000000000);
}

static void add_tenants_and_nodes(struct store_batch *batch)
{
	for (int i = 0; i < TRACE_TENANTS; i++) {
		struct store_op *op = add(batch, STORE_OP_TENANT);
		snprintf(op->tenant.id.text, sizeof(op->tenant.id.text), "ten_%d", i);
		strcpy(op->tenant.name, "t");
		strcpy(op->tenant.plan, "hobby");
		/* Nothing, soon used up in the middle of a line, or never. */
		op->tenant.credit_nano = trace.credit[i] = i * i * 7654321ll;
		trace.now.credit += trace.credit[i];
		trace.now.entries += trace.credit[i] ? 2 : 0;
		trace.now.tenants++;
	}
	for (int i = 0; i < TRACE_NODES; i++) {
		struct store_op *op = add(batch, STORE_OP_NODE);
		snprintf(op->node.id.text, sizeof(op->node.id.text), "nod_%d", i);
		snprintf(op->node.name, sizeof(op->node.name), "n%d", i);
		op->node.public_key[0] = (uint8_t)(i + 1);
		trace.next_seq[i] = 1;
		trace.now.next_seqs++;
	}
}

static struct core_sandbox box_row(int number)
{
	const struct box *box = &trace.boxes[number];
	struct core_sandbox row = {.template_ = "base",
				   .plan = "hobby",
				   .price_version = 1,
				   .vcpus = (uint32_t)box->vcpus,
				   .mem_mib = (uint32_t)box->mem_mib,
				   .state = box->state,
				   .attempt = ((uint64_t)box->lives_n << 32) + (unsigned)number,
				   .incarnation = (uint32_t)box->lives_n,
				   .created_at = {number + 1}};

	snprintf(row.id.text, sizeof(row.id.text), "i%020d", number);
	snprintf(row.tenant.text, sizeof(row.tenant.text), "ten_%d", box->tenant);
	snprintf(row.node.text, sizeof(row.node.text), "nod_%d", box->node);
	if (box->state != SANDBOX_PLACING)
		row.started_at.ns = number + 2;
	if (box->state == SANDBOX_PAUSED)
		row.saved_attempt = row.attempt;
	return row;
}

static void add_box(struct store_batch *batch)
{
	int number = trace.boxes_n++;

	CHECK(number < TRACE_BOXES_MAX);
	trace.boxes[number] = (struct box){.tenant = (int)rng_below(&trace.rng, TRACE_TENANTS),
					   .node = (int)rng_below(&trace.rng, TRACE_NODES),
					   .vcpus = 1 + (int64_t)rng_below(&trace.rng, 4),
					   .mem_mib = 128 + (int64_t)rng_below(&trace.rng, 4000),
					   .lives_n = 1,
					   .state = SANDBOX_PLACING};
	trace.open[trace.open_n++] = number;
	add(batch, STORE_OP_SANDBOX_NEW)->sandbox.row = box_row(number);
	trace.now.boxes++;
}

static void save_box(struct store_batch *batch, int number)
{
	struct store_op *op = add(batch, STORE_OP_EFFECT);

	op->effect.kind = CORE_EFFECT_SAVE_SANDBOX;
	op->effect.sandbox = box_row(number);
}

static void post(struct store_batch *batch, int node, const struct wire_record *record)
{
	struct store_op *op = add(batch, STORE_OP_EFFECT);

	op->effect.kind = CORE_EFFECT_POST_USAGE;
	snprintf(op->effect.usage.node.text, sizeof(op->effect.usage.node.text), "nod_%d", node);
	op->effect.usage.record = *record;
}

/* One meter's share of a slice, in nano-dollars: the oracle's own arithmetic. */
static int64_t nanos(int64_t from_s, int64_t to_s, int64_t units, int64_t price, int64_t divisor)
{
	int64_t twice = 2 * price * units;

	return (to_s * twice + divisor) / (2 * divisor) -
	       (from_s * twice + divisor) / (2 * divisor);
}

static void charge(int tenant, int64_t amount)
{
	int64_t paid = trace.credit[tenant] < amount ? trace.credit[tenant] : amount;

	trace.credit[tenant] -= paid;
	trace.now.credit -= paid;
	trace.now.entries += (paid > 0 ? 2 : 0) + (amount > paid ? 2 : 0);
	trace.now.amount += amount;
	trace.now.revenue += amount;
	trace.now.receivable += amount - paid;
}

static int64_t whole(int64_t ms)
{
	return (ms + 500) / 1000;
}

/* What the sums become by a slice. */
static void rate(const struct box *box, int64_t from_ms, int64_t to_ms, bool ends, bool is_free)
{
	int64_t from_s = whole(from_ms), to_s = whole(to_ms);

	if (ends && to_s == 0)
		to_s = 1;
	trace.now.lines += 2;
	trace.now.ms += to_ms - from_ms;
	if (is_free) {
		trace.now.free_seconds += to_s - from_s;
		return;
	}
	trace.now.seconds += to_s - from_s;
	charge(box->tenant, nanos(from_s, to_s, box->vcpus, 14000, 1));
	charge(box->tenant, nanos(from_s, to_s, box->mem_mib, 4500, 1024));
}

static bool is_free(enum cause cause)
{
	return cause == CAUSE_VM_FAULT || cause == CAUSE_SHIM_FAULT;
}

static void add_fact(struct store_batch *batch, int number, enum wire_record_kind kind,
		     int64_t to_ms, enum cause cause)
{
	struct box *box = &trace.boxes[number];
	struct core_sandbox row = box_row(number);
	struct wire_record *record = &trace.records[trace.facts_n];

	*record = (struct wire_record){.kind = kind,
				       .seq = (uint64_t)trace.next_seq[box->node]++,
				       .sandbox = row.id,
				       .tenant = row.tenant,
				       .attempt = row.attempt,
				       .incarnation = row.incarnation,
				       .price_version = 1,
				       .cause = cause,
				       .vcpus = row.vcpus,
				       .mem_mib = row.mem_mib,
				       .from_ms = (uint64_t)box->ms,
				       .to_ms = (uint64_t)to_ms};
	strcpy(record->plan, "hobby");
	trace.facts[trace.facts_n++] =
		(struct fact){box->node, number, (int64_t)record->seq, box->ms, to_ms};
	post(batch, box->node, record);
	trace.now.events++;
	if (kind != WIRE_RECORD_STARTED)
		rate(box, box->ms, to_ms, kind == WIRE_RECORD_ENDED, is_free(cause));
	box->ms = to_ms;
}

static void begin_life(struct store_batch *batch, int number)
{
	trace.boxes[number].state = SANDBOX_RUNNING;
	trace.boxes[number].ms = 0;
	trace.now.running++;
	add_fact(batch, number, WIRE_RECORD_STARTED, 0, CAUSE_NONE);
}

/* The next thing in the life of an open sandbox. */
static void add_life(struct store_batch *batch, int place)
{
	static const enum cause causes[] = {CAUSE_REQUEST, CAUSE_TIMEOUT, CAUSE_VM_FAULT,
					    CAUSE_SHIM_FAULT};
	int number = trace.open[place];
	struct box *box = &trace.boxes[number];
	int64_t to_ms =
		box->ms + (int64_t)rng_below(&trace.rng, rng_one_in(&trace.rng, 4) ? 700 : 90000);

	if (box->state == SANDBOX_PLACING) {
		begin_life(batch, number);
	} else if (box->state == SANDBOX_PAUSED) {
		box->lives_n++;
		trace.now.paused--;
		begin_life(batch, number);
	} else if (rng_one_in(&trace.rng, 8)) {
		box->state = SANDBOX_PAUSED;
		trace.now.running--;
		trace.now.paused++;
		add_fact(batch, number, WIRE_RECORD_ENDED, to_ms, CAUSE_PAUSE);
	} else if (!rng_one_in(&trace.rng, 3)) {
		add_fact(batch, number, WIRE_RECORD_USAGE, to_ms, CAUSE_NONE);
		return;
	} else {
		box->state = SANDBOX_ENDED;
		trace.now.running--;
		add_fact(batch, number, WIRE_RECORD_ENDED, to_ms,
			 causes[rng_below(&trace.rng, ARRAY_N(causes))]);
		trace.open[place] = trace.open[--trace.open_n];
	}
	save_box(batch, number);
}

/* A tenant sets one of its secrets anew, or deletes it. */
static void add_secret(struct store_batch *batch)
{
	size_t tenant = rng_below(&trace.rng, TRACE_TENANTS);
	size_t name = rng_below(&trace.rng, TRACE_SECRETS);
	int64_t *version = &trace.secrets[tenant][name];
	bool is_deleted = *version && rng_one_in(&trace.rng, 4);
	struct store_secret *secret = &add(batch, STORE_OP_SECRET)->secret;

	trace.now.secrets -= *version;
	*version = is_deleted ? 0 : *version + 1;
	trace.now.secrets += *version;
	snprintf(secret->tenant.text, sizeof(secret->tenant.text), "ten_%zu", tenant);
	snprintf(secret->id.text, sizeof(secret->id.text), "sec_%zu_%zu", tenant, name);
	snprintf(secret->name, sizeof(secret->name), "name %zu", name);
	secret->version = *version;
	secret->metadata = strdup("{}");
	secret->sealed = is_deleted ? NULL : strdup("sealed");
}

/* A tenant makes a volume, or deletes the one that it has. */
static void add_volume(struct store_batch *batch)
{
	size_t tenant = rng_below(&trace.rng, TRACE_TENANTS);
	bool *is_there = &trace.has_volume[tenant];
	struct store_op *op = add(batch, STORE_OP_VOLUME);

	*is_there = !*is_there;
	trace.now.volumes += *is_there ? 1 : -1;
	if (*is_there)
		trace.volumes[tenant] = trace.volumes_n++;
	else
		op->volume.deleted_at_ns = op->wall_ns;
	snprintf(op->volume.id.text, sizeof(op->volume.id.text), "vol_%d", trace.volumes[tenant]);
	snprintf(op->volume.tenant.text, sizeof(op->volume.tenant.text), "ten_%zu", tenant);
	strcpy(op->volume.name, "v");
}

static void add_node_save(struct store_batch *batch, int node)
{
	struct store_op *op = add(batch, STORE_OP_EFFECT);

	op->effect.kind = CORE_EFFECT_SAVE_NODE;
	snprintf(op->effect.node.id.text, sizeof(op->effect.node.id.text), "nod_%d", node);
	op->effect.node.next_seq = (uint64_t)trace.next_seq[node];
}

/* next_seqs is what is saved, not what was said: nodes are saved at the end of a batch. */
static void add_batch(struct store_batch *batch)
{
	int ops = 1 + (int)rng_below(&trace.rng, OPS_A_BATCH);
	int64_t seqs = 0;

	if (trace.now.tenants == 0) {
		add_tenants_and_nodes(batch);
		add(batch, STORE_OP_EPOCH);
		trace.now.epoch++;
	}
	while ((int)batch->ops_n < ops) {
		if (trace.open_n == 0 ||
		    (trace.open_n < TRACE_OPEN_MAX && rng_one_in(&trace.rng, 6))) {
			add_box(batch);
		} else if (trace.facts_n && rng_one_in(&trace.rng, 12)) {
			size_t again = rng_below(&trace.rng, trace.facts_n);
			post(batch, trace.facts[again].node, &trace.records[again]);
		} else if (rng_one_in(&trace.rng, 40)) {
			add_secret(batch);
		} else if (rng_one_in(&trace.rng, 40)) {
			add_volume(batch);
		} else if (rng_one_in(&trace.rng, 300)) {
			add(batch, STORE_OP_EPOCH);
			trace.now.epoch++;
		} else {
			add_life(batch, (int)rng_below(&trace.rng, (uint64_t)trace.open_n));
		}
	}
	for (int i = 0; i < TRACE_NODES; i++) {
		add_node_save(batch, i);
		seqs += trace.next_seq[i];
	}
	trace.now.next_seqs = seqs;
	trace.now.events_n = trace.now.events;
}

void store_trace_make(uint64_t seed, size_t ops_n)
{
	memset(&trace, 0, sizeof(trace));
	trace.rng.state = seed;
	trace.batches = calloc(ops_n + 1, sizeof(*trace.batches));
	trace.sums = calloc(ops_n + 1, sizeof(*trace.sums));
	trace.facts = calloc(ops_n * 2, sizeof(*trace.facts));
	trace.records = calloc(ops_n * 2, sizeof(*trace.records));
	CHECK(trace.batches && trace.sums && trace.facts && trace.records);
	while (trace.ops_n < ops_n) {
		add_batch(&trace.batches[++trace.batches_n]);
		trace.sums[trace.batches_n] = trace.now;
	}
}

void store_trace_free(void)
{
	for (size_t i = 1; i <= trace.batches_n; i++)
		store_batch_free(&trace.batches[i]);
	free(trace.batches);
	free(trace.sums);
	free(trace.facts);
	free(trace.records);
}

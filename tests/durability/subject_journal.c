/* The agent's journal under a trace of records, sandboxes, attempts and trims. */
#include "common/base/check.h"
#include "common/base/rng.h"
#include "node-agent/shell/journal.h"
#include "tests/durability/subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_A_BATCH = 12, ROWS_MAX = 40, RECORDS_STEP = 256 };

struct rows {
	uint64_t attempt[ROWS_MAX], number[ROWS_MAX];
	size_t n;
};

/* All of what must be there after a batch; records follow from their sequence. */
struct state {
	struct node_meta meta;
	bool has_meta;
	uint64_t first_seq, next_seq;
	struct rows sandboxes, attempts;
};

static struct {
	struct rng rng;
	struct node_effect *effects;
	size_t *ends; /* [b]: effects of the first b batches */
	struct state *states;
	size_t batches_n, effects_n;
	uint64_t next_attempt;
	struct state now;
} trace;

static struct journal journal;

/* ---- the trace ---- */

static struct node_effect *add(enum node_effect_kind kind)
{
	struct node_effect *effect = &trace.effects[trace.effects_n++];

	*effect = (struct node_effect){.kind = kind};
	return effect;
}

static void rows_set(struct rows *rows, uint64_t attempt, uint64_t row_number)
{
	for (size_t i = 0; i < rows->n; i++) {
		if (rows->attempt[i] == attempt) {
			rows->number[i] = row_number;
			return;
		}
	}
	CHECK(rows->n < ROWS_MAX);
	rows->attempt[rows->n] = attempt;
	rows->number[rows->n++] = row_number;
}

static void rows_drop(struct rows *rows, size_t i)
{
	rows->n--;
	rows->attempt[i] = rows->attempt[rows->n];
	rows->number[i] = rows->number[rows->n];
}

static struct wire_record record_of(uint64_t seq)
{
	struct wire_record record = {.kind = WIRE_RECORD_USAGE,
				     .seq = seq,
				     .sandbox = {"i00000000000000000001"},
				     .tenant = {"ten_1"},
				     .attempt = seq,
				     .incarnation = 1,
				     .vcpus = 2,
				     .mem_mib = 512,
				     .at_wall_ns = (int64_t)seq * 1000,
				     .from_ms = seq * 7,
				     .to_ms = seq * 7 + seq % 100};

	/* Of any length, so that rows meet the ends of pages everywhere. */
	memset(record.detail, 'x', seq * 37 % (sizeof(record.detail) - 1));
	return record;
}

static void add_sandbox(uint64_t attempt)
{
	uint64_t row_number = rng_below(&trace.rng, 1000000);

	add(NODE_EFFECT_JOURNAL_SANDBOX)->sandbox = (struct node_sandbox){
		.id = {"i00000000000000000001"},
		.tenant = {"ten_1"},
		.attempt = attempt,
		.metered_ms = row_number,
	};
	rows_set(&trace.now.sandboxes, attempt, row_number);
}

static void add_trim(void)
{
	uint64_t below = trace.now.next_seq - rng_below(&trace.rng, 200);
	uint64_t before = trace.now.next_seq - rng_below(&trace.rng, 200);
	struct node_effect *effect;

	/* Never the newest. */
	if (trace.now.next_seq < 300)
		return;
	if (below >= trace.now.next_seq)
		below = trace.now.next_seq - 1;
	effect = add(NODE_EFFECT_JOURNAL_TRIM);
	effect->trim.below_seq = below;
	effect->trim.before_wall.ns = (int64_t)before * 1000;
	while (trace.now.first_seq < below && trace.now.first_seq < before)
		trace.now.first_seq++;
}

static void add_meta(void)
{
	struct node_meta meta = {.acked_seq = trace.now.next_seq / 2,
				 .epoch = rng_below(&trace.rng, 1000),
				 .attempt_floor = trace.next_attempt / 2};

	add(NODE_EFFECT_JOURNAL_META)->meta = meta;
	trace.now.meta = meta;
	trace.now.has_meta = true;
}

static void add_op(void)
{
	struct rows *sandboxes = &trace.now.sandboxes, *attempts = &trace.now.attempts;
	size_t i;

	switch (rng_below(&trace.rng, 10)) {
	case 0:
		add_meta();
		return;
	case 1:
		if (sandboxes->n < ROWS_MAX)
			add_sandbox(++trace.next_attempt);
		return;
	case 2:
		if (sandboxes->n)
			add_sandbox(sandboxes->attempt[rng_below(&trace.rng, sandboxes->n)]);
		return;
	case 3:
		if (sandboxes->n < ROWS_MAX / 2)
			return;
		i = rng_below(&trace.rng, sandboxes->n);
		add(NODE_EFFECT_JOURNAL_SANDBOX_GONE)->attempt = sandboxes->attempt[i];
		rows_drop(sandboxes, i);
		return;
	case 4:
		if (attempts->n == ROWS_MAX)
			return;
		add(NODE_EFFECT_JOURNAL_ATTEMPT)->attempt = ++trace.next_attempt;
		rows_set(attempts, trace.next_attempt, 0);
		return;
	case 5:
		if (attempts->n < ROWS_MAX / 2)
			return;
		i = rng_below(&trace.rng, attempts->n);
		add(NODE_EFFECT_JOURNAL_ATTEMPT_GONE)->attempt = attempts->attempt[i];
		rows_drop(attempts, i);
		return;
	case 6:
		if (rng_one_in(&trace.rng, 10))
			add_trim();
		return;
	default:
		add(NODE_EFFECT_JOURNAL_RECORD)->record = record_of(trace.now.next_seq++);
	}
}

static size_t journal_make(uint64_t seed, size_t ops_n)
{
	size_t room = ops_n + OPS_A_BATCH + 1;

	memset(&trace, 0, sizeof(trace));
	trace.rng.state = seed;
	trace.now.first_seq = trace.now.next_seq = 1;
	trace.effects = calloc(room, sizeof(*trace.effects));
	trace.ends = calloc(room, sizeof(*trace.ends));
	trace.states = calloc(room, sizeof(*trace.states));
	CHECK(trace.effects && trace.ends && trace.states);
	trace.states[0] = trace.now;
	while (trace.effects_n < ops_n) {
		size_t end = trace.effects_n + 1 + rng_below(&trace.rng, OPS_A_BATCH);
		while (trace.effects_n < end)
			add_op();
		trace.ends[++trace.batches_n] = trace.effects_n;
		trace.states[trace.batches_n] = trace.now;
	}
	return trace.batches_n;
}

static void journal_unmake(void)
{
	free(trace.effects);
	free(trace.ends);
	free(trace.states);
}

/* ---- the real code ---- */

static int subject_open(const char *dir, struct err *err)
{
	return journal_open(&journal, dir, err);
}

static void subject_close(void)
{
	journal_close(&journal);
}

static int subject_commit(size_t batch, struct err *err)
{
	size_t from = trace.ends[batch - 1];

	return journal_commit(&journal, trace.effects + from, trace.ends[batch] - from, err);
}

/* Nobody says anything again to a journal: it is where things are said first. */
static int subject_repeat(size_t batch, struct err *err)
{
	(void)batch;
	(void)err;
	return 0;
}

/* ---- comparing ---- */

static struct state loaded;

static void on_loaded(void *arg, struct node_event *event)
{
	(void)arg;
	switch ((int)event->kind) {
	case NODE_EVENT_LOAD_META:
		loaded.meta = event->meta;
		loaded.next_seq = event->meta.next_seq;
		return;
	case NODE_EVENT_LOAD_SANDBOX:
		rows_set(&loaded.sandboxes, event->sandbox.attempt, event->sandbox.metered_ms);
		return;
	case NODE_EVENT_LOAD_ATTEMPT:
		rows_set(&loaded.attempts, event->attempt, 0);
		return;
	}
}

static bool rows_equal(const struct rows *a, const struct rows *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		size_t j = 0;
		while (j < b->n && b->attempt[j] != a->attempt[i])
			j++;
		if (j == b->n || b->number[j] != a->number[i])
			return false;
	}
	return true;
}

/* The records that are asked for from `asked` on are seq up to next_seq, each as it was written. */
static bool records_equal(uint64_t asked, uint64_t seq, uint64_t next_seq, char why[WHY_MAX])
{
	static struct wire_record records[RECORDS_STEP];
	struct err err;
	size_t n;

	do {
		if (journal_records(&journal, asked, records, RECORDS_STEP, &n, &err)) {
			snprintf(why, WHY_MAX, "%s", err.text);
			return false;
		}
		for (size_t i = 0; i < n; i++, seq++) {
			struct wire_record wanted = record_of(seq);
			if (records[i].seq == seq && records[i].from_ms == wanted.from_ms &&
			    records[i].to_ms == wanted.to_ms &&
			    strcmp(records[i].detail, wanted.detail) == 0)
				continue;
			snprintf(why, WHY_MAX, "record %llu is not what was written",
				 (unsigned long long)seq);
			return false;
		}
		asked = seq;
	} while (n == RECORDS_STEP);
	snprintf(why, WHY_MAX, "records end before %llu, not %llu", (unsigned long long)seq,
		 (unsigned long long)next_seq);
	return seq == next_seq;
}

static bool subject_equals(size_t batches, bool thorough, char why[WHY_MAX])
{
	const struct state *wanted = &trace.states[batches];
	uint64_t near = wanted->next_seq < wanted->first_seq + 32 ? wanted->first_seq
								  : wanted->next_seq - 32;
	struct err err;

	loaded = (struct state){.next_seq = 1};
	if (journal_load(&journal, on_loaded, NULL, &err) ||
	    (thorough && sqlite_check(&journal.writer, &err))) {
		snprintf(why, WHY_MAX, "%s", err.text);
		return false;
	}
	snprintf(why, WHY_MAX, "next_seq is %llu, must be %llu; %zu sandboxes, must be %zu",
		 (unsigned long long)loaded.next_seq, (unsigned long long)wanted->next_seq,
		 loaded.sandboxes.n, wanted->sandboxes.n);
	return loaded.next_seq == wanted->next_seq &&
	       loaded.meta.acked_seq == wanted->meta.acked_seq &&
	       loaded.meta.epoch == wanted->meta.epoch &&
	       loaded.meta.attempt_floor == wanted->meta.attempt_floor &&
	       rows_equal(&loaded.sandboxes, &wanted->sandboxes) &&
	       rows_equal(&loaded.attempts, &wanted->attempts) &&
	       records_equal(thorough ? 1 : near, thorough ? wanted->first_seq : near,
			     wanted->next_seq, why);
}

const struct subject subject_journal = {
	.name = "journal",
	.torn_one_in = 1,
	.make = journal_make,
	.unmake = journal_unmake,
	.open = subject_open,
	.close = subject_close,
	.commit = subject_commit,
	.equals = subject_equals,
	.repeat = subject_repeat,
};

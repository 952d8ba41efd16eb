/* A host's journal, as it is on its disk. */
#include "tests/sim/agent_internal.h"

#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <stdlib.h>

static void *grow(void *data, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return data;
	*cap = *cap ? *cap * 2 : 64;
	data = realloc(data, *cap * size);
	CHECK(data);
	return data;
}

static void write_sandbox(struct journal *journal, const struct node_sandbox *row)
{
	size_t i = 0;

	while (i < journal->sandboxes_n && journal->sandboxes[i].attempt != row->attempt)
		i++;
	journal->sandboxes =
		grow(journal->sandboxes, i, &journal->sandboxes_cap, sizeof(*journal->sandboxes));
	journal->sandboxes[i] = *row;
	if (i == journal->sandboxes_n)
		journal->sandboxes_n++;
}

static void drop_sandbox(struct journal *journal, uint64_t attempt)
{
	for (size_t i = 0; i < journal->sandboxes_n; i++)
		if (journal->sandboxes[i].attempt == attempt)
			journal->sandboxes[i] = journal->sandboxes[--journal->sandboxes_n];
}

static void write_saved(struct world *world, struct agent *agent, const struct node_saved *row)
{
	struct journal *journal = &agent->journal;

	for (size_t i = 0; i < journal->saved_n; i++)
		if (journal->saved[i].attempt == row->attempt)
			world_fail(world, "host %u saves attempt %" PRIx64 " again", agent->host,
				   row->attempt);
	journal->saved = grow(journal->saved, journal->saved_n, &journal->saved_cap,
			      sizeof(*journal->saved));
	journal->saved[journal->saved_n++] = *row;
}

static void drop_saved(struct journal *journal, uint64_t attempt)
{
	for (size_t i = 0; i < journal->saved_n; i++)
		if (journal->saved[i].attempt == attempt)
			journal->saved[i] = journal->saved[--journal->saved_n];
}

static void drop_attempt(struct journal *journal, uint64_t attempt)
{
	size_t kept = 0;

	for (size_t i = 0; i < journal->attempts_n; i++)
		if (journal->attempts[i] != attempt)
			journal->attempts[kept++] = journal->attempts[i];
	journal->attempts_n = kept;
}

static void write_record(struct world *world, struct agent *agent, const struct wire_record *record)
{
	struct journal *journal = &agent->journal;
	size_t cap = journal->records_cap;

	if (record->seq != journal->records_n + 1)
		world_fail(world, "host %u journals record %" PRIu64 " after %zu", agent->host,
			   record->seq, journal->records_n);
	journal->records =
		grow(journal->records, journal->records_n, &cap, sizeof(*journal->records));
	if (cap != journal->records_cap) {
		journal->trimmed = realloc(journal->trimmed, cap);
		CHECK(journal->trimmed);
		journal->records_cap = cap;
	}
	journal->trimmed[journal->records_n] = false;
	journal->records[journal->records_n++] = *record;
	world->totals.records++;
	oracle_recorded(world, agent->host, record);
}

static void trim(struct world *world, struct agent *agent, uint64_t below_seq, int64_t before_ns)
{
	struct journal *journal = &agent->journal;

	for (uint64_t seq = 1; seq < below_seq && seq <= journal->records_n; seq++) {
		if (journal->trimmed[seq - 1] || journal->records[seq - 1].at_wall_ns >= before_ns)
			continue;
		journal->trimmed[seq - 1] = true;
		oracle_trimmed(world, agent->host, seq);
	}
}

bool journal_takes(const void *item)
{
	return node_effect_class(((const struct node_effect *)item)->kind) == NODE_CLASS_DURABLE;
}

void journal_write(struct world *world, struct agent *agent, const struct node_effect *effect)
{
	struct journal *journal = &agent->journal;

	switch (effect->kind) {
	case NODE_EFFECT_JOURNAL_META:
		journal->meta = effect->meta;
		journal->has_meta = true;
		break;
	case NODE_EFFECT_JOURNAL_ATTEMPT:
		journal->attempts = grow(journal->attempts, journal->attempts_n,
					 &journal->attempts_cap, sizeof(*journal->attempts));
		journal->attempts[journal->attempts_n++] = effect->attempt;
		break;
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
		drop_attempt(journal, effect->attempt);
		break;
	case NODE_EFFECT_JOURNAL_SANDBOX:
		write_sandbox(journal, &effect->sandbox);
		oracle_journaled(world, agent->host, &effect->sandbox);
		break;
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
		drop_sandbox(journal, effect->attempt);
		break;
	case NODE_EFFECT_JOURNAL_SAVED:
		write_saved(world, agent, &effect->saved);
		break;
	case NODE_EFFECT_JOURNAL_SAVED_GONE:
		drop_saved(journal, effect->attempt);
		break;
	case NODE_EFFECT_JOURNAL_RECORD:
		write_record(world, agent, &effect->record);
		break;
	case NODE_EFFECT_JOURNAL_TRIM:
		trim(world, agent, effect->trim.below_seq, effect->trim.before_wall.ns);
		break;
	case NODE_EFFECT_VM_START:
	case NODE_EFFECT_VM_CLAIM:
	case NODE_EFFECT_LEASE:
	case NODE_EFFECT_EPOCH:
	case NODE_EFFECT_VM_DEADLINE:
	case NODE_EFFECT_VM_NETWORK:
	case NODE_EFFECT_VM_METER:
	case NODE_EFFECT_VM_SAVE:
	case NODE_EFFECT_VM_KILL:
	case NODE_EFFECT_VM_FORGET:
	case NODE_EFFECT_CARRY_SEND:
	case NODE_EFFECT_CARRY_FETCH:
	case NODE_EFFECT_CARRY_INSTALL:
	case NODE_EFFECT_CARRY_DROP:
	case NODE_EFFECT_PAYLOAD_DROP:
	case NODE_EFFECT_RECORDS:
	case NODE_EFFECT_NEWS:
	case NODE_EFFECT_N:
		check_broken("a durable effect", __FILE__, __LINE__);
	}
}

static void load_step(struct world *world, struct agent *agent, struct node_event event)
{
	agent_step_once(world, agent, &event);
}

void journal_load(struct world *world, struct agent *agent)
{
	struct journal *journal = &agent->journal;
	struct node_event meta = {.kind = NODE_EVENT_LOAD_META, .meta = journal->meta};

	meta.meta.next_seq = journal->records_n + 1;
	if (journal->has_meta || journal->records_n)
		load_step(world, agent, meta);
	for (size_t i = 0; i < journal->sandboxes_n; i++)
		load_step(world, agent,
			  (struct node_event){.kind = NODE_EVENT_LOAD_SANDBOX,
					      .sandbox = journal->sandboxes[i]});
	for (size_t i = 0; i < journal->saved_n; i++)
		load_step(world, agent,
			  (struct node_event){.kind = NODE_EVENT_LOAD_SAVED,
					      .saved = journal->saved[i]});
	for (size_t i = 0; i < journal->attempts_n; i++)
		load_step(world, agent,
			  (struct node_event){.kind = NODE_EVENT_LOAD_ATTEMPT,
					      .attempt = journal->attempts[i]});
}

void journal_free(struct journal *journal)
{
	free(journal->attempts);
	free(journal->sandboxes);
	free(journal->saved);
	free(journal->records);
	free(journal->trimmed);
}

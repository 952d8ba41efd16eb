/* Records: rules 5, 8 and 15. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>

void oracle_journaled(struct world *world, uint32_t host, const struct node_sandbox *row)
{
	struct attempt *attempt = oracle_attempt(world, row->attempt);
	const struct host_vms *vms = world->vms[host];

	if (row->deadline_version < attempt->limit_version)
		world_fail(world, "host %u goes back to an older time limit of attempt %" PRIx64,
			   host, row->attempt);
	attempt->limit_version = row->deadline_version;
	for (size_t i = 0; i < vms->n; i++) {
		const struct shim *shim = &vms->shims[i];
		if (shim->number != row->vm)
			continue;
		if (attempt->serial && attempt->serial != shim->serial)
			world_fail(world, "attempt %" PRIx64 " runs in two microVMs", row->attempt);
		attempt->serial = shim->serial;
	}
}

/* Of an order that an older leader gave.  A single scheduler gives those of its earlier epochs
 * again. */
static bool is_of_older_leader(const struct world *world, uint32_t host, uint64_t attempt)
{
	return world->shape.replicas_n > 1 && attempt >> 32 < world->oracle->hosts[host].said_epoch;
}

static void begins(struct world *world, uint32_t host, uint64_t attempt)
{
	if (is_of_older_leader(world, host, attempt))
		world_fail(world, "host %u obeys attempt %" PRIx64 " of a leader that is none",
			   host, attempt);
}

void oracle_claims(struct world *world, uint32_t host, const struct wire_order *claim)
{
	begins(world, host, claim->attempt);
	if (claim->resume)
		oracle_attempt(world, claim->attempt)->resumes = claim->resume;
}

/* It goes on from what another attempt saved. */
static void resumed(struct world *world, uint32_t host, const struct attempt *attempt)
{
	struct attempt *source = oracle_attempt(world, attempt->resumes);

	if (source->kept && !source->copy && !source->discarded) {
		if (source->host != host)
			world_fail(world, "host %u begins from snapshot %" PRIx64 " of host %u",
				   host, source->number, source->host);
		world->totals.forks++;
		world->totals.spread_forks += source->spread;
		return;
	}

	if (!source->paused || source->discarded || source->resumed_by || source->handed)
		world_fail(world, "host %u resumes attempt %" PRIx64 ", of which nothing is saved",
			   host, source->number);
	if (attempt->incarnation != source->incarnation + 1)
		world_fail(world, "host %u calls a life after %u %u", host, source->incarnation,
			   attempt->incarnation);
	source->resumed_by = attempt->number;
	world->totals.resumes++;
}

void oracle_discarded(struct world *world, uint32_t host, const struct shim *shim)
{
	const struct attempt *attempt = oracle_attempt(world, shim->claim.attempt);
	size_t n = sandbox_number(&shim->claim.sandbox);

	if (attempt->kept && !attempt->discarded)
		world_fail(world, "host %u removes snapshot %" PRIx64, host, attempt->number);
	if (attempt->handed)
		return;

	/* One that was never told of, a kill that came in the middle, and what there was no room
	 * for. */
	if ((!attempt->yes && !attempt->paused) || (attempt->ended && !attempt->paused))
		return;
	if (!attempt->discarded && !attempt->resumed_by)
		world_fail(world, "host %u removes paused sandbox %zu", host, n);
}

static void answered(struct world *world, uint32_t host, struct attempt *attempt,
		     const struct wire_record *record)
{
	bool over = attempt->no || attempt->ended || attempt->discarded;

	/* A forgotten attempt is refused again; the scheduler knows better. */
	if (record->refusal == REFUSAL_STALE_ATTEMPT && over)
		return;
	if (attempt->yes || attempt->no || attempt->kept)
		world_fail(world, "host %u answers attempt %" PRIx64 " again", host,
			   record->attempt);
	if (record->kind != WIRE_RECORD_REFUSED &&
	    record->seq >= world->oracle->hosts[host].said_seq)
		begins(world, host, record->attempt);
	attempt->host = host;
	attempt->incarnation = record->incarnation;
	attempt->yes = record->kind == WIRE_RECORD_STARTED;
	attempt->no = record->kind == WIRE_RECORD_REFUSED;
	attempt->kept = record->kind == WIRE_RECORD_KEPT;
	attempt->transient = record->transient;
	attempt->copy = attempt->kept && record->saved_how != WIRE_SAVE_SNAPSHOT;
	attempt->spread = attempt->kept && !attempt->copy && is_copy_id(&record->sandbox);
	world->totals.spreads += attempt->spread;
	if (attempt->yes && attempt->resumes)
		resumed(world, host, attempt);
}

static void discarded(struct world *world, uint32_t host, struct attempt *attempt,
		      const struct wire_record *record)
{
	size_t n = attempt->spread ? 0 : sandbox_number(&record->sandbox);

	if ((!attempt->paused && !attempt->kept) || attempt->discarded || attempt->resumed_by ||
	    attempt->handed)
		world_fail(world, "host %u discards attempt %" PRIx64 " which is not saved", host,
			   record->attempt);
	/* What nobody was told of may be given up. */
	if (!attempt->spread && oracle_sandbox(world, n)->told_attempt &&
	    !oracle_sandbox(world, n)->asked && !attempt->transient &&
	    record->attempt >= world->oracle->hosts[host].lost_below)
		world_fail(world, "host %u discards sandbox %zu, which nobody asked for", host, n);
	attempt->discarded = true;
	world->totals.discards++;
}

/* From now on the copy counts, which is there; and what it is of does not. */
static void handed_over(struct world *world, uint32_t host, struct attempt *attempt,
			const struct wire_record *record)
{
	uint32_t to = (uint32_t)strtoul(record->to.text + 4, NULL, 10);
	struct attempt *copy = oracle_attempt(world, record->save);

	if (!attempt->paused || attempt->discarded || attempt->resumed_by || attempt->handed)
		world_fail(world, "host %u hands attempt %" PRIx64 " over, which is not saved",
			   host, record->attempt);
	attempt->handed = true;
	if (record->save < world->oracle->hosts[to].lost_below)
		return;
	if (!copy->copy || copy->discarded || copy->host != to ||
	    !shims_find_saved(world, to, record->save))
		world_fail(world, "host %u hands attempt %" PRIx64 " over to nothing", host,
			   record->attempt);
	copy->paused = true;
	copy->kept = copy->copy = copy->transient = false;
	oracle_sandbox(world, sandbox_number(&record->sandbox))->moved = true;
	world->totals.handovers++;
}

void oracle_recorded(struct world *world, uint32_t host, const struct wire_record *record)
{
	struct attempt *attempt = oracle_attempt(world, record->attempt);

	if (record->kind == WIRE_RECORD_STARTED || record->kind == WIRE_RECORD_REFUSED ||
	    record->kind == WIRE_RECORD_KEPT) {
		answered(world, host, attempt, record);
		return;
	}
	if (record->kind == WIRE_RECORD_DISCARDED) {
		discarded(world, host, attempt, record);
		return;
	}
	if (record->kind == WIRE_RECORD_HANDED_OVER) {
		handed_over(world, host, attempt, record);
		return;
	}
	if (!attempt->yes || attempt->ended)
		world_fail(world, "host %u meters attempt %" PRIx64 " which does not run", host,
			   record->attempt);
	if (record->from_ms != attempt->told_ms)
		world_fail(world,
			   "host %u meters attempt %" PRIx64 " from %" PRIu64 " after %" PRIu64,
			   host, record->attempt, record->from_ms, attempt->told_ms);
	attempt->told_ms = record->to_ms;
	attempt->ended = record->kind == WIRE_RECORD_ENDED;
	attempt->paused = attempt->ended && record->cause == CAUSE_PAUSE;
}

void oracle_posted(struct world *world, uint32_t replica, uint32_t host,
		   const struct wire_record *record)
{
	struct attempt *attempt = oracle_attempt(world, record->attempt);
	const struct journal *journal = agent_journal(world, host);
	uint64_t *posted_seq = &world->oracle->posted_seq[replica][host];

	if (record->seq <= *posted_seq)
		world_fail(world, "record %" PRIu64 " of host %u is posted twice", record->seq,
			   host);
	*posted_seq = record->seq;
	struct wire_record journaled = {0};

	/* A note is not posted. */
	if (record->seq <= journal->records_n)
		journaled = journal->records[record->seq - 1];
	journaled.note = (struct wire_bytes){0};
	if (!wire_equal(&wire_shape_record, record, &journaled))
		world_fail(world, "record %" PRIu64 " of host %u is not as journaled", record->seq,
			   host);
	if (record->from_ms != attempt->posted[replica].ms || attempt->posted[replica].end)
		world_fail(world, "attempt %" PRIx64 " is posted from %" PRIu64 " after %" PRIu64,
			   record->attempt, record->from_ms, attempt->posted[replica].ms);
	attempt->posted[replica].ms = record->to_ms;
	attempt->posted[replica].end = record->kind == WIRE_RECORD_ENDED;
	world->totals.usage_ms += record->to_ms - record->from_ms;
}

void oracle_expects(struct world *world, uint32_t replica, uint32_t host, uint64_t next_seq)
{
	uint64_t *expected = &world->oracle->next_seq[replica][host];

	if (next_seq != *expected && next_seq != *expected + 1)
		world_fail(world, "replica %u skips from %" PRIu64 " to %" PRIu64 " of host %u",
			   replica, *expected, next_seq, host);
	if (next_seq > agent_journal(world, host)->records_n + 1)
		world_fail(world, "record %" PRIu64 " of host %u was told before it was durable",
			   next_seq - 1, host);
	*expected = next_seq;
}

void oracle_acknowledged(struct world *world, uint32_t replica, uint32_t host, uint64_t next_seq)
{
	if (next_seq > world->oracle->next_seq[replica][host])
		world_fail(world,
			   "host %u is told that record %" PRIu64 " is durable, and it is not",
			   host, next_seq - 1);
}

void oracle_trimmed(struct world *world, uint32_t host, uint64_t seq)
{
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		if (seq >= world->oracle->next_seq[i][host])
			world_fail(world,
				   "host %u forgets record %" PRIu64 " which replica %u has not",
				   host, seq, i);
}

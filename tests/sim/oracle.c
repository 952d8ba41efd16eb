#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/leader.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void oracle_open(struct world *world)
{
	world->oracle = calloc(1, sizeof(*world->oracle));
	CHECK(world->oracle);
	for (uint32_t i = 0; i < HOSTS_MAX; i++)
		world->oracle->next_seq[i] = 1;
}

void oracle_close(struct world *world)
{
	free(world->oracle->runs);
	free(world->oracle->seen);
	free(world->oracle->killed);
	free(world->oracle->asked);
	free(world->oracle);
}

void oracle_stir(struct world *world)
{
	world->oracle->stirred = true;
	world->oracle->stirred_ns = world->now_ns;
}

static struct attempt *attempt_of(struct world *world, uint64_t number)
{
	size_t place = (number * 0x9e3779b97f4a7c15u >> 40) % ATTEMPTS_MAX;
	struct attempt *attempts = world->oracle->attempts;

	CHECK(number);
	while (attempts[place].number && attempts[place].number != number)
		place = (place + 1) % ATTEMPTS_MAX;
	attempts[place].number = number;
	return &attempts[place];
}

/* An array that grows, zeroed, to hold index n. */
static void *hold(void *data, size_t n, size_t *cap, size_t size)
{
	size_t old = *cap;

	if (n < old)
		return data;
	*cap = 2 * n + 64;
	data = realloc(data, *cap * size);
	CHECK(data);
	memset((char *)data + old * size, 0, (*cap - old) * size);
	return data;
}

/* ---- 1, 2, 3, 6: what runs ---- */

static uint32_t tenant_number(const struct id *id)
{
	return (uint32_t)strtoul(id->text + 4, NULL, 10);
}

static void look_at_run(struct world *world, uint32_t host, const struct shim *shim,
			struct wire_room *held)
{
	struct oracle *oracle = world->oracle;
	size_t n = sandbox_number(&shim->claim.sandbox);
	const struct core_sandbox *row = leader_row(world, n);
	uint32_t tenant = tenant_number(&shim->claim.tenant);

	if (!row)
		world_fail(world, "host %u runs sandbox %zu which nobody admitted", host, n);
	if (row->state == SANDBOX_ENDED)
		world_fail(world, "host %u runs sandbox %zu which has ended", host, n);
	oracle->seen = hold(oracle->seen, n, &oracle->seen_cap, sizeof(*oracle->seen));
	if (oracle->seen[n] == oracle->look)
		world_fail(world, "sandbox %zu runs twice", n);
	oracle->seen[n] = oracle->look;
	held[tenant].vcpus += shim->claim.vcpus;
	held[tenant].sandboxes++;
}

static void look_at_host(struct world *world, uint32_t host, struct wire_room *held)
{
	const struct host_vms *vms = world->vms[host];
	const struct wire_room *most = agent_capacity(world, host);
	struct wire_room room = {0}, *before = &world->oracle->used[host];

	for (size_t i = 0; i < vms->n; i++) {
		const struct shim *shim = &vms->shims[i];
		if (!shim->claim_taken || shim->state == WIRE_SHIM_ENDED)
			continue;
		room.vcpus += shim->claim.vcpus;
		room.mem_mib += shim->claim.mem_mib;
		room.sandboxes++;
		if (shim_is_running(shim))
			look_at_run(world, host, shim, held);
	}
	/* What was claimed before less was declared may run to its end. */
	if ((room.sandboxes > most->sandboxes && room.sandboxes > before->sandboxes) ||
	    (room.vcpus > most->vcpus && room.vcpus > before->vcpus) ||
	    (room.mem_mib > most->mem_mib && room.mem_mib > before->mem_mib))
		world_fail(world, "host %u is oversold: %u sandboxes, %u vcpus, %" PRIu64 " MiB",
			   host, room.sandboxes, room.vcpus, room.mem_mib);
	*before = room;
}

void oracle_look(struct world *world)
{
	struct wire_room held[TENANTS_MAX] = {0};
	const struct store *store = leader_store(world);

	if (!world->oracle->stirred)
		return;
	world->oracle->stirred = false;
	world->oracle->look++;
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		look_at_host(world, i, held);
	for (uint32_t i = 0; i < world->shape.tenants_n; i++)
		if (held[i].sandboxes > store->tenants[i].concurrent_max ||
		    held[i].vcpus > store->tenants[i].vcpus_max)
			world_fail(world, "tenant %u has %u sandboxes of %u", i, held[i].sandboxes,
				   store->tenants[i].concurrent_max);
}

/* ---- 4, 6: what tenants are told ---- */

static void told_running(struct world *world, const struct core_sandbox *told)
{
	size_t n = sandbox_number(&told->id);
	const struct core_sandbox *row = leader_row(world, n);

	if (!row || row->state == SANDBOX_PLACING || row->attempt != told->attempt)
		world_fail(world, "sandbox %zu is told of, and not stored as running", n);
	if (!attempt_of(world, told->attempt)->yes)
		world_fail(world, "sandbox %zu is told of, and not journaled", n);
	attempt_of(world, told->attempt)->told = true;
}

void oracle_told(struct world *world, bool was_create, const struct core_effect *reply)
{
	struct oracle *oracle = world->oracle;
	size_t n;

	if (reply->reply.refusal != REFUSAL_NONE || !reply->reply.found)
		return;
	n = sandbox_number(&reply->reply.sandbox.id);
	if (reply->reply.sandbox.state == SANDBOX_RUNNING)
		told_running(world, &reply->reply.sandbox);
	else if (was_create)
		world_fail(world, "sandbox %zu is granted and does not run", n);
	oracle->killed = hold(oracle->killed, n, &oracle->killed_cap, sizeof(*oracle->killed));
	if (reply->reply.sandbox.state == SANDBOX_ENDING ||
	    reply->reply.sandbox.state == SANDBOX_ENDED)
		oracle->killed[n] = true;
	else if (oracle->killed[n])
		world_fail(world, "sandbox %zu is told of after its kill", n);
}

void oracle_saved(struct world *world, const struct core_sandbox *old,
		  const struct core_sandbox *row)
{
	size_t n = sandbox_number(&row->id);

	if (old->state == SANDBOX_ENDED)
		world_fail(world, "sandbox %zu is saved after its end", n);
	if (old->state == SANDBOX_ENDING && row->state < SANDBOX_ENDING)
		world_fail(world, "sandbox %zu lives again", n);
	if (row->state == SANDBOX_ENDED)
		oracle_stir(world);
}

/* ---- 5, 8: records ---- */

void oracle_journaled(struct world *world, uint32_t host, const struct node_sandbox *row)
{
	struct attempt *attempt = attempt_of(world, row->attempt);
	const struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++) {
		const struct shim *shim = &vms->shims[i];
		if (shim->number != row->vm)
			continue;
		if (attempt->serial && attempt->serial != shim->serial)
			world_fail(world, "attempt %" PRIx64 " runs in two microVMs", row->attempt);
		attempt->serial = shim->serial;
	}
}

static void answered(struct world *world, uint32_t host, struct attempt *attempt,
		     const struct wire_record *record)
{
	bool over = attempt->no || attempt->ended;

	/* A forgotten attempt is refused again; the scheduler knows better. */
	if (record->refusal == REFUSAL_STALE_ATTEMPT && over)
		return;
	if (attempt->yes || attempt->no)
		world_fail(world, "host %u answers attempt %" PRIx64 " again", host,
			   record->attempt);
	attempt->yes = record->kind == WIRE_RECORD_STARTED;
	attempt->no = record->kind == WIRE_RECORD_REFUSED;
}

void oracle_recorded(struct world *world, uint32_t host, const struct wire_record *record)
{
	struct attempt *attempt = attempt_of(world, record->attempt);

	if (record->kind == WIRE_RECORD_STARTED || record->kind == WIRE_RECORD_REFUSED) {
		answered(world, host, attempt, record);
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
}

void oracle_posted(struct world *world, uint32_t host, const struct wire_record *record)
{
	struct attempt *attempt = attempt_of(world, record->attempt);
	const struct journal *journal = agent_journal(world, host);
	struct oracle *oracle = world->oracle;

	if (record->seq <= oracle->posted_seq[host])
		world_fail(world, "record %" PRIu64 " of host %u is posted twice", record->seq,
			   host);
	oracle->posted_seq[host] = record->seq;
	if (record->seq > journal->records_n ||
	    !wire_equal(&wire_shape_record, record, &journal->records[record->seq - 1]))
		world_fail(world, "record %" PRIu64 " of host %u is not as journaled", record->seq,
			   host);
	if (record->from_ms != attempt->posted_ms || attempt->posted_end)
		world_fail(world, "attempt %" PRIx64 " is posted from %" PRIu64 " after %" PRIu64,
			   record->attempt, record->from_ms, attempt->posted_ms);
	attempt->posted_ms = record->to_ms;
	attempt->posted_end = record->kind == WIRE_RECORD_ENDED;
	world->totals.usage_ms += record->to_ms - record->from_ms;
}

void oracle_expects(struct world *world, uint32_t host, uint64_t next_seq)
{
	uint64_t *expected = &world->oracle->next_seq[host];

	if (next_seq != *expected && next_seq != *expected + 1)
		world_fail(world, "the scheduler skips from %" PRIu64 " to %" PRIu64 " of host %u",
			   *expected, next_seq, host);
	if (next_seq > agent_journal(world, host)->records_n + 1)
		world_fail(world, "record %" PRIu64 " of host %u was told before it was durable",
			   next_seq - 1, host);
	*expected = next_seq;
}

void oracle_acknowledged(struct world *world, uint32_t host, uint64_t next_seq)
{
	if (next_seq > world->oracle->next_seq[host])
		world_fail(world,
			   "host %u is told that record %" PRIu64 " is durable, and it is not",
			   host, next_seq - 1);
}

void oracle_trimmed(struct world *world, uint32_t host, uint64_t seq)
{
	if (seq >= world->oracle->next_seq[host])
		world_fail(world, "host %u forgets record %" PRIu64 " which nobody has", host, seq);
}

/* Where a time limit was confirmed, it is the one that counts. */
static void look_at_limit(struct world *world, const struct shim *shim)
{
	size_t n = sandbox_number(&shim->claim.sandbox);
	const struct core_sandbox *row = leader_row(world, n);
	int64_t off_ms;

	if (shim->cause != CAUSE_TIMEOUT || !row || row->state != SANDBOX_RUNNING ||
	    row->attempt != shim->claim.attempt || row->deadline_known != row->deadline_version)
		return;
	off_ms = (row->end_at.ns - S(1700000000) - shim->ended_ns) / NS_PER_MS;
	if (off_ms > SLACK_MS || off_ms < -SLACK_MS)
		world_fail(world, "sandbox %zu ended %" PRId64 " ms off its time limit", n, off_ms);
}

/* ---- 9: what may end a sandbox ---- */

void oracle_asked_to_end(struct world *world, size_t n)
{
	struct oracle *oracle = world->oracle;

	oracle->asked = hold(oracle->asked, n, &oracle->asked_cap, sizeof(*oracle->asked));
	oracle->asked[n] = true;
}

static void look_at_cause(struct world *world, uint32_t host, const struct shim *shim)
{
	const struct oracle *oracle = world->oracle;
	size_t n = sandbox_number(&shim->claim.sandbox);
	bool asked = n < oracle->asked_cap && oracle->asked[n];

	/* A microVM may fail by itself: the only fault that those that run are given. */
	if (!attempt_of(world, shim->claim.attempt)->told || shim->cause == CAUSE_TIMEOUT ||
	    shim->cause == CAUSE_OOM_GUEST)
		return;
	if (!asked || (shim->cause != CAUSE_REQUEST && shim->cause != CAUSE_OPERATOR))
		world_fail(world, "host %u ends sandbox %zu with cause %d, which nobody asked for",
			   host, n, (int)shim->cause);
}

void oracle_ran(struct world *world, uint32_t host, const struct shim *shim, bool lost)
{
	const struct journal *journal = agent_journal(world, host);
	struct oracle *oracle = world->oracle;
	struct run *run;

	oracle->runs = hold(oracle->runs, shim->serial, &oracle->runs_cap, sizeof(*oracle->runs));
	run = &oracle->runs[shim->serial];
	look_at_limit(world, shim);
	if (shim->claim_taken && !lost)
		look_at_cause(world, host, shim);
	run->ended = true;
	run->lost = lost;
	if (shim->resumed_ns)
		run->ran_ms = (uint64_t)((shim->ended_ns - shim->resumed_ns) / NS_PER_MS);
	for (size_t i = 0; i < journal->sandboxes_n && shim->claim_taken; i++)
		if (journal->sandboxes[i].attempt == shim->claim.attempt)
			run->journaled_ms = journal->sandboxes[i].metered_ms;
}

/* What tenants are told, and what may end a sandbox: rules 4, 6, 9 and 14. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void told_running(struct world *world, uint32_t replica, const struct request *request,
			 const struct core_sandbox *told)
{
	size_t n = sandbox_number(&told->id);
	const struct core_sandbox *row = replica_row(world, replica, n);
	struct attempt *attempt = oracle_attempt(world, told->attempt);
	struct oracle *oracle = world->oracle;

	/* By the time that it is told a later life may have been asked for. */
	if (!row || row->state == SANDBOX_PLACING || row->attempt < told->attempt ||
	    (row->state == SANDBOX_RESUMING && row->attempt == told->attempt))
		world_fail(world, "sandbox %zu is told of, and not stored as running", n);
	if (!attempt->yes)
		world_fail(world, "sandbox %zu is told of, and not journaled", n);
	attempt->told = true;
	oracle_sandbox(world, n)->told_attempt = told->attempt;
	if (!request->key)
		return;
	oracle->keys =
		oracle_hold(oracle->keys, request->key, &oracle->keys_cap, sizeof(*oracle->keys));
	if (oracle->keys[request->key] && oracle->keys[request->key] != n + 1)
		world_fail(world, "key %u has two sandboxes: %" PRIu64 " and %zu", request->key,
			   oracle->keys[request->key] - 1, n);
	oracle->keys[request->key] = n + 1;
}

static void told_paused(struct world *world, uint32_t replica, const struct core_sandbox *told)
{
	size_t n = sandbox_number(&told->id);
	const struct core_sandbox *row = replica_row(world, replica, n);

	if (!row || (row->state < SANDBOX_PAUSED && row->attempt == told->attempt) ||
	    row->attempt < told->attempt)
		world_fail(world, "sandbox %zu is told paused, and not stored as that", n);
	if (!oracle_attempt(world, told->attempt)->paused)
		world_fail(world, "sandbox %zu is told paused, and not journaled", n);
}

static void told_kept(struct world *world, uint32_t replica, const struct core_sandbox *told)
{
	size_t n = sandbox_number(&told->id);
	const struct core_sandbox *row = replica_row(world, replica, n);

	if (!row || row->state == SANDBOX_SNAPPING)
		world_fail(world, "snapshot %zu is told of, and not stored", n);
	if (!oracle_attempt(world, told->attempt)->kept)
		world_fail(world, "snapshot %zu is told of, and not journaled", n);
	oracle_sandbox(world, n)->told_attempt = told->attempt;
}

/* Who asked after he was told that it is dropped; one who asks again may hear what was before. */
static void look_at_origin(struct world *world, const struct request *request)
{
	const struct id *snapshot = &request->event.create.snapshot;
	const struct known *known;

	if (request->event.kind != CORE_EVENT_CREATE || id_is_empty(snapshot) || request->key)
		return;
	known = oracle_sandbox(world, sandbox_number(snapshot));
	if (known->killed && request->asked_ns > known->killed_ns)
		world_fail(world, "sandbox %zu begins from snapshot %zu, which was told dropped",
			   request->sandbox, sandbox_number(snapshot));
}

/* Known, and not ended: what a create that is repeated under its key may hear. */
static bool is_paused(enum sandbox_state state)
{
	return state == SANDBOX_PAUSING || state == SANDBOX_PAUSED || state == SANDBOX_RESUMING;
}

/* A leader may not have heard the end of what it tells of, if its node has not joined. */
static bool has_heard(const struct world *world, uint32_t replica, const struct core_sandbox *row)
{
	struct core_node_view view;

	return replica_core(world, replica) &&
	       core_node_find(replica_core(world, replica), &row->node, &view) && view.joined;
}

static void told_row(struct world *world, uint32_t replica, const struct request *request,
		     const struct core_sandbox *row)
{
	size_t n = sandbox_number(&row->id);
	struct known *known = oracle_sandbox(world, n);
	bool ends = row->state == SANDBOX_ENDING || row->state == SANDBOX_ENDED ||
		    row->state == SANDBOX_DISCARDING;

	look_at_origin(world, request);
	if (row->state == SANDBOX_RUNNING)
		told_running(world, replica, request, row);
	else if (row->state == SANDBOX_KEPT)
		told_kept(world, replica, row);
	else if (row->state == SANDBOX_PAUSED)
		told_paused(world, replica, row);
	else if (request->event.kind == CORE_EVENT_CREATE && !ends && !is_paused(row->state))
		world_fail(world, "sandbox %zu is granted and does not run", n);
	if (!ends && known->killed && has_heard(world, replica, row))
		world_fail(world, "sandbox %zu is told of after its kill", n);
	/* An end that a replayed create tells of is not promised to anybody. */
	if (ends && !known->killed &&
	    (request->event.kind == CORE_EVENT_KILL ||
	     request->event.kind == CORE_EVENT_DROP_SNAPSHOT)) {
		known->killed = true;
		known->killed_ns = world->now_ns;
	}
	if (request->event.kind != CORE_EVENT_CREATE && known->open_n == 0) {
		known->limit_is_told = row->state == SANDBOX_RUNNING;
		known->limit_ns = row->end_at.ns;
	}
}

bool oracle_rules_are_told(struct world *world, size_t n, uint64_t rules)
{
	const struct known *known = oracle_sandbox(world, n);

	for (size_t i = 0; rules && i < RULES_MAX; i++)
		if (known->rules[i] == rules)
			return true;
	return false;
}

/* What was told to be in force is, or something newer that nobody was told of yet. */
static void told_rules(struct world *world, const struct request *request,
		       const struct core_sandbox *row)
{
	struct known *known = oracle_sandbox(world, request->sandbox);
	const struct host_vms *vms = world->vms[strtoul(row->node.text + 4, NULL, 10)];

	for (size_t i = 0; i < vms->n; i++) {
		const struct shim *shim = &vms->shims[i];

		if (shim_is_alive(shim) && shim->claim.attempt == row->attempt &&
		    shim->rules != request->number &&
		    (!shim->rules || oracle_rules_are_told(world, request->sandbox, shim->rules)))
			world_fail(world,
				   "sandbox %zu: what request %" PRIu64
				   " wants is told and not in force",
				   request->sandbox, request->number);
	}
	memmove(known->rules + 1, known->rules, (RULES_MAX - 1) * sizeof(known->rules[0]));
	known->rules[0] = request->number;
	world->totals.rules++;
}

void oracle_told(struct world *world, uint32_t replica, const struct request *request,
		 enum refusal refusal, const struct core_sandbox *row)
{
	if (request->event.kind != CORE_EVENT_CREATE && refusal != REFUSAL_UNCONFIRMED)
		oracle_sandbox(world, request->sandbox)->open_n--;
	if (refusal == REFUSAL_NONE && row && request->event.kind == CORE_EVENT_SET_NETWORK)
		told_rules(world, request, row);
	if (refusal == REFUSAL_NONE && row)
		told_row(world, replica, request, row);
}

void oracle_asked(struct world *world, const struct request *request)
{
	struct known *known = oracle_sandbox(world, request->sandbox);

	if (request->event.kind == CORE_EVENT_CREATE)
		return;
	known->open_n++;
	known->limit_is_told = false;
}

/* Its node is lost: so it is, unless there is a copy. */
static void look_for_copies(struct world *world, uint32_t replica, const struct core_sandbox *row)
{
	const struct store *store = replica_store(world, replica);

	for (size_t i = 0; i < store->copies_n; i++) {
		const struct core_sandbox *copy = &store->copies[i].it;
		uint32_t host = (uint32_t)strtoul(copy->node.text + 4, NULL, 10);

		if (copy->state == SANDBOX_KEPT && id_equal(&copy->source, &row->id) &&
		    copy->attempt >= world->oracle->hosts[host].lost_below)
			world_fail(world, "replica %u gives snapshot %zu up, and has a copy",
				   replica, sandbox_number(&row->id));
	}
}

void oracle_saved(struct world *world, uint32_t replica, bool adopts,
		  const struct core_sandbox *old, const struct core_sandbox *row)
{
	size_t n = sandbox_number(&row->id);
	const struct attempt *attempt = oracle_attempt(world, row->attempt);
	uint32_t host = (uint32_t)strtoul(row->node.text + 4, NULL, 10);

	/* The log of the node that it was on before may come after that of its last one. */
	if (old->state == SANDBOX_ENDED && !oracle_sandbox(world, n)->moved)
		world_fail(world, "replica %u saves sandbox %zu after its end", replica, n);
	if (adopts && old->state != SANDBOX_NONE && !oracle_sandbox(world, n)->moved)
		world_fail(world, "replica %u adopts sandbox %zu which it knows", replica, n);
	/* A create that was given up may turn out to be granted by another leader. */
	if (old->state == SANDBOX_ENDING && row->state < SANDBOX_ENDING &&
	    (world->shape.replicas_n == 1 || old->refusal == REFUSAL_NONE))
		world_fail(world, "replica %u: sandbox %zu lives again", replica, n);
	if (old->state == SANDBOX_DISCARDING && row->state != SANDBOX_DISCARDING &&
	    row->state != SANDBOX_ENDING && row->state != SANDBOX_ENDED)
		world_fail(world, "replica %u: sandbox %zu is wanted again", replica, n);
	if (old->state == SANDBOX_KEPT && row->state != SANDBOX_KEPT && !row->transient &&
	    !oracle_sandbox(world, n)->asked && row->state != SANDBOX_ENDED)
		world_fail(world, "replica %u drops snapshot %zu, which nobody asked for", replica,
			   n);
	world->totals.taken_over += old->state == SANDBOX_KEPT && row->state == SANDBOX_KEPT &&
				    old->attempt != row->attempt;
	if (row->state != SANDBOX_ENDED)
		return;
	if (old->state == SANDBOX_KEPT && row->cause == CAUSE_NODE_LOST)
		look_for_copies(world, replica, row);
	/* Then what became of it is known by now, from the other log. */
	if (row->cause == CAUSE_PLATFORM && oracle_sandbox(world, n)->moved &&
	    (attempt->resumed_by || attempt->discarded || attempt->handed))
		return;
	if ((old->state == SANDBOX_PAUSED || (old->state == SANDBOX_KEPT && !row->transient)) &&
	    oracle_sandbox(world, n)->told_attempt && !oracle_sandbox(world, n)->asked &&
	    row->cause != CAUSE_NODE_LOST)
		world_fail(world, "replica %u ends paused sandbox %zu, which nobody asked for",
			   replica, n);
	if (row->cause == CAUSE_NODE_LOST && row->attempt >= world->oracle->hosts[host].lost_below)
		world_fail(world, "replica %u gives sandbox %zu up, and its node is not lost",
			   replica, n);
	if (row->cause == CAUSE_NONE && attempt->told)
		world_fail(world, "replica %u: sandbox %zu was told running, and never began",
			   replica, n);
	oracle_stir(world);
}

void oracle_adopted(struct world *world, uint32_t replica, const struct core_sandbox *row,
		    uint32_t key)
{
	size_t n = sandbox_number(&row->id);

	if (key != sandbox_key(world, n) || row->timeout_s != sandbox_timeout_s(world, n))
		world_fail(world, "replica %u adopts sandbox %zu, and not its note", replica, n);
}

/* ---- 9: what may end a sandbox ---- */

void oracle_asked_to_end(struct world *world, size_t n)
{
	oracle_sandbox(world, n)->asked = true;
}

void oracle_asked_to_pause(struct world *world, size_t n)
{
	oracle_sandbox(world, n)->asked_pause = true;
}

/* A time limit that was told, or whose confirmation a scheduler has, is the one that counts. */
static bool limit_of(struct world *world, const struct shim *shim, int64_t *out_ns)
{
	size_t n = sandbox_number(&shim->claim.sandbox);
	const struct known *known = oracle_sandbox(world, n);
	uint64_t newest = oracle_attempt(world, shim->claim.attempt)->limit_version;

	/* One scheduler alone tells of it before the node does. */
	if (known->limit_is_told && world->shape.replicas_n > 1) {
		*out_ns = known->limit_ns;
		return true;
	}
	for (uint32_t i = 0; i < world->shape.replicas_n; i++) {
		const struct core_sandbox *row = replica_row(world, i, n);
		if (!row || row->state != SANDBOX_RUNNING || row->attempt != shim->claim.attempt ||
		    row->deadline_known != row->deadline_version || row->deadline_version != newest)
			continue;
		*out_ns = row->end_at.ns;
		return true;
	}
	return false;
}

static void look_at_limit(struct world *world, uint32_t host, const struct shim *shim)
{
	int64_t limit_ns, off_ms;

	if ((shim->cause != CAUSE_TIMEOUT && !shim->by_limit) || world->faults.wild ||
	    !limit_of(world, shim, &limit_ns) || world->go_on_ns[HOSTS_MAX + host] == world->now_ns)
		return;
	off_ms = (limit_ns - CLOCK_WALL_BEGIN_NS - shim->ended_ns) / NS_PER_MS;
	if (off_ms > oracle_slack_ms(world) || off_ms < -oracle_slack_ms(world))
		world_fail(world, "sandbox %zu ended %" PRId64 " ms off its time limit",
			   sandbox_number(&shim->claim.sandbox), off_ms);
}

static void look_at_cause(struct world *world, uint32_t host, const struct shim *shim)
{
	size_t n = sandbox_number(&shim->claim.sandbox);
	bool asked = oracle_sandbox(world, n)->asked;

	/* A microVM may fail by itself: the only fault that those that run are given. */
	if (!oracle_attempt(world, shim->claim.attempt)->told || shim->cause == CAUSE_TIMEOUT ||
	    shim->cause == CAUSE_OOM_GUEST)
		return;
	if (asked && (shim->cause == CAUSE_REQUEST || shim->cause == CAUSE_OPERATOR ||
		      shim->cause == CAUSE_PLATFORM))
		return;
	if (shim->cause == CAUSE_PAUSE && (shim->by_limit || oracle_sandbox(world, n)->asked_pause))
		return;
	if (shim->cause == CAUSE_NODE_LOST &&
	    shim->claim.attempt < world->oracle->hosts[host].lost_below)
		return;
	world_fail(world, "host %u ends sandbox %zu with cause %d, which nobody asked for", host, n,
		   (int)shim->cause);
}

void oracle_ran(struct world *world, uint32_t host, const struct shim *shim, bool lost)
{
	const struct journal *journal = agent_journal(world, host);
	struct oracle *oracle = world->oracle;
	struct run *run;

	oracle->runs =
		oracle_hold(oracle->runs, shim->serial, &oracle->runs_cap, sizeof(*oracle->runs));
	run = &oracle->runs[shim->serial];
	if (shim->claim_taken && !lost) {
		look_at_limit(world, host, shim);
		look_at_cause(world, host, shim);
	}
	run->ended = true;
	run->lost = lost;
	if (shim->resumed.ns)
		run->ran_ms =
			(uint64_t)((shim->ran_ns + shim->ended.ns - shim->resumed.ns) / NS_PER_MS);
	for (size_t i = 0; i < journal->sandboxes_n && shim->claim_taken; i++)
		if (journal->sandboxes[i].attempt == shim->claim.attempt)
			run->journaled_ms = journal->sandboxes[i].metered_ms;
}

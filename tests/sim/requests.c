/*
 * The API of a scheduler: the leader looks keys up and steps; a standby forwards to the leader that
 * it knows of, and waits a while for one.  What was refused because a take-over is under way is
 * kept and taken again, keys and all, once it is done.
 */
#include "tests/sim/replica_internal.h"

#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <string.h>

enum { LEADER_WAIT_MS = 5000, LEADER_LOOK_MS = 200 };

static void take(struct world *world, struct replica *replica, uint64_t number, bool forwarded);

static void plan_take(struct world *world, uint32_t replica, uint64_t number, bool forwarded,
		      int64_t in_ns);

/* ---- the leader's ---- */

static struct flight *find_flight(struct replica *replica, uint64_t request)
{
	for (size_t i = 0; i < replica->flights_n; i++)
		if (replica->flights[i].request == request)
			return &replica->flights[i];
	return NULL;
}

static void drop_flight(struct replica *replica, struct flight *flight)
{
	*flight = replica->flights[--replica->flights_n];
}

uint32_t requests_key_of(const struct replica *replica, const struct id *sandbox)
{
	size_t n = is_copy_id(sandbox) ? SIZE_MAX - 1 : sandbox_number(sandbox);

	for (size_t i = 0; i < replica->flights_n; i++)
		if (replica->flights[i].sandbox == n)
			return replica->flights[i].key;
	return n < replica->store.rows_n ? replica->store.rows[n].key : 0;
}

/* True: it is answered, because its key was used before. */
static bool is_repeated(struct world *world, struct replica *replica, const struct request *request)
{
	const struct row *row;

	if (!request->key)
		return false;
	row = store_find_key(&replica->store, request->key);
	for (size_t i = 0; i < replica->flights_n; i++)
		if (replica->flights[i].key == request->key) {
			tenants_refuse(world, request->number, REFUSAL_UNCONFIRMED);
			return true;
		}
	if (!row)
		return false;
	if (row->it.state == SANDBOX_PLACING)
		tenants_refuse(world, request->number, REFUSAL_UNCONFIRMED);
	else
		tenants_replay(world, replica->number, request->number, &row->it);
	return true;
}

static void lead_take(struct world *world, struct replica *replica, struct request *request)
{
	struct core_event event = request->event;
	struct flight *flight = &replica->flights[replica->flights_n];

	if (replica->leaving || replica->flights_n == FLIGHTS_MAX) {
		tenants_refuse(world, request->number, REFUSAL_NO_LEADER);
		return;
	}
	if (is_repeated(world, replica, request))
		return;
	*flight = (struct flight){.request = request->number, .key = request->key};
	flight->sandbox =
		event.kind == CORE_EVENT_CREATE ? sandbox_number(&event.create.sandbox) : SIZE_MAX;
	replica->flights_n++;
	replica->stepping_change = event.kind == CORE_EVENT_SET_NETWORK ? request->number : 0;
	replica_step(world, replica, &event);
	replica->stepping_change = 0;
}

void replica_renew(struct world *world, uint32_t number, size_t sandbox)
{
	struct replica *replica = world->replicas[number];
	struct core_event event = {.kind = CORE_EVENT_SET_NETWORK};
	const struct core_sandbox *row;
	const struct row *stored;

	if (!replica_admits(world, number) || sandbox >= replica->store.rows_n)
		return;
	stored = &replica->store.rows[sandbox];
	row = core_sandbox_find(replica->core, &stored->it.id);
	/* What is stored may be older than a change that is under way. */
	if (!row || row->state != SANDBOX_RUNNING || row->deadline_known != row->deadline_version)
		return;
	event.timeout.sandbox = row->id;
	event.timeout.tenant = row->tenant;
	replica->stepping_change = stored->next_rules ? stored->next_rules : stored->rules;
	replica_step(world, replica, &event);
	replica->stepping_change = 0;
}

void requests_answer(struct world *world, struct replica *replica, const struct core_effect *effect)
{
	struct flight *flight = find_flight(replica, effect->reply.request);

	if (!flight || flight->parked)
		world_fail(world, "request %" PRIu64 " is answered twice", effect->reply.request);
	if (effect->reply.refusal == REFUSAL_TAKING_OVER) {
		flight->parked = true;
		return;
	}
	drop_flight(replica, flight);
	tenants_answer(world, replica->number, effect);
}

void requests_admit(struct world *world, struct replica *replica)
{
	static struct flight parked[FLIGHTS_MAX];
	uint64_t life = replica->life;
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < replica->flights_n; i++)
		if (replica->flights[i].parked)
			parked[n++] = replica->flights[i];
		else
			replica->flights[kept++] = replica->flights[i];
	replica->flights_n = kept;
	for (size_t i = 0; i < replica->store.rows_n && replica->life == life; i++)
		if (replica->store.rows[i].key)
			requests_look_at_key(world, replica, replica->store.rows[i].key);
	for (size_t i = 0; i < n && replica->life == life; i++)
		take(world, replica, parked[i].request, false);
}

void requests_break(struct world *world, struct replica *replica)
{
	for (size_t i = 0; i < replica->flights_n; i++)
		tenants_break(world, replica->flights[i].request);
	replica->flights_n = 0;
}

/* Of two sandboxes of one key, the create of the older one was never answered: else its key would
 * not have been used again. */
void requests_look_at_key(struct world *world, struct replica *replica, uint32_t key)
{
	const struct row *newest = key ? store_find_key(&replica->store, key) : NULL;
	uint64_t life = replica->life;

	if (!newest || !replica_leads(world, replica->number))
		return;
	for (size_t i = 0; i < replica->store.rows_n && replica->life == life; i++) {
		const struct row *row = &replica->store.rows[i];
		struct core_event event = {.kind = CORE_EVENT_KILL};
		if (row->key != key || row == newest || row->it.state == SANDBOX_NONE ||
		    row->it.state == SANDBOX_PLACING || row->it.state == SANDBOX_ENDING ||
		    row->it.state == SANDBOX_DISCARDING || row->it.state == SANDBOX_ENDED)
			continue;
		event.kill.sandbox = row->it.id;
		event.kill.cause = CAUSE_PLATFORM;
		oracle_asked_to_end(world, i);
		replica_step(world, replica, &event);
	}
}

/* ---- anybody's ---- */

static void forward(struct world *world, const struct replica *replica, uint64_t number)
{
	uint32_t leader = replica->ha.leader;

	/* The connection breaks, or nothing is heard of it any more. */
	if (net_is_apart(world, replica->number, leader) ||
	    world_chance(world, world->faults.loss)) {
		tenants_break(world, number);
		return;
	}
	plan_take(world, leader, number, true, world_between(world, 50 * NS_PER_US, MS(3)));
}

static void take(struct world *world, struct replica *replica, uint64_t number, bool forwarded)
{
	struct request *request = tenants_find(world, number);

	if (!request || !request->open)
		return; /* whoever asked is gone */
	if (!replica->core)
		tenants_break(world, number);
	else if (replica_leads(world, replica->number))
		lead_take(world, replica, request);
	else if (!forwarded && replica->ha.leader != REPLICAS_MAX &&
		 replica->ha.leader != replica->number)
		forward(world, replica, number);
	else if (world->now_ns - request->asked_ns < MS(LEADER_WAIT_MS))
		plan_take(world, replica->number, number, forwarded, MS(LEADER_LOOK_MS));
	else
		tenants_refuse(world, number, REFUSAL_NO_LEADER);
}

static void on_take(struct world *world, const struct call *call)
{
	take(world, world->replicas[call->replica], call->a, call->b != 0);
}

static void plan_take(struct world *world, uint32_t replica, uint64_t number, bool forwarded,
		      int64_t in_ns)
{
	struct call call = {.fn = on_take, .replica = replica, .a = number, .b = forwarded};

	call.of = OF_REPLICA(replica);
	world_plan(world, in_ns, call);
}

void replica_request(struct world *world, uint32_t number, uint64_t request)
{
	take(world, world->replicas[number], request, false);
}

/*
 * A scheduler's end of etcd: its election, and the watch that decisions come by.  A key that was
 * won counts only when all decisions before it are applied here, because a leader must not know
 * less than the one before it had decided.
 */
#include "tests/sim/replica_internal.h"

#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <string.h>

enum { WATCH_RETRY_MS = 1000 };

/* As in scheduler/ha. */
static const struct election_limits limits = {
	.ttl_ms = 2000, .margin_ms = 400, .retry_ms = 100, .answer_ms = 600};

static void step(struct world *world, struct replica *replica, struct election_event *event);

/* ---- asking ---- */

static struct etcd_request request_of(struct world *world, const struct replica *replica,
				      enum etcd_ask kind)
{
	struct etcd_request request = {.kind = kind, .replica = replica->number};

	request.life = replica->ha.life;
	request.asked_at = replica_mono(world, replica);
	request.watch = replica->ha.watch;
	return request;
}

static void on_watch_again(struct world *world, const struct call *call)
{
	struct replica *replica = world->replicas[call->replica];

	if (call->life == replica->ha.life && call->a == replica->ha.watch && replica->core &&
	    !replica->ha.watches)
		ha_watch(world, replica);
}

void ha_watch(struct world *world, struct replica *replica)
{
	struct call again = {.fn = on_watch_again, .replica = replica->number};
	struct etcd_request request;

	replica->ha.watch++;
	replica->ha.watches = false;
	replica->ha.seen = replica->store.revision;
	request = request_of(world, replica, ETCD_WATCH);
	request.revision = replica->ha.seen;
	etcd_ask(world, &request);
	again.of = OF_REPLICA(replica->number);
	again.life = replica->ha.life;
	again.a = replica->ha.watch;
	world_plan(world, MS(WATCH_RETRY_MS), again);
}

void ha_decide(struct world *world, struct replica *replica, const struct decision *decision)
{
	struct etcd_request request = request_of(world, replica, ETCD_DECIDE);

	request.revision = replica->ha.led;
	request.decision = *decision;
	etcd_ask(world, &request);
}

/* ---- leading ---- */

static void try_to_lead(struct world *world, struct replica *replica)
{
	struct core_event event = {.kind = CORE_EVENT_LEAD};
	struct ha *ha = &replica->ha;
	uint64_t life = replica->life;

	if (!ha->won || ha->won == ha->led || !replica->core || ha->seen < ha->won ||
	    replica->applying_n)
		return;
	ha->led = ha->won;
	world->totals.take_overs++;
	event.lead.epoch = EPOCH_BASE + ha->led;
	world_say(world, "replica %u leads: epoch %" PRIu64, replica->number, event.lead.epoch);
	replica_step(world, replica, &event);
	/* Every poll that is parked is answered, by the leader. */
	for (uint32_t i = 0; i < world->shape.hosts_n && replica->life == life; i++) {
		struct pump_server_event wake = {.kind = PUMP_SERVER_WAKE};
		do
			replica_pump(world, replica, i, &wake);
		while (replica->life == life && replica->hosts[i].pump.parked_n);
	}
}

static void follow(struct world *world, struct replica *replica)
{
	bool led = replica->ha.led != 0;

	replica->ha.won = replica->ha.led = 0;
	if (led && replica->core && core_role(replica->core) != CORE_STANDBY)
		replica_follow(world, replica, "so says the election");
}

/* ---- the election ---- */

static void carry_out(struct world *world, struct replica *replica,
		      const struct election_effect *effect)
{
	static const enum etcd_ask asks[] = {
		[ELECTION_GRANT] = ETCD_GRANT,       [ELECTION_KEEP] = ETCD_KEEP,
		[ELECTION_CAMPAIGN] = ETCD_CAMPAIGN, [ELECTION_READ] = ETCD_READ,
		[ELECTION_REVOKE] = ETCD_REVOKE,
	};
	struct etcd_request request;

	switch (effect->kind) {
	case ELECTION_GRANT:
	case ELECTION_KEEP:
	case ELECTION_CAMPAIGN:
	case ELECTION_READ:
	case ELECTION_REVOKE:
		request = request_of(world, replica, asks[effect->kind]);
		request.number = effect->request;
		request.lease = effect->lease;
		request.ttl_ms = effect->ttl_ms;
		etcd_ask(world, &request);
		break;
	case ELECTION_LEAD:
		replica->ha.won = effect->revision;
		try_to_lead(world, replica);
		break;
	case ELECTION_FOLLOW:
		follow(world, replica);
		break;
	}
}

static void on_timer(struct world *world, const struct call *call)
{
	struct replica *replica = world->replicas[call->replica];
	struct election_event event = {.kind = ELECTION_TICK};

	if (call->life == replica->ha.life && call->a == replica->ha.timer)
		step(world, replica, &event);
}

static void step(struct world *world, struct replica *replica, struct election_event *event)
{
	struct call call = {.fn = on_timer, .replica = replica->number, .life = replica->ha.life};
	struct election_effects out;
	struct mono at;

	event->now = replica_mono(world, replica);
	election_step(&replica->ha.election, event, &out);
	for (uint32_t i = 0; i < out.n && replica->ha.life == call.life; i++)
		carry_out(world, replica, &out.items[i]);
	if (replica->ha.life != call.life)
		return;
	call.of = OF_REPLICA(replica->number);
	call.a = ++replica->ha.timer;
	if (election_next_deadline(&replica->ha.election, &at))
		world_plan(world, clock_until_ns(&replica->clock, world->now_ns, at), call);
}

/* ---- what etcd says ---- */

/* As of a revision somebody leads by the key that was created then, or nobody does. */
static void know(struct replica *replica, uint64_t as_of, uint64_t created, uint32_t leader)
{
	if (as_of < replica->ha.as_of)
		return;
	replica->ha.as_of = as_of;
	replica->ha.leader = leader;
	if (created > replica->ha.known)
		replica->ha.known = created;
}

static void hear_election(struct world *world, struct replica *replica,
			  const struct etcd_answer *answer)
{
	struct election_event event = {.kind = ELECTION_KEY, .request = answer->to.number};

	event.lease = answer->lease;
	event.ttl_ms = answer->ttl_ms;
	event.asked_at = answer->to.asked_at;
	event.exists = answer->exists;
	event.revision = answer->revision;
	if (answer->to.kind == ETCD_GRANT)
		event.kind = ELECTION_GRANTED;
	else if (answer->to.kind == ETCD_KEEP)
		event.kind = ELECTION_KEPT;
	if (answer->failed)
		event.kind = ELECTION_FAILED;
	else if (answer->exists)
		know(replica, answer->revision, answer->revision, answer->replica);
	else if (event.kind == ELECTION_KEY)
		know(replica, answer->revision, 0, REPLICAS_MAX);
	step(world, replica, &event);
}

static void decide(struct world *world, struct replica *replica, const struct decision *decision,
		   uint64_t revision)
{
	struct item item = {.kind = ITEM_DECIDED, .decision = *decision, .revision = revision};

	rounds_add(world, &replica->rounds, &item);
	item.kind = ITEM_APPLY;
	rounds_add(world, &replica->rounds, &item);
	replica->applying_n++;
}

void ha_applied(struct world *world, struct replica *replica)
{
	if (replica_is_alone(world))
		return;
	CHECK(replica->applying_n);
	replica->applying_n--;
	try_to_lead(world, replica);
}

static void hear_watch(struct world *world, struct replica *replica,
		       const struct etcd_answer *answer)
{
	struct election_event lost = {.kind = ELECTION_WATCH_LOST};
	struct etcd_request request;
	uint64_t life = replica->life;

	if (answer->to.watch != replica->ha.watch || !replica->core || answer->failed)
		return;
	if (answer->to.kind == ETCD_READ_ALL) {
		for (uint32_t i = 0; i < answer->decisions_n; i++)
			decide(world, replica, &answer->decisions[i], answer->revision);
		rounds_flush(world, &replica->rounds);
		if (replica->ha.seen < answer->revision)
			replica->ha.seen = answer->revision;
		request = request_of(world, replica, ETCD_WATCH);
		request.revision = answer->revision;
		etcd_ask(world, &request);
		/* Leaders may have come and gone in what was compacted. */
		step(world, replica, &lost);
		if (replica->life == life)
			try_to_lead(world, replica);
	} else if (answer->compacted) {
		request = request_of(world, replica, ETCD_READ_ALL);
		etcd_ask(world, &request);
	} else {
		replica->ha.watches = true;
	}
}

void ha_answer(struct world *world, uint32_t number, const struct etcd_answer *answer)
{
	struct replica *replica = world->replicas[number];

	if (answer->to.life != replica->ha.life)
		return;
	switch (answer->to.kind) {
	case ETCD_GRANT:
	case ETCD_KEEP:
	case ETCD_CAMPAIGN:
	case ETCD_READ:
		hear_election(world, replica, answer);
		break;
	case ETCD_WATCH:
	case ETCD_READ_ALL:
		hear_watch(world, replica, answer);
		break;
	case ETCD_REVOKE:
	case ETCD_DECIDE: /* comes by the watch, or is decided again */
		break;
	}
}

void ha_change(struct world *world, uint32_t number, uint64_t watch, const struct change *change)
{
	struct replica *replica = world->replicas[number];
	struct election_event event = {.lease = change->lease, .revision = change->revision};
	uint64_t life = replica->ha.life;

	if (watch != replica->ha.watch || !replica->core)
		return;
	replica->ha.seen = change->revision;
	switch (change->kind) {
	case CHANGE_LEADER:
		know(replica, change->revision, change->revision, change->replica);
		event.kind = ELECTION_LEADER_SEEN;
		step(world, replica, &event);
		break;
	case CHANGE_LEADER_GONE:
		know(replica, change->revision, 0, REPLICAS_MAX);
		event.kind = ELECTION_LEADER_GONE;
		step(world, replica, &event);
		break;
	case CHANGE_DECISION:
		decide(world, replica, &change->decision, change->revision);
		rounds_flush(world, &replica->rounds);
		break;
	}
	if (replica->ha.life == life)
		try_to_lead(world, replica);
}

void ha_watch_lost(struct world *world, uint32_t number, uint64_t watch)
{
	struct replica *replica = world->replicas[number];
	struct election_event event = {.kind = ELECTION_WATCH_LOST};

	if (watch != replica->ha.watch || !replica->core)
		return;
	world->totals.watches_lost++;
	step(world, replica, &event);
	if (replica->core)
		ha_watch(world, replica);
}

/* ---- life ---- */

void ha_start(struct world *world, struct replica *replica)
{
	struct election_event event = {.kind = ELECTION_START};

	replica->applying_n = 0;
	replica->ha.led = 0;
	if (!replica->ha.election.started || replica->ha.election.resigned) {
		replica->ha.life++; /* answers to the one before are not for it */
		election_init(&replica->ha.election, &limits);
		step(world, replica, &event);
	}
	ha_watch(world, replica);
}

void ha_die(struct replica *replica)
{
	replica->ha.life++;
	replica->ha.election.started = false;
	replica->ha.won = replica->ha.led = replica->ha.known = replica->ha.as_of = 0;
	replica->ha.leader = REPLICAS_MAX;
}

void ha_resign(struct world *world, struct replica *replica)
{
	struct election_event event = {.kind = ELECTION_RESIGN};

	/* What FOLLOW would do is done by whoever resigns. */
	replica->ha.won = replica->ha.led = 0;
	step(world, replica, &event);
}

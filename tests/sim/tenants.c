#include "tests/sim/tenants.h"

#include "tests/sim/oracle.h"
#include "tests/sim/replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS_MAX = 1 << 13, QUIET_MS = 30000, TRIES_MAX = 20 };

struct asked {
	uint32_t key, timeout_s;
};

struct tenants {
	struct request requests[REQUESTS_MAX]; /* request r is at r % REQUESTS_MAX */
	uint64_t last_request;
	uint32_t last_key;
	uint32_t keys_answered;
	struct asked *asked; /* by sandbox */
	size_t asked_cap;
	size_t sandboxes_n;
	int64_t stop_ns; /* nobody asks for anything more; 0: not known yet */
};

/* ---- names ---- */

struct id tenant_id(uint32_t n)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	snprintf(id.text, sizeof(id.text), "ten_%020u", n);
	return id;
}

uint32_t tenant_number(const struct id *id)
{
	return (uint32_t)strtoul(id->text + 4, NULL, 10);
}

struct id sandbox_id(size_t n)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	snprintf(id.text, sizeof(id.text), "i%020zu", n);
	return id;
}

static struct id snapshot_id(size_t n)
{
	struct id id = sandbox_id(n);

	id.text[0] = 's';
	return id;
}

size_t sandbox_number(const struct id *id)
{
	return strtoul(id->text + 1, NULL, 10);
}

bool is_copy_id(const struct id *id)
{
	return id->text[0] != 'i' && id->text[0] != 's';
}

size_t sandboxes_n(const struct world *world)
{
	return world->tenants->sandboxes_n;
}

uint32_t sandbox_key(const struct world *world, size_t n)
{
	return world->tenants->asked[n].key;
}

uint32_t sandbox_timeout_s(const struct world *world, size_t n)
{
	return world->tenants->asked[n].timeout_s;
}

struct request *tenants_find(struct world *world, uint64_t number)
{
	struct request *request = &world->tenants->requests[number % REQUESTS_MAX];

	return request->number == number ? request : NULL;
}

/* ---- asking ---- */

static void on_impatient(struct world *world, const struct call *call)
{
	tenants_break(world, call->a);
}

static int64_t patience_ns(struct world *world)
{
	if (world_chance(world, world->faults.impatience))
		return world_between(world, MS(1), S(3));
	return world_between(world, S(12), S(20));
}

/* Which scheduler it asks is chance. */
static void send(struct world *world, struct request *request)
{
	uint32_t replica = (uint32_t)world_between(world, 0, world->shape.replicas_n - 1);

	world_plan(world, patience_ns(world),
		   (struct call){.fn = on_impatient, .a = request->number});
	world_say(world, "request %" PRIu64 ": %s of sandbox %zu, key %u, at replica %u",
		  request->number, core_event_name(request->event.kind), request->sandbox,
		  request->key, replica);
	oracle_asked(world, request);
	replica_request(world, replica, request->number);
}

static void remember(struct world *world, const struct request *request)
{
	struct tenants *tenants = world->tenants;

	if (request->sandbox >= tenants->asked_cap) {
		tenants->asked_cap = 2 * request->sandbox + 64;
		tenants->asked =
			realloc(tenants->asked, tenants->asked_cap * sizeof(*tenants->asked));
		CHECK(tenants->asked);
	}
	tenants->asked[request->sandbox] = (struct asked){0};
	if (request->event.kind == CORE_EVENT_CREATE)
		tenants->asked[request->sandbox] =
			(struct asked){request->key, request->event.create.timeout_s};
}

static struct request *begin(struct world *world, enum core_event_kind kind, size_t sandbox)
{
	struct tenants *tenants = world->tenants;
	uint64_t number = ++tenants->last_request;
	struct request *request = &tenants->requests[number % REQUESTS_MAX];

	*request = (struct request){.number = number, .open = true, .sandbox = sandbox};
	request->event.kind = kind;
	request->asked_ns = world->now_ns;
	request->tries = 1;
	return request;
}

/* One of the newest sandboxes, be it this tenant's or not; more often one in this state. */
static size_t some_sandbox(struct world *world, enum sandbox_state state)
{
	uint32_t replica = (uint32_t)world_between(world, 0, world->shape.replicas_n - 1);
	size_t n = world->tenants->sandboxes_n, sandbox = 0;

	for (int tries = 0; tries < (state == SANDBOX_KEPT ? 60 : 8); tries++) {
		const struct core_sandbox *row;
		sandbox = n - 1 - (size_t)world_between(world, 0, n > 60 ? 59 : (int64_t)n - 1);
		row = replica_row(world, replica, sandbox);
		if (row && row->state == state)
			break;
	}
	return sandbox;
}

/* Where there are some; whose it is, mostly. */
static void begin_from_snapshot(struct world *world, struct id *out_snapshot, struct id *out_tenant)
{
	const struct core_sandbox *row;
	size_t snapshot;

	if (!world_chance(world, world->shape.alike ? 600000 : 300000))
		return;
	snapshot = some_sandbox(world, SANDBOX_KEPT);
	row = replica_row(world, 0, snapshot);
	if (!row || id_is_empty(&row->source))
		return;
	*out_snapshot = row->id;
	if (world_chance(world, 900000))
		*out_tenant = row->tenant;
}

static void create(struct world *world, uint32_t tenant)
{
	size_t sandbox = world->tenants->sandboxes_n++;
	struct request *request = begin(world, CORE_EVENT_CREATE, sandbox);
	struct core_event *event = &request->event;

	event->create.request = request->number;
	event->create.sandbox = sandbox_id(sandbox);
	event->create.tenant = tenant_id(tenant);
	event->create.timeout_s = (uint32_t)world_between(world, 1, 60);
	begin_from_snapshot(world, &event->create.snapshot, &event->create.tenant);
	if (world_chance(world, 200000))
		event->create.on_limit = WIRE_ON_LIMIT_PAUSE;
	snprintf(event->create.template_, sizeof(event->create.template_), "template-%u",
		 (unsigned)world_between(world, 0, TEMPLATES_N - 1));
	if (world_chance(world, 600000))
		request->key = ++world->tenants->last_key;
	world->totals.creates++;
	remember(world, request);
	send(world, request);
}

static void kill(struct world *world, const struct id *tenant, size_t sandbox)
{
	struct request *request = begin(world, CORE_EVENT_KILL, sandbox);
	struct core_event *event = &request->event;

	event->kill.request = request->number;
	event->kill.sandbox = sandbox_id(sandbox);
	event->kill.tenant = *tenant;
	event->kill.cause = CAUSE_REQUEST;
	oracle_asked_to_end(world, sandbox);
	send(world, request);
}

static void pause(struct world *world, const struct id *tenant, size_t sandbox)
{
	struct request *request = begin(world, CORE_EVENT_PAUSE, sandbox);
	struct core_event *event = &request->event;

	event->pause.request = request->number;
	event->pause.sandbox = sandbox_id(sandbox);
	event->pause.tenant = *tenant;
	event->pause.how = world_chance(world, 300000) ? WIRE_SAVE_PAUSE_FILES : WIRE_SAVE_PAUSE;
	oracle_asked_to_pause(world, sandbox);
	send(world, request);
}

static void snapshot(struct world *world, const struct id *tenant, size_t sandbox)
{
	struct request *request = begin(world, CORE_EVENT_SNAPSHOT, world->tenants->sandboxes_n++);
	struct core_event *event = &request->event;

	event->snapshot.request = request->number;
	event->snapshot.snapshot = snapshot_id(request->sandbox);
	event->snapshot.sandbox = sandbox_id(sandbox);
	event->snapshot.tenant = *tenant;
	event->snapshot.transient = world_chance(world, 300000);
	remember(world, request);
	send(world, request);
}

static void drop(struct world *world, const struct id *tenant, size_t sandbox)
{
	struct request *request = begin(world, CORE_EVENT_DROP_SNAPSHOT, sandbox);
	struct core_event *event = &request->event;

	event->kill.request = request->number;
	event->kill.sandbox = snapshot_id(sandbox);
	event->kill.tenant = *tenant;
	event->kill.cause = CAUSE_REQUEST;
	oracle_asked_to_end(world, sandbox);
	send(world, request);
}

/* Mostly whose it is, as far as anybody knows. */
static struct id asking(struct world *world, uint32_t tenant, size_t sandbox)
{
	const struct core_sandbox *row = replica_row(world, 0, sandbox);

	return row && world_chance(world, 700000) ? row->tenant : tenant_id(tenant);
}

static void change(struct world *world, uint32_t tenant)
{
	int64_t which = world_between(world, world->shape.alike ? 2 : 0, 12);
	bool resumes = which >= 4 && which < 10;
	/* A kill may be of what is paused. */
	size_t sandbox =
		some_sandbox(world, resumes || which == 0 ? SANDBOX_PAUSED : SANDBOX_RUNNING);
	const struct id id = asking(world, tenant, sandbox);
	struct request *request;

	if (which < 2) {
		kill(world, &id, sandbox);
		return;
	}
	if (which < 4) {
		pause(world, &id, sandbox);
		return;
	}
	request = begin(world,
			resumes     ? CORE_EVENT_RESUME
			: which % 2 ? CORE_EVENT_SET_TIMEOUT
				    : CORE_EVENT_EXTEND,
			sandbox);
	request->event.timeout.request = request->number;
	request->event.timeout.sandbox = sandbox_id(sandbox);
	request->event.timeout.tenant = id;
	request->event.timeout.timeout_s = (uint32_t)world_between(world, 1, 60);
	request->event.timeout.cold = resumes && which % 2;
	send(world, request);
}

static void change_network(struct world *world, uint32_t tenant)
{
	size_t sandbox = some_sandbox(world, SANDBOX_RUNNING);
	struct request *request;

	if (world_chance(world, 300000)) {
		for (uint32_t i = 0; i < world->shape.replicas_n; i++)
			replica_renew(world, i, sandbox);
		return;
	}
	request = begin(world, CORE_EVENT_SET_NETWORK, sandbox);
	request->event.timeout.request = request->number;
	request->event.timeout.sandbox = sandbox_id(sandbox);
	request->event.timeout.tenant = asking(world, tenant, sandbox);
	send(world, request);
}

static void snap_or_drop(struct world *world, uint32_t tenant)
{
	bool drops = world_chance(world, world->shape.alike ? 200000 : 500000);
	size_t sandbox = some_sandbox(world, drops ? SANDBOX_KEPT : SANDBOX_RUNNING);
	const struct id id = asking(world, tenant, sandbox);

	(drops ? drop : snapshot)(world, &id, sandbox);
}

void tenants_kill_all(struct world *world)
{
	for (size_t i = 0; i < world->tenants->sandboxes_n; i++) {
		const struct core_sandbox *row = replica_row(world, replica_leader(world), i);
		if (row && row->state == SANDBOX_RUNNING)
			kill(world, &row->tenant, i);
	}
}

size_t tenants_unanswered_n(const struct world *world)
{
	size_t n = world->tenants->last_key - world->tenants->keys_answered;

	/* Those whose first answer may still come in time. */
	for (size_t i = 0; i < REQUESTS_MAX; i++) {
		const struct request *request = &world->tenants->requests[i];
		n -= request->open && request->key && request->tries == 1 &&
		     world->now_ns - request->asked_ns < S(5);
	}
	return n;
}

static void on_act(struct world *world, const struct call *call)
{
	struct tenants *tenants = world->tenants;
	int64_t times = world_chance(world, 30000) ? world_between(world, 2, 10) : 1;

	if (world->calm && !tenants->stop_ns)
		tenants->stop_ns = world->now_ns + MS(QUIET_MS);
	if (tenants->stop_ns && world->now_ns >= tenants->stop_ns)
		return;
	while (times--) {
		if (tenants->sandboxes_n == 0 || world_chance(world, 570000))
			create(world, call->host);
		else if (world_chance(world, 200000))
			snap_or_drop(world, call->host);
		else if (world_chance(world, 120000))
			change_network(world, call->host);
		else
			change(world, call->host);
	}
	world_plan(world, world_around(world, world->shape.ask_ns), *call);
}

void tenants_flood(struct world *world)
{
	uint32_t tenant = (uint32_t)world_between(world, 0, world->shape.tenants_n - 1);
	int64_t times = world_between(world, 20, 60);

	world_say(world, "tenant %u asks for %d at once", tenant, (int)times);
	while (times--)
		create(world, tenant);
}

/* ---- answers ---- */

/* The same create again, under its key: whoever takes it makes an id of its own. */
static void on_again(struct world *world, const struct call *call)
{
	struct tenants *tenants = world->tenants;
	struct request before = *(struct request *)call->data;
	struct request *request;

	if (tenants->stop_ns && world->now_ns >= tenants->stop_ns)
		return;
	request = begin(world, CORE_EVENT_CREATE, tenants->sandboxes_n++);
	request->event = before.event;
	request->event.create.request = request->number;
	request->event.create.sandbox = sandbox_id(request->sandbox);
	request->key = before.key;
	request->tries = before.tries + 1;
	world->totals.repeats++;
	remember(world, request);
	send(world, request);
}

static void ask_again(struct world *world, const struct request *request)
{
	struct call call = {.fn = on_again, .owned = true};

	if (!request->key || request->tries >= TRIES_MAX)
		return;
	call.data = malloc(sizeof(*request));
	CHECK(call.data);
	memcpy(call.data, request, sizeof(*request));
	world_plan(world, world_between(world, MS(50), S(2)), call);
}

void tenants_break(struct world *world, uint64_t number)
{
	struct request *request = tenants_find(world, number);

	if (!request || !request->open)
		return;
	request->open = false;
	world_say(world, "request %" PRIu64 " breaks off", number);
	ask_again(world, request);
}

/* False: nobody hears the answer. */
static bool hears(struct world *world, struct request *request)
{
	if (!request || !request->open)
		return false;
	if (world_chance(world, world->faults.unheard)) {
		tenants_break(world, request->number);
		return false;
	}
	request->open = false;
	return true;
}

/* Says nothing of what becomes of it when it is asked again. */
static bool is_indefinite(enum refusal refusal)
{
	return refusal == REFUSAL_TAKING_OVER || refusal == REFUSAL_NO_LEADER ||
	       refusal == REFUSAL_UNCONFIRMED || refusal == REFUSAL_STORE_UNAVAILABLE;
}

static void take_answer(struct world *world, uint32_t replica, struct request *request,
			enum refusal refusal, const struct core_sandbox *row)
{
	if (!hears(world, request))
		return;
	world_say(world, "request %" PRIu64 " is told %d", request->number, (int)refusal);
	if (request->event.kind == CORE_EVENT_CREATE) {
		world->totals.granted += refusal == REFUSAL_NONE;
		world->totals.refused += refusal != REFUSAL_NONE;
	}
	if (is_indefinite(refusal))
		ask_again(world, request);
	else
		world->tenants->keys_answered += request->key != 0;
	oracle_told(world, replica, request, refusal, row);
}

void tenants_answer(struct world *world, uint32_t replica, const struct core_effect *effect)
{
	take_answer(world, replica, tenants_find(world, effect->reply.request),
		    effect->reply.refusal, effect->reply.found ? &effect->reply.sandbox : NULL);
}

void tenants_replay(struct world *world, uint32_t replica, uint64_t number,
		    const struct core_sandbox *row)
{
	take_answer(world, replica, tenants_find(world, number), REFUSAL_NONE, row);
}

void tenants_refuse(struct world *world, uint64_t number, enum refusal refusal)
{
	take_answer(world, REPLICAS_MAX, tenants_find(world, number), refusal, NULL);
}

void tenants_end_all(struct world *world)
{
	uint32_t leader = replica_leader(world);

	if (leader == REPLICAS_MAX)
		world_fail(world, "nobody leads at the end");
	for (size_t i = 0; i < world->tenants->sandboxes_n; i++) {
		const struct core_sandbox *row = replica_row(world, leader, i);
		struct core_event event = {.kind = CORE_EVENT_KILL};
		if (!row || row->state == SANDBOX_ENDED)
			continue;
		if (!id_is_empty(&row->source))
			event.kind = CORE_EVENT_DROP_SNAPSHOT;
		event.kill.sandbox = row->id;
		event.kill.cause = CAUSE_OPERATOR;
		oracle_asked_to_end(world, i);
		replica_step(world, world->replicas[leader], &event);
	}
}

void tenants_open(struct world *world)
{
	world->tenants = calloc(1, sizeof(*world->tenants));
	CHECK(world->tenants);
	for (uint32_t i = 0; i < world->shape.tenants_n; i++)
		world_plan(world, world_between(world, 0, S(2)),
			   (struct call){.fn = on_act, .host = i});
}

void tenants_close(struct world *world)
{
	free(world->tenants->asked);
	free(world->tenants);
}

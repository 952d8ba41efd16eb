#include "tests/sim/tenants.h"

#include "tests/sim/leader.h"
#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS_MAX = 1 << 14, QUIET_MS = 30000 };

struct request {
	enum core_event_kind kind; /* CREATE or another; meaningful while open */
	bool open;
	size_t sandbox;
};

struct tenants {
	struct request requests[REQUESTS_MAX]; /* request r is at r % REQUESTS_MAX */
	uint64_t last_request;
	size_t sandboxes_n;
	int64_t stop_ns; /* nobody asks for anything more; 0: not known yet */
};

static void on_act(struct world *world, const struct call *call);

struct id tenant_id(uint32_t n)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	snprintf(id.text, sizeof(id.text), "ten_%020u", n);
	return id;
}

struct id sandbox_id(size_t n)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	snprintf(id.text, sizeof(id.text), "i%020zu", n);
	return id;
}

size_t sandbox_number(const struct id *id)
{
	return strtoul(id->text + 1, NULL, 10);
}

size_t sandboxes_n(const struct world *world)
{
	return world->tenants->sandboxes_n;
}

static uint64_t ask(struct world *world, enum core_event_kind kind, size_t sandbox)
{
	struct tenants *tenants = world->tenants;
	uint64_t number = ++tenants->last_request;

	tenants->requests[number % REQUESTS_MAX] = (struct request){kind, true, sandbox};
	return number;
}

static void create(struct world *world, uint32_t tenant)
{
	struct core_event event = {.kind = CORE_EVENT_CREATE};
	size_t sandbox = world->tenants->sandboxes_n++;

	event.create.request = ask(world, event.kind, sandbox);
	event.create.sandbox = sandbox_id(sandbox);
	event.create.tenant = tenant_id(tenant);
	event.create.timeout_s = (uint32_t)world_between(world, 1, 60);
	snprintf(event.create.template_, sizeof(event.create.template_), "template-%u",
		 (unsigned)world_between(world, 0, TEMPLATES_N - 1));
	world->totals.creates++;
	leader_request(world, &event);
}

/* One of the newest sandboxes, be it this tenant's or not; more often one that is alive. */
static size_t some_sandbox(struct world *world)
{
	size_t n = world->tenants->sandboxes_n, sandbox = 0;

	for (int tries = 0; tries < 8; tries++) {
		const struct core_sandbox *row;
		sandbox = n - 1 - (size_t)world_between(world, 0, n > 60 ? 59 : (int64_t)n - 1);
		row = leader_row(world, sandbox);
		if (row && row->state == SANDBOX_RUNNING)
			break;
	}
	return sandbox;
}

static void change(struct world *world, uint32_t tenant)
{
	size_t sandbox = some_sandbox(world);
	struct core_event event = {.kind = CORE_EVENT_KILL};
	int64_t which = world_between(world, 0, 5);

	if (which < 2) {
		event.kill.request = ask(world, event.kind, sandbox);
		event.kill.sandbox = sandbox_id(sandbox);
		event.kill.tenant = tenant_id(tenant);
		event.kill.cause = CAUSE_REQUEST;
		oracle_asked_to_end(world, sandbox);
	} else {
		event.kind = which % 2 ? CORE_EVENT_SET_TIMEOUT : CORE_EVENT_EXTEND;
		event.timeout.request = ask(world, event.kind, sandbox);
		event.timeout.sandbox = sandbox_id(sandbox);
		event.timeout.tenant = tenant_id(tenant);
		event.timeout.timeout_s = (uint32_t)world_between(world, 1, 60);
	}
	leader_request(world, &event);
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
		if (tenants->sandboxes_n == 0 || world_chance(world, 600000))
			create(world, call->host);
		else
			change(world, call->host);
	}
	world_plan(world, world_around(world, world->shape.ask_ns), *call);
}

void tenants_answer(struct world *world, const struct core_effect *effect)
{
	struct tenants *tenants = world->tenants;
	struct request *request = &tenants->requests[effect->reply.request % REQUESTS_MAX];

	if (!request->open)
		world_fail(world, "request %" PRIu64 " is answered twice", effect->reply.request);
	request->open = false;
	if (request->kind == CORE_EVENT_CREATE) {
		world->totals.granted += effect->reply.refusal == REFUSAL_NONE;
		world->totals.refused += effect->reply.refusal != REFUSAL_NONE;
	}
	oracle_told(world, request->kind == CORE_EVENT_CREATE, effect);
}

void tenants_abandon(struct world *world)
{
	for (size_t i = 0; i < REQUESTS_MAX; i++)
		world->tenants->requests[i].open = false;
}

void tenants_end_all(struct world *world)
{
	for (size_t i = 0; i < world->tenants->sandboxes_n; i++) {
		const struct core_sandbox *row = leader_row(world, i);
		struct core_event event = {.kind = CORE_EVENT_KILL};
		if (!row || row->state == SANDBOX_ENDED)
			continue;
		event.kill.sandbox = row->id;
		event.kill.cause = CAUSE_OPERATOR;
		oracle_asked_to_end(world, i);
		leader_request(world, &event);
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
	free(world->tenants);
}

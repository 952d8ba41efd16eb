/*
 * Templates, and what is saved, on their way between hosts, as the agent's shell and the gateway
 * would carry them: what is sent is what the sender has, or what a relay, a disk or a hurry made of
 * it.  Whatever an agent was at dies with it; what was installed is on the disk.
 */
#include "tests/sim/agent_internal.h"

#include "tests/sim/oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 100, STALLS_MAX = 20, IDLE_S = 30, RUBBISH = 1 << 30 };

/* Contents have numbers that no other host's have. */
static uint32_t content_of(const char *id)
{
	return (uint32_t)strtoul(id + 8, NULL, 10);
}

static void digest_of(uint32_t content, uint8_t out[NODE_DIGEST_N])
{
	memset(out, 0, NODE_DIGEST_N);
	memcpy(out, &content, sizeof(content));
}

static struct carry_job *find(struct agent *agent, uint64_t number)
{
	for (uint32_t i = 0; i < CARRY_JOBS_MAX; i++)
		if (agent->jobs[i].number == number)
			return &agent->jobs[i];
	return NULL;
}

static struct carry_job *add(struct world *world, struct agent *agent,
			     const struct node_effect *effect)
{
	for (uint32_t i = 0; i < CARRY_JOBS_MAX; i++) {
		struct carry_job *job = &agent->jobs[i];
		if (job->number)
			continue;
		*job = (struct carry_job){.number = effect->carry.number};
		job->template_ = (uint32_t)strtoul(effect->carry.template_ + 9, NULL, 10);
		job->folder = effect->carry.folder;
		job->content = content_of(effect->carry.id);
		memcpy(job->id, effect->carry.id, sizeof(job->id));
		return job;
	}
	world_fail(world, "host %u copies more templates than it may", agent->host);
}

void carries_forget(struct agent *agent)
{
	memset(agent->jobs, 0, sizeof(agent->jobs));
}

static void plan(struct world *world, struct agent *agent, uint64_t number, int64_t in_ns,
		 void (*fn)(struct world *world, const struct call *call))
{
	struct call call = {.fn = fn, .host = agent->host, .life = agent->life, .a = number};

	call.of = OF_AGENT(agent->host);
	world_plan(world, in_ns, call);
}

/* The job that a call is for; NULL: it is no more. */
static struct carry_job *job_of(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];

	return call->life == agent->life && agent->has_core ? find(agent, call->a) : NULL;
}

static void say(struct world *world, struct agent *agent, struct carry_job *job,
		struct node_event *event)
{
	event->carry.number = job->number;
	if (event->kind == NODE_EVENT_CARRY_ENDED)
		memset(job, 0, sizeof(*job));
	agent_step(world, agent->host, event);
}

static void end(struct world *world, struct agent *agent, struct carry_job *job,
		enum refusal refusal)
{
	struct node_event event = {.kind = NODE_EVENT_CARRY_ENDED};

	event.carry.refusal = refusal;
	world_say(world, "host %u: a copy ends, refusal %d", agent->host, (int)refusal);
	say(world, agent, job, &event);
}

/* ---- sending ---- */

static void on_idle(struct world *world, const struct call *call)
{
	struct carry_job *job = job_of(world, call);

	if (!job)
		return;
	if (world->now_ns - job->asked_ns < S(IDLE_S))
		plan(world, world->agents[call->host], job->number, S(IDLE_S), on_idle);
	else
		end(world, world->agents[call->host], job, REFUSAL_NONE);
}

static void on_prepared(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	struct node_event event = {.kind = NODE_EVENT_CARRY_OFFERED};
	struct carry_job *job = job_of(world, call);

	if (!job)
		return;
	if (job->folder) {
		job->content = shims_content(world, call->host, job->folder);
		snprintf(event.carry.id, sizeof(event.carry.id), "content-%u",
			 agent->contents[job->template_]);
	}
	if ((job->folder ? !job->content : agent->contents[job->template_] != job->content) ||
	    world_chance(world, world->faults.carry_fail)) {
		end(world, agent, job, REFUSAL_TRANSFER_NO_SOURCE);
		return;
	}
	job->serves = true;
	job->asked_ns = world->now_ns;
	event.carry.bytes = BYTES;
	digest_of(job->content, event.carry.digest);
	plan(world, agent, job->number, S(IDLE_S), on_idle);
	say(world, agent, job, &event);
}

void carries_send(struct world *world, struct agent *agent, const struct node_effect *effect)
{
	add(world, agent, effect);
	plan(world, agent, effect->carry.number, world_between(world, MS(10), S(2)), on_prepared);
}

/* ---- fetching ---- */

static struct carry_job *find_source(struct world *world, uint64_t number)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		struct carry_job *job = find(world->agents[i], number);
		if (job && job->serves && !(world->stopped & OF_AGENT(i)))
			return job;
	}
	return NULL;
}

static void on_step(struct world *world, const struct call *call);

static void arrive(struct world *world, struct agent *agent, struct carry_job *job)
{
	struct node_event event = {.kind = NODE_EVENT_CARRY_ARRIVED};

	if (world_chance(world, world->faults.carry_corrupt))
		job->arrived = RUBBISH + job->content;
	memcpy(event.carry.id, job->id, sizeof(event.carry.id));
	digest_of(job->arrived, event.carry.digest);
	say(world, agent, job, &event);
}

static void on_step(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	struct node_event event = {.kind = NODE_EVENT_CARRY_PROGRESS};
	struct carry_job *job = job_of(world, call), *source;

	if (!job)
		return;
	source = find_source(world, job->number);
	if (!source || world_chance(world, world->faults.carry_fail)) {
		if (++job->stalls == STALLS_MAX) {
			end(world, agent, job, REFUSAL_TRANSFER_LOST);
			return;
		}
	} else {
		source->asked_ns = world->now_ns;
		job->arrived = source->content;
		job->done += 1 + BYTES / job->steps;
	}
	if (job->done >= BYTES) {
		arrive(world, agent, job);
		return;
	}
	plan(world, agent, job->number, world_around(world, MS(500)), on_step);
	event.carry.bytes = job->done;
	say(world, agent, job, &event);
}

void carries_fetch(struct world *world, struct agent *agent, const struct node_effect *effect)
{
	struct carry_job *job = add(world, agent, effect);

	if (!job->folder)
		oracle_fetches(world, agent->host, job->content);
	job->steps = (uint32_t)world_between(world, 1, 20);
	plan(world, agent, job->number, world_around(world, MS(100)), on_step);
}

static void on_installed(struct world *world, const struct call *call)
{
	struct node_event event = {.kind = NODE_EVENT_CARRY_ENDED};
	struct agent *agent = world->agents[call->host];
	struct carry_job *job = job_of(world, call);

	if (!job)
		return;
	if (agent->rounds.disk_fails || world_chance(world, world->faults.carry_fail)) {
		end(world, agent, job, REFUSAL_TRANSFER_NO_SPACE);
		return;
	}
	if (job->folder) {
		event.carry.bytes = 40 << 20;
		shims_copy(world, agent->host, job->folder, job->number);
		say(world, agent, job, &event);
		return;
	}
	/* Here it turns out that this host's emulator does not take it. */
	if (!world_chance(world, world->faults.carry_fail)) {
		oracle_installed(world, agent->host, job->arrived);
		agent->contents[job->template_] = job->arrived;
		world->totals.copies++;
		agent_set_template(world, agent, job->template_);
	}
	if (agent->has_core && call->life == agent->life)
		end(world, agent, job, REFUSAL_NONE);
}

void carries_install(struct world *world, struct agent *agent, const struct node_effect *effect)
{
	plan(world, agent, effect->carry.number, world_between(world, MS(1), MS(300)),
	     on_installed);
}

void carries_drop(struct agent *agent, const struct node_effect *effect)
{
	struct carry_job *job = find(agent, effect->carry.number);

	if (job)
		memset(job, 0, sizeof(*job));
}

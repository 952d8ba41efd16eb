/*
 * An agent whose journal cannot be written: it has no core, as if it were dead, but is known: polls
 * say why, and shims are given the leases that leaders give, so that what runs goes on.
 */
#include "tests/sim/agent_internal.h"

#include "tests/sim/oracle.h"

#include <string.h>

void agent_remember_report(struct agent *agent)
{
	static struct wire_template templates[NODE_TEMPLATES_MAX];

	agent->last = (struct wire_poll){0};
	node_core_report(agent->core, &agent->last);
	agent->last.templates_n = node_core_templates(agent->core, templates);
	CHECK(agent->last.templates_n <= TEMPLATES_N);
	memcpy(agent->last_templates, templates, sizeof(agent->last_templates));
}

/* What was decided and not journaled is not known any more, nor is what runs: so nobody shall
 * believe that he has heard it all. */
void agent_report_without_core(struct agent *agent, struct wire_poll *poll)
{
	poll->capacity = agent->limits.capacity;
	poll->used = agent->last.used;
	poll->end_seq = agent->journal.records_n + 1;
	poll->pending_n = agent->last.pending_n ? agent->last.pending_n : 1;
	poll->templates = agent->last_templates;
	poll->templates_n = agent->last.templates_n;
}

/* Whether it is of an epoch that is over: then it must change nothing. */
bool agent_is_stale(const struct agent *agent, const struct wire_answer *answer)
{
	return answer->epoch < agent->epoch_heard;
}

/* Without a core, leases are given to what was not given up. */
void agent_keep_leases(struct world *world, struct agent *agent, const struct answered *answered,
		       struct mono sent_at)
{
	const struct wire_answer *answer = answered->answer;
	struct mono until = {0};

	if (agent_is_stale(agent, answer) || (answer->lease_ms && !sent_at.ns))
		return;
	agent->epoch_heard = answer->epoch;
	oracle_leased(world, agent->host, answered->polled_ns, answer->lease_ms);
	if (answer->lease_ms)
		until = mono_add_ms(sent_at, (int64_t)answer->lease_ms);
	shims_lease(world, agent->host, until, answer->lost_below);
}

void agent_go_on_without_core(struct world *world, struct agent *agent)
{
	const struct journal *journal = &agent->journal;
	uint64_t acked_seq = journal->meta.acked_seq ? journal->meta.acked_seq : 1;

	if (agent->is_troubled)
		return;
	world_say(world, "host %u is in trouble", agent->host);
	agent->is_troubled = true;
	agent->epoch_heard = agent->epoch_said = journal->meta.epoch;
	for (uint32_t i = 0; i < world->shape.replicas_n; i++) {
		pump_client_init(&agent->links[i].pump, journal->meta.epoch, acked_seq,
				 journal->records_n + 1);
		agent_greet(world, agent, i);
	}
}

#include "node-agent/shell/report.h"

#include "node-agent/shell/agent.h"
#include "node-agent/shell/host.h"

#include <stdio.h>
#include <string.h>

void report_keep(struct agent *agent)
{
	struct report *last = &agent->last_report;

	memset(last, 0, sizeof(*last));
	node_core_report(agent->core, &last->poll);
	/* What this decided and could not journal may be taken back; what ran is not known any
	 * more.  So no leader shall believe that he knows all of it. */
	last->poll.lost_below = 0;
	last->templates_n = node_core_templates(agent->core, last->templates);
	for (size_t i = 0; i < last->templates_n; i++)
		last->templates[i].warm_n = 0;
}

static void report_without_core(const struct agent *agent, struct wire_poll *poll,
				struct wire_template *templates)
{
	const struct report *last = &agent->last_report;

	poll->capacity = agent->limits.capacity;
	poll->used = last->poll.used;
	poll->end_seq = last->poll.end_seq;
	poll->pending_n = last->poll.pending_n ? last->poll.pending_n : 1;
	poll->templates_n = last->templates_n;
	memcpy(templates, last->templates, last->templates_n * sizeof(*templates));
}

void report_fill(struct agent *agent, struct wire_poll *poll, struct wire_template *templates)
{
	poll->templates = templates;
	if (agent->is_loaded) {
		node_core_report(agent->core, poll);
		poll->templates_n = node_core_templates(agent->core, templates);
		poll->transfers = agent->transfers;
		poll->transfers_n = node_core_transfers(agent->core, agent->transfers);
	} else {
		report_without_core(agent, poll, templates);
	}
	snprintf(poll->boot_id, sizeof(poll->boot_id), "%s", agent->boot_id);
	poll->at_wall_ns = host_wall().ns;
	poll->uptime_ms = (uint64_t)mono_ms_since(host_mono(), agent->started_at);
	snprintf(poll->version, sizeof(poll->version), "%s", FLOTILLA_VERSION);
	snprintf(poll->accelerator, sizeof(poll->accelerator), "%s",
		 agent->templates.kvm_works ? "kvm" : "tcg");
	carries_platform(&agent->carries, poll->platform, sizeof(poll->platform));
	snprintf(poll->trouble, sizeof(poll->trouble), "%s",
		 agent->trouble.text[0] ? agent->trouble.text : agent->trouble.space);
}

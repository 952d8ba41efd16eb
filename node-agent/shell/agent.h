/*
 * The agent: the node core and its surroundings.  Whatever happens is stepped into the core; what
 * the core wants is carried out by rounds.h's rule.
 *
 * When the journal cannot be written, nobody is told anything, the core's state is dropped, and it
 * is rebuilt from the journal and the shims as soon as writing works again.
 */
#ifndef FLOTILLA_NODE_AGENT_H
#define FLOTILLA_NODE_AGENT_H

#include "common/base/err.h"
#include "node-agent/core/core.h"
#include "node-agent/shell/journal.h"
#include "node-agent/shell/link.h"
#include "node-agent/shell/options.h"
#include "node-agent/shell/payloads.h"
#include "node-agent/shell/rounds.h"
#include "node-agent/shell/templates.h"
#include "node-agent/shell/vms.h"

#include <stdbool.h>
#include <uv.h>

struct agent {
	uv_loop_t *loop;
	const struct agent_options *options;
	struct node_limits limits;
	char boot_id[NODE_BOOT_ID_MAX];
	struct mono started_at;
	struct journal journal;
	struct node_core *core;
	void *core_memory;
	size_t core_memory_n;
	bool is_loaded; /* from READY to the loss of the journal */
	struct rounds rounds;
	struct payloads payloads;
	struct templates templates;
	struct vms vms;
	struct link *link;
	uv_prepare_t before_sleep;
	uv_timer_t tick;  /* of the core */
	uv_timer_t look;  /* for templates */
	uv_timer_t retry; /* of a start that failed */
	bool is_closing;
};

/* Opens all, loads the core and goes to work. */
int agent_open(struct agent *agent, uv_loop_t *loop, const struct agent_options *options,
	       struct err *err);

/* Fills in now and wall, steps the core, and takes its effects. */
void agent_step(struct agent *agent, struct node_event *event);

/* Looks for templates now instead of soon. */
void agent_look(struct agent *agent);

/* Lets go of everything; microVMs live on.  The loop ends when all is closed. */
void agent_close(struct agent *agent);

/* After the loop has ended. */
void agent_free(struct agent *agent);

#endif

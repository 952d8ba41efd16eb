/*
 * The agent: the node core and its surroundings.  Whatever happens is stepped into the core; what
 * the core wants is carried out by rounds.h's rule.
 *
 * When the journal cannot be written, nobody is told anything, the core's state is dropped, and it
 * is rebuilt from the journal and the shims as soon as writing works again; see trouble.h for the
 * meantime.  A start is the same, and begins by trying to write.
 */
#ifndef FLOTILLA_NODE_AGENT_H
#define FLOTILLA_NODE_AGENT_H

#include "common/base/err.h"
#include "node-agent/core/core.h"
#include "node-agent/egress/policy.h"
#include "node-agent/shell/builds.h"
#include "node-agent/shell/carries.h"
#include "node-agent/shell/journal.h"
#include "node-agent/shell/links.h"
#include "node-agent/shell/observations.h"
#include "node-agent/shell/options.h"
#include "node-agent/shell/payloads.h"
#include "node-agent/shell/rounds.h"
#include "node-agent/shell/templates.h"
#include "node-agent/shell/trouble.h"
#include "node-agent/shell/vms.h"

#include <stdbool.h>
#include <uv.h>

/* See report.h. */
struct report {
	struct wire_poll poll; /* what the core said of the node */
	struct wire_template templates[NODE_TEMPLATES_MAX];
	size_t templates_n;
};

struct agent_callbacks {
	void (*on_ready)(void *arg); /* once: it is usable */
	void *arg;
};

struct agent {
	uv_loop_t *loop;
	const struct agent_options *options;
	struct agent_callbacks callbacks;
	struct node_limits limits;
	char boot_id[NODE_BOOT_ID_MAX];
	char egress[EGRESS_HOST_TEXT_MAX]; /* of egress.h */
	struct mono started_at;
	int lock_fd;
	bool has_folders, has_links, has_journal; /* they are open */
	struct journal journal;
	struct node_core *core; /* NULL: not loaded; events are nobody's then */
	void *core_memory;
	size_t core_memory_n;
	bool is_loaded; /* from READY to the loss of the journal */
	bool was_ready; /* and told so */
	struct trouble trouble;
	struct report last_report;
	struct wire_transfer transfers[NODE_TRANSFERS_MAX]; /* of the poll that is being written */
	struct rounds rounds;
	struct payloads payloads;
	struct templates templates;
	struct vms vms;
	struct carries carries;
	struct links links;
	struct observations observations;
	struct builds builds;
	uv_prepare_t before_sleep;
	uv_timer_t tick;  /* of the core */
	uv_timer_t look;  /* for templates */
	uv_timer_t retry; /* of what failed: see agent_start.c */
	uv_timer_t leave; /* until goodbyes are told */
	bool is_leaving;
	bool is_closing;
};

/* Goes to work.  A disk that cannot be written is waited for; faults are what waiting would not
 * mend. */
int agent_open(struct agent *agent, uv_loop_t *loop, const struct agent_options *options,
	       const struct agent_callbacks *callbacks, struct err *err);

/* Fills in now and wall, steps the core if there is one, and takes its effects. */
void agent_step(struct agent *agent, struct node_event *event);

/* Looks for templates now instead of soon. */
void agent_look(struct agent *agent);

/* Says goodbye to the schedulers, for a moment at most, and lets go of everything; microVMs live
 * on.  The loop ends when all is closed. */
void agent_close(struct agent *agent);

/* Goodbye was heard. */
void agent_left(struct agent *agent);

/* agent_start.c: tries what is still to be done: to open, to write the journal, to load. Fault: of
 * the first thing that cannot be opened. */
int agent_start(struct agent *agent, struct err *err);
void agent_on_lost(void *arg, const struct err *err); /* of rounds.h */
void agent_on_committed(void *arg);
void agent_on_retry(uv_timer_t *timer);

/* Once the folders are there: how much they have room for is one of the limits. */
int agent_set_limits(struct agent *agent, struct err *err);

/* READY was stepped. */
void agent_ready(struct agent *agent);

/* A leader's answer while the core is not loaded: its lease is carried to the shims. */
void agent_keep_leases(struct agent *agent, const struct wire_answer *answer, struct mono sent_at);

/* After the loop has ended. */
void agent_free(struct agent *agent);

#endif

#include "node-agent/shell/agent.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/egress.h"
#include "node-agent/shell/host.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	AGENT_LOOK_MS = 3000,
	AGENT_LEAVE_MS = 300,       /* for goodbyes to be heard */
	AGENT_ATTEMPTS_MAX = 65536, /* with 4,096 sandboxes and 8,192 paused ones to spare */
	AGENT_DEMAND_MS = 30000,
	AGENT_KEEP_DAYS = 7,
	AGENT_CLAIM_RESTORES_MAX = 4,
};

/* ---- effects ---- */

static void agent_carry_out(void *arg, const struct node_effect *effect)
{
	struct agent *agent = arg;

	switch (effect->kind) {
	case NODE_EFFECT_VM_START:
		vms_start(&agent->vms, effect);
		return;
	case NODE_EFFECT_VM_CLAIM:
		vms_claim(&agent->vms, effect,
			  payloads_find(&agent->payloads, effect->claim.payload));
		return;
	case NODE_EFFECT_LEASE:
		vms_lease(&agent->vms, effect->lease_mono, 0);
		return;
	case NODE_EFFECT_EPOCH:
		links_epoch(&agent->links, effect->epoch);
		return;
	case NODE_EFFECT_VM_DEADLINE:
		vms_deadline(&agent->vms, effect);
		return;
	case NODE_EFFECT_VM_NETWORK:
		vms_network(&agent->vms, effect,
			    payloads_find(&agent->payloads, effect->network.payload));
		return;
	case NODE_EFFECT_VM_METER:
		vms_meter(&agent->vms, effect->vm);
		return;
	case NODE_EFFECT_VM_SAVE:
		vms_save(&agent->vms, effect);
		return;
	case NODE_EFFECT_VM_KILL:
		vms_kill(&agent->vms, effect);
		return;
	case NODE_EFFECT_VM_FORGET:
		vms_forget(&agent->vms, effect->vm);
		return;
	case NODE_EFFECT_CARRY_SEND:
		carries_send(&agent->carries, effect,
			     payloads_find(&agent->payloads, effect->carry.payload));
		return;
	case NODE_EFFECT_CARRY_FETCH:
		carries_fetch(&agent->carries, effect,
			      payloads_find(&agent->payloads, effect->carry.payload));
		return;
	case NODE_EFFECT_CARRY_INSTALL:
		carries_install(&agent->carries, effect->carry.number);
		return;
	case NODE_EFFECT_CARRY_DROP:
		carries_drop(&agent->carries, effect->carry.number);
		return;
	case NODE_EFFECT_PAYLOAD_DROP:
		payloads_drop(&agent->payloads, effect->payload);
		return;
	case NODE_EFFECT_RECORDS:
		links_records(&agent->links, effect->records.end_seq);
		return;
	case NODE_EFFECT_NEWS:
		links_news(&agent->links, false);
		return;
	case NODE_EFFECT_JOURNAL_META:
	case NODE_EFFECT_JOURNAL_ATTEMPT:
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
	case NODE_EFFECT_JOURNAL_SANDBOX:
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
	case NODE_EFFECT_JOURNAL_SAVED:
	case NODE_EFFECT_JOURNAL_SAVED_GONE:
	case NODE_EFFECT_JOURNAL_RECORD:
	case NODE_EFFECT_JOURNAL_TRIM:
	case NODE_EFFECT_N:
		break;
	}
	CHECK(false && "a durable effect was to be carried out");
}

static void agent_on_tick(uv_timer_t *timer)
{
	struct node_event event = {.kind = NODE_EVENT_TICK};

	agent_step(timer->data, &event);
}

/* The note travels with its record; its payload is dropped after their commit. */
static void agent_add_note(struct agent *agent, struct node_effect *effect)
{
	const struct payload *payload;

	if (effect->kind != NODE_EFFECT_JOURNAL_RECORD || !effect->note_of)
		return;
	payload = payloads_find(&agent->payloads, effect->note_of);
	if (payload)
		effect->record.note = payload_note(payload);
}

void agent_step(struct agent *agent, struct node_event *event)
{
	struct node_effects effects;

	if (!agent->core)
		return;
	event->now = host_mono();
	event->wall = host_wall();
	node_core_step(agent->core, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		agent_add_note(agent, &effects.items[i]);
		if (node_effect_class(effects.items[i].kind) == NODE_CLASS_EARLY)
			agent_carry_out(agent, &effects.items[i]);
		else
			rounds_add(&agent->rounds, &effects.items[i]);
	}
	if (event->kind == NODE_EVENT_READY)
		agent_ready(agent);
}

static void agent_before_sleep(uv_prepare_t *prepare)
{
	struct agent *agent = prepare->data;
	struct mono at;
	int64_t wait_ms;

	rounds_flush(&agent->rounds);
	if (!agent->core || !node_core_next_deadline(agent->core, &at)) {
		uv_timer_stop(&agent->tick);
		return;
	}
	/* Rounded up: a tick that comes early finds nothing due and asks again at once. */
	wait_ms = (at.ns - host_mono().ns + NS_PER_MS - 1) / NS_PER_MS;
	uv_timer_start(&agent->tick, agent_on_tick, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void agent_on_look(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	if (agent->has_folders && trouble_look_at_space(&agent->trouble, agent->options->run_dir) &&
	    agent->has_links)
		links_news(&agent->links, false);
	agent_look(agent);
}

void agent_look(struct agent *agent)
{
	if (agent->is_loaded)
		templates_look(&agent->templates, agent);
}

/* ---- life ---- */

int agent_set_limits(struct agent *agent, struct err *err)
{
	const struct agent_options *options = agent->options;
	struct node_limits *limits = &agent->limits;

	*limits = (struct node_limits){
		.replicas_n = (uint32_t)options->scheduler.n,
		.attempts_max = AGENT_ATTEMPTS_MAX,
		.saved_max = options->capacity_paused,
		.pool_floor = options->pool_floor,
		.pool_ceiling = options->pool_ceiling,
		.restores_max = options->pool_restores,
		.claim_restores_max = AGENT_CLAIM_RESTORES_MAX,
		.demand_ms = AGENT_DEMAND_MS,
		.tick_ms = (uint32_t)options->meter_tick_ms,
		.keep_ms = AGENT_KEEP_DAYS * 24ULL * 3600 * 1000,
	};
	if (options->pool_floor > options->pool_ceiling)
		return err_set(err, "--pool-floor is more than --pool-ceiling");
	if (host_capacity(options, &limits->capacity, err))
		return -1;
	/* Sandboxes, warm clones of several templates, and what is starting or ending. */
	limits->vms_max = limits->capacity.sandboxes + 4 * options->pool_ceiling + 64;
	return 0;
}

static void agent_init_handles(struct agent *agent)
{
	uv_prepare_init(agent->loop, &agent->before_sleep);
	uv_timer_init(agent->loop, &agent->tick);
	uv_timer_init(agent->loop, &agent->look);
	uv_timer_init(agent->loop, &agent->retry);
	uv_timer_init(agent->loop, &agent->leave);
	agent->before_sleep.data = agent;
	agent->tick.data = agent;
	agent->look.data = agent;
	agent->retry.data = agent;
	agent->leave.data = agent;
	uv_prepare_start(&agent->before_sleep, agent_before_sleep);
	uv_timer_start(&agent->look, agent_on_look, AGENT_LOOK_MS, AGENT_LOOK_MS);
	builds_open(&agent->builds, agent);
}

int agent_open(struct agent *agent, uv_loop_t *loop, const struct agent_options *options,
	       const struct agent_callbacks *callbacks, struct err *err)
{
	struct rounds_callbacks of_rounds = {
		.on_after = agent_carry_out,
		.on_committed = agent_on_committed,
		.on_lost = agent_on_lost,
		.arg = agent,
	};
	struct err fault;

	memset(agent, 0, sizeof(*agent));
	agent->loop = loop;
	agent->options = options;
	agent->callbacks = *callbacks;
	agent->started_at = host_mono();
	if (links_check(&options->scheduler, err) || host_boot_id(agent->boot_id, err) ||
	    templates_open(&agent->templates, options->accel, err) ||
	    vms_open(&agent->vms, agent, err) ||
	    egress_settings(options, agent->vms.shim, agent->egress, err))
		return -1;
	carries_open(&agent->carries, agent);
	rounds_open(&agent->rounds, loop, &agent->journal, &of_rounds);
	agent_init_handles(agent);
	if (agent_start(agent, &fault) == 0)
		return 0;
	if (!trouble_is_disk(options->state_dir)) {
		*err = fault;
		return -1;
	}
	agent_on_lost(agent, &fault);
	return 0;
}

static void agent_finish(uv_timer_t *timer)
{
	struct agent *agent = timer->data;

	if (agent->is_closing)
		return;
	agent->is_closing = true;
	agent->is_loaded = false;
	vms_close(&agent->vms);
	carries_close(&agent->carries);
	builds_close(&agent->builds);
	shim_client_let_go(agent->loop);
	rounds_drop(&agent->rounds);
	if (agent->has_links)
		links_close(&agent->links);
	uv_close((uv_handle_t *)&agent->before_sleep, NULL);
	uv_close((uv_handle_t *)&agent->tick, NULL);
	uv_close((uv_handle_t *)&agent->look, NULL);
	uv_close((uv_handle_t *)&agent->retry, NULL);
	uv_close((uv_handle_t *)&agent->leave, NULL);
}

void agent_left(struct agent *agent)
{
	/* From the loop, because whoever tells so is still at work. */
	if (!agent->is_closing)
		uv_timer_start(&agent->leave, agent_finish, 0, 0);
}

void agent_close(struct agent *agent)
{
	if (agent->is_leaving)
		return;
	agent->is_leaving = true;
	if (agent->has_links && links_leave(&agent->links))
		uv_timer_start(&agent->leave, agent_finish, AGENT_LEAVE_MS, 0);
	else
		agent_left(agent);
}

void agent_free(struct agent *agent)
{
	payloads_drop_all(&agent->payloads);
	rounds_close(&agent->rounds);
	journal_close(&agent->journal);
	if (agent->core_memory)
		munmap(agent->core_memory, agent->core_memory_n);
	if (agent->has_folders)
		close(agent->lock_fd);
}

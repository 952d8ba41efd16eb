#include "node-agent/shell/agent.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/host.h"

#include <string.h>
#include <sys/mman.h>

enum {
	AGENT_LOOK_MS = 3000,
	AGENT_RETRY_MS = 1000,
	AGENT_ATTEMPTS_MAX = 65536,
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
	case NODE_EFFECT_EPOCH:
		return; /* nobody gives leases, and there is one scheduler */
	case NODE_EFFECT_VM_DEADLINE:
		vms_deadline(&agent->vms, effect);
		return;
	case NODE_EFFECT_VM_METER:
		vms_meter(&agent->vms, effect->vm);
		return;
	case NODE_EFFECT_VM_KILL:
		vms_kill(&agent->vms, effect);
		return;
	case NODE_EFFECT_VM_FORGET:
		vms_forget(&agent->vms, effect->vm);
		return;
	case NODE_EFFECT_PAYLOAD_DROP:
		payloads_drop(&agent->payloads, effect->payload);
		return;
	case NODE_EFFECT_RECORDS:
		link_records(agent->link, effect->records.end_seq);
		return;
	case NODE_EFFECT_NEWS:
		link_news(agent->link);
		return;
	case NODE_EFFECT_JOURNAL_META:
	case NODE_EFFECT_JOURNAL_ATTEMPT:
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
	case NODE_EFFECT_JOURNAL_SANDBOX:
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
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

void agent_step(struct agent *agent, struct node_event *event)
{
	struct node_effects effects;

	event->now = host_mono();
	event->wall = host_wall();
	node_core_step(agent->core, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		if (node_effect_class(effects.items[i].kind) == NODE_CLASS_EARLY)
			agent_carry_out(agent, &effects.items[i]);
		else
			rounds_add(&agent->rounds, &effects.items[i]);
	}
	if (event->kind == NODE_EVENT_READY) {
		agent->is_loaded = true;
		link_begin(agent->link);
	}
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

/* ---- loading ---- */

static void agent_on_loaded(void *arg, struct node_event *event)
{
	agent_step(arg, event);
}

static int agent_load(struct agent *agent, struct err *err)
{
	struct node_event boot = {.kind = NODE_EVENT_BOOT};

	memset(agent->core_memory, 0, agent->core_memory_n);
	agent->core = node_core_init(agent->core_memory, &agent->limits);
	if (journal_load(&agent->journal, agent_on_loaded, agent, err))
		return -1;
	memcpy(boot.boot.boot_id, agent->boot_id, sizeof(boot.boot.boot_id));
	agent_step(agent, &boot);
	templates_forget(&agent->templates);
	templates_look(&agent->templates, agent);
	vms_adopt(&agent->vms);
	return 0;
}

static void agent_on_lost(void *arg, const struct err *err);

static void agent_on_retry(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	struct err err;

	if (!rounds_are_idle(&agent->rounds) || agent_load(agent, &err)) {
		rounds_drop(&agent->rounds);
		uv_timer_start(&agent->retry, agent_on_retry, AGENT_RETRY_MS, 0);
	}
}

static void agent_on_lost(void *arg, const struct err *err)
{
	struct agent *agent = arg;

	log_error("agent", "cannot write the journal: starting over", LOG_ERR(err));
	agent->is_loaded = false;
	link_stop(agent->link);
	vms_close(&agent->vms);
	payloads_drop_all(&agent->payloads);
	rounds_drop(&agent->rounds);
	uv_timer_stop(&agent->tick); /* timers run before the next look at the core */
	agent->core = NULL;
	uv_timer_start(&agent->retry, agent_on_retry, AGENT_RETRY_MS, 0);
}

static void agent_on_look(uv_timer_t *timer)
{
	agent_look(timer->data);
}

void agent_look(struct agent *agent)
{
	if (agent->is_loaded)
		templates_look(&agent->templates, agent);
}

/* ---- life ---- */

static int agent_set_limits(struct agent *agent, struct err *err)
{
	const struct agent_options *options = agent->options;
	struct node_limits *limits = &agent->limits;

	*limits = (struct node_limits){
		.attempts_max = AGENT_ATTEMPTS_MAX,
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
	agent->before_sleep.data = agent;
	agent->tick.data = agent;
	agent->look.data = agent;
	agent->retry.data = agent;
	uv_prepare_start(&agent->before_sleep, agent_before_sleep);
	uv_timer_start(&agent->look, agent_on_look, AGENT_LOOK_MS, AGENT_LOOK_MS);
}

int agent_open(struct agent *agent, uv_loop_t *loop, const struct agent_options *options,
	       struct err *err)
{
	struct rounds_callbacks callbacks = {
		.on_after = agent_carry_out,
		.on_lost = agent_on_lost,
		.arg = agent,
	};

	memset(agent, 0, sizeof(*agent));
	agent->loop = loop;
	agent->options = options;
	agent->started_at = host_mono();
	if (host_boot_id(agent->boot_id, err) || agent_set_limits(agent, err) ||
	    templates_open(&agent->templates, options->accel, err) ||
	    vms_open(&agent->vms, agent, err) ||
	    journal_open(&agent->journal, options->state_dir, err))
		return -1;
	agent->core_memory_n = node_core_size(&agent->limits);
	agent->core_memory = mmap(NULL, agent->core_memory_n, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(agent->core_memory != MAP_FAILED);
	rounds_open(&agent->rounds, loop, &agent->journal, &callbacks);
	if (link_open(&agent->link, agent, err))
		return -1;
	agent_init_handles(agent);
	return agent_load(agent, err);
}

void agent_close(struct agent *agent)
{
	if (agent->is_closing)
		return;
	agent->is_closing = true;
	agent->is_loaded = false;
	vms_close(&agent->vms);
	shim_client_let_go(agent->loop);
	rounds_drop(&agent->rounds);
	link_close(agent->link);
	uv_close((uv_handle_t *)&agent->before_sleep, NULL);
	uv_close((uv_handle_t *)&agent->tick, NULL);
	uv_close((uv_handle_t *)&agent->look, NULL);
	uv_close((uv_handle_t *)&agent->retry, NULL);
}

void agent_free(struct agent *agent)
{
	payloads_drop_all(&agent->payloads);
	rounds_close(&agent->rounds);
	journal_close(&agent->journal);
	munmap(agent->core_memory, agent->core_memory_n);
}

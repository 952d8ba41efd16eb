#include "scheduler/shell/replica.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdlib.h>

enum { REPLICA_AGAIN_MS = 1000 };

/* ---- what etcd says ---- */

static void on_lead(void *data, uint64_t epoch)
{
	struct replica *replica = data;

	if (!engine_lead(replica->engine, (uint32_t)epoch)) {
		log_warn("replica", "was to lead, but cannot write its store");
		replica_step_down(replica);
		return;
	}
	log_info("replica", "leads", LOG_UINT("epoch", epoch));
	replica->hooks.on_lead(replica->hooks.data);
	replica->hooks.on_role(replica->hooks.data);
}

static void on_follow(void *data)
{
	struct replica *replica = data;

	log_info("replica", "does not lead any more");
	engine_follow(replica->engine);
	replica->hooks.on_role(replica->hooks.data);
}

static void on_leader(void *data, const struct ha_peer *leader)
{
	struct replica *replica = data;

	log_info("replica", leader ? "there is a leader" : "nobody is known to lead",
		 LOG_TEXT("leader", leader ? leader->name : ""));
	replica->hooks.on_role(replica->hooks.data);
}

static void on_decisions(void *data, const struct store_op *ops, size_t n, uint64_t revision,
			 bool whole)
{
	struct replica *replica = data;

	if (whole)
		log_info("replica", "reads all decisions", LOG_UINT("decisions", n));
	decisions_apply(replica->decisions, ops, n, revision);
}

/* ---- beginning, again and again ---- */

static int replica_begin(struct replica *replica, struct err *err)
{
	struct ha_callbacks callbacks = {.data = replica,
					 .on_lead = on_lead,
					 .on_follow = on_follow,
					 .on_leader = on_leader,
					 .on_decisions = on_decisions};
	int64_t revision;

	if (store_meta(engine_store(replica->engine), STORE_META_REVISION, &revision, err))
		return -1;
	replica->options.applied_revision = (uint64_t)revision;
	if (ha_open(&replica->ha, replica->loop, &replica->options, &callbacks, err))
		return -1;
	replica->decisions->ha = replica->ha;
	replica->decisions->ha_generation++;
	return 0;
}

static void replica_end(struct replica *replica)
{
	ha_close(replica->ha);
	replica->ha = replica->decisions->ha = NULL;
}

static void on_again(uv_timer_t *timer)
{
	struct replica *replica = timer->data;
	struct err err;

	if (replica->is_stopping)
		return;
	replica_end(replica);
	/* One that leads with a store that fails would be in the way of those that could. */
	if (engine_is_available(replica->engine) && replica_begin(replica, &err) == 0)
		return;
	if (engine_is_available(replica->engine))
		log_error("replica", "cannot campaign", LOG_ERR(&err));
	uv_timer_start(timer, on_again, REPLICA_AGAIN_MS, 0);
}

void replica_step_down(struct replica *replica)
{
	if (replica->is_stopping || !replica->ha || uv_is_active((uv_handle_t *)replica->again))
		return;
	log_warn("replica", "gives the lead back");
	ha_resign(replica->ha);
	uv_timer_start(replica->again, on_again, REPLICA_AGAIN_MS, 0);
}

void replica_resign(struct replica *replica)
{
	replica->is_stopping = true;
	uv_timer_stop(replica->again);
	if (replica->ha)
		ha_resign(replica->ha);
}

/* ---- questions ---- */

bool replica_leads(const struct replica *replica)
{
	return replica->ha && ha_leads(replica->ha, engine_mono());
}

const struct ha_peer *replica_leader(const struct replica *replica)
{
	return replica->ha ? ha_leader(replica->ha) : NULL;
}

/* ---- open and close ---- */

int replica_open(struct replica *replica, struct err *err)
{
	replica->again = calloc(1, sizeof(*replica->again));
	CHECK(replica->again);
	uv_timer_init(replica->loop, replica->again);
	replica->again->data = replica;
	replica->options.limits = ha_limits_default();
	if (ha_check(&replica->options, err) || replica_begin(replica, err))
		return err_wrap(err, "etcd");
	return 0;
}

static void replica_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void replica_close(struct replica *replica)
{
	if (!replica->again)
		return;
	replica->is_stopping = true;
	replica_end(replica);
	uv_close((uv_handle_t *)replica->again, replica_free_handle);
	replica->again = NULL;
}

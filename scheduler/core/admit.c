/*
 * May this be?  The rules for a create, in this order; the first that says no is what the tenant
 * is told:
 *
 *   1. the tenant is known                                      tenant_unknown
 *   2. the template, or the snapshot, is known                  template_unknown
 *   3. the timeout is at least 1 s and at most its plan's       timeout_too_short, _too_long
 *   4. its credit is not used up                                credit_exhausted
 *   5. its quota covers one more: sandboxes, vCPUs, memory      quota_concurrency, _vcpus, _memory
 *   6. there is a slot for it                                   fleet_full
 *   7. some node has the template; the snapshot's is there      no_compatible_node, saved_away
 *   8. some node has room; the snapshot's has                   capacity
 *
 * After a no by 7 or 8 to a snapshot another node may have it; see snapshot_copy.c.
 *
 * The tenant's own reasons come before ours, so that what it can change is what it hears; and what
 * it may not have is never held against the fleet's room.
 */
#include "scheduler/core/state.h"

#include <string.h>

/* shape: of what is wanted; NULL: it is not known. */
static enum refusal create_refuses(struct core *core, const struct core_event *event,
				   const struct tenant *tenant, const struct core_template *shape)
{
	enum refusal refusal;

	if (!tenant)
		return REFUSAL_TENANT_UNKNOWN;
	if (!shape)
		return REFUSAL_TEMPLATE_UNKNOWN;
	if (event->create.timeout_s == 0)
		return REFUSAL_TIMEOUT_TOO_SHORT;
	if (event->create.timeout_s > tenant->row.session_max_s)
		return REFUSAL_TIMEOUT_TOO_LONG;
	if (tenant->row.credit_exhausted)
		return REFUSAL_CREDIT_EXHAUSTED;
	refusal = quota_refuses(tenant, shape->vcpus, shape->mem_mib);
	if (refusal != REFUSAL_NONE)
		return refusal;
	return core->sandbox_pool.taken_n == core->limits.sandboxes ? REFUSAL_FLEET_FULL
								    : REFUSAL_NONE;
}

/* from: the snapshot, or NULL; and then what it begins from there. */
static enum refusal node_of(struct core *core, const struct template_ *template_,
			    const struct sandbox **from, uint32_t *out_node)
{
	enum refusal refusal;

	if (*from) {
		refusal = snapshot_copy_choose(core, *from, from);
		*out_node = *from ? (*from)->node : POOL_NONE;
		return refusal;
	}
	if (template_->offering_n == 0)
		return REFUSAL_NO_COMPATIBLE_NODE;
	*out_node = place_pick(template_, NULL, 0);
	return *out_node == POOL_NONE ? REFUSAL_CAPACITY : REFUSAL_NONE;
}

static struct core_template snapshot_shape(const struct sandbox *snapshot)
{
	struct core_template shape = {0};

	if (!snapshot)
		return shape;
	memcpy(shape.name, snapshot->row.template_, sizeof(shape.name));
	shape.vcpus = snapshot->row.vcpus;
	shape.mem_mib = snapshot->row.mem_mib;
	shape.disk_mib = snapshot->row.disk_mib;
	return shape;
}

void admit_create(struct core *core, const struct core_event *event)
{
	const struct tenant *tenant = find_tenant(core, event->create.tenant.text);
	struct template_ *template_ = find_template(core, event->create.template_);
	const struct sandbox *snapshot =
		snapshot_find(core, &event->create.snapshot, &event->create.tenant);
	bool from_snapshot = !id_is_empty(&event->create.snapshot);
	struct core_template shape = snapshot_shape(snapshot);
	const struct core_template *wanted = snapshot        ? &shape
					     : from_snapshot ? NULL
					     : template_     ? &template_->row
							     : NULL;
	uint32_t node = POOL_NONE;
	enum refusal refusal = create_refuses(core, event, tenant, wanted);
	const struct sandbox *from = snapshot;
	struct core_sandbox row = {0};

	/* An id is made of 100 random bits: one that is taken is a mistake of the caller's. */
	if (refusal == REFUSAL_NONE && find_sandbox(core, event->create.sandbox.text))
		refusal = REFUSAL_CREATE_FAILED;
	if (refusal == REFUSAL_NONE)
		refusal = node_of(core, template_, &from, &node);
	if (refusal == REFUSAL_CAPACITY && !snapshot)
		transfer_want(core, template_);
	if (refusal != REFUSAL_NONE) {
		effect_reply(core, event->create.request, refusal, NULL);
		return;
	}
	row.id = event->create.sandbox;
	row.tenant = tenant->row.id;
	memcpy(row.template_, wanted->name, sizeof(row.template_));
	memcpy(row.plan, tenant->row.plan, sizeof(row.plan));
	row.price_version = tenant->row.price_version;
	row.vcpus = wanted->vcpus;
	row.mem_mib = wanted->mem_mib;
	row.disk_mib = wanted->disk_mib;
	row.from_attempt = from ? from->row.attempt : 0;
	row.incarnation = 1;
	row.on_limit = event->create.on_limit;
	row.timeout_s = event->create.timeout_s;
	row.created_at = row.life_at = core->wall;
	row.end_at.ns = core->wall.ns + (int64_t)row.timeout_s * NS_PER_S;
	sandbox_place(core, &row, (uint32_t)(tenant - core->tenants), node,
		      from && from->row.state == SANDBOX_SNAPPING, event->create.request);
	if (!snapshot && !template_->ranks_filled)
		transfer_want(core, template_); /* the next one finds no room */
}

struct sandbox *admit_find(struct core *core, const struct id *id, const struct id *tenant)
{
	struct sandbox *sandbox = find_sandbox(core, id->text);

	if (!sandbox || snapshot_is(&sandbox->row) ||
	    (!id_is_empty(tenant) && !id_equal(&sandbox->row.tenant, tenant)))
		return NULL;
	return sandbox;
}

/*
 * One that is ending is gone already for whoever asks; so only the first killer waits.  With
 * several schedulers he may have been told that it is unconfirmed: then he repeats it until it is.
 */
void admit_kill(struct core *core, const struct core_event *event)
{
	struct sandbox *sandbox = admit_find(core, &event->kill.sandbox, &event->kill.tenant);
	bool ends = sandbox && (sandbox->row.state == SANDBOX_ENDING ||
				sandbox->row.state == SANDBOX_DISCARDING);

	if (!sandbox || (ends && (core->role == CORE_ALONE || sandbox->confirm_request))) {
		effect_reply(core, event->kill.request, REFUSAL_SANDBOX_UNKNOWN, NULL);
		return;
	}
	if (!ends) {
		if (sandbox->row.state == SANDBOX_PLACING)
			sandbox->row.refusal = REFUSAL_CREATE_FAILED;
		sandbox_end(core, sandbox,
			    event->kill.cause == CAUSE_NONE ? CAUSE_REQUEST : event->kill.cause);
	}
	sandbox_await(core, sandbox, event->kill.request);
}

/* Alone, what is durable is granted. Otherwise another leader may know only what the node's log
 * has, so that is waited for. */
static void answer_timeout(struct core *core, struct sandbox *sandbox, uint64_t request)
{
	const struct core_sandbox *row = &sandbox->row;

	if (core->role == CORE_ALONE || row->deadline_known == row->deadline_version)
		effect_reply(core, request, REFUSAL_NONE, sandbox);
	else
		sandbox_await(core, sandbox, request);
}

/*
 * A new version, whose order the shell gives the new rules; answered when the node's log has it,
 * hence when they are in force.  Without a request nobody waits: the same rules, whose secrets are
 * others.
 */
void admit_network(struct core *core, const struct core_event *event)
{
	struct sandbox *sandbox = admit_find(core, &event->timeout.sandbox, &event->timeout.tenant);
	enum refusal refusal = REFUSAL_NONE;

	if (!sandbox)
		refusal = REFUSAL_SANDBOX_UNKNOWN;
	else if (sandbox->row.state == SANDBOX_PAUSED)
		refusal = REFUSAL_NOT_RUNNING;
	else if (sandbox->row.state == SANDBOX_PAUSING || sandbox->row.state == SANDBOX_RESUMING)
		refusal = REFUSAL_IN_FLIGHT;
	else if (sandbox->row.state != SANDBOX_RUNNING)
		refusal = REFUSAL_SANDBOX_UNKNOWN;
	else if (!core->nodes[sandbox->node].joined)
		refusal = REFUSAL_UNCONFIRMED;
	if (refusal != REFUSAL_NONE) {
		effect_reply(core, event->timeout.request, refusal,
			     refusal == REFUSAL_SANDBOX_UNKNOWN ? NULL : sandbox);
		return;
	}
	sandbox->row.deadline_version++;
	effect_save_sandbox(core, sandbox);
	dispatch_refresh(core, sandbox);
	/* Whoever waits for the version before is answered with this one. */
	if (event->timeout.request)
		sandbox_await(core, sandbox, event->timeout.request);
}

/*
 * A new time limit: now and timeout_s, but never later than the longest session of the plan from
 * the create, or from the last resume.  Extending never shortens, and then leaves the very same
 * end.
 */
void admit_timeout(struct core *core, const struct core_event *event, bool only_later)
{
	struct sandbox *sandbox = admit_find(core, &event->timeout.sandbox, &event->timeout.tenant);
	struct core_sandbox *row;
	int64_t session_s, end_ns, last_ns;

	if (sandbox &&
	    (sandbox->row.state == SANDBOX_PAUSING || sandbox->row.state == SANDBOX_RESUMING)) {
		effect_reply(core, event->timeout.request, REFUSAL_IN_FLIGHT, sandbox);
		return;
	}
	if (!sandbox || sandbox->row.state != SANDBOX_RUNNING) {
		effect_reply(core, event->timeout.request, REFUSAL_SANDBOX_UNKNOWN, NULL);
		return;
	}
	row = &sandbox->row;
	session_s = core->tenants[sandbox->tenant].row.session_max_s;
	if (event->timeout.timeout_s > session_s) {
		effect_reply(core, event->timeout.request, REFUSAL_TIMEOUT_TOO_LONG, sandbox);
		return;
	}
	/* The log may still bring a limit that the leader before us has set. */
	if (!core->nodes[sandbox->node].joined) {
		effect_reply(core, event->timeout.request, REFUSAL_UNCONFIRMED, sandbox);
		return;
	}
	end_ns = core->wall.ns + (int64_t)event->timeout.timeout_s * NS_PER_S;
	last_ns = row->life_at.ns + session_s * NS_PER_S;
	end_ns = end_ns < last_ns ? end_ns : last_ns;
	if (end_ns != row->end_at.ns && !(only_later && end_ns < row->end_at.ns)) {
		row->end_at.ns = end_ns;
		row->deadline_version++;
		effect_save_sandbox(core, sandbox);
		dispatch_refresh(core, sandbox);
	}
	answer_timeout(core, sandbox, event->timeout.request);
}

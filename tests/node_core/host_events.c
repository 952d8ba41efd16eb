/* What happens to the host: what its scheduler orders, what shims say, what a start finds. */
#include "tests/node_core/host.h"

#include <stdio.h>
#include <string.h>

/* ---- what a start finds ---- */

void host_restart(struct host *host)
{
	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_forget_log(host);
}

struct node_event host_found(uint64_t vm, enum wire_shim_state state)
{
	struct node_event event = {.kind = NODE_EVENT_ADOPTED};

	event.adopted.vm = vm;
	event.adopted.state = state;
	strcpy(event.adopted.template_, "base");
	strcpy(event.adopted.template_id, "content-1");
	return event;
}

struct node_event host_found_claimed(uint64_t vm, const struct wire_order *claim,
				     struct mono resumed)
{
	struct node_event event = host_found(vm, WIRE_SHIM_CLAIMED);

	event.adopted.claim = claim;
	event.adopted.resumed_mono = resumed;
	event.adopted.end_mono = mono_add_ms(resumed, (int64_t)claim->ttl_ms);
	return event;
}

/* ---- the scheduler, and shims ---- */

void host_template(struct host *host, const char *name, const char *id, uint32_t vcpus,
		   uint32_t mem_mib)
{
	struct node_event event = {.kind = NODE_EVENT_TEMPLATE_SET};

	snprintf(event.template_.name, sizeof(event.template_.name), "%s", name);
	snprintf(event.template_.id, sizeof(event.template_.id), "%s", id);
	event.template_.vcpus = vcpus;
	event.template_.mem_mib = mem_mib;
	event.template_.disk_mib = 512;
	host_step(host, &event);
}

void host_answer(struct host *host, uint64_t epoch)
{
	host_answer_lease(host, epoch, 0, host->now);
}

void host_answer_lease(struct host *host, uint64_t epoch, uint64_t lease_ms, struct mono sent_at)
{
	struct node_event event = {.kind = NODE_EVENT_ANSWER};

	event.answer.epoch = epoch;
	event.answer.lease_ms = lease_ms;
	event.answer.sent_at = sent_at;
	host_step(host, &event);
}

void host_answer_lost(struct host *host, uint64_t epoch, uint64_t lost_below)
{
	struct node_event event = {.kind = NODE_EVENT_ANSWER};

	event.answer.epoch = epoch;
	event.answer.sent_at = host->now;
	event.answer.lost_below = lost_below;
	host_step(host, &event);
}

void host_acked_by(struct host *host, uint32_t replica, bool leader, uint64_t next_seq)
{
	struct node_event event = {.kind = NODE_EVENT_ACKED};

	event.acked.next_seq = next_seq;
	event.acked.replica = replica;
	event.acked.leader = leader;
	host_step(host, &event);
}

void host_acked(struct host *host, uint64_t next_seq)
{
	host_acked_by(host, 0, true, next_seq);
}

struct wire_order host_claim_order(uint64_t attempt)
{
	struct wire_order order = {
		.kind = WIRE_ORDER_CLAIM,
		.attempt = attempt,
		.incarnation = 1,
		.template = "base",
		.vcpus = 1,
		.mem_mib = 256,
		.ttl_ms = 300000,
		.plan = "hobby",
		.price_version = 7,
	};

	snprintf(order.sandbox.text, sizeof(order.sandbox.text), "i%020llu",
		 (unsigned long long)attempt);
	snprintf(order.tenant.text, sizeof(order.tenant.text), "ten_1");
	return order;
}

void host_order(struct host *host, const struct wire_order *order)
{
	struct node_event event = {.kind = NODE_EVENT_ORDER};

	event.order.order = order;
	if (order->kind == WIRE_ORDER_CLAIM || order->kind == WIRE_ORDER_SNAPSHOT ||
	    order->kind == WIRE_ORDER_SEND || order->kind == WIRE_ORDER_FETCH)
		event.order.payload = host_keep_payload(host, order->attempt);
	host_step(host, &event);
}

void host_claim(struct host *host, uint64_t attempt)
{
	struct wire_order order = host_claim_order(attempt);

	host_order(host, &order);
}

void host_kill(struct host *host, uint64_t attempt)
{
	struct wire_order order = host_claim_order(attempt);

	order.kind = WIRE_ORDER_KILL;
	order.cause = CAUSE_REQUEST;
	host_order(host, &order);
}

void host_deadline(struct host *host, uint64_t attempt, uint64_t version, int64_t in_ms)
{
	struct wire_order order = host_claim_order(attempt);

	order.kind = WIRE_ORDER_DEADLINE;
	order.deadline_version = version;
	order.end_wall_ns = host->wall.ns + in_ms * NS_PER_MS;
	host_order(host, &order);
}

void host_pause(struct host *host, uint64_t attempt, uint64_t save)
{
	struct wire_order order = host_claim_order(attempt);

	order.kind = WIRE_ORDER_PAUSE;
	order.save = save;
	order.how = WIRE_SAVE_PAUSE;
	host_order(host, &order);
}

struct wire_order host_resume_order(uint64_t attempt, uint64_t resume)
{
	struct wire_order order = host_claim_order(attempt);

	order.sandbox = host_claim_order(resume).sandbox;
	order.incarnation = 2;
	order.resume = resume;
	return order;
}

void host_vm(struct host *host, enum node_event_kind kind, uint64_t vm)
{
	struct node_event event = {.kind = kind, .vm = vm};

	host_step(host, &event);
}

void host_vm_ready(struct host *host, uint64_t vm)
{
	host_vm(host, NODE_EVENT_VM_WARMING, vm);
	host_vm(host, NODE_EVENT_VM_READY, vm);
}

void host_claimed(struct host *host, uint64_t vm, uint64_t attempt, bool ok)
{
	struct node_event event = {.kind = NODE_EVENT_VM_CLAIMED};

	event.claimed.vm = vm;
	event.claimed.attempt = attempt;
	event.claimed.ok = ok;
	event.claimed.resumed_mono = host->now;
	host_step(host, &event);
}

void host_metered(struct host *host, uint64_t vm)
{
	host_metered_since(host, vm, host->now, (struct mono){0});
}

void host_metered_since(struct host *host, uint64_t vm, struct mono at, struct mono resumed)
{
	struct node_event event = {.kind = NODE_EVENT_VM_METERED};

	event.metered.vm = vm;
	event.metered.at = at;
	event.metered.resumed_mono = resumed;
	host_step(host, &event);
}

void host_ended(struct host *host, uint64_t vm, enum cause cause)
{
	host_ended_since(host, vm, cause, host->now, (struct mono){0});
}

void host_paused(struct host *host, uint64_t vm)
{
	struct node_event event = {.kind = NODE_EVENT_VM_ENDED};

	event.ended.vm = vm;
	event.ended.cause = CAUSE_PAUSE;
	event.ended.at = host->now;
	event.ended.saved_how = WIRE_SAVE_PAUSE;
	event.ended.saved_mib = 40;
	host_step(host, &event);
}

void host_runs_on(struct host *host, uint64_t vm, uint64_t save)
{
	struct node_event event = {.kind = NODE_EVENT_VM_RUNS_ON};

	event.runs_on.vm = vm;
	event.runs_on.save = save;
	host_step(host, &event);
}

void host_ended_since(struct host *host, uint64_t vm, enum cause cause, struct mono at,
		      struct mono resumed)
{
	struct node_event event = {.kind = NODE_EVENT_VM_ENDED};

	event.ended.vm = vm;
	event.ended.cause = cause;
	event.ended.at = at;
	event.ended.resumed_mono = resumed;
	host_step(host, &event);
}

uint64_t host_run(struct host *host, uint64_t attempt)
{
	size_t starts = host_count(host, NODE_EFFECT_VM_START);
	uint64_t vm;

	host_claim(host, attempt);
	if (host_count(host, NODE_EFFECT_VM_START) > starts)
		host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	vm = host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm;
	host_claimed(host, vm, attempt, true);
	return vm;
}

const struct wire_transfer *host_transfer(const struct host *host, uint64_t number)
{
	static struct wire_transfer all[NODE_TRANSFERS_MAX];
	size_t n = node_core_transfers(host->core, all);
	struct err err;

	for (size_t i = 0; i < n; i++) {
		CHECK(wire_validate(&wire_shape_transfer, &all[i], &err) == 0);
		if (all[i].number == number)
			return &all[i];
	}
	return NULL;
}

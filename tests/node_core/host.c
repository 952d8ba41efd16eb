#include "tests/node_core/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct host *host_open(void)
{
	struct host *host = calloc(1, sizeof(*host));

	CHECK(host);
	host->limits = (struct node_limits){
		.capacity = {8, 2048, 8192, 4},
		.vms_max = 16,
		.attempts_max = 40,
		.pool_floor = 0,
		.pool_ceiling = 4,
		.restores_max = 1,
		.claim_restores_max = 2,
		.demand_ms = 0,
		.tick_ms = 60000,
		.keep_ms = 3600000,
	};
	host->now.ns = 1000 * NS_PER_S;
	host->wall.ns = 1700000000 * NS_PER_S;
	snprintf(host->boot_id, sizeof(host->boot_id), "first");
	return host;
}

void host_close(struct host *host)
{
	free(host->memory);
	free(host);
}

/* ---- the journal ---- */

static void drop_attempt(struct host *host, uint64_t attempt)
{
	size_t kept = 0;

	for (size_t i = 0; i < host->attempts_n; i++)
		if (host->attempts[i] != attempt)
			host->attempts[kept++] = host->attempts[i];
	CHECK(kept + 1 == host->attempts_n);
	host->attempts_n = kept;
}

static void write_sandbox(struct host *host, const struct node_sandbox *row)
{
	size_t i = 0;

	while (i < host->sandboxes_n && host->sandboxes[i].attempt != row->attempt)
		i++;
	CHECK(i < HOST_SANDBOXES);
	host->sandboxes[i] = *row;
	if (i == host->sandboxes_n)
		host->sandboxes_n++;
}

static void drop_sandbox(struct host *host, uint64_t attempt)
{
	for (size_t i = 0; i < host->sandboxes_n; i++)
		if (host->sandboxes[i].attempt == attempt)
			host->sandboxes[i] = host->sandboxes[--host->sandboxes_n];
}

static void take(struct host *host, const struct node_effect *effect)
{
	if (effect->kind == NODE_EFFECT_JOURNAL_META)
		host->meta = effect->meta;
	if (effect->kind == NODE_EFFECT_JOURNAL_ATTEMPT) {
		CHECK(host->attempts_n < HOST_ATTEMPTS);
		host->attempts[host->attempts_n++] = effect->attempt;
	}
	if (effect->kind == NODE_EFFECT_JOURNAL_ATTEMPT_GONE)
		drop_attempt(host, effect->attempt);
	if (effect->kind == NODE_EFFECT_JOURNAL_SANDBOX)
		write_sandbox(host, &effect->sandbox);
	if (effect->kind == NODE_EFFECT_JOURNAL_SANDBOX_GONE)
		drop_sandbox(host, effect->attempt);
	if (effect->kind == NODE_EFFECT_JOURNAL_RECORD) {
		struct err err;
		CHECK(host->records_n < HOST_RECORDS);
		CHECK(effect->record.seq == host->records_n + 1);
		CHECK(wire_validate(&wire_shape_record, &effect->record, &err) == 0);
		host->records[host->records_n++] = effect->record;
	}
}

/* ---- stepping ---- */

void host_step(struct host *host, struct node_event *event)
{
	event->now = host->now;
	event->wall = host->wall;
	node_core_step(host->core, event, &host->effects);
	node_core_check(host->core);
	for (uint32_t i = 0; i < host->effects.n; i++) {
		take(host, &host->effects.items[i]);
		CHECK(host->log_n < HOST_LOG);
		host->log[host->log_n++] = host->effects.items[i];
	}
}

void host_boot(struct host *host)
{
	struct node_event event = {.kind = NODE_EVENT_LOAD_META, .meta = host->meta};

	free(host->memory);
	host->memory = aligned_alloc(64, node_core_size(&host->limits));
	CHECK(host->memory);
	memset(host->memory, 0, node_core_size(&host->limits));
	host->core = node_core_init(host->memory, &host->limits);
	event.meta.next_seq = host->records_n + 1;
	if (host->records_n)
		host_step(host, &event);
	for (size_t i = 0; i < host->sandboxes_n; i++) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_SANDBOX,
					    .sandbox = host->sandboxes[i]};
		host_step(host, &event);
	}
	for (size_t i = 0; i < host->attempts_n; i++) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_ATTEMPT,
					    .attempt = host->attempts[i]};
		host_step(host, &event);
	}
	event = (struct node_event){.kind = NODE_EVENT_BOOT};
	memcpy(event.boot.boot_id, host->boot_id, sizeof(event.boot.boot_id));
	host_step(host, &event);
}

void host_ready(struct host *host)
{
	struct node_event event = {.kind = NODE_EVENT_READY};

	host_step(host, &event);
	host_answer(host, 1);
}

struct host *host_open_ready(void)
{
	struct host *host = host_open();

	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_ready(host);
	host_forget_log(host);
	return host;
}

void host_pass(struct host *host, int64_t ms)
{
	struct mono until = mono_add_ms(host->now, ms), at;
	struct node_event tick = {.kind = NODE_EVENT_TICK};

	while (node_core_next_deadline(host->core, &at) && at.ns <= until.ns) {
		if (at.ns > host->now.ns) {
			host->wall.ns += at.ns - host->now.ns;
			host->now = at;
		}
		host_step(host, &tick);
	}
	host->wall.ns += until.ns - host->now.ns;
	host->now = until;
}

/* ---- events ---- */

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
	event.order.payload = order->kind == WIRE_ORDER_CLAIM ? order->attempt : 0;
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
	struct node_event event = {.kind = NODE_EVENT_VM_METERED};

	event.metered.vm = vm;
	event.metered.at = host->now;
	host_step(host, &event);
}

void host_ended(struct host *host, uint64_t vm, enum cause cause)
{
	struct node_event event = {.kind = NODE_EVENT_VM_ENDED};

	event.ended.vm = vm;
	event.ended.cause = cause;
	event.ended.at = host->now;
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

/* ---- looking ---- */

void host_forget_log(struct host *host)
{
	host->log_n = 0;
}

size_t host_count(const struct host *host, enum node_effect_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < host->log_n; i++)
		n += host->log[i].kind == kind;
	return n;
}

const struct node_effect *host_last(const struct host *host, enum node_effect_kind kind)
{
	for (size_t i = host->log_n; i--;)
		if (host->log[i].kind == kind)
			return &host->log[i];
	check_broken("there is such an effect", __FILE__, __LINE__);
}

const struct wire_record *host_last_record(const struct host *host)
{
	CHECK(host->records_n);
	return &host->records[host->records_n - 1];
}

uint32_t host_vms(const struct host *host, enum node_vm_state state)
{
	struct node_counts counts;

	node_core_count(host->core, &counts);
	return counts.vms[state];
}

struct wire_poll host_poll(const struct host *host)
{
	struct wire_poll poll = {0};

	node_core_report(host->core, &poll);
	return poll;
}

struct wire_room host_used(const struct host *host)
{
	return host_poll(host).used;
}

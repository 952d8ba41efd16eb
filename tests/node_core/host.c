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
		.saved_max = 3,
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

static void write_saved(struct host *host, const struct node_saved *row)
{
	for (size_t i = 0; i < host->saved_n; i++)
		CHECK(host->saved[i].attempt != row->attempt);
	CHECK(host->saved_n < HOST_SANDBOXES);
	host->saved[host->saved_n++] = *row;
}

static void drop_saved(struct host *host, uint64_t attempt)
{
	size_t i = 0;

	while (i < host->saved_n && host->saved[i].attempt != attempt)
		i++;
	CHECK(i < host->saved_n);
	host->saved[i] = host->saved[--host->saved_n];
}

/* Whether the shell still keeps the payload. */
static bool has_payload(const struct host *host, uint64_t payload)
{
	for (size_t i = 0; i < host->payloads_n; i++)
		if (host->payloads[i] == payload)
			return true;
	return false;
}

static void drop_payload(struct host *host, uint64_t payload)
{
	size_t i = 0;

	CHECK(has_payload(host, payload));
	while (host->payloads[i] != payload)
		i++;
	host->payloads[i] = host->payloads[--host->payloads_n];
}

uint64_t host_keep_payload(struct host *host, uint64_t payload)
{
	CHECK(host->payloads_n < HOST_PAYLOADS);
	host->payloads[host->payloads_n++] = payload;
	return payload;
}

static void take(struct host *host, const struct node_effect *effect)
{
	if (effect->kind == NODE_EFFECT_VM_CLAIM)
		CHECK(has_payload(host, effect->claim.payload));
	if (effect->kind == NODE_EFFECT_PAYLOAD_DROP)
		drop_payload(host, effect->payload);
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
	if (effect->kind == NODE_EFFECT_JOURNAL_SAVED)
		write_saved(host, &effect->saved);
	if (effect->kind == NODE_EFFECT_JOURNAL_SAVED_GONE)
		drop_saved(host, effect->attempt);
	/* What is saved is there until its row is gone. */
	for (size_t i = 0; i < host->saved_n && effect->kind == NODE_EFFECT_VM_FORGET; i++)
		CHECK(host->saved[i].vm != effect->vm);
	if (effect->kind == NODE_EFFECT_JOURNAL_RECORD) {
		struct err err;
		CHECK(host->records_n < HOST_RECORDS);
		CHECK(!effect->note_of || has_payload(host, effect->note_of));
		CHECK(effect->record.note.n == 0);
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
	if (host->on_step)
		host->on_step(host->on_step_arg);
}

void host_boot(struct host *host)
{
	struct node_event event = {.kind = NODE_EVENT_LOAD_META, .meta = host->meta};

	free(host->memory);
	host->payloads_n = 0;
	host->memory = aligned_alloc(64, node_core_size(&host->limits));
	CHECK(host->memory);
	memset(host->memory, 0, node_core_size(&host->limits));
	host->core = node_core_init(host->memory, &host->limits);
	event.meta.next_seq = host->records_n + 1;
	if (host->records_n || host->meta.acked_seq)
		host_step(host, &event);
	for (size_t i = 0; i < host->sandboxes_n; i++) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_SANDBOX,
					    .sandbox = host->sandboxes[i]};
		host_step(host, &event);
	}
	for (size_t i = 0; i < host->saved_n; i++) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_SAVED, .saved = host->saved[i]};
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

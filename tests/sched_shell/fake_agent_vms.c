/* What a fake node runs: microVMs that are nothing but two points in time, leases and losses as a
 * real node takes them, and the log. */
#include "tests/sched_shell/fake_agent.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SANDBOXES_MAX = 1 << 17 };

/* A sandbox of ours; kept for ever, so that a repeated order finds its answer. */
struct vm {
	struct wire_order order; /* its note is ours; init is dropped */
	bool started, ended, refused, saved;
	bool kept; /* and saved: a snapshot, which nothing ever ran by */
	/* started_at: since when it would have run, had it never been frozen */
	struct mono start_at, started_at, ended_at, end_at;
	uint64_t told_ms; /* of its time, by records */
	int64_t told_wall_ns;
	uint64_t deadline_version, save_answered;
};

static struct vm *vms;
static uint32_t vms_n, running_n;
static struct wire_record *records;
static uint64_t records_n, records_cap;
static uint64_t epoch, lost_below;
/* All that runs here is frozen from then on; 0: never. Before a leader's first answer nothing may
 * begin. */
static struct mono lease_until;
static bool lease_is_known;

/* ---- records ---- */

uint64_t vms_end_seq(void)
{
	return records_n + 1;
}

const struct wire_record *vms_records(uint64_t first_seq)
{
	return records + (first_seq - 1);
}

static void add_record(struct vm *vm, enum wire_record_kind kind, enum cause cause)
{
	struct wire_record *record;
	struct mono until = vm->ended ? vm->ended_at : now_mono();

	if (records_n == records_cap) {
		records_cap = records_cap ? records_cap * 2 : 1024;
		records = realloc(records, records_cap * sizeof(*records));
		CHECK(records);
	}
	record = &records[records_n++];
	*record = (struct wire_record){
		.kind = kind,
		.seq = records_n,
		.sandbox = vm->order.sandbox,
		.attempt = vm->order.attempt,
		.incarnation = vm->order.incarnation,
		.tenant = vm->order.tenant,
		.price_version = vm->order.price_version,
		.vcpus = vm->order.vcpus,
		.mem_mib = vm->order.mem_mib,
		.disk_mib = 1024,
		.at_wall_ns = now_wall_ns(),
		.from_ms = vm->told_ms,
		.from_wall_ns = vm->told_wall_ns,
		.deadline_version = vm->deadline_version,
		.cause = cause,
	};
	memcpy(record->plan, vm->order.plan, sizeof(record->plan));
	memcpy(record->template, vm->order.template, sizeof(record->template));
	snprintf(record->boot_id, sizeof(record->boot_id), "fake");
	if (kind == WIRE_RECORD_STARTED)
		record->note = vm->order.note;
	else if (vm->started)
		vm->told_ms = (uint64_t)mono_ms_since(until, vm->started_at);
	if (vm->started && !vm->ended)
		record->end_wall_ns = record->at_wall_ns + (vm->end_at.ns - now_mono().ns);
	record->to_ms = vm->told_ms;
	vm->told_wall_ns = record->at_wall_ns;
}

/* ---- sandboxes ---- */

static struct vm *find_vm(const struct wire_order *order)
{
	for (uint32_t i = vms_n; i > 0; i--)
		if (id_equal(&vms[i - 1].order.sandbox, &order->sandbox) &&
		    vms[i - 1].order.attempt == order->attempt)
			return &vms[i - 1];
	return NULL;
}

static void write_init(const struct wire_order *order)
{
	FILE *file = options.inits ? fopen(options.inits, "a") : NULL;

	if (!file)
		return;
	fprintf(file, "%s %.*s\n", order->sandbox.text, (int)order->init.n,
		(const char *)order->init.data);
	CHECK(fclose(file) == 0);
}

static struct vm *add_vm(const struct wire_order *order)
{
	struct vm *vm = &vms[vms_n];
	uint8_t *note = NULL;

	CHECK(vms_n < SANDBOXES_MAX);
	vms_n++;
	if (order->note.n) {
		note = malloc(order->note.n);
		CHECK(note);
		memcpy(note, order->note.data, order->note.n);
	}
	*vm = (struct vm){.order = *order, .told_wall_ns = now_wall_ns()};
	write_init(order);
	egress_write(order);
	vm->order.init = (struct wire_bytes){0};
	vm->order.note.data = note;
	return vm;
}

static bool is_waiting(const struct vm *vm)
{
	return !vm->started && !vm->refused && !vm->kept;
}

static bool is_running(const struct vm *vm)
{
	return vm->started && !vm->ended;
}

static bool is_frozen(void)
{
	return lease_until.ns && lease_until.ns <= now_mono().ns;
}

static bool may_begin(void)
{
	return lease_is_known && !is_frozen();
}

static void refuse_vm(struct vm *vm, enum refusal refusal)
{
	vm->refused = true;
	add_record(vm, WIRE_RECORD_REFUSED, CAUSE_NONE);
	records[records_n - 1].refusal = refusal;
}

/* What this attempt was is saved here. */
static struct vm *find_saved(uint64_t attempt)
{
	for (uint32_t i = 0; i < vms_n && attempt; i++)
		if (vms[i].saved && vms[i].order.attempt == attempt)
			return &vms[i];
	return NULL;
}

static struct wire_log_line line_of(enum wire_log_event event, const char *text)
{
	return (struct wire_log_line){.at_wall_ns = now_wall_ns(),
				      .event = event,
				      .pid = 7,
				      .text = {(const uint8_t *)text, strlen(text)}};
}

static void observe(const struct id *sandbox)
{
	struct wire_sample samples[] = {{.vcpus = 2,
					 .cpu_used = 1234,
					 .mem_used = 100,
					 .mem_total = 400,
					 .mem_cache = 50,
					 .disk_used = 1000,
					 .disk_total = 4000},
					{.vcpus = 2, .cpu_used = 10000}};
	struct wire_log_line lines[] = {line_of(WIRE_LOG_STARTED, "/bin/fake --quietly"),
					line_of(WIRE_LOG_STDOUT, "Hello"),
					line_of(WIRE_LOG_STDERR, "caf\xc3\xa9 \"quoted\"\t"),
					line_of(WIRE_LOG_ENDED, "exit status 0")};
	const struct wire_observed observed = {.sandbox = *sandbox,
					       .samples = samples,
					       .samples_n = ARRAY_N(samples),
					       .lines = lines,
					       .lines_n = ARRAY_N(lines),
					       .lost_n = 5};

	samples[1].at_wall_ns = now_wall_ns();
	samples[0].at_wall_ns = samples[1].at_wall_ns - 5 * NS_PER_S;
	links_tell_observed(&observed);
}

static void start_vm(struct vm *vm)
{
	if (options.refuse || running_n >= options.sandboxes) {
		refuse_vm(vm, REFUSAL_NODE_FULL);
		return;
	}
	if (vm->order.resume && !find_saved(vm->order.resume)) {
		refuse_vm(vm, REFUSAL_SAVED_GONE);
		return;
	}
	if (vm->order.resume && !find_saved(vm->order.resume)->kept)
		find_saved(vm->order.resume)->saved = false;
	running_n++;
	vm->started = true;
	vm->started_at = now_mono();
	vm->end_at = mono_add_ms(vm->started_at, (int64_t)vm->order.ttl_ms);
	vm->told_wall_ns = now_wall_ns();
	add_record(vm, WIRE_RECORD_STARTED, CAUSE_NONE);
	if (options.observe)
		observe(&vm->order.sandbox);
	if (options.spied) {
		struct id id;
		CHECK(id_parse(options.spied, strlen(options.spied), &id));
		observe(&id);
	}
}

static void end_vm(struct vm *vm, enum cause cause)
{
	vm->ended = true;
	vm->ended_at = is_frozen() ? lease_until : now_mono();
	running_n--;
	add_record(vm, WIRE_RECORD_ENDED, cause);
}

/* ---- orders ---- */

static void take_claim(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	/* Again: the answer is on its way. Without a lease: it will come again. */
	if (vm || !may_begin())
		return;
	vm = add_vm(order);
	vm->start_at = mono_add_ms(now_mono(), options.claim_ms);
	if (order->attempt < lost_below)
		refuse_vm(vm, REFUSAL_STALE_ATTEMPT);
	else if (options.claim_ms == 0)
		start_vm(vm);
}

static void pause_vm(struct vm *vm, enum wire_save_how how)
{
	vm->saved = true;
	end_vm(vm, CAUSE_PAUSE);
	records[records_n - 1].saved_how = how;
	records[records_n - 1].saved_mib = 40;
}

static void end_by_limit(struct vm *vm)
{
	if (vm->order.on_limit == WIRE_ON_LIMIT_END)
		end_vm(vm, CAUSE_TIMEOUT);
	else
		pause_vm(vm, vm->order.on_limit == WIRE_ON_LIMIT_PAUSE ? WIRE_SAVE_PAUSE
								       : WIRE_SAVE_PAUSE_FILES);
}

static void take_pause(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	if (!vm || !is_running(vm) || order->save <= vm->save_answered)
		return;
	if (!options.keep) {
		pause_vm(vm, order->how);
		return;
	}
	vm->save_answered = order->save;
	add_record(vm, WIRE_RECORD_RUNS_ON, CAUSE_NONE);
	records[records_n - 1].save = order->save;
	records[records_n - 1].refusal = REFUSAL_PAUSE_FAILED;
}

static struct vm *find_attempt(uint64_t attempt)
{
	for (uint32_t i = 0; i < vms_n; i++)
		if (vms[i].order.attempt == attempt && is_running(&vms[i]))
			return &vms[i];
	return NULL;
}

static void take_snapshot(const struct wire_order *order)
{
	const struct vm *source = find_attempt(order->source);
	struct wire_record *record;
	struct vm *vm = find_vm(order);

	if (vm)
		return;
	vm = add_vm(order);
	if (!source || options.keep) {
		refuse_vm(vm, source ? REFUSAL_SNAPSHOT_FAILED : REFUSAL_SANDBOX_UNKNOWN);
		return;
	}
	vm->kept = vm->saved = true;
	memcpy(vm->order.template, source->order.template, sizeof(vm->order.template));
	vm->order.vcpus = source->order.vcpus;
	vm->order.mem_mib = source->order.mem_mib;
	add_record(vm, WIRE_RECORD_KEPT, CAUSE_NONE);
	record = &records[records_n - 1];
	record->source = source->order.sandbox;
	record->transient = order->transient;
	record->saved_how = WIRE_SAVE_SNAPSHOT;
	record->saved_mib = 40;
	record->note = vm->order.note;
}

static void take_kill(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	/* What never began now never will. */
	if (!vm)
		vm = add_vm(order);
	if (is_waiting(vm))
		refuse_vm(vm, REFUSAL_CANCELLED);
	else if (is_running(vm))
		end_vm(vm, order->cause);
	else if (vm->saved) {
		vm->saved = false;
		add_record(vm, WIRE_RECORD_DISCARDED, order->cause);
	}
}

static void take_deadline(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	if (!vm || !is_running(vm) || order->deadline_version <= vm->deadline_version)
		return;
	vm->deadline_version = order->deadline_version;
	vm->end_at.ns = now_mono().ns + (order->end_wall_ns - now_wall_ns());
	if (order->note.n) {
		uint8_t *note = malloc(order->note.n); /* the record points to it for ever */

		CHECK(note);
		memcpy(note, order->note.data, order->note.n);
		vm->order.note = (struct wire_bytes){note, order->note.n};
		egress_write(order);
	}
	add_record(vm, WIRE_RECORD_USAGE, CAUSE_NONE);
	if (order->note.n)
		records[records_n - 1].note = vm->order.note;
}

static void take_order(const struct wire_order *order)
{
	switch (order->kind) {
	case WIRE_ORDER_CLAIM:
		take_claim(order);
		return;
	case WIRE_ORDER_KILL:
		take_kill(order);
		return;
	case WIRE_ORDER_DEADLINE:
		take_deadline(order);
		return;
	case WIRE_ORDER_PAUSE:
		take_pause(order);
		return;
	case WIRE_ORDER_SEND:
	case WIRE_ORDER_FETCH:
	case WIRE_ORDER_HAND_OVER:
		return; /* it says no platform, so none comes */
	case WIRE_ORDER_SNAPSHOT:
		take_snapshot(order);
		return;
	}
}

/* ---- what a leader says beside ---- */

static void take_epoch(uint64_t of_leader)
{
	if (of_leader <= epoch)
		return;
	epoch = of_leader;
	lease_is_known = false; /* the next one counts, be it shorter */
	links_tell_news();
}

/* What was given up ends as it is, frozen or not. */
static void take_lost_below(uint64_t below)
{
	if (below <= lost_below)
		return;
	lost_below = below;
	for (uint32_t i = 0; i < vms_n; i++) {
		struct vm *vm = &vms[i];
		if (vm->order.attempt >= below)
			continue;
		if (is_waiting(vm))
			refuse_vm(vm, REFUSAL_CANCELLED);
		else if (is_running(vm))
			end_vm(vm, CAUSE_NODE_LOST);
		else if (vm->saved) {
			vm->saved = false;
			add_record(vm, WIRE_RECORD_DISCARDED, CAUSE_NODE_LOST);
		}
	}
	links_tell_news();
}

static void thaw(struct mono now)
{
	for (uint32_t i = 0; i < vms_n; i++)
		if (is_running(&vms[i]))
			vms[i].started_at.ns += now.ns - lease_until.ns;
}

static void take_lease(uint64_t lease_ms, struct mono sent_at)
{
	struct mono now = now_mono(), until = {0};

	if (lease_ms && !sent_at.ns)
		return;
	if (lease_ms)
		until = mono_add_ms(sent_at, (int64_t)lease_ms);
	if (lease_is_known && lease_ms && until.ns <= lease_until.ns)
		return;
	if (lease_until.ns && lease_until.ns <= now.ns) {
		if (until.ns && until.ns <= now.ns)
			return;
		thaw(now);
	}
	lease_until = until;
	lease_is_known = true;
}

void vms_take_answer(const struct wire_answer *answer, struct mono sent_at)
{
	take_epoch(answer->epoch);
	take_lost_below(answer->lost_below);
	take_lease(answer->lease_ms, sent_at);
	for (size_t i = 0; i < answer->orders_n; i++)
		take_order(&answer->orders[i]);
	links_tell_records();
}

/* ---- time ---- */

static void turn_vm(struct vm *vm, struct mono now)
{
	if (is_waiting(vm) && vm->start_at.ns <= now.ns && may_begin())
		start_vm(vm);
	if (!is_running(vm))
		return;
	if (vm->end_at.ns <= now.ns)
		end_by_limit(vm);
	else if (options.usage_ms &&
		 (uint64_t)mono_ms_since(now, vm->started_at) >= vm->told_ms + options.usage_ms)
		add_record(vm, WIRE_RECORD_USAGE, CAUSE_NONE);
}

void vms_turn(void)
{
	struct mono now = now_mono();

	for (uint32_t i = 0; !is_frozen() && i < vms_n; i++)
		turn_vm(&vms[i], now);
	links_tell_records();
}

/* ---- what is said of it ---- */

uint32_t vms_running_n(void)
{
	return running_n;
}

uint64_t vms_epoch(void)
{
	return epoch;
}

void vms_fill_poll(struct wire_poll *poll)
{
	poll->at_wall_ns = now_wall_ns();
	poll->capacity =
		(struct wire_room){options.sandboxes * 2, (uint64_t)options.sandboxes * 512,
				   (uint64_t)options.sandboxes * 1024, options.sandboxes};
	poll->used = (struct wire_room){running_n * 2, (uint64_t)running_n * 512,
					(uint64_t)running_n * 1024, running_n};
	poll->epoch = epoch;
	poll->end_seq = vms_end_seq();
	poll->lost_below = lost_below;
	for (uint32_t i = 0; i < vms_n; i++)
		poll->pending_n += is_waiting(&vms[i]) && vms[i].order.attempt >> 32 < epoch;
	poll->leaving = options.leaving;
	snprintf(poll->boot_id, sizeof(poll->boot_id), "fake");
	snprintf(poll->version, sizeof(poll->version), "fake");
	if (options.trouble)
		snprintf(poll->trouble, sizeof(poll->trouble), "%s", options.trouble);
}

void vms_write_truth(const char *path)
{
	FILE *file = fopen(path, "w");

	CHECK(file);
	for (uint32_t i = 0; i < vms_n; i++) {
		const struct vm *vm = &vms[i];
		struct mono until = vm->ended     ? vm->ended_at
				    : is_frozen() ? lease_until
						  : now_mono();

		if (vm->started)
			fprintf(file, "%s %lld %d %llu\n", vm->order.sandbox.text,
				(long long)mono_ms_since(until, vm->started_at), vm->ended,
				(unsigned long long)(vm->order.attempt >> 32));
	}
	CHECK(fclose(file) == 0);
}

/* ---- life ---- */

void vms_open(void)
{
	vms = calloc(SANDBOXES_MAX, sizeof(*vms));
	CHECK(vms);
}

void vms_close(void)
{
	for (uint32_t i = 0; i < vms_n; i++)
		free((uint8_t *)(uintptr_t)vms[i].order.note.data);
	free(vms);
	free(records);
}

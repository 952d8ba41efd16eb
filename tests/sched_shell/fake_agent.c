/*
 * A node without a hypervisor: enrols, opens sessions and polls on the real bus, and says yes to
 * every claim.  For tests, chaos and benches of the scheduler.
 *
 *	fake_agent --bus tcp://127.0.0.1:3003 --token e2b_... [--name N] [--sandboxes N]
 *		   [--template NAME] [--claim-ms N] [--usage-ms N] [--refuse] [--truth FILE]
 *		   [--trouble TEXT] [--leaving]
 *
 * Ends on TERM, and then writes to --truth what really ran: a line "sandbox ran_ms ended" each.
 */
#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/bus.h"
#include "proto/envelope.h"
#include "proto/handshake.h"
#include "proto/pump.h"

#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SANDBOXES_MAX = 1 << 17,
	GREET_ID = 1 << 30, /* ids of the bus from here on: not the pump's */
	TURN_MS = 20,
	GREET_AGAIN_MS = 300,
};

/* A sandbox of ours; kept for ever, so that a repeated order finds its answer. */
struct vm {
	struct wire_order order;
	bool started, ended, refused;
	struct mono start_at, started_at, ended_at, end_at;
	uint64_t told_ms; /* of its time, by records */
	int64_t told_wall_ns;
	uint64_t deadline_version;
};

static struct {
	const char *bus, *token, *name, *template_, *truth;
	const char *trouble; /* why it can start nothing, as it says; NULL: nothing is wrong */
	uint32_t sandboxes, claim_ms, usage_ms;
	bool refuse;
	bool leaving;
} options = {.name = "fake", .template_ = "base", .sandboxes = 1000};

static uv_loop_t loop;
static uv_timer_t turn;
static uv_signal_t stop;
static struct bus bus;
static bool link_up;
static struct identity self;
static struct id node;
static uint8_t scheduler_key[IDENTITY_PUBLIC_N];
static struct handshake handshake;
static struct session session;
static struct pump_client pump;
static struct mono greeted_at;
static uint32_t greet_id = GREET_ID;
static struct vm *vms;
static uint32_t vms_n, running_n;
static struct wire_record *records;
static uint64_t records_n, records_cap;
static uint8_t out[WIRE_ENVELOPE_MAX], plain[WIRE_BODY_MAX];
static struct wire_arena arena;

static struct mono now_mono(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (struct mono){now.tv_sec * NS_PER_S + now.tv_nsec};
}

static int64_t now_wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void step_pump(struct pump_client_event *event);

/* ---- records ---- */

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
		.at_wall_ns = now_wall_ns(),
		.from_ms = vm->told_ms,
		.from_wall_ns = vm->told_wall_ns,
		.deadline_version = vm->deadline_version,
		.cause = cause,
		.refusal = kind == WIRE_RECORD_REFUSED ? REFUSAL_NODE_FULL : REFUSAL_NONE,
	};
	memcpy(record->plan, vm->order.plan, sizeof(record->plan));
	memcpy(record->template, vm->order.template, sizeof(record->template));
	snprintf(record->boot_id, sizeof(record->boot_id), "fake");
	if (vm->started && kind != WIRE_RECORD_STARTED)
		vm->told_ms = (uint64_t)mono_ms_since(until, vm->started_at);
	if (vm->started && !vm->ended)
		record->end_wall_ns = record->at_wall_ns + (vm->end_at.ns - now_mono().ns);
	record->to_ms = vm->told_ms;
	vm->told_wall_ns = record->at_wall_ns;
}

static void tell_records(void)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_RECORDS, .end_seq = records_n + 1};

	if (pump.end_seq <= records_n)
		step_pump(&event);
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

static struct vm *add_vm(const struct wire_order *order)
{
	CHECK(vms_n < SANDBOXES_MAX);
	vms[vms_n] = (struct vm){.order = *order, .told_wall_ns = now_wall_ns()};
	vms[vms_n].order.init = (struct wire_bytes){0};
	return &vms[vms_n++];
}

static void start_vm(struct vm *vm)
{
	if (options.refuse || running_n >= options.sandboxes) {
		vm->refused = true;
		add_record(vm, WIRE_RECORD_REFUSED, CAUSE_NONE);
		return;
	}
	running_n++;
	vm->started = true;
	vm->started_at = now_mono();
	vm->end_at = mono_add_ms(vm->started_at, (int64_t)vm->order.ttl_ms);
	vm->told_wall_ns = now_wall_ns();
	add_record(vm, WIRE_RECORD_STARTED, CAUSE_NONE);
}

static void end_vm(struct vm *vm, enum cause cause)
{
	vm->ended = true;
	vm->ended_at = now_mono();
	running_n--;
	add_record(vm, WIRE_RECORD_ENDED, cause);
}

static void take_claim(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	if (vm) /* again: the answer is on its way */
		return;
	vm = add_vm(order);
	vm->start_at = mono_add_ms(now_mono(), options.claim_ms);
	if (options.claim_ms == 0)
		start_vm(vm);
}

static void take_kill(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	if (!vm || (!vm->started && !vm->refused)) {
		/* Never began, and now never will. */
		if (!vm)
			vm = add_vm(order);
		vm->refused = true;
		add_record(vm, WIRE_RECORD_REFUSED, CAUSE_NONE);
		records[records_n - 1].refusal = REFUSAL_CANCELLED;
	} else if (vm->started && !vm->ended) {
		end_vm(vm, order->cause);
	}
}

static void take_deadline(const struct wire_order *order)
{
	struct vm *vm = find_vm(order);

	if (!vm || !vm->started || vm->ended || order->deadline_version <= vm->deadline_version)
		return;
	vm->deadline_version = order->deadline_version;
	vm->end_at.ns = now_mono().ns + (order->end_wall_ns - now_wall_ns());
	add_record(vm, WIRE_RECORD_USAGE, CAUSE_NONE);
}

static void take_answer(const struct wire_answer *answer)
{
	for (size_t i = 0; i < answer->orders_n; i++) {
		const struct wire_order *order = &answer->orders[i];
		switch (order->kind) {
		case WIRE_ORDER_CLAIM:
			take_claim(order);
			break;
		case WIRE_ORDER_KILL:
			take_kill(order);
			break;
		case WIRE_ORDER_DEADLINE:
			take_deadline(order);
			break;
		}
	}
	tell_records();
}

static void turn_vms(void)
{
	struct mono now = now_mono();

	for (uint32_t i = 0; i < vms_n; i++) {
		struct vm *vm = &vms[i];
		if (!vm->started && !vm->refused && vm->start_at.ns <= now.ns)
			start_vm(vm);
		if (!vm->started || vm->ended)
			continue;
		if (vm->end_at.ns <= now.ns)
			end_vm(vm, CAUSE_TIMEOUT);
		else if (options.usage_ms && (uint64_t)mono_ms_since(now, vm->started_at) >=
						     vm->told_ms + options.usage_ms)
			add_record(vm, WIRE_RECORD_USAGE, CAUSE_NONE);
	}
	tell_records();
}

/* ---- the bus ---- */

static void send_clear(const struct wire_shape *shape, const void *message)
{
	struct err err;
	size_t n;

	if (envelope_write_clear(shape, message, id_is_empty(&node) ? NULL : &node, out,
				 sizeof(out), &n, &err) == 0)
		bus_send(&bus, ++greet_id, out, n);
}

static void greet(void)
{
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};
	uint8_t random[HANDSHAKE_START_RANDOM_N];
	struct wire_enrol_request request = {0};

	greeted_at = now_mono();
	if (pump.is_open)
		step_pump(&closed);
	session_close(&session);
	if (id_is_empty(&node)) {
		snprintf(request.token, sizeof(request.token), "%s", options.token);
		memcpy(request.node_public_key, self.public_key, IDENTITY_PUBLIC_N);
		snprintf(request.host_name, sizeof(request.host_name), "%s", options.name);
		snprintf(request.version, sizeof(request.version), "fake");
		send_clear(&wire_shape_enrol_request, &request);
		return;
	}
	randombytes_buf(random, sizeof(random));
	handshake_start(&handshake, &self, &node, "fake", scheduler_key, random);
	send_clear(&wire_shape_session_hello, &handshake.hello);
}

static void send_poll(const struct pump_client_effect *effect)
{
	struct wire_template template_ = {
		.vcpus = 2, .mem_mib = 512, .disk_mib = 1024, .ready = true};
	struct wire_poll poll = {
		.at_wall_ns = now_wall_ns(),
		.capacity = {options.sandboxes * 2, (uint64_t)options.sandboxes * 512,
			     (uint64_t)options.sandboxes * 1024, options.sandboxes},
		.used = {running_n * 2, (uint64_t)running_n * 512, (uint64_t)running_n * 1024,
			 running_n},
		.templates = &template_,
		.templates_n = 1,
		.first_seq = effect->first_seq,
		.records = records + (effect->first_seq - 1),
		.records_n = effect->records_n,
		.epoch = pump.epoch,
		.leaving = options.leaving,
	};
	struct err err;
	size_t n;

	if (effect->records_n == 0)
		poll.records = NULL;
	snprintf(template_.name, sizeof(template_.name), "%s", options.template_);
	snprintf(template_.template_id, sizeof(template_.template_id), "fake");
	template_.warm_n = options.sandboxes - running_n;
	snprintf(poll.boot_id, sizeof(poll.boot_id), "fake");
	snprintf(poll.version, sizeof(poll.version), "fake");
	if (options.trouble)
		snprintf(poll.trouble, sizeof(poll.trouble), "%s", options.trouble);
	if (envelope_seal(&session, &wire_shape_poll, &poll, out, sizeof(out), &n, &err)) {
		fprintf(stderr, "fake_agent: %s\n", err.text);
		exit(1);
	}
	bus_send(&bus, effect->id, out, n);
}

static const struct wire_answer *taken;

static void step_pump(struct pump_client_event *event)
{
	struct pump_client_effects effects;
	bool renew = false;

	event->now = now_mono();
	pump_client_step(&pump, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		switch (effects.items[i].kind) {
		case PUMP_CLIENT_SEND:
			send_poll(&effects.items[i]);
			break;
		case PUMP_CLIENT_TAKE:
			take_answer(taken);
			break;
		case PUMP_CLIENT_RENEW:
			renew = true;
			break;
		case PUMP_CLIENT_REFUSE:
		case PUMP_CLIENT_ACKED:
			break;
		}
	}
	if (renew)
		greet();
}

static void on_clear(uint64_t token, const struct wire_envelope *envelope)
{
	struct pump_client_event open = {.kind = PUMP_CLIENT_OPEN};
	struct wire_session_welcome welcome;
	struct wire_enrol_reply reply;
	struct err err;

	arena.used = 0;
	if (envelope->kind == WIRE_KIND_ENROL_REPLY &&
	    wire_enrol_reply_decode(envelope->body.data, envelope->body.n, &arena, &reply, &err) ==
		    0) {
		if (!reply.ok) {
			fprintf(stderr, "fake_agent: %s\n", reply.refusal);
			exit(1);
		}
		node = reply.node;
		memcpy(scheduler_key, reply.scheduler_public_key, sizeof(scheduler_key));
		greet();
		return;
	}
	if (envelope->kind != WIRE_KIND_SESSION_WELCOME ||
	    wire_session_welcome_decode(envelope->body.data, envelope->body.n, &arena, &welcome,
					&err))
		return;
	if (token != greet_id) {
		if (mono_ms_since(now_mono(), greeted_at) > GREET_AGAIN_MS)
			greet();
		return;
	}
	if (handshake_finish(&handshake, &welcome, &session, &err) == 0)
		step_pump(&open);
}

static void on_message(struct bus *from, uint64_t token, const uint8_t *data, size_t n)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_ANSWER};
	struct wire_envelope envelope;
	struct wire_answer answer;
	struct wire_bytes body;
	struct err err;

	(void)from;
	if (envelope_read(data, n, &envelope, &err))
		return;
	if (envelope.session == 0) {
		on_clear(token, &envelope);
		return;
	}
	arena.used = 0;
	if (envelope_open(&session, &envelope, plain, sizeof(plain), &body, &err) ||
	    wire_answer_decode(body.data, body.n, &arena, &answer, &err))
		return;
	taken = &answer;
	event.answer.id = (uint32_t)token;
	event.answer.epoch = answer.epoch;
	event.answer.next_seq = answer.next_seq;
	event.answer.resync = answer.resync;
	step_pump(&event);
}

static void on_link(struct bus *from, bool up)
{
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};

	(void)from;
	link_up = up;
	if (up)
		greet();
	else if (pump.is_open)
		step_pump(&closed);
}

static void on_turn(uv_timer_t *timer)
{
	struct pump_client_event tick = {.kind = PUMP_CLIENT_TICK};
	struct mono at;

	(void)timer;
	turn_vms();
	if (pump_client_next_deadline(&pump, &at) && at.ns <= now_mono().ns)
		step_pump(&tick);
	if (!pump.is_open && link_up && mono_ms_since(now_mono(), greeted_at) > 1000)
		greet();
}

/* ---- life ---- */

static void write_truth(void)
{
	FILE *file = fopen(options.truth, "w");

	CHECK(file);
	for (uint32_t i = 0; i < vms_n; i++)
		if (vms[i].started)
			fprintf(file, "%s %lld %d\n", vms[i].order.sandbox.text,
				(long long)mono_ms_since(vms[i].ended ? vms[i].ended_at
								      : now_mono(),
							 vms[i].started_at),
				vms[i].ended);
	CHECK(fclose(file) == 0);
}

static void on_stop(uv_signal_t *signal, int number)
{
	(void)signal;
	(void)number;
	if (options.truth)
		write_truth();
	uv_close((uv_handle_t *)&turn, NULL);
	uv_close((uv_handle_t *)&stop, NULL);
	bus_close(&bus);
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"bus", 1, 0, 'b'},       {"token", 1, 0, 't'},    {"name", 1, 0, 'n'},
		{"sandboxes", 1, 0, 's'}, {"template", 1, 0, 'T'}, {"claim-ms", 1, 0, 'c'},
		{"usage-ms", 1, 0, 'u'},  {"refuse", 0, 0, 'r'},   {"truth", 1, 0, 'w'},
		{"trouble", 1, 0, 'x'},   {"leaving", 0, 0, 'l'},  {0},
	};
	int got;

	while ((got = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (got == 'b')
			options.bus = optarg;
		else if (got == 't')
			options.token = optarg;
		else if (got == 'n')
			options.name = optarg;
		else if (got == 's')
			options.sandboxes = (uint32_t)strtoul(optarg, NULL, 10);
		else if (got == 'T')
			options.template_ = optarg;
		else if (got == 'c')
			options.claim_ms = (uint32_t)strtoul(optarg, NULL, 10);
		else if (got == 'u')
			options.usage_ms = (uint32_t)strtoul(optarg, NULL, 10);
		else if (got == 'r')
			options.refuse = true;
		else if (got == 'w')
			options.truth = optarg;
		else if (got == 'x')
			options.trouble = optarg;
		else if (got == 'l')
			options.leaving = true;
		else
			exit(2);
	}
	if (!options.bus || !options.token) {
		fprintf(stderr, "fake_agent: --bus and --token are needed\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct bus_options to = {.message_max = WIRE_ENVELOPE_MAX};
	struct bus_callbacks callbacks = {.on_message = on_message, .on_link = on_link};
	uint8_t seed[IDENTITY_SEED_N];
	struct err err;

	read_options(argc, argv);
	CHECK(sodium_init() >= 0 && uv_loop_init(&loop) == 0);
	randombytes_buf(seed, sizeof(seed));
	identity_make(seed, &self);
	arena.size = wire_arena_need(&wire_shape_answer);
	arena.data = malloc(arena.size);
	vms = calloc(SANDBOXES_MAX, sizeof(*vms));
	CHECK(arena.data && vms);
	pump_client_init(&pump, 0, 1, 1);
	uv_timer_init(&loop, &turn);
	uv_timer_start(&turn, on_turn, TURN_MS, TURN_MS);
	uv_signal_init(&loop, &stop);
	uv_signal_start(&stop, on_stop, SIGTERM);
	to.url = options.bus;
	if (bus_dial(&bus, &loop, &to, &callbacks, &err)) {
		fprintf(stderr, "fake_agent: %s\n", err.text);
		return 1;
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	free(records);
	free(vms);
	free(arena.data);
	return 0;
}

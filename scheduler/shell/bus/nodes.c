#include "scheduler/shell/bus/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NODES_SWEEP_MS = 250 };

/* ---- the table ---- */

struct node *nodes_find(struct nodes *nodes, const char *id)
{
	uint32_t slot = index_find(&nodes->by_id, id);

	return slot == INDEX_NONE ? NULL : &nodes->nodes[slot];
}

struct node *nodes_add(struct nodes *nodes, const struct store_node *row)
{
	struct node *node = &nodes->nodes[nodes->nodes_n];

	if (nodes->nodes_n == nodes->options.nodes_max)
		return NULL;
	*node = (struct node){.id = row->row.id};
	memcpy(node->public_key, row->public_key, sizeof(node->public_key));
	node->orders_end = &node->orders;
	pump_server_init(&node->pump, row->row.next_seq);
	pump_server_lease(&node->pump, nodes->options.lease_ms);
	index_add(&nodes->by_id, nodes->nodes_n++);
	return node;
}

/* Adds what is stored. Of nodes that are there already, what is stored is what they hear. */
static int nodes_load(struct nodes *nodes, struct err *err)
{
	struct store *store = engine_store(nodes->engine);
	struct sqlite *reader = store_reader(store);
	struct store_node row;
	int got;

	if (sqlite_bind(reader, STORE_READ_NODES, SQL_NONE, err))
		return -1;
	while ((got = sqlite_next(reader, STORE_READ_NODES, err)) == 1) {
		store_node_row(store, STORE_READ_NODES, &row);
		struct node *node = nodes_find(nodes, row.row.id.text);
		if (node)
			node->pump.next_seq = row.row.next_seq;
		else
			nodes_add(nodes, &row);
	}
	return got;
}

const char *nodes_version(struct nodes *nodes, const struct id *node)
{
	const struct node *found = nodes_find(nodes, node->text);

	return found ? found->version : "";
}

/* ---- answering ---- */

/* An answer that is sent once the orders that go with it may be. */
struct due_answer {
	struct nodes *nodes;
	struct node *node;
	struct pump_answer answer;
};

static void nodes_on_due(void *data, bool durable)
{
	struct due_answer *due = data;

	if (durable)
		nodes_answer(due->nodes, due->node, &due->answer);
	free(due);
}

void nodes_step_pump(struct nodes *nodes, struct node *node, struct pump_server_event *event)
{
	struct pump_answers answers;

	event->now = engine_mono();
	pump_server_step(&node->pump, event, &answers);
	for (uint32_t i = 0; i < answers.n; i++) {
		struct core_event poll = {.kind = CORE_EVENT_NODE_POLL, .node_id = node->id};
		struct due_answer *due = malloc(sizeof(*due));
		CHECK(due);
		*due = (struct due_answer){nodes, node, answers.items[i]};
		engine_step(nodes->engine, &poll);
		engine_then(nodes->engine, nodes_on_due, due);
	}
}

static void nodes_on_sweep(uv_timer_t *timer)
{
	struct nodes *nodes = timer->data;
	struct mono now = engine_mono(), at;

	if (!engine_is_available(nodes->engine))
		return;
	for (uint32_t i = 0; i < nodes->nodes_n; i++) {
		struct node *node = &nodes->nodes[i];
		struct pump_server_event tick = {.kind = PUMP_SERVER_TICK};
		if (pump_server_next_deadline(&node->pump, &at) && at.ns <= now.ns)
			nodes_step_pump(nodes, node, &tick);
	}
}

void nodes_on_tell(struct nodes *nodes, const struct core_effect *effect)
{
	struct pump_server_event event = {0};
	struct node *node;

	if (effect->kind == CORE_EFFECT_ORDER) {
		nodes_keep_order(nodes, effect);
		return;
	}
	if (effect->kind == CORE_EFFECT_WAKE) {
		node = nodes_find(nodes, effect->node_id.text);
		event.kind = PUMP_SERVER_WAKE;
	} else {
		CHECK(effect->kind == CORE_EFFECT_ACK);
		node = nodes_find(nodes, effect->ack.node.text);
		event.kind = PUMP_SERVER_DURABLE;
		event.next_seq = effect->ack.next_seq;
		event.resync = effect->ack.resync;
	}
	if (node)
		nodes_step_pump(nodes, node, &event);
}

void nodes_on_lost(struct nodes *nodes)
{
	struct err err;

	for (uint32_t i = 0; i < nodes->nodes_n; i++)
		nodes_drop_orders(&nodes->nodes[i]);
	/* What the store says is what was acknowledged. */
	if (nodes_load(nodes, &err))
		log_error("bus", "cannot read the nodes", LOG_ERR(&err));
}

/* Polls stayed parked meanwhile. Records that came with them were lost, and are asked for again. */
void nodes_on_rebuilt(struct nodes *nodes)
{
	struct err err;

	if (nodes_load(nodes, &err))
		log_error("bus", "cannot read the nodes", LOG_ERR(&err));
	for (uint32_t i = 0; i < nodes->nodes_n; i++) {
		struct node *node = &nodes->nodes[i];
		struct pump_server_event event = {.kind = PUMP_SERVER_DURABLE,
						  .next_seq = node->pump.next_seq,
						  .resync = true};
		nodes_step_pump(nodes, node, &event);
	}
}

void nodes_on_lead(struct nodes *nodes)
{
	for (uint32_t i = 0; i < nodes->nodes_n; i++) {
		struct pump_server_event wake = {.kind = PUMP_SERVER_WAKE};
		nodes_step_pump(nodes, &nodes->nodes[i], &wake);
	}
}

void nodes_on_enrolled(struct nodes *nodes, const struct store_node *row)
{
	if (nodes_find(nodes, row->row.id.text))
		return;
	if (nodes_add(nodes, row))
		log_info("bus", "enrolled", LOG_TEXT("node", row->row.id.text),
			 LOG_TEXT("name", row->row.name));
	else
		log_error("bus", "a node is enrolled beyond --limits-nodes",
			  LOG_TEXT("node", row->row.id.text));
}

/* ---- messages ---- */

void nodes_reply_clear(struct nodes *nodes, uint64_t token, const struct wire_shape *shape,
		       const void *message)
{
	struct err err;
	size_t n;

	if (envelope_write_clear(shape, message, NULL, nodes->out, WIRE_ENVELOPE_MAX, &n, &err))
		log_error("bus", "cannot answer", LOG_ERR(&err));
	else
		bus_reply(&nodes->bus, token, nodes->out, n);
}

static void nodes_take_poll(struct nodes *nodes, struct node *node, uint64_t token,
			    const struct wire_poll *poll)
{
	struct core_event report = {.kind = CORE_EVENT_NODE_REPORT,
				    .report = {.node = node->id, .poll = poll}};
	struct pump_server_event parked = {.kind = PUMP_SERVER_POLL, .token = token};

	/* More was acknowledged than we have: this is an older copy of the database, and the node
	 * shall send again what it lacks, now and not only when its next record shows the gap. */
	bool is_older = poll->first_seq > node->pump.next_seq;
	bool lacks = !poll->records_n && is_older;
	if (poll->records_n || lacks)
		parked.end_seq = poll->first_seq + poll->records_n;
	/* Without a store nothing can be promised: it waits, and is asked for its records again. */
	if (!engine_is_available(nodes->engine)) {
		nodes_step_pump(nodes, node, &parked);
		return;
	}
	/* Attempts of its epoch may have been given out already, even if it is none that is over.
	 */
	if (is_older && !nodes->options.leads)
		engine_renew(nodes->engine, poll->epoch);
	snprintf(node->version, sizeof(node->version), "%s", poll->version);
	engine_step(nodes->engine, &report);
	for (size_t i = 0; i < poll->records_n; i++)
		records_take(nodes, node, &poll->records[i]);
	nodes->options.metrics->polls++;
	nodes->options.metrics->records += poll->records_n;
	nodes_step_pump(nodes, node, &parked);
	if (lacks) {
		struct pump_server_event resync = {.kind = PUMP_SERVER_DURABLE,
						   .next_seq = node->pump.next_seq,
						   .resync = true};
		log_warn("bus", "asked a node for records again: the database is an older copy",
			 LOG_TEXT("node", node->id.text), LOG_UINT("from", resync.next_seq));
		nodes_step_pump(nodes, node, &resync);
	}
}

static void nodes_begin_session(struct nodes *nodes, struct node *node)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SESSION, .node_id = node->id};
	struct pump_server_event parked = {.kind = PUMP_SERVER_SESSION};

	log_info("bus", "session", LOG_TEXT("node", node->id.text));
	nodes_drop_orders(node);
	engine_step(nodes->engine, &event);
	nodes_step_pump(nodes, node, &parked);
}

static void nodes_take_build(struct nodes *nodes, struct node *node, uint64_t token,
			     const struct wire_bytes *body)
{
	struct wire_build_tell tell = {0};
	struct wire_build_ask ask;
	struct err err;
	size_t n;

	nodes->arena.used = 0;
	if (wire_build_ask_decode(body->data, body->n, &nodes->arena, &ask, &err)) {
		nodes->options.metrics->bus_refused++;
		log_warn("bus", "a node says what it must not", LOG_TEXT("node", node->id.text),
			 LOG_ERR(&err));
		return;
	}
	builds_take(nodes->options.builds, &node->id, &ask, &tell);
	if (envelope_seal(&node->peer.current, &wire_shape_build_tell, &tell, nodes->out,
			  WIRE_ENVELOPE_MAX, &n, &err))
		log_error("bus", "cannot answer", LOG_TEXT("node", node->id.text), LOG_ERR(&err));
	else
		bus_reply(&nodes->bus, token, nodes->out, n);
}

static void nodes_on_sealed(struct nodes *nodes, uint64_t token,
			    const struct wire_envelope *envelope)
{
	struct node *node = nodes_find(nodes, envelope->node.text);
	struct wire_session_welcome no;
	struct wire_bytes body;
	struct wire_poll poll;
	bool is_new;
	struct err err;

	if (!node || envelope_peer_open(&node->peer, envelope, nodes->plain, WIRE_BODY_MAX, &body,
					&is_new, &err)) {
		nodes->options.metrics->bus_refused++;
		handshake_refuse(&nodes->self, NULL, "this session is not known", &no);
		nodes_reply_clear(nodes, token, &wire_shape_session_welcome, &no);
		return;
	}
	if (is_new)
		nodes_begin_session(nodes, node);
	if (envelope->kind == WIRE_KIND_OBSERVED) {
		nodes_take_observed(nodes, node, &body);
		return;
	}
	if (envelope->kind == WIRE_KIND_BUILD_ASK) {
		nodes_take_build(nodes, node, token, &body);
		return;
	}
	nodes->arena.used = 0;
	if (envelope->kind != WIRE_KIND_POLL ||
	    wire_poll_decode(body.data, body.n, &nodes->arena, &poll, &err)) {
		nodes->options.metrics->bus_refused++;
		log_warn("bus", "a node says what it must not", LOG_TEXT("node", node->id.text),
			 LOG_ERR(&err));
		return;
	}
	nodes_take_poll(nodes, node, token, &poll);
}

static void nodes_on_message(struct bus *bus, uint64_t token, const uint8_t *data, size_t n)
{
	struct nodes *nodes = bus->user;
	struct wire_envelope envelope;
	struct err err = {{0}};

	if (envelope_read(data, n, &envelope, &err)) {
		nodes->options.metrics->bus_refused++;
		log_debug("bus", "not an envelope", LOG_ERR(&err));
	} else if (envelope.session != 0) {
		nodes_on_sealed(nodes, token, &envelope);
	} else if (envelope.kind == WIRE_KIND_ENROL_REQUEST) {
		nodes_on_enrol(nodes, token, &envelope.body);
	} else if (envelope.kind == WIRE_KIND_SESSION_HELLO) {
		nodes_on_hello(nodes, token, &envelope.body);
	} else {
		nodes->options.metrics->bus_refused++;
	}
}

/* ---- open and close ---- */

static void nodes_free(struct nodes *nodes)
{
	struct enrolment *enrolment;

	while ((enrolment = nodes->enrolments) != NULL) {
		nodes->enrolments = enrolment->next;
		free(enrolment);
	}
	if (nodes->nodes)
		munmap(nodes->nodes, nodes->options.nodes_max * sizeof(*nodes->nodes));
	sodium_memzero(&nodes->self, sizeof(nodes->self));
	free(nodes->index_memory);
	free(nodes->arena.data);
	free(nodes->plain);
	free(nodes->out);
	free(nodes);
}

static void nodes_on_closed(struct bus *bus)
{
	nodes_free(bus->user);
}

static int nodes_listen(struct nodes *nodes, uv_loop_t *loop, struct err *err)
{
	struct bus_callbacks callbacks = {
		.on_message = nodes_on_message, .on_closed = nodes_on_closed, .user = nodes};
	char address[ADDRESS_TEXT_MAX], url[ADDRESS_TEXT_MAX + 8];
	struct bus_options options = {.url = url, .message_max = WIRE_ENVELOPE_MAX};

	address_format(&nodes->options.listen, address);
	snprintf(url, sizeof(url), "tcp://%s", address);
	return bus_listen(&nodes->bus, loop, &options, &callbacks, err);
}

static void nodes_allocate(struct nodes *nodes)
{
	size_t index_n = index_bytes(nodes->options.nodes_max);

	/* Slots that no node uses yet cost nothing. */
	nodes->nodes =
		mmap(NULL, nodes->options.nodes_max * sizeof(*nodes->nodes), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	nodes->index_memory = calloc(1, index_n);
	nodes->arena.size = wire_arena_need(&wire_shape_poll);
	CHECK(nodes->arena.size >= wire_arena_need(&wire_shape_observed) &&
	      nodes->arena.size >= wire_arena_need(&wire_shape_build_ask));
	nodes->arena.data = malloc(nodes->arena.size);
	nodes->plain = malloc(WIRE_BODY_MAX);
	nodes->out = malloc(WIRE_ENVELOPE_MAX);
	CHECK(nodes->nodes != MAP_FAILED && nodes->index_memory && nodes->arena.data &&
	      nodes->plain && nodes->out);
	index_init(&nodes->by_id, nodes->index_memory, nodes->options.nodes_max, nodes->nodes,
		   sizeof(*nodes->nodes));
}

int nodes_open(struct nodes **out_nodes, uv_loop_t *loop, const struct nodes_options *options,
	       struct err *err)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));

	CHECK(nodes);
	nodes->options = *options;
	nodes->engine = options->engine;
	identity_make(options->secrets->bus_seed, &nodes->self);
	nodes_allocate(nodes);
	if (nodes_load(nodes, err) || nodes_listen(nodes, loop, err)) {
		nodes_free(nodes);
		return err_wrap(err, "bus");
	}
	nodes->sweep = calloc(1, sizeof(*nodes->sweep));
	CHECK(nodes->sweep);
	nodes->sweep->data = nodes;
	uv_timer_init(loop, nodes->sweep);
	uv_timer_start(nodes->sweep, nodes_on_sweep, NODES_SWEEP_MS, NODES_SWEEP_MS);
	*out_nodes = nodes;
	return 0;
}

static void nodes_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void nodes_close(struct nodes *nodes)
{
	if (!nodes)
		return;
	for (uint32_t i = 0; i < nodes->nodes_n; i++) {
		nodes_drop_orders(&nodes->nodes[i]);
		session_close(&nodes->nodes[i].peer.current);
		session_close(&nodes->nodes[i].peer.offered);
	}
	uv_close((uv_handle_t *)nodes->sweep, nodes_free_handle);
	bus_close(&nodes->bus);
}

struct address nodes_address(const struct nodes *nodes)
{
	struct address address = nodes->options.listen;

	address.port = nodes->bus.port;
	return address;
}

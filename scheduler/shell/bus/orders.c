/* From ORDER effects to the answers that carry them, with what the core does not keep added. */
#include "scheduler/shell/bus/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "scheduler/shell/ingress.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the guest is told of itself; the node adds the time. */
static char *orders_init(struct nodes *nodes, const struct id *sandbox, const char *envs_text,
			 bool resumes)
{
	json_t *envs = json_loads(envs_text, 0, NULL), *init;
	char token[ENVD_TOKEN_TEXT_MAX];
	char *text;

	fleet_key_envd_token(&nodes->options.secrets->fleet, sandbox, token);
	/* User and working directory are the template's. */
	init = json_pack("{s:s,s:s}", "accessToken", token, "hostname", sandbox->text);
	CHECK(init);
	/* What is resumed remembers its environment; here it is not kept. */
	if (!resumes)
		json_object_set_new(init, "envVars", envs ? envs : json_object());
	else
		json_decref(envs);
	text = json_dumps(init, JSON_COMPACT);
	CHECK(text);
	json_decref(init);
	return text;
}

/* All that its row holds and its node's records do not tell, for the other replicas. NULL: the row
 * cannot be that long (api/e2b_create.c sees to it). */
static uint8_t *orders_note(struct sqlite *reader, size_t *out_n)
{
	const char *metadata = sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 1);
	struct wire_sandbox_note note = {
		.metadata = {(const uint8_t *)metadata, strlen(metadata)},
		.created_at_ns = sqlite_int(reader, STORE_READ_SANDBOX_EXTRA, 4),
		.timeout_s = (uint32_t)sqlite_int(reader, STORE_READ_SANDBOX_EXTRA, 5),
		.auto_resume = sqlite_int(reader, STORE_READ_SANDBOX_EXTRA, 7) != 0,
	};
	uint8_t *bytes = malloc(WIRE_NOTE_MAX);
	struct err err;
	size_t n;
	const void *hash = sqlite_blob(reader, STORE_READ_SANDBOX_EXTRA, 3, &n);

	CHECK(bytes);
	if (!sqlite_is_null(reader, STORE_READ_SANDBOX_EXTRA, 6)) {
		const char *network = sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 6);

		note.network = (struct wire_bytes){(const uint8_t *)network, strlen(network)};
	}
	snprintf(note.idempotency_key, sizeof(note.idempotency_key), "%s",
		 sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 2));
	if (n == sizeof(note.idempotency_hash))
		memcpy(note.idempotency_hash, hash, n);
	if (wire_sandbox_note_encode(&note, bytes, WIRE_NOTE_MAX, out_n, &err) == 0)
		return bytes;
	log_error("bus", "a note is too long", LOG_ERR(&err));
	free(bytes);
	*out_n = 0;
	return NULL;
}

/* What the gateway shall know, and the ticket that vouches for it. */
static void orders_ingress(struct nodes *nodes, struct node_order *kept)
{
	struct sqlite *reader = store_reader(engine_store(nodes->engine));
	struct wire_order *order = &kept->order;
	struct ticket ticket;

	if (!sqlite_is_null(reader, STORE_READ_SANDBOX_EXTRA, 6))
		order->ingress.n = ingress_encode(sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 6),
						  kept->ingress);
	order->ingress.data = kept->ingress;
	ticket = fleet_key_ticket(&nodes->options.secrets->fleet, &order->sandbox, kept->ingress,
				  order->ingress.n);
	memcpy(order->ticket, ticket.bytes, sizeof(order->ticket));
}

/* False: not now; the core gives the order again. */
static bool orders_complete_claim(struct nodes *nodes, struct node_order *kept)
{
	struct sqlite *reader = store_reader(engine_store(nodes->engine));
	struct wire_order *order = &kept->order;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SANDBOX_EXTRA, SQL(SQL_TEXT(order->sandbox.text)),
			&err) == 0)
		got = sqlite_next(reader, STORE_READ_SANDBOX_EXTRA, &err);
	if (got < 0)
		log_error("store", "cannot read a sandbox", LOG_ERR(&err));
	if (got != 1)
		return false;
	kept->init =
		orders_init(nodes, &order->sandbox,
			    sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 0), order->resume != 0);
	order->init = (struct wire_bytes){(const uint8_t *)kept->init, strlen(kept->init)};
	kept->note = orders_note(reader, &order->note.n);
	order->note.data = kept->note;
	orders_ingress(nodes, kept);
	sqlite_reset(reader, STORE_READ_SANDBOX_EXTRA);
	snprintf(order->gateway, sizeof(order->gateway), "%s", nodes->options.gateway_tunnel);
	return true;
}

void nodes_keep_order(struct nodes *nodes, const struct core_effect *effect)
{
	struct node *node = nodes_find(nodes, effect->order.node.text);
	struct node_order *kept;

	if (!node)
		return;
	kept = calloc(1, sizeof(*kept));
	CHECK(kept);
	kept->order = effect->order.order;
	if (kept->order.kind == WIRE_ORDER_CLAIM && !orders_complete_claim(nodes, kept)) {
		free(kept);
		return;
	}
	*node->orders_end = kept;
	node->orders_end = &kept->next;
}

static void orders_drop_first(struct node *node)
{
	struct node_order *first = node->orders;

	node->orders = first->next;
	if (!node->orders)
		node->orders_end = &node->orders;
	free(first->init);
	free(first->note);
	free(first);
}

void nodes_drop_orders(struct node *node)
{
	while (node->orders)
		orders_drop_first(node);
}

/* Seals and sends; an answer that is lost costs a poll, and the core gives its orders again. */
static void orders_send(struct nodes *nodes, struct node *node, uint64_t token,
			const struct wire_answer *answer)
{
	struct err err;
	size_t n;

	if (envelope_seal(&node->peer.current, &wire_shape_answer, answer, nodes->out,
			  WIRE_ENVELOPE_MAX, &n, &err))
		log_error("bus", "cannot answer", LOG_TEXT("node", node->id.text), LOG_ERR(&err));
	else
		bus_reply(&nodes->bus, token, nodes->out, n);
}

/* By its own clock: a leader that slept may be none any more, and must promise nothing. */
static bool nodes_speak_as_leader(const struct nodes *nodes)
{
	if (!nodes->options.leads)
		return true;
	return engine_is_available(nodes->engine) &&
	       core_role(engine_core(nodes->engine)) != CORE_STANDBY &&
	       nodes->options.leads(nodes->options.data);
}

static void orders_answer_as_leader(struct nodes *nodes, struct node *node, uint64_t token,
				    struct wire_answer *answer)
{
	struct node_order *at = node->orders;
	struct pump_server_event wake = {.kind = PUMP_SERVER_WAKE};
	struct core_node_view view;

	if (core_node_find(engine_core(nodes->engine), &node->id, &view))
		answer->lost_below = view.lost_below;
	answer->lease_ms = nodes->options.lease_ms;
	nodes->batch.n = nodes->batch.bytes = 0;
	while (at && pump_batch_add(&nodes->batch, &at->order))
		at = at->next;
	answer->orders_n = nodes->batch.n;
	orders_send(nodes, node, token, answer);
	nodes->options.metrics->orders += nodes->batch.n;
	for (size_t i = 0; i < answer->orders_n; i++)
		orders_drop_first(node);
	if (node->orders)
		nodes_step_pump(nodes, node, &wake);
}

void nodes_answer(struct nodes *nodes, struct node *node, const struct pump_answer *due)
{
	struct wire_answer answer = {
		.epoch = engine_epoch(nodes->engine),
		.next_seq = node->pump.next_seq,
		.resync = due->resync,
		.orders = nodes->batch.orders,
		.standby = !nodes_speak_as_leader(nodes),
	};

	if (answer.standby)
		orders_send(nodes, node, due->token, &answer);
	else
		orders_answer_as_leader(nodes, node, due->token, &answer);
}

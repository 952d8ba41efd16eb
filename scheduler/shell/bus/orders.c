/* From ORDER effects to the answers that carry them, with what the core does not keep added. */
#include "scheduler/shell/bus/internal.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/log.h"
#include "scheduler/shell/egress/encode.h"
#include "scheduler/shell/ingress.h"
#include "scheduler/shell/vault.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of STORE_READ_SANDBOX_EXTRA. */
enum { COLUMN_NETWORK = 6, COLUMN_NETWORK_NEXT = 8 };

/* What the guest is told of itself, for vault_free; the node adds the time. NULL: err says why. */
static char *orders_init(struct nodes *nodes, const struct wire_order *order, const char *envs_text,
			 struct err *err)
{
	const struct id *sandbox = &order->sandbox;
	json_t *init;
	char token[ENVD_TOKEN_TEXT_MAX];
	char *text, *envs;

	fleet_key_envd_token(&nodes->options.secrets->fleet, sandbox, token);
	/* User and working directory are the template's. */
	init = json_pack("{s:s,s:s}", "accessToken", token, "hostname", sandbox->text);
	CHECK(init);
	/* What goes on remembers its environment, and gets what is new; that of what is resumed is
	 * not kept here. */
	if (!order->resume || (envs_text[0] && strcmp(envs_text, "{}") != 0)) {
		envs = vault_envs_fill(nodes->options.secrets, engine_store(nodes->engine),
				       &order->tenant, envs_text, err);
		if (!envs) {
			json_decref(init);
			return NULL;
		}
		json_object_set_new(init, "envVars", json_loads(envs, 0, NULL));
		vault_free(envs);
	}
	text = json_dumps(init, JSON_COMPACT);
	CHECK(text);
	json_decref(init);
	return text;
}

/* All that its row holds and its node's records do not tell, for the other replicas. NULL: the row
 * cannot be that long (api/e2b_create.c sees to it). */
static uint8_t *orders_note(struct sqlite *reader, const struct id *sandbox, int network_column,
			    size_t *out_n)
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
	int fault;
	size_t n;
	const void *hash = sqlite_blob(reader, STORE_READ_SANDBOX_EXTRA, 3, &n);

	CHECK(bytes);
	if (!sqlite_is_null(reader, STORE_READ_SANDBOX_EXTRA, network_column)) {
		const char *network = sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, network_column);

		note.network = (struct wire_bytes){(const uint8_t *)network, strlen(network)};
	}
	if (sqlite_bind(reader, STORE_READ_MOUNTS, SQL(SQL_TEXT(sandbox->text)), &err) == 0 &&
	    sqlite_next(reader, STORE_READ_MOUNTS, &err) == 1 &&
	    !sqlite_is_null(reader, STORE_READ_MOUNTS, 0)) {
		const char *mounts = sqlite_text(reader, STORE_READ_MOUNTS, 0);

		note.mounts = (struct wire_bytes){(const uint8_t *)mounts, strlen(mounts)};
	}
	snprintf(note.idempotency_key, sizeof(note.idempotency_key), "%s",
		 sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 2));
	if (n == sizeof(note.idempotency_hash))
		memcpy(note.idempotency_hash, hash, n);
	fault = wire_sandbox_note_encode(&note, bytes, WIRE_NOTE_MAX, out_n, &err);
	sqlite_reset(reader, STORE_READ_MOUNTS);
	if (!fault)
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

static void orders_egress(struct nodes *nodes, struct sqlite *reader, int network_column,
			  struct node_order *kept)
{
	const struct egress_sources sources = {.secrets = nodes->options.secrets,
					       .store = engine_store(nodes->engine),
					       .issuer = nodes->options.issuer,
					       .now_s = engine_wall().ns / NS_PER_S};
	struct err problem;
	const char *network =
		sqlite_is_null(reader, STORE_READ_SANDBOX_EXTRA, network_column)
			? NULL
			: sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, network_column);

	kept->egress = malloc(WIRE_EGRESS_MAX);
	CHECK(kept->egress);
	kept->order.egress.n = egress_encode(&sources, &kept->order.tenant, &kept->order.sandbox,
					     network, kept->egress, &problem);
	kept->order.egress.data = kept->egress;
}

/* False: not now; the core gives the order again. */
static bool orders_complete(struct nodes *nodes, struct node_order *kept)
{
	struct sqlite *reader = store_reader(engine_store(nodes->engine));
	struct wire_order *order = &kept->order;
	bool claims = order->kind == WIRE_ORDER_CLAIM;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SANDBOX_EXTRA, SQL(SQL_TEXT(order->sandbox.text)),
			&err) == 0)
		got = sqlite_next(reader, STORE_READ_SANDBOX_EXTRA, &err);
	if (got < 0)
		log_error("store", "cannot read a sandbox", LOG_ERR(&err));
	if (got != 1)
		return false;
	if (claims) {
		kept->init = orders_init(nodes, order,
					 sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 0), &err);
		if (!kept->init) {
			log_error("bus", "a sandbox's environment cannot be made",
				  LOG_TEXT("sandbox", order->sandbox.text), LOG_ERR(&err));
			sqlite_reset(reader, STORE_READ_SANDBOX_EXTRA);
			return false;
		}
		order->init = (struct wire_bytes){(const uint8_t *)kept->init, strlen(kept->init)};
		orders_ingress(nodes, kept);
		orders_egress(nodes, reader, COLUMN_NETWORK, kept);
	}
	if (order->kind == WIRE_ORDER_DEADLINE) {
		/* Nothing but the limit moves. */
		if (sqlite_is_null(reader, STORE_READ_SANDBOX_EXTRA, COLUMN_NETWORK_NEXT)) {
			sqlite_reset(reader, STORE_READ_SANDBOX_EXTRA);
			return true;
		}
		orders_egress(nodes, reader, COLUMN_NETWORK_NEXT, kept);
	}
	kept->note = orders_note(reader, &order->sandbox,
				 order->kind == WIRE_ORDER_DEADLINE ? COLUMN_NETWORK_NEXT
								    : COLUMN_NETWORK,
				 &order->note.n);
	order->note.data = kept->note;
	sqlite_reset(reader, STORE_READ_SANDBOX_EXTRA);
	if (claims)
		snprintf(order->gateway, sizeof(order->gateway), "%s",
			 nodes->options.gateway_tunnel);
	return true;
}

/* Whoever sends is let in by the gateway like a sandbox of this name, with a ticket for one that
 * only lets in who has its token; whoever fetches has that. */
static void orders_complete_transfer(struct nodes *nodes, struct node_order *kept)
{
	const struct fleet_key *key = &nodes->options.secrets->fleet;
	struct wire_order *order = &kept->order;
	struct ticket ticket;

	if (order->kind == WIRE_ORDER_FETCH) {
		snprintf(order->url, sizeof(order->url), "%s", nodes->options.gateway_url);
		fleet_key_traffic_token(key, &order->sandbox, order->token);
		return;
	}
	order->ingress.n = ingress_encode("{\"allowPublicTraffic\":false}", kept->ingress);
	order->ingress.data = kept->ingress;
	ticket = fleet_key_ticket(key, &order->sandbox, kept->ingress, order->ingress.n);
	memcpy(order->ticket, ticket.bytes, sizeof(order->ticket));
	snprintf(order->gateway, sizeof(order->gateway), "%s", nodes->options.gateway_tunnel);
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
	if ((kept->order.kind == WIRE_ORDER_CLAIM || kept->order.kind == WIRE_ORDER_SNAPSHOT ||
	     kept->order.kind == WIRE_ORDER_DEADLINE) &&
	    !orders_complete(nodes, kept)) {
		free(kept);
		return;
	}
	if (kept->order.kind == WIRE_ORDER_SEND || kept->order.kind == WIRE_ORDER_FETCH)
		orders_complete_transfer(nodes, kept);
	*node->orders_end = kept;
	node->orders_end = &kept->next;
}

static void orders_drop_first(struct node *node)
{
	struct node_order *first = node->orders;

	node->orders = first->next;
	if (!node->orders)
		node->orders_end = &node->orders;
	vault_free(first->init);
	free(first->note);
	if (first->egress)
		sodium_memzero(first->egress, first->order.egress.n);
	free(first->egress);
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

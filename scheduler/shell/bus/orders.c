/* From ORDER effects to the answers that carry them, with what the core does not keep added. */
#include "scheduler/shell/bus/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the guest is told of itself; the node adds the time. NULL: the store cannot be read. */
static char *orders_init(struct nodes *nodes, const struct id *sandbox)
{
	struct sqlite *reader = store_reader(engine_store(nodes->engine));
	char token[ENVD_TOKEN_TEXT_MAX];
	json_t *envs = NULL, *init;
	struct err err;
	char *text;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SANDBOX_ENVS, SQL(SQL_TEXT(sandbox->text)), &err) == 0)
		got = sqlite_next(reader, STORE_READ_SANDBOX_ENVS, &err);
	if (got == 1) {
		envs = json_loads(sqlite_text(reader, STORE_READ_SANDBOX_ENVS, 0), 0, NULL);
		sqlite_reset(reader, STORE_READ_SANDBOX_ENVS);
	}
	if (got < 0) {
		log_error("store", "cannot read a sandbox", LOG_ERR(&err));
		return NULL;
	}
	fleet_key_envd_token(&nodes->options.secrets->fleet, sandbox, token);
	init = json_pack("{s:o,s:s,s:s,s:s}", "envVars", envs ? envs : json_object(), "accessToken",
			 token, "hostname", sandbox->text, "defaultUser", "user");
	CHECK(init);
	text = json_dumps(init, JSON_COMPACT);
	CHECK(text);
	json_decref(init);
	return text;
}

/* False: not now; the core gives the order again. */
static bool orders_complete_claim(struct nodes *nodes, struct node_order *kept)
{
	struct wire_order *order = &kept->order;
	struct ticket ticket;

	kept->init = orders_init(nodes, &order->sandbox);
	if (!kept->init)
		return false;
	order->init.data = (const uint8_t *)kept->init;
	order->init.n = strlen(kept->init);
	ticket = fleet_key_ticket(&nodes->options.secrets->fleet, &order->sandbox);
	memcpy(order->ticket, ticket.bytes, sizeof(order->ticket));
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

void nodes_answer(struct nodes *nodes, struct node *node, const struct pump_answer *due)
{
	struct wire_answer answer = {
		.epoch = engine_epoch(nodes->engine),
		.next_seq = node->pump.next_seq,
		.resync = due->resync,
		.orders = nodes->batch.orders,
	};
	struct node_order *at = node->orders;
	struct pump_server_event wake = {.kind = PUMP_SERVER_WAKE};
	struct core_node_view view;

	if (core_node_find(engine_core(nodes->engine), &node->id, &view))
		answer.lost_below = view.lost_below;
	nodes->batch.n = nodes->batch.bytes = 0;
	while (at && pump_batch_add(&nodes->batch, &at->order))
		at = at->next;
	answer.orders_n = nodes->batch.n;
	orders_send(nodes, node, due->token, &answer);
	nodes->options.metrics->orders += nodes->batch.n;
	for (size_t i = 0; i < answer.orders_n; i++)
		orders_drop_first(node);
	if (node->orders)
		nodes_step_pump(nodes, node, &wake);
}

/* What the files of the bus side share. */
#ifndef FLOTILLA_SHELL_BUS_INTERNAL_H
#define FLOTILLA_SHELL_BUS_INTERNAL_H

#include "common/base/index.h"
#include "common/io/bus.h"
#include "proto/envelope.h"
#include "proto/handshake.h"
#include "proto/pump.h"
#include "scheduler/shell/bus/nodes.h"

enum { NODES_VERSION_MAX = 33 };

/* An order that waits for a poll to answer. */
struct node_order {
	struct node_order *next;
	struct wire_order order;
	char *init;                        /* malloc'ed: what order.init points to */
	uint8_t *note;                     /* and order.note */
	uint8_t ingress[WIRE_INGRESS_MAX]; /* and order.ingress */
	uint8_t *egress;                   /* malloc'ed: what order.egress points to */
};

struct node {
	struct id id; /* first: what the index reads */
	uint8_t public_key[STORE_PUBLIC_KEY_N];
	char version[NODES_VERSION_MAX];
	struct envelope_peer peer;
	struct pump_server pump;
	struct node_order *orders, **orders_end; /* oldest first */
};

/* A node whose enrolment is being made durable. */
struct enrolment {
	struct enrolment *next;
	struct nodes *nodes;
	uint64_t token; /* of the bus: who is to be answered */
	struct store_node_new row;
};

struct nodes {
	struct nodes_options options;
	struct engine *engine;
	struct bus bus;
	uv_timer_t *sweep; /* freed by its close callback */
	struct identity self;
	struct node *nodes; /* options.nodes_max of them, in one mapping */
	uint32_t nodes_n;
	struct index by_id;
	void *index_memory;
	struct enrolment *enrolments;
	/* Where messages are taken apart and put together. */
	struct wire_arena arena;
	uint8_t *plain, *out;
	struct pump_batch batch;
};

/* The node of that id, or NULL. */
struct node *nodes_find(struct nodes *nodes, const char *id);

/* Adds a node as stored; NULL: there are nodes_max already. */
struct node *nodes_add(struct nodes *nodes, const struct store_node *row);

void nodes_reply_clear(struct nodes *nodes, uint64_t token, const struct wire_shape *shape,
		       const void *message);

/* enrol.c: what comes in clear. */
void nodes_on_enrol(struct nodes *nodes, uint64_t token, const struct wire_bytes *body);
void nodes_on_hello(struct nodes *nodes, uint64_t token, const struct wire_bytes *body);

/* records.c: steps one of the node's log into the core. */
void records_take(struct nodes *nodes, struct node *node, const struct wire_record *record);

/* observed.c: samples and log lines of a sandbox; and a record that is about to be stepped. */
void nodes_take_observed(struct nodes *nodes, struct node *node, const struct wire_bytes *body);
void nodes_observe_record(struct nodes *nodes, const struct node *node,
			  const struct wire_record *record);

/* orders.c: from ORDER effects to answers. */
void nodes_keep_order(struct nodes *nodes, const struct core_effect *effect);
void nodes_drop_orders(struct node *node);
void nodes_answer(struct nodes *nodes, struct node *node, const struct pump_answer *answer);

/* nodes.c: steps the pump, and answers what it wants answered, with the orders of the core. */
void nodes_step_pump(struct nodes *nodes, struct node *node, struct pump_server_event *event);

#endif

/*
 * The bus side of the scheduler: nodes enrol, open sessions, poll and are given orders.
 *
 * Polls become events of the core; its ORDER effects become answers, with what the core does not
 * keep added: environment, access token, ticket, gateway.  What is not believed is not answered,
 * but for a signed hint to whoever uses a session that is not known any more.
 */
#ifndef FLOTILLA_SHELL_NODES_H
#define FLOTILLA_SHELL_NODES_H

#include "common/io/address.h"
#include "scheduler/shell/engine.h"
#include "scheduler/shell/secrets.h"

struct nodes;

struct nodes_options {
	struct address listen;
	uint32_t nodes_max;
	const char *gateway_tunnel; /* "host:port" */
	struct engine *engine;
	struct scheduler_metrics *metrics;
	const struct secrets *secrets;
};

int nodes_open(struct nodes **out_nodes, uv_loop_t *loop, const struct nodes_options *options,
	       struct err *err);

/* Its storage is freed when the loop has turned. NULL is fine. */
void nodes_close(struct nodes *nodes);

struct address nodes_address(const struct nodes *nodes);

/* The version of a node's agent; "" when not known. */
const char *nodes_version(struct nodes *nodes, const struct id *node);

/* Hooks of the engine. */
void nodes_on_tell(struct nodes *nodes, const struct core_effect *effect); /* WAKE ORDER ACK */
void nodes_on_lost(struct nodes *nodes);

#endif

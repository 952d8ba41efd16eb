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
#include "scheduler/shell/builds/builds.h"
#include "scheduler/shell/decisions.h"
#include "scheduler/shell/engine.h"
#include "scheduler/shell/observe/observations.h"
#include "scheduler/shell/secrets.h"

struct nodes;

struct nodes_options {
	struct address listen;
	uint32_t nodes_max;
	const char *gateway_tunnel; /* "host:port" */
	const char *gateway_url;    /* as tenants reach it */
	const char *issuer;         /* of identity tokens; "": there are none */
	struct engine *engine;
	struct decisions *decisions;
	struct scheduler_metrics *metrics;
	struct observations *observations; /* NULL: none are kept */
	struct builds *builds;
	const struct secrets *secrets;
	uint64_t lease_ms; /* what a leader's answers give; 0: without end */
	/* Whether this replica leads, by its own clock, at this moment; and where the leader's bus
	 * is, "" when there is none. NULL where there is one scheduler. */
	bool (*leads)(void *data);
	const char *(*leader_bus)(void *data);
	void *data;
};

int nodes_open(struct nodes **out_nodes, uv_loop_t *loop, const struct nodes_options *options,
	       struct err *err);

/* Its storage is freed when the loop has turned. NULL is fine. */
void nodes_close(struct nodes *nodes);

struct address nodes_address(const struct nodes *nodes);

/* The version of a node's agent; "" when not known. */
const char *nodes_version(struct nodes *nodes, const struct id *node);

/* A node was enrolled, here or by another replica. */
void nodes_on_enrolled(struct nodes *nodes, const struct store_node *row);

/* This replica leads from now on: every node hears of its epoch at once. */
void nodes_on_lead(struct nodes *nodes);

/* The take-over is done: ends what nobody was ever told of (see 0003.sql). */
void nodes_on_admitting(struct nodes *nodes);

/* Hooks of the engine. */
void nodes_on_tell(struct nodes *nodes, const struct core_effect *effect); /* WAKE ORDER ACK */
void nodes_on_lost(struct nodes *nodes);
void nodes_on_rebuilt(struct nodes *nodes);

#endif

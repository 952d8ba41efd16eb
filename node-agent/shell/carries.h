/*
 * Templates on their way from here and to here: a child for each (node-agent/carry), which does the
 * reading and writing, and whose lines become events of the core.  Children die with the agent, and
 * are started again by orders that come again; what was fetched by then is still there.
 */
#ifndef FLOTILLA_NODE_CARRIES_H
#define FLOTILLA_NODE_CARRIES_H

#include "common/base/err.h"
#include "node-agent/core/core.h"

#include <limits.h>

struct agent;
struct carry_job;
struct payload;

struct carries {
	struct agent *agent;
	struct carry_job *first;
	char program[PATH_MAX];
};

/* Finds the program, beside the others; without it no copies are taken part in. */
void carries_open(struct carries *carries, struct agent *agent);

/* What a template must have been made for to be restored here; empty: none is to come. */
void carries_platform(const struct carries *carries, char *out_text, size_t out_n);

/* The core's effects. */
void carries_send(struct carries *carries, const struct node_effect *effect,
		  const struct payload *payload);
void carries_fetch(struct carries *carries, const struct node_effect *effect,
		   const struct payload *payload);
void carries_install(struct carries *carries, uint64_t number);
void carries_drop(struct carries *carries, uint64_t number);

/* The core is no more: all of them are ended, and nobody is told. */
void carries_drop_all(struct carries *carries);

/* At the end of the loop, before shim_client_let_go. */
void carries_close(struct carries *carries);

#endif

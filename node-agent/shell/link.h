/*
 * The agent's side of the bus: enrols once, opens sessions, keeps polls under way by the pump's
 * rules, and steps what comes back into the core.
 *
 * What lasts is in the state folder: node.key (the seed of this node's identity, secret) and
 * enrolment (its id and the scheduler's public key).
 */
#ifndef FLOTILLA_NODE_LINK_H
#define FLOTILLA_NODE_LINK_H

#include "common/base/err.h"

#include <stdint.h>
#include <uv.h>

struct agent;
struct link;

/* Dials, and goes on for ever.  Nothing is sent before link_begin. */
int link_open(struct link **out_link, struct agent *agent, struct err *err);

/* The core is loaded: sessions may be opened. */
void link_begin(struct link *link);

/* The core's state was dropped: whatever is under way is forgotten, until link_begin. */
void link_stop(struct link *link);

/* The core's effects RECORDS and NEWS. */
void link_records(struct link *link, uint64_t end_seq);
void link_news(struct link *link);

/* Empty until this node is enrolled. */
const char *link_node_id(const struct link *link);

/* Frees it, later, from the loop. */
void link_close(struct link *link);

#endif

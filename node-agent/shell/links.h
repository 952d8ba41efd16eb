/*
 * The agent's side of the bus: a link to each scheduler that --scheduler names, each with a
 * connection, a session and a cursor into the log of its own, so that one that is away is nobody
 * else's matter.  Which of them leads is theirs to say, answer by answer.
 *
 * What they share is who this node is: it enrols once, with whichever of them leads and says yes.
 * What lasts is in the state folder: node.key (the seed of this node's identity, secret) and
 * enrolment (its id and the schedulers' public key).
 */
#ifndef FLOTILLA_NODE_LINKS_H
#define FLOTILLA_NODE_LINKS_H

#include "common/base/err.h"
#include "common/io/options.h"
#include "node-agent/core/core.h"
#include "node-agent/shell/enrolment.h"
#include "proto/pump.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct agent;
struct link;

/* For one message at a time, whosever it is. */
struct links_scratch {
	struct wire_arena arena; /* for answers */
	struct wire_record records[PUMP_RECORDS_MAX];
	uint8_t out[WIRE_ENVELOPE_MAX];
	uint8_t plain[WIRE_BODY_MAX];
};

struct links {
	struct agent *agent;
	struct link *items[NODE_REPLICAS_MAX]; /* by the numbers that the core knows them by */
	uint32_t n;
	struct enrolment enrolment;
	uint32_t turn;       /* of the link that asks to enrol */
	uint32_t refused_n;  /* refusals since the last time that all were asked */
	uint64_t epoch;      /* as journaled: what polls say */
	bool may_speak;      /* from the first links_begin on */
	bool is_leaving;     /* polls say goodbye */
	uint32_t goodbyes_n; /* schedulers that have not answered since */
	struct links_scratch *scratch;
};

/* Whether the option names schedulers that can be dialled: 1..NODE_REPLICAS_MAX, each once. */
int links_check(const struct option_list *schedulers, struct err *err);

/* Dials all of them, and goes on for ever.  Nothing is sent before links_begin. Fault: nothing is
 * open. */
int links_open(struct links *links, struct agent *agent, struct err *err);

/* Opens sessions, by what is journaled. Again: as if for the first time. */
void links_begin(struct links *links, const struct node_meta *meta);

/* The core's effects. */
void links_epoch(struct links *links, uint64_t epoch);
void links_records(struct links *links, uint64_t end_seq);
void links_news(struct links *links, bool urgent);

/* To each scheduler that is connected; what cannot be sent now is lost. */
void links_observed(struct links *links, const struct wire_observed *observed);

/* To the link of that number, if a session is open there; the answer goes to builds_on_tell. */
bool links_build_ask(struct links *links, uint32_t number, const struct wire_build_ask *ask);

/* Polls say from now on that this agent stops, and each open session gets one at once.  agent_left
 * is called when all have answered since; false: there is nobody to tell. */
bool links_leave(struct links *links);

/* Frees them, later, from the loop. */
void links_close(struct links *links);

/* ---- for each link ---- */

/* It has asked and was refused, or not answered: another may ask. */
void links_enrol_elsewhere(struct links *links, const char *why);

/* This node is known from now on. */
void links_enrolled(struct links *links);

/* A link that was told goodbye was answered, or lost its session. */
void links_goodbye_told(struct links *links);

#endif

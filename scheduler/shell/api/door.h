/*
 * Who answers a request: this replica at once, this replica later, or the leader.
 *
 *   alone, leading    at once
 *   taking over       what only reads at once, everything else when the take-over is done: an
 *                     idempotency key, say, may still come with a node's log
 *   standing by       the leader, by whom it is forwarded; when there is none, as soon as there is
 *
 * Nothing waits longer than leader_wait_ms for that; then it is refused, with Retry-After.  What
 * asks about this replica itself (livez, readyz, metrics) is always answered here.
 */
#ifndef FLOTILLA_API_DOOR_H
#define FLOTILLA_API_DOOR_H

#include "scheduler/shell/api/call.h"

/* Makes the timer, and the client where there can be a leader to forward to. */
int door_open(struct api *api, uv_loop_t *loop, struct err *err);

/* Ends what is forwarded; whoever waits is to be answered by the caller. */
void door_close(struct api *api);

/* The call has its route: serves, forwards or keeps it, and is its owner from now on. */
void door_pass(struct api_call *call);

/* The call was not carried out, or may be carried out again: back to where it came from. */
void door_again(struct api_call *call);

/* The role changed, or who leads. */
void door_look(struct api *api);

/* It may be sent twice without harm: reads, ends, creates under a key. */
bool door_is_repeatable(const struct api_call *call);

/* api.c: carries the call out here. */
void api_serve(struct api_call *call);

/* What a replica is at this moment, and its name for people. */
enum core_role api_role(const struct api *api);
const char *api_role_name(enum core_role role);

#endif

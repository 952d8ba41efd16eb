/* From a standby to the leader and back: a request as it came, an answer as it is given. */
#ifndef FLOTILLA_API_FORWARD_H
#define FLOTILLA_API_FORWARD_H

#include "scheduler/shell/api/call.h"

/*
 * Sends the call's request to the leader, and answers the call with what that answers.  What surely
 * was not carried out, or may be sent twice, comes back to the door when the leader is lost
 * meanwhile; for the rest the client is told that nobody knows (502 outcome_unknown).
 */
void forward_start(struct api_call *call, const struct ha_peer *leader);

/*
 * Somebody else leads: what may be sent twice no longer waits for the one before, who may have been
 * cut off or stopped with its connections open, and would be waited for until the client gave up.
 */
void forward_look(struct api *api);

/*
 * The rest had its time for a late answer: who still waits for one is told that nobody knows. True:
 * some have time yet, and this is to be called again.
 */
bool forward_give_up(struct api *api);

/* Another replica has sent it. */
bool forward_was_forwarded(const struct api_call *call);

/* Tells the other replica that this one does not lead. */
void forward_refuse(struct api_call *call);

#endif

/* Who this node is: its identity, and what the scheduler said when it was enrolled. */
#ifndef FLOTILLA_NODE_ENROLMENT_H
#define FLOTILLA_NODE_ENROLMENT_H

#include "common/base/err.h"
#include "proto/handshake.h"

#include <stdbool.h>

struct enrolment {
	struct identity self;
	bool is_done;
	struct id node;                                  /* when done */
	uint8_t scheduler_public_key[IDENTITY_PUBLIC_N]; /* when done */
};

/* Reads both files of the state folder; makes a new identity when there is none. */
int enrolment_load(const char *state_dir, struct enrolment *out_enrolment, struct err *err);

/* Keeps the scheduler's yes; the token is of no more use after it. */
int enrolment_keep(const char *state_dir, struct enrolment *enrolment,
		   const struct wire_enrol_reply *reply, struct err *err);

/* The request, with the token from its file. */
int enrolment_request(const struct enrolment *enrolment, const char *token_file,
		      const char *node_name, struct wire_enrol_request *out_request,
		      struct err *err);

#endif

/* Messages between the scheduler and the agents: late, lost, repeated, overtaken, cut off. */
#ifndef FLOTILLA_SIM_NET_H
#define FLOTILLA_SIM_NET_H

#include "tests/sim/world.h"

enum message_kind {
	MESSAGE_HELLO,   /* to the scheduler: open a session */
	MESSAGE_WELCOME, /* to the agent: it is open */
	MESSAGE_UNKNOWN, /* to the agent: no such session */
	MESSAGE_POLL,    /* an encoded poll */
	MESSAGE_ANSWER,  /* an encoded answer */
};

struct message {
	enum message_kind kind;
	bool to_leader;
	uint32_t host;
	uint64_t session;
	uint64_t hello;   /* HELLO and WELCOME: which one */
	uint64_t leader;  /* from the scheduler: its life; one that died may have sent it */
	uint32_t poll_id; /* POLL and ANSWER */
	size_t body_n;
	uint8_t body[];
};

void net_open(struct world *world);
void net_close(struct world *world);

/* Takes a copy. */
void net_send(struct world *world, const struct message *message);

/* Cuts what goes to the host, or what comes from it, or mends both. */
void net_cut(struct world *world, uint32_t host, bool to_host, bool from_host);

#endif

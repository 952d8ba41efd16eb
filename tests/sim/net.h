/* Messages between schedulers and agents: late, lost, repeated, overtaken, cut off. */
#ifndef FLOTILLA_SIM_NET_H
#define FLOTILLA_SIM_NET_H

#include "tests/sim/world.h"

enum message_kind {
	MESSAGE_HELLO,   /* to a scheduler: open a session */
	MESSAGE_WELCOME, /* to the agent: it is open */
	MESSAGE_UNKNOWN, /* to the agent: no such session */
	MESSAGE_POLL,    /* an encoded poll */
	MESSAGE_ANSWER,  /* an encoded answer */
};

struct message {
	enum message_kind kind;
	bool to_replica;
	uint32_t host, replica;
	uint64_t session;
	uint64_t hello;    /* HELLO and WELCOME: which one */
	uint32_t poll_id;  /* POLL and ANSWER */
	int64_t polled_ns; /* POLL and ANSWER: when the poll was sent, in truth */
	size_t body_n;
	uint8_t body[];
};

void net_open(struct world *world);
void net_close(struct world *world);

/* Takes a copy. */
void net_send(struct world *world, const struct message *message);

/* Cuts what goes from one scheduler to the host, or what comes from it, or mends both. */
void net_cut(struct world *world, uint32_t host, uint32_t replica, bool to_host, bool from_host);

/* Cuts two schedulers from each other, or mends it. */
void net_part(struct world *world, uint32_t a, uint32_t b, bool apart);
bool net_is_apart(const struct world *world, uint32_t a, uint32_t b);

#endif

/* One TCP connection of the sandbox's; between tcp.c, dial.c and carry.c. */
#ifndef FLOTILLA_EGRESS_CONNECTION_H
#define FLOTILLA_EGRESS_CONNECTION_H

#include "common/base/bytes.h"
#include "node-agent/egress/inspect.h"
#include "node-agent/egress/keeper.h"
#include "node-agent/egress/socks.h"

enum connection_step { SNIFFS, RESOLVES, DIALS, GREETS, RUNS }; /* GREETS: a proxy */

struct side {
	int fd; /* -1: none */
	uv_poll_t poll;
	bool is_watched;
	bool is_read_out;     /* it has said its last word */
	bool is_shut;         /* and has been told that the other has */
	struct bytes waiting; /* what is still to be written to it */
};

struct connection {
	struct keeper *keeper;
	struct list link;
	uint32_t address; /* where the sandbox meant it to go */
	uint16_t port;
	char *name;      /* that it asks for, once it is known; or NULL */
	bool is_by_name; /* it goes to the name's own addresses */
	bool is_over;    /* it ends once what waits is written */
	enum connection_step step;
	struct side near, far;   /* the sandbox, the world */
	struct bytes sniffed;    /* what the sandbox has said before there was a far side */
	struct inspect *inspect; /* NULL: what it carries is not looked at */
	struct tls *proxy;       /* NULL: there is none, or without TLS */
	struct socks socks;
	struct bytes heard; /* of the proxy */
	uv_timer_t patience;
	struct lookup *lookup;
	int closing_n;
};

/* tcp.c */
void connection_end(struct connection *connection, bool is_reset); /* it is gone after this */
void connection_watch(struct connection *connection);
void connection_set_options(int fd);

/* dial.c */
void connection_go_out(struct connection *connection);
/* There are other rules, with the same proxy if it is on its way. */
void connection_rules_changed(struct connection *connection);
void connection_on_far(uv_poll_t *poll, int status, int events);

/* carry.c */
/* The far side is there, and all that was said before goes on. */
void connection_run(struct connection *connection);
void connection_carry(struct connection *connection, struct side *side, int events);
/* The far side took too long to be there. */
void connection_give_up(struct connection *connection);
/* To the far side, through the proxy's TLS if there is one. False: broken. */
bool connection_say_far(struct connection *connection, const void *bytes, size_t n);
/* What waits for a side, as far as it goes. False: broken. */
bool side_flush(struct side *side);

#endif

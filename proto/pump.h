/*
 * The rules of parked polls, for both ends of the bus.
 *
 * A node always has polls under way; the scheduler parks up to two of them for each node and
 * answers one when there is something to say.  So an order needs no connection to the node and no
 * polling interval, and a record travels the moment it is there.
 *
 * Pure: an event in, effects out; the time comes with the event and the next deadline is asked for.
 * A pump knows nothing of sockets, sealing or the content of orders; both shells and the simulator
 * drive the same code.
 */
#ifndef FLOTILLA_PROTO_PUMP_H
#define FLOTILLA_PROTO_PUMP_H

#include "common/base/units.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	PUMP_HEARTBEAT_MS = 2000, /* a node that has nothing to say says so this often */
	PUMP_PARK_MS = 4000, /* a parked poll is answered after this, with nothing if need be */
	PUMP_PARK_SHARE = 3, /* of a lease, at most: an answer's lease counts from its poll */
	PUMP_GIVE_UP_MS = 3 * PUMP_HEARTBEAT_MS, /* a poll unanswered for so long is lost */
	PUMP_PAUSE_MS = 100,    /* between repeats, and between tellings of a changing inventory */
	PUMP_PARKED_MAX = 2,    /* polls of one node at the scheduler */
	PUMP_IN_FLIGHT_MAX = 8, /* polls of one node under way */
	PUMP_RECORDS_MAX = 256, /* records in one poll, as in wire.def */
	PUMP_ORDERS_MAX = 64,   /* orders in one answer, as in wire.def */
	PUMP_EFFECTS_MAX = 4,
};

/* ---- the scheduler's end, one for each node -------------------------------------------------- */

struct pump_parked {
	uint64_t token; /* the shell's name for it */
	struct mono until;
	uint64_t end_seq; /* one past the last record it brought; 0: it brought none */
};

struct pump_server {
	struct pump_parked parked[PUMP_PARKED_MAX]; /* oldest first */
	uint32_t parked_n;
	bool orders_wait; /* a WAKE came when nothing was parked */
	uint32_t park_ms;
	uint64_t next_seq; /* everything below is durable */
};

enum pump_server_event_kind {
	PUMP_SERVER_POLL, /* a poll came; its report and records are already stepped into the core
			   */
	PUMP_SERVER_WAKE, /* orders wait for the node */
	PUMP_SERVER_DURABLE, /* records below next_seq are durable; or resync: some were not taken
			      */
	PUMP_SERVER_SESSION, /* the node opened a new session: what is parked is of a dead
				connection */
	PUMP_SERVER_TICK,    /* the deadline of pump_server_next_deadline came */
};

struct pump_server_event {
	enum pump_server_event_kind kind;
	struct mono now;
	uint64_t token;    /* POLL */
	uint64_t end_seq;  /* POLL: first_seq + records_n if it brought records, else 0 */
	uint64_t next_seq; /* DURABLE */
	bool resync;       /* DURABLE: the node shall send again from next_seq */
};

/*
 * The one effect: answer this poll now, with the epoch, the durable next_seq, and as many of the
 * waiting orders as fit (pump_batch below).  If orders are left over, step WAKE again.
 */
struct pump_answer {
	uint64_t token;
	bool resync;
};

struct pump_answers {
	uint32_t n;
	struct pump_answer items[PUMP_PARKED_MAX + 1];
};

/* next_seq: as stored for this node, 1 for a new one. */
void pump_server_init(struct pump_server *pump, uint64_t next_seq);

/* Answers give leases of lease_ms: none of them may be half over before it is told. 0: none. */
void pump_server_lease(struct pump_server *pump, uint64_t lease_ms);

void pump_server_step(struct pump_server *pump, const struct pump_server_event *event,
		      struct pump_answers *out);

/* False: nothing is parked. */
bool pump_server_next_deadline(const struct pump_server *pump, struct mono *out_at);

/* The orders of one answer: bounded in number and in bytes. */
struct pump_batch {
	struct wire_order orders[PUMP_ORDERS_MAX];
	size_t n;
	size_t bytes;
};

/* Adds a copy (init stays borrowed); false: it is full, give this one with another answer. */
bool pump_batch_add(struct pump_batch *batch, const struct wire_order *order);

/* ---- the node's end, one for each scheduler -------------------------------------------------- */

struct pump_poll {
	uint32_t id; /* 0: free */
	struct mono sent_at;
	bool is_flush; /* it brought records, from first_seq */
	uint64_t first_seq;
};

struct pump_client {
	bool is_open;       /* there is a session; the times below are meaningful only then */
	uint64_t epoch;     /* highest seen; answers below are refused */
	uint64_t acked_seq; /* the scheduler wants this one next: all below is durable there */
	uint64_t end_seq;   /* one past the newest record of the outbox */
	bool pauses;        /* the last answer was of no use: do not ask again at once */
	bool news_wait;     /* the inventory changed since the last poll */
	bool is_urgent;     /* and somebody waits for the next one */
	uint32_t last_id;
	struct mono sent_at;  /* the last poll */
	struct mono heard_at; /* the last answer, or the session's opening */
	struct pump_poll in_flight[PUMP_IN_FLIGHT_MAX];
};

enum pump_client_event_kind {
	PUMP_CLIENT_OPEN,    /* a session is open */
	PUMP_CLIENT_CLOSED,  /* the session or its connection is gone */
	PUMP_CLIENT_RECORDS, /* records up to end_seq (exclusive) are durable in the outbox */
	PUMP_CLIENT_NEWS,    /* the inventory changed */
	PUMP_CLIENT_ANSWER,  /* an answer came */
	PUMP_CLIENT_TICK,    /* the deadline of pump_client_next_deadline came */
};

struct pump_client_event {
	enum pump_client_event_kind kind;
	struct mono now;
	uint64_t end_seq; /* RECORDS */
	bool urgent;      /* NEWS: a poll is due at once (a leader waits for it) */
	struct {
		uint32_t id; /* of the poll it answers */
		uint64_t epoch, next_seq;
		bool resync;
		bool standby; /* nothing but next_seq and resync counts, whatever the epoch */
	} answer;
};

enum pump_client_effect_kind {
	PUMP_CLIENT_SEND,   /* send poll `id` with `records_n` records from `first_seq` */
	PUMP_CLIENT_TAKE,   /* the answer is the leader's: step it and its orders into the core */
	PUMP_CLIENT_REFUSE, /* the answer is of an epoch that is over: drop it, orders and all */
	PUMP_CLIENT_ACKED,  /* records below `first_seq` are durable at the scheduler */
	PUMP_CLIENT_RENEW,  /* nothing is answered any more: open a new session */
};

struct pump_client_effect {
	enum pump_client_effect_kind kind;
	uint32_t id;
	uint64_t first_seq;
	uint32_t records_n;
	struct mono sent_at; /* TAKE: of the poll that is answered; 0: it was given up, so that no
				lease follows from its answer */
};

struct pump_client_effects {
	uint32_t n;
	struct pump_client_effect items[PUMP_EFFECTS_MAX];
};

/* As journaled: the highest epoch ever taken, what was acknowledged, the end of the outbox. */
void pump_client_init(struct pump_client *pump, uint64_t epoch, uint64_t acked_seq,
		      uint64_t end_seq);

void pump_client_step(struct pump_client *pump, const struct pump_client_event *event,
		      struct pump_client_effects *out);

/* False: nothing to wait for (there is no session). */
bool pump_client_next_deadline(const struct pump_client *pump, struct mono *out_at);

#endif

/*
 * A small fleet that keeps the truth, for two replicas of the scheduler: what really runs on each
 * node, by which attempt, and what it metered.  A node keeps its word: one answer to an attempt,
 * for ever; no order of an epoch below the highest that it has seen; nothing runs when its lease is
 * over.
 */
#ifndef FLOTILLA_TESTS_SCHED_CORE_FLEET_H
#define FLOTILLA_TESTS_SCHED_CORE_FLEET_H

#include "common/base/rng.h"
#include "tests/sched_core/world.h"

enum { FLEET_NODES = 3, FLEET_REPLICAS = 2, FLEET_TENANTS = 2, FLEET_CAP = 4 };
enum { FLEET_ATTEMPTS = 2048, FLEET_JOURNAL = 8192, FLEET_FLIGHT = 64 };

enum { FLEET_ASKED = 2048 };

enum fleet_answer { FLEET_PENDING, FLEET_REFUSED, FLEET_RUNNING, FLEET_ENDED };

/* What a node remembers of an attempt, for ever. */
struct fleet_memory {
	struct wire_order claim;
	uint64_t told_ms, deadline_version;
	int64_t end_ns;
	enum fleet_answer answer;
};

struct fleet_node {
	struct id id;
	struct fleet_memory memories[FLEET_ATTEMPTS];
	uint32_t memory_n;
	struct wire_record journal[FLEET_JOURNAL]; /* seq - 1 */
	uint32_t journal_n;
	uint64_t metered_ms;
	uint64_t epoch;      /* the highest seen, durably */
	uint64_t lost_below; /* carried out */
	int64_t lease_ns;    /* until when its sandboxes run, by the clock of all */
	int64_t cut_ns;      /* nothing comes through before this */
	struct {
		struct wire_order order;
		uint64_t epoch; /* of the answer that has it */
	} flight[FLEET_FLIGHT];
	uint32_t flight_n;
};

enum fleet_asked_kind { FLEET_ASKED_CREATE, FLEET_ASKED_KILL, FLEET_ASKED_LIMIT };

struct fleet_asked {
	enum fleet_asked_kind kind;
	int replica;
	uint64_t request;
	char name[ID_MAX];
};

struct fleet {
	struct rng rng;
	struct world *replicas[FLEET_REPLICAS];
	int leader; /* -1: none */
	uint64_t epoch;
	uint32_t lease_ms;
	uint64_t decided[FLEET_NODES]; /* lost_below, in the fleet's decisions */
	/* Lost, as far as the leader knew when it began to lead; it waits for none of them. */
	bool lost_then[FLEET_NODES];
	struct fleet_node nodes[FLEET_NODES];
	struct fleet_asked asked[FLEET_ASKED];
	uint32_t asked_n, name_n;
	uint32_t led_n, lost_n; /* how often somebody came to lead, and a node was given up */
};

/* ---- fleet.c: the nodes ---- */

/* A claim, a kill or a limit arrives. */
void fleet_obey(struct fleet *fleet, struct fleet_node *node, const struct wire_order *order,
		uint64_t epoch);

/* A claim that was taken is answered. */
void fleet_works(struct fleet *fleet, struct fleet_node *node);

/* Something that runs is metered, or ends by itself. */
void fleet_goes_on(struct fleet *fleet, struct fleet_node *node);

/* An answer of the leader, with all but its orders, to a poll that was sent now. */
void fleet_answered(struct fleet *fleet, struct fleet_node *node, uint64_t epoch,
		    uint64_t lost_below);

/* What the node says in a poll. */
void fleet_says(const struct fleet *fleet, uint32_t n, struct wire_poll *poll);

bool fleet_is_frozen(const struct fleet *fleet, const struct fleet_node *node);
int64_t fleet_now_ns(const struct fleet *fleet);

/* ---- fleet_moves.c: what happens ---- */

/* NULL: nobody leads. */
struct world *fleet_leading(struct fleet *fleet);

/* As the replica has it of the node. */
uint64_t fleet_lost_below(const struct world *world, uint32_t n);

/* The watch of the decisions catches up. */
void fleet_read_decisions(struct fleet *fleet, struct world *world);
void fleet_somebody_leads(struct fleet *fleet);

/* The node reports to each replica, and gets its orders on their way; faulty: or not, or twice. */
void fleet_polls(struct fleet *fleet, uint32_t n, bool faulty);

/* One order of those on their way arrives, not always the oldest. */
void fleet_order_arrives(struct fleet *fleet, uint32_t n);
void fleet_sends(struct fleet *fleet, struct world *world, uint32_t n, uint64_t seq);
void fleet_time_passes(struct fleet *fleet, int64_t ms);

/* Anything of the above, and requests, crashes, cuts and losses. */
void fleet_move(struct fleet *fleet);

#endif

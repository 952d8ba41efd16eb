/*
 * One scheduler as the simulator has it: the shell of its core with clock, store, rounds, pumps, an
 * API, and an end of etcd if there are several.
 */
#ifndef FLOTILLA_SIM_REPLICA_H
#define FLOTILLA_SIM_REPLICA_H

#include "scheduler/core/core.h"
#include "tests/sim/etcd.h"
#include "tests/sim/net.h"
#include "tests/sim/rounds.h"

struct row {
	struct core_sandbox it; /* state NONE: there is none */
	/* What it may reach, by the request that wanted it so: in force; and to be, 0: the same. */
	uint64_t rules, next_rules;
	uint32_t key; /* the idempotency key that it was created under; 0: none */
};

/* What is on its disk. */
struct store {
	uint64_t epoch;    /* of the last start; meaningful when it is alone */
	uint64_t revision; /* of the newest decision that is applied */
	struct core_tenant tenants[TENANTS_MAX];
	struct core_node nodes[HOSTS_MAX];
	struct core_template templates[TEMPLATES_N];
	size_t templates_n;
	struct row *rows; /* all there ever were, in the order of their numbers */
	size_t rows_n, rows_cap;
	struct row *copies; /* of those, in no order */
	size_t copies_n, copies_cap;
};

struct replica;

void replica_open(struct world *world, uint32_t number);
void replica_close(struct world *world, uint32_t number);
void replica_receive(struct world *world, const struct message *message);

/* Steps the core, if there is one, and begins to commit. */
void replica_step(struct world *world, struct replica *replica, struct core_event *event);

void replica_crash(struct world *world, uint32_t number);
void replica_disk_fails(struct world *world, uint32_t number, bool fails);

/* Stopped in good order, and started again in a while. */
void replica_hand_over(struct world *world, uint32_t number);

/* Its wall clock is off by this from now on. */
void replica_set_skew(struct world *world, uint32_t number, int64_t skew_ns);

/* A tenant's request comes in. */
void replica_request(struct world *world, uint32_t number, uint64_t request);

/* The rules that the sandbox has are told its node again, if this one leads: secrets of them are
 * others. */
void replica_renew(struct world *world, uint32_t number, size_t sandbox);

/* An operator's decision comes in. */
void replica_decide(struct world *world, uint32_t number, const struct decision *decision);

const struct store *replica_store(const struct world *world, uint32_t number);
const struct core *replica_core(const struct world *world, uint32_t number); /* NULL: is down */

/* The stored row of sandbox number n; NULL: there is none. */
uint64_t replica_rules(const struct world *world, uint32_t number, size_t n);
const struct core_sandbox *replica_row(const struct world *world, uint32_t number, size_t n);

/* It is up and speaks as the leader, by its own clock; and takes new requests, too. */
bool replica_leads(const struct world *world, uint32_t number);
bool replica_admits(const struct world *world, uint32_t number);

/* Its epoch, when it leads. */
uint64_t replica_epoch(const struct world *world, uint32_t number);

/* The one that leads, or REPLICAS_MAX. */
uint32_t replica_leader(const struct world *world);

#endif

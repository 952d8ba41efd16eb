/* What the files of the scheduler's shell offer to each other. */
#ifndef FLOTILLA_SIM_LEADER_INTERNAL_H
#define FLOTILLA_SIM_LEADER_INTERNAL_H

#include "proto/pump.h"
#include "tests/sim/leader.h"

enum { POLLS_MAX = 4096 };

/* A poll that is parked, or was. */
struct poll_name {
	uint64_t session;
	uint32_t id;
};

/* What waits in a round: an effect of the core; or the end of the orders of an answer. */
struct item {
	bool is_answer;
	uint32_t host; /* of an answer; so are the next two */
	uint64_t token;
	bool resync;
	struct core_effect effect;
};

struct host_end {
	struct pump_server pump;
	uint64_t session; /* 0: none */
	struct pump_batch batch;
	uint64_t timer;
};

struct leader {
	uint64_t life;
	struct store store;
	struct core_limits limits;
	void *memory;
	size_t memory_n;
	struct core *core; /* NULL: down, or nothing can be written */
	struct rounds rounds;
	struct host_end hosts[HOSTS_MAX];
	uint64_t last_session;
	struct poll_name polls[POLLS_MAX]; /* of token t at t % POLLS_MAX */
	uint64_t last_token;
	uint64_t timer;
	int64_t booted_ns;
};

/* ---- leader.c ---- */

/* Steps the core and hands its effects on; nothing is committed yet. */
void leader_step_once(struct world *world, struct core_event *event);
struct mono leader_mono(const struct world *world);
uint32_t leader_host_of(const struct id *node);

/* ---- store.c ---- */

bool store_takes(const struct item *item);
void store_write(struct world *world, struct store *store, const struct core_effect *effect);

/* Steps everything that is stored. */
void store_load(struct world *world, const struct store *store);

/* Tenants and nodes, as this seed has them. */
void store_fill(struct world *world, struct store *store);

/* ---- leader_link.c ---- */

void leader_pump(struct world *world, uint32_t host, struct pump_server_event *event);
void leader_send_answer(struct world *world, struct leader *leader, const struct item *item);

#endif

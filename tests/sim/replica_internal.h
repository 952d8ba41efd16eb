/* What the files of a scheduler's shell offer to each other. */
#ifndef FLOTILLA_SIM_REPLICA_INTERNAL_H
#define FLOTILLA_SIM_REPLICA_INTERNAL_H

#include "proto/pump.h"
#include "scheduler/election/election.h"
#include "tests/sim/clock.h"
#include "tests/sim/replica.h"

enum {
	POLLS_MAX = 4096,
	FLIGHTS_MAX = 1024,
	NOTE_BYTES_MAX = 128,
	EPOCH_BASE = 3, /* the last epoch before there were several schedulers */
};

/* A poll that is parked, or was. */
struct poll_name {
	uint64_t session;
	uint32_t id;
	int64_t polled_ns;
};

enum item_kind {
	ITEM_EFFECT,  /* of the core */
	ITEM_ANSWER,  /* the end of the orders of an answer */
	ITEM_DECIDED, /* a decision, to be stored */
	ITEM_APPLY,   /* and to be stepped */
	ITEM_ADOPTED, /* a sandbox was adopted: look at its key */
};

/* What waits in a round. */
struct item {
	enum item_kind kind;
	uint32_t host; /* ANSWER; so are the next two */
	uint64_t token;
	bool resync;
	uint32_t key; /* EFFECT: of the sandbox that is saved, adopted or claimed for */
	/* EFFECT: of the note of the record that is stepped; of the request; 0: none */
	uint64_t rules, next_rules;
	size_t sandbox;    /* ADOPTED */
	uint64_t revision; /* DECIDED and APPLY */
	struct decision decision;
	struct core_effect effect;
};

struct host_end {
	struct pump_server pump;
	uint64_t session; /* 0: none */
	struct pump_batch batch;
	uint8_t notes[PUMP_ORDERS_MAX][NOTE_BYTES_MAX]; /* of the batch's orders */
	uint64_t timer;
};

/* A request that the core has, or will have when it admits. */
struct flight {
	uint64_t request;
	uint32_t key;
	size_t sandbox; /* CREATE */
	bool parked;
};

/* Its end of etcd; outlives the core, not the program. */
struct ha {
	uint64_t life;
	struct election election;
	uint64_t timer;
	uint64_t watch; /* number of the present one; answers for others are old */
	bool watches;
	uint64_t seen;   /* revision of the newest change that the watch told */
	uint64_t won;    /* revision of the leader key that is ours; 0: none */
	uint64_t led;    /* the same, once LEAD was stepped */
	uint64_t known;  /* the newest leader key's revision */
	uint64_t as_of;  /* the revision at which the next was so */
	uint32_t leader; /* who leads, as far as is known; REPLICAS_MAX: nobody */
};

struct replica {
	uint32_t number;
	uint64_t life;
	struct clock clock;
	struct store store;
	struct core_limits limits;
	void *memory;
	size_t memory_n;
	struct core *core; /* NULL: down, or nothing can be written */
	bool booted;
	bool leaving; /* takes no requests any more: it is being stopped */
	struct rounds rounds;
	struct host_end hosts[HOSTS_MAX];
	uint64_t last_session;
	struct poll_name polls[POLLS_MAX]; /* of token t at t % POLLS_MAX */
	uint64_t last_token;
	uint64_t timer;
	struct flight flights[FLIGHTS_MAX];
	size_t flights_n;
	uint32_t applying_n;      /* decisions in rounds */
	uint32_t stepping_key;    /* of the note of the record that is stepped */
	uint64_t stepping_rules;  /* so too; 0: none */
	uint64_t stepping_change; /* SET_NETWORK is stepped, of this request */
	struct ha ha;
};

/* ---- replica.c ---- */

/* Steps the core and hands its effects on; nothing is committed yet. */
void replica_step_once(struct world *world, struct replica *replica, struct core_event *event);
struct mono replica_mono(const struct world *world, const struct replica *replica);
uint32_t replica_host_of(const struct id *node);
bool replica_is_alone(const struct world *world);

/* It led, and does not any more: drops its state and begins again as a standby. */
void replica_follow(struct world *world, struct replica *replica, const char *why);

/* ---- replica_effects.c ---- */

void replica_carry_out(struct world *world, void *owner, const void *item);
void replica_say_effect(struct world *world, const struct replica *replica,
			const struct core_effect *effect);

/* ---- store.c ---- */

bool store_takes(const void *item);
void store_write_item(struct world *world, void *owner, const void *item);

/* Steps everything that is stored. */
void store_load(struct world *world, struct replica *replica);

/* Tenants and nodes, as this seed has them. */
void store_fill(struct world *world, struct store *store);

/* The newest sandbox that was created under the key; NULL: none. */
const struct row *store_find_key(const struct store *store, uint32_t key);

/* ---- replica_link.c ---- */

void replica_pump(struct world *world, struct replica *replica, uint32_t host,
		  struct pump_server_event *event);
void replica_send_answer(struct world *world, struct replica *replica, const struct item *item);

/* An order goes into the next answer to its node, with its note. */
void replica_order(struct world *world, struct replica *replica, const struct item *item);

/* ---- requests.c ---- */

void requests_answer(struct world *world, struct replica *replica,
		     const struct core_effect *effect);
void requests_admit(struct world *world, struct replica *replica);
void requests_break(struct world *world, struct replica *replica);

/* A sandbox was adopted: if its key is another's, the older one of the two ends. */
void requests_look_at_key(struct world *world, struct replica *replica, uint32_t key);
uint32_t requests_key_of(const struct replica *replica, const struct id *sandbox);

/* ---- replica_ha.c ---- */

void ha_start(struct world *world, struct replica *replica);
void ha_die(struct replica *replica);
void ha_resign(struct world *world, struct replica *replica);

/* The core is loaded anew: decisions are watched from what is stored. */
void ha_watch(struct world *world, struct replica *replica);

/* A decision is stored and stepped. */
void ha_applied(struct world *world, struct replica *replica);
void ha_answer(struct world *world, uint32_t number, const struct etcd_answer *answer);
void ha_change(struct world *world, uint32_t number, uint64_t watch, const struct change *change);
void ha_watch_lost(struct world *world, uint32_t number, uint64_t watch);
void ha_decide(struct world *world, struct replica *replica, const struct decision *decision);

#endif

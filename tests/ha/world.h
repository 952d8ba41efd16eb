/* Replicas of one fleet on real etcd: each a struct ha and a store that is a list of what was
 * applied. Include after cmocka.h. */
#ifndef FLOTILLA_TESTS_HA_WORLD_H
#define FLOTILLA_TESTS_HA_WORLD_H

#include "scheduler/ha/fleet.h"
#include "tests/io/etcd_rig.h"

#include <uv.h>

enum { REPLICAS_MAX = 3, REPLICA_LOG_MAX = 8192 };

struct world;

struct replica {
	struct world *world;
	uv_loop_t *loop;
	struct ha *ha; /* NULL: it does not run */
	struct ha_options options;
	uint64_t epoch; /* 0: does not lead, as told */
	int leads_n, follows_n;
	struct mono led_at;
	char leader[HA_NAME_MAX]; /* as told; empty: nobody */
	unsigned leaders_n;       /* times that there was one */
	/* the store */
	char log[REPLICA_LOG_MAX]; /* "tenant:ten_a " of each op, as applied */
	uint64_t revision;
	int whole_n, ops_n;
	int refuse_writes_n; /* so many times it cannot be written; -1: never can */
	/* ha_decide */
	int decided_n;
	enum refusal refusal; /* the last one's */
};

struct world {
	struct etcd_rig rig;
	uv_loop_t loop, other; /* `other` for a replica that is to freeze */
	struct replica replicas[REPLICAS_MAX];
	const char *endpoints; /* the rig's, unless told otherwise */
	uint64_t highest_epoch;
};

/* Runs the loop until it is so; the test's alarm is the only limit. */
#define AWAIT(loop, condition)                                                                     \
	while (!(condition))                                                                       \
	uv_run((loop), UV_RUN_DEFAULT)

/* Etcd runs, and knows the fleet. */
void world_open(struct world *world, int members_n, const char *const *extra);
void world_close(struct world *world);
void world_init_fleet(struct world *world, uint64_t epoch_base, uint64_t generation);
/* etcdctl with these words; must succeed. While no loop of ours runs. */
void world_etcdctl(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

struct replica *replica_open(struct world *world, int number, uv_loop_t *loop);
int replica_try_open(struct world *world, int number, uv_loop_t *loop, struct err *err);
/* As if killed: the lease is left to end. */
void replica_kill(struct replica *replica);
bool replica_leads(const struct replica *replica);
/* The one that leads, or NULL; by their own clocks there must not be two. */
struct replica *world_leader(struct world *world);
struct mono world_now(void);

struct store_op tenant_op(const char *id);
void decide(struct replica *replica, const struct store_op *op);
/* Decides it, and awaits that it is applied there. */
void decide_now(struct replica *replica, const char *tenant);
/* The same, again and again until it is: when etcd was away, and maybe for too long. */
void decide_at_last(struct replica *replica, const char *tenant);

#endif

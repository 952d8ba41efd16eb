/*
 * A whole fleet in one process under virtual time: one scheduler, several hosts with an agent each,
 * tenants.  Real: both cores, the pump's rules, the codec.  Simulated: clocks, network, disks,
 * microVMs, crashes.  Everything random comes from the seed, so a seed is a story that can be told
 * again.
 *
 *   world.c    time, the queue of what is to come, the trace and its hash
 *   rounds.c   the shells' rule: commit, then carry out, in order
 *   net.c      messages between scheduler and agents
 *   shims.c    microVMs and their shims, which outlive agents
 *   agent.c    the shell of the node core; journal.c its disk, agent_link.c its bus
 *   leader.c   the shell of the scheduler's core; store.c its disk, leader_link.c its bus
 *   tenants.c  who asks for sandboxes
 *   faults.c   what goes wrong, and when
 *   stories.c  one thing goes wrong, and nothing else
 *   oracle.c   what is true, and what must be
 */
#ifndef FLOTILLA_SIM_WORLD_H
#define FLOTILLA_SIM_WORLD_H

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/units.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HOSTS_MAX = 5,
	TENANTS_MAX = 3,
	TEMPLATES_N = 2,
	TRACE_LINES = 600,
	TRACE_LINE_MAX = 240,
};

struct world;

/* Something to come. The meaning of the members is the function's. */
struct call {
	void (*fn)(struct world *world, const struct call *call);
	uint32_t host;
	uint64_t life; /* of whom it is for: ignored when that one has died since */
	uint64_t a, b;
	void *data; /* borrowed, unless owned */
	bool owned; /* data is from malloc, to be freed by whoever runs or drops the call */
};

struct planned {
	int64_t at_ns;
	uint64_t order; /* ties go to the one planned first */
	struct call call;
};

/* How likely each kind of trouble is, in this seed; 0: never. Out of a million, or a period. */
struct faults {
	uint32_t loss, repeat, late;                     /* of a message, out of a million */
	int64_t cut_ns, crash_leader_ns, crash_agent_ns; /* mean time between */
	int64_t reboot_ns, commit_leader_ns, commit_agent_ns;
	int64_t template_ns;
	int64_t vm_fault_ns;                     /* of one microVM */
	uint32_t restore_fail, claim_fail, gone; /* out of a million */
	uint32_t slow_claim;
	uint32_t die_after_commit; /* before anything is carried out */
	uint32_t resize;           /* of what a host declares, when its agent starts */
	bool skew;                 /* clocks differ */
	bool slow_disk;
};

/* How large the world is, in this seed. */
struct shape {
	uint32_t hosts_n, tenants_n;
	uint32_t tick_ms, keep_ms;
	uint32_t attempts_spare; /* that a host remembers beyond what it must */
	uint32_t capacity_sandboxes;
	int64_t chaos_ns; /* until the calm begins */
	int64_t tell_ns;  /* from a shim to its agent; words keep their order */
	int64_t ask_ns;   /* mean time between a tenant's acts */
};

struct totals {
	uint64_t seeds, steps, virtual_ns;
	uint64_t crashes_leader, crashes_agent, reboots, commit_faults;
	uint64_t messages, lost, repeated, stale;
	uint64_t creates, granted, refused, records, vms, usage_ms;
};

struct leader;
struct agent;
struct host_vms;
struct tenants;
struct oracle;

struct world {
	uint64_t seed;
	struct rng rng;
	int64_t now_ns;
	bool calm; /* the faults are over */
	struct planned *queue;
	size_t queue_n, queue_cap;
	uint64_t order;
	uint64_t hash;
	bool print_trace;
	char (*trace)[TRACE_LINE_MAX];
	uint64_t trace_n;
	struct faults faults;
	struct shape shape;
	struct totals totals;
	struct leader *leader;
	struct agent *agents[HOSTS_MAX];
	struct host_vms *vms[HOSTS_MAX];
	struct net *net;
	struct tenants *tenants;
	struct oracle *oracle;
};

/* Runs one seed to its end; aborts the program when the oracle objects. */
void world_run(uint64_t seed, bool print_trace, struct totals *totals, uint64_t *out_hash);

/* The same without any faults but those that begin plans, in a small fleet of one host. */
void world_run_story(uint64_t seed, void (*begin)(struct world *world), bool print_trace,
		     struct totals *totals, uint64_t *out_hash);

/* Whether the cores check their own sums after each step. Without, only the oracle looks. */
extern bool world_verifies;

/* The world that runs now, for whoever reports that something broke. */
extern struct world *world_running;

/* Plans a call for later. */
void world_plan(struct world *world, int64_t in_ns, struct call call);

/* One line of the story; goes into the hash. */
void world_say(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_print_last_lines(const struct world *world);

/* A promise is broken: tells the story so far and exits. */
_Noreturn void world_fail(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Chance. A million is always; between includes both; around is 0.5 to 1.5 of the mean. */
bool world_chance(struct world *world, uint32_t in_a_million);
int64_t world_between(struct world *world, int64_t low, int64_t high);
int64_t world_around(struct world *world, int64_t mean);

#define MS(n) ((n)*NS_PER_MS)
#define S(n)  ((n)*NS_PER_S)

#endif

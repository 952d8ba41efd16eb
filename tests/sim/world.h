/*
 * A whole fleet in one process under virtual time: one scheduler, or several with an etcd; several
 * hosts with an agent each; tenants.  Real: both cores, the election, the pump's rules, the codec.
 * Simulated: clocks, network, disks, etcd, microVMs, crashes.  Everything random comes from the
 * seed, so a seed is a story that can be told again.
 *
 *   world.c      time, the queue of what is to come, the trace and its hash
 *   clock.c      clocks that drift and jump
 *   rounds.c     the shells' rule: commit, then carry out, in order
 *   net.c        messages between schedulers and agents
 *   etcd.c       keys, leases and watches; etcd_serve.c what it answers
 *   shims.c      microVMs and their shims, which outlive agents; shims_lease.c freezes them
 *   agent.c      the shell of the node core; journal.c its disk, agent_link.c its bus,
 *                agent_trouble.c what it does when that disk is full
 *   carries.c    templates that are copied from host to host
 *   replica.c    the shell of the scheduler's core; store.c its disk, replica_link.c its bus,
 *                replica_effects.c what it carries out, replica_ha.c its end of etcd,
 *                requests.c its API: forwards, waits, and looks keys up
 *   operator.c   caps, cordons, lost nodes
 *   tenants.c    who asks for sandboxes
 *   faults.c     which troubles there are; troubles.c how each strikes
 *   stories.c    one thing goes wrong, and nothing else
 *   oracle.c     what is true, and what must be
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
	REPLICAS_MAX = 3,
	TENANTS_MAX = 3,
	TEMPLATES_N = 2,
	TRACE_LINES = 600,
	TRACE_LINE_MAX = 240,
};

struct world;

/* Whose program carries a call out: it waits while that one is stopped in its tracks. */
#define OF_AGENT(host)      (1u << (host))
#define OF_SHIMS(host)      (1u << (HOSTS_MAX + (host)))
#define OF_REPLICA(replica) (1u << (2 * HOSTS_MAX + (replica)))

enum { PROGRAMS_MAX = 2 * HOSTS_MAX + REPLICAS_MAX };

/* Something to come. The meaning of the members is the function's. */
struct call {
	void (*fn)(struct world *world, const struct call *call);
	uint32_t of; /* programs; 0: of nature */
	uint32_t host, replica;
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

/* How likely each kind of trouble is, in this seed; 0: never. Out of a million, or the mean time
 * between two. */
struct faults {
	uint32_t loss, repeat, late; /* of a message, out of a million */
	int64_t cut_ns;              /* a host from all schedulers */
	int64_t cut_pair_ns;         /* a host from one scheduler */
	int64_t cut_replica_ns;      /* a scheduler from all hosts */
	int64_t apart_ns;            /* schedulers from each other */
	int64_t crash_replica_ns, crash_agent_ns, crash_both_ns, reboot_ns;
	int64_t hand_over_ns, leave_ns; /* a scheduler, an agent is stopped in good order */
	int64_t commit_replica_ns, commit_agent_ns;
	int64_t stop_ns; /* programs are stopped in their tracks, and go on later */
	int64_t jump_ns; /* a wall clock jumps */
	int64_t etcd_cut_ns, etcd_restart_ns, etcd_compact_ns, etcd_full_ns;
	int64_t decide_ns, lose_ns; /* an operator changes caps and cordons; declares nodes lost */
	int64_t flood_ns;           /* a tenant asks for many at once */
	int64_t template_ns;
	int64_t vm_fault_ns;                /* of one microVM */
	uint32_t carry_fail, carry_corrupt; /* of a template that is copied, in each step of it */
	uint32_t restore_fail, claim_fail, save_fail, gone; /* out of a million */
	uint32_t slow_claim;
	uint32_t die_after_commit; /* before anything is carried out */
	uint32_t resize;           /* of what a host declares, when its agent starts */
	uint32_t impatience;       /* a tenant closes its connection early */
	uint32_t unheard;          /* an answer to a tenant is lost */
	uint32_t etcd_slow;
	bool skew;  /* wall clocks differ */
	bool wild;  /* by as much as you like */
	bool drift; /* the others run too fast or too slow */
	bool slow_disk;
};

/* How large the world is, in this seed. */
struct shape {
	uint32_t hosts_n, tenants_n;
	uint32_t replicas_n; /* 1: a single scheduler, and no etcd */
	uint32_t lease_ms;   /* that schedulers give; 0: none */
	uint32_t tick_ms, keep_ms;
	uint32_t attempts_spare; /* that a host remembers beyond what it must */
	uint32_t capacity_sandboxes;
	uint32_t transfers_max; /* templates that are copied at a time; 0: none are */
	bool everywhere;        /* they shall be on every host */
	uint32_t platforms_n;   /* hosts are of one, or of two in turns */
	/* They have the same templates, as far as they can, and are cordoned often, with what is
	 * paused there: so that it is moved. */
	bool alike;
	uint32_t cap;     /* of each tenant's sandboxes at first; 0: by chance */
	int64_t chaos_ns; /* until the calm begins */
	int64_t tell_ns;  /* from a shim to its agent; words keep their order */
	int64_t ask_ns;   /* mean time between a tenant's acts */
};

/* Sums over all seeds: numbers of 64 bits only. */
struct totals {
	uint64_t seeds, several, steps, virtual_ns;
	uint64_t crashes_replica, crashes_agent, reboots, commit_faults, stops;
	uint64_t messages, lost, repeated, stale;
	uint64_t rules; /* changes of what a sandbox may reach that were told */
	uint64_t creates, granted, refused, repeats, records, vms, usage_ms;
	uint64_t take_overs, admissions, hand_overs, adopted;
	uint64_t freezes, thaws, frozen_ms, nodes_lost;
	uint64_t pauses, resumes, discards, snapshots, forks, moves, handovers;
	uint64_t spreads, spread_forks, taken_over;
	uint64_t copies;
	uint64_t etcd_restarts, etcd_compactions, etcd_full, etcd_cuts, watches_lost;
};

struct replica;
struct etcd;
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
	uint32_t stopped;               /* programs in their tracks, as in struct call */
	int64_t go_on_ns[PROGRAMS_MAX]; /* when each goes on, or went on last */
	struct call *waiting;           /* for programs that are stopped */
	size_t waiting_n, waiting_cap;
	uint64_t hash;
	bool print_trace;
	char (*trace)[TRACE_LINE_MAX];
	uint64_t trace_n;
	struct faults faults;
	struct shape shape;
	struct totals totals;
	struct replica *replicas[REPLICAS_MAX];
	struct etcd *etcd; /* NULL: a single scheduler */
	struct agent *agents[HOSTS_MAX];
	struct host_vms *vms[HOSTS_MAX];
	struct net *net;
	struct tenants *tenants;
	struct oracle *oracle;
	struct kept *kept;
};

/* A story: what is different from a quiet fleet of one host, and what begins to happen. */
struct plot {
	uint32_t replicas_n, hosts_n, lease_ms;
	void (*begin)(struct world *world);
};

/* Runs one seed to its end; aborts the program when the oracle objects. */
void world_run(uint64_t seed, bool print_trace, struct totals *totals, uint64_t *out_hash);

/* The same without any faults but those that the plot plans. */
void world_run_story(uint64_t seed, const struct plot *plot, bool print_trace,
		     struct totals *totals, uint64_t *out_hash);

/* Whether the cores check their own sums after each step. Without, only the oracle looks. */
extern bool world_verifies;

/* The world that runs now, for whoever reports that something broke. */
extern struct world *world_running;

/* Plans a call for later. */
void world_plan(struct world *world, int64_t in_ns, struct call call);

/* Stops programs in their tracks for so long: what is for them waits. */
void world_stop(struct world *world, uint32_t programs, int64_t for_ns);

/* They go on now. */
void world_go_on(struct world *world, uint32_t programs);

/* One line of the story; goes into the hash. */
void world_say(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_print_last_lines(const struct world *world);

/* A promise is broken: tells the story so far and exits. */
_Noreturn void world_fail(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Bytes that stay until the world ends. */
const uint8_t *world_keep(struct world *world, const uint8_t *bytes, size_t n);

/* Chance. A million is always; between includes both; around is 0.5 to 1.5 of the mean. */
bool world_chance(struct world *world, uint32_t in_a_million);
int64_t world_between(struct world *world, int64_t low, int64_t high);
int64_t world_around(struct world *world, int64_t mean);

/* Clocks differ in their pace by less than a fiftieth, as leases allow. */
#define DRIFT_PPM 9000

static inline uint32_t platform_of_host(const struct world *world, uint32_t host)
{
	return host % world->shape.platforms_n;
}

#define MS(n) ((n)*NS_PER_MS)
#define S(n)  ((n)*NS_PER_S)

#endif

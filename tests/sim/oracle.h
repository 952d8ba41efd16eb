/*
 * What is true, kept apart from what the programs believe, and what must hold of it:
 *
 *   always   1. no sandbox begins on a host beyond what it declared
 *            2. a sandbox runs in one microVM at most
 *            3. a tenant is granted no more than its cap, counting everything that runs on nodes
 *               which the leader has heard; where no node is given up unheard, never more runs
 *            4. a tenant hears "running" only when node and scheduler have it on disk
 *            5. each scheduler posts each record of a node once and in order; usage of an attempt
 *               has no gap and no overlap; nothing is acknowledged that is not posted, and nothing
 *               trimmed that one of them has not
 *            6. what a scheduler calls ended does not run, and never runs again
 *            7. an answer of an epoch that is over changes nothing
 *            8. an attempt gets one answer; an older leader's none, once the node said that it
 *               knows a newer one
 *            9. a sandbox that was told running ends by its time limit, by a fault of its own
 *               microVM or host, or because somebody asked for it: never by daemons that restart.
 *               What several schedulers told of a kill or a limit holds, whoever leads
 *           10. two schedulers never lead at once
 *           11. nothing runs beyond the lease that it was given, but for the moment to stop it
 *           12. who admits, or gives a node up, has heard it, or nothing runs there
 *           13. what a node says that it gave up is gone
 *           14. under one key one sandbox is told running; whoever adopts one knows its key
 *           15. what is paused is kept on its host's disk until it is resumed, once, or somebody
 *               asked for its end, or the node is given up; and until then it is known as such.  A
 *               snapshot likewise, but that any number of sandboxes begin from it, until it was
 *               told dropped: on the host that has it, or a copy, which goes with it and stays
 *               when its host is lost
 *           16. a host offers what was built there, or is what was built elsewhere for a host
 *               like it; it fetches one at a time, and nobody sends more than two
 *   calm    17. everybody agrees on what runs, where, and until when; nothing waits, nothing is
 *               frozen; what was told running is known everywhere
 *   end     18. nothing runs, nothing is journaled as running or saved; what each scheduler posted
 * is what ran, to the millisecond, and nothing of what was frozen
 */
#ifndef FLOTILLA_SIM_ORACLE_H
#define FLOTILLA_SIM_ORACLE_H

#include "node-agent/core/core.h"
#include "scheduler/core/core.h"
#include "tests/sim/shims.h"

struct request;

void oracle_open(struct world *world);
void oracle_close(struct world *world);

/* After every step of the world. */
void oracle_look(struct world *world);

/* Nothing is on its way at this moment. */
bool oracle_is_settled(const struct world *world);
void oracle_look_at_calm(struct world *world);
void oracle_look_at_end(struct world *world);

/* Something that runs began or ended: look closely after this step. */
void oracle_stir(struct world *world);

/* A scheduler's core was stepped. */
void oracle_stepped(struct world *world, uint32_t replica, const struct core_event *event,
		    const struct core_effects *effects);

/* An operator changes a cap: from now on more may run than it says. */
void oracle_cap_changes(struct world *world);

/* An operator declares a node lost by way of this leader. */
void oracle_declared_lost(struct world *world, uint32_t replica, uint32_t host,
			  uint64_t lost_below);

/* A sandbox's row became durable: at a scheduler (from what it was), on its host. */
void oracle_saved(struct world *world, uint32_t replica, bool adopts,
		  const struct core_sandbox *old, const struct core_sandbox *row);

/* From a node's log, under this key. */
void oracle_adopted(struct world *world, uint32_t replica, const struct core_sandbox *row,
		    uint32_t key);
void oracle_journaled(struct world *world, uint32_t host, const struct node_sandbox *row);

/* A record became durable on its host. */
void oracle_recorded(struct world *world, uint32_t host, const struct wire_record *record);

/* Usage became durable at a scheduler; so did what it expects of a node next. */
void oracle_posted(struct world *world, uint32_t replica, uint32_t host,
		   const struct wire_record *record);
void oracle_expects(struct world *world, uint32_t replica, uint32_t host, uint64_t next_seq);

/* The host is told what a scheduler has. */
void oracle_acknowledged(struct world *world, uint32_t replica, uint32_t host, uint64_t next_seq);

/* The host forgets this record. */
void oracle_trimmed(struct world *world, uint32_t host, uint64_t seq);

/* The host says this of itself; takes this lease, by a poll that was sent then; gives a microVM to
 * this attempt. */
void oracle_polls(struct world *world, uint32_t host, const struct wire_poll *poll);
void oracle_leased(struct world *world, uint32_t host, int64_t polled_ns, uint64_t lease_ms);
void oracle_claims(struct world *world, uint32_t host, const struct wire_order *claim);

/* A template was built on the host; it begins to fetch this content; it is there from now on. */
void oracle_built(struct world *world, uint32_t host, uint32_t content);
void oracle_fetches(struct world *world, uint32_t host, uint32_t content);
void oracle_installed(struct world *world, uint32_t host, uint32_t content);

/* The folder that holds a paused sandbox is removed. */
void oracle_discarded(struct world *world, uint32_t host, const struct shim *shim);

/* Somebody asks for the end of sandbox number n. */
void oracle_asked_to_end(struct world *world, size_t n);
void oracle_asked_to_pause(struct world *world, size_t n);

/* A tenant asks; it is told, and hears it. row: NULL: none comes with it. */
void oracle_asked(struct world *world, const struct request *request);
void oracle_told(struct world *world, uint32_t replica, const struct request *request,
		 enum refusal refusal, const struct core_sandbox *row);

/* A microVM that ran for a sandbox ended. lost: nobody saw its end. */
void oracle_ran(struct world *world, uint32_t host, const struct shim *shim, bool lost);

#endif

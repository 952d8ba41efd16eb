/*
 * What is true, kept apart from what the programs believe, and what must hold of it:
 *
 *   always   1. no sandbox begins on a host beyond what it declared
 *            2. a sandbox runs in one microVM at most
 *            3. a tenant's sandboxes are no more than its quota
 *            4. a tenant hears "running" only when both journals hold it
 *            5. each record of a node is posted once and in order; usage of an attempt has no gap
 *               and no overlap; nothing is acknowledged, or trimmed, that is not posted
 *            6. what the scheduler calls ended does not run, and never runs again
 *            7. an answer of an epoch that is over changes nothing
 *            8. an attempt gets one answer
 *            9. a sandbox that was told running ends by its time limit, by a fault of its own
 *               microVM or host, or because somebody asked for it: never by daemons that restart
 *   calm    10. both sides agree on what runs, where, and until when; nothing waits
 *   end     11. nothing runs, nothing is journaled as running; what is posted is what ran, to the
 *               millisecond
 */
#ifndef FLOTILLA_SIM_ORACLE_H
#define FLOTILLA_SIM_ORACLE_H

#include "node-agent/core/core.h"
#include "scheduler/core/core.h"
#include "tests/sim/shims.h"

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

/* A sandbox's row became durable: at the scheduler (from what it was), on its host. */
void oracle_saved(struct world *world, const struct core_sandbox *old,
		  const struct core_sandbox *row);
void oracle_journaled(struct world *world, uint32_t host, const struct node_sandbox *row);

/* A record became durable on its host. */
void oracle_recorded(struct world *world, uint32_t host, const struct wire_record *record);

/* Usage became durable at the scheduler; so did what it expects of a node next. */
void oracle_posted(struct world *world, uint32_t host, const struct wire_record *record);
void oracle_expects(struct world *world, uint32_t host, uint64_t next_seq);

/* The host is told what the scheduler has. */
void oracle_acknowledged(struct world *world, uint32_t host, uint64_t next_seq);

/* The host forgets this record. */
void oracle_trimmed(struct world *world, uint32_t host, uint64_t seq);

/* Somebody asks for the end of sandbox number n. */
void oracle_asked_to_end(struct world *world, size_t n);

/* The tenant is told. */
void oracle_told(struct world *world, bool was_create, const struct core_effect *reply);

/* A microVM that ran for a sandbox ended. lost: nobody saw its end. */
void oracle_ran(struct world *world, uint32_t host, const struct shim *shim, bool lost);

#endif

/*
 * Tenants: they create, kill, extend, flood; they lose answers and patience, and ask again under
 * the same key, of whichever scheduler.
 */
#ifndef FLOTILLA_SIM_TENANTS_H
#define FLOTILLA_SIM_TENANTS_H

#include "scheduler/core/core.h"
#include "tests/sim/world.h"

struct request {
	uint64_t number; /* 0: none */
	bool open;       /* somebody waits for the answer */
	struct core_event event;
	uint32_t key; /* CREATE: its idempotency key; 0: none */
	size_t sandbox;
	int64_t asked_ns;
	uint32_t tries; /* under this key, this one too */
};

void tenants_open(struct world *world);
void tenants_close(struct world *world);

/* NULL: it was long ago. */
struct request *tenants_find(struct world *world, uint64_t number);

/* The core of a scheduler answers: the answer is on its way now, and counts as told if it is heard.
 */
void tenants_answer(struct world *world, uint32_t replica, const struct core_effect *reply);

/* Its shell answers: the sandbox of the key is this; or no. */
void tenants_replay(struct world *world, uint32_t replica, uint64_t number,
		    const struct core_sandbox *row);
void tenants_refuse(struct world *world, uint64_t number, enum refusal refusal);

/* The connection breaks: nobody knows what became of it. */
void tenants_break(struct world *world, uint64_t number);

/* One of them asks for very many at once. */
void tenants_flood(struct world *world);

/* A kill of each sandbox that a scheduler's leader calls running, by its tenant. */
void tenants_kill_all(struct world *world);

/* Keys that were used and have no definite answer. */
size_t tenants_unanswered_n(const struct world *world);

/* Ends every sandbox there is, as an operator. */
void tenants_end_all(struct world *world);

struct id tenant_id(uint32_t n);
uint32_t tenant_number(const struct id *id);
struct id sandbox_id(size_t n);
size_t sandbox_number(const struct id *id); /* of a copy of a sandbox: that of the sandbox */
bool is_copy_id(const struct id *id);
/* What was asked for when the sandbox was created. */
uint32_t sandbox_key(const struct world *world, size_t n);
uint32_t sandbox_timeout_s(const struct world *world, size_t n);
size_t sandboxes_n(const struct world *world); /* ids given out so far: 0..n-1 */

#endif

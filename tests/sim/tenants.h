/* Tenants: they create, kill, extend, lose answers and ask again. */
#ifndef FLOTILLA_SIM_TENANTS_H
#define FLOTILLA_SIM_TENANTS_H

#include "scheduler/core/core.h"
#include "tests/sim/world.h"

void tenants_open(struct world *world);
void tenants_close(struct world *world);

/* The scheduler answers: the answer is on its way now, and counts as told. */
void tenants_answer(struct world *world, const struct core_effect *effect);

/* The scheduler is gone: requests under way get no answer. */
void tenants_abandon(struct world *world);

/* Ends every sandbox there is, as an operator, and asks for nothing more. */
void tenants_end_all(struct world *world);

struct id tenant_id(uint32_t n);
struct id sandbox_id(size_t n);
size_t sandbox_number(const struct id *id);
size_t sandboxes_n(const struct world *world); /* ids given out so far: 0..n-1 */

#endif

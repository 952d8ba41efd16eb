/*
 * Until when sandboxes may run.  A leader's answer gives a lease, counted from the moment when the
 * poll that it answers was sent: the leader counts the same lease from a later moment, when it
 * heard that poll, so what it believes over is over.  Shims keep leases by themselves; here is what
 * they are to be told, and that nothing begins under a lease that is over already.
 *
 * Answers come many times a second under load, so a lease is told on only when it moved on by a
 * good part of its length.  What is kept true meanwhile: every sandbox that runs has at least the
 * lease told last, because a claim carries the newest one with it.
 */
#include "node-agent/core/state.h"

static bool is_over(const struct node_core *core, struct mono until)
{
	return until.ns && until.ns <= core->now.ns;
}

void lease_take(struct node_core *core, uint64_t lease_ms, struct mono sent_at)
{
	struct lease *lease = &core->lease;
	bool other_kind = !lease_ms != !lease->until.ns;
	bool anew = !lease->known || lease->epoch != core->meta.epoch || other_kind;
	uint64_t ms = lease_ms < DEADLINE_MAX_MS ? lease_ms : DEADLINE_MAX_MS;
	struct mono until = {0};

	/* One without end needs no moment to count from. */
	if (ms && !sent_at.ns)
		return;
	if (ms)
		until = mono_add_ms(sent_at, (int64_t)ms);
	/* Answers overtake each other, but another leader's lease replaces, as does another kind.
	 */
	if (!anew && until.ns <= lease->until.ns)
		return;
	lease->known = true;
	lease->epoch = core->meta.epoch;
	lease->ms = ms;
	lease->until = until;
	lease->is_told &= !anew;
}

bool lease_holds(const struct node_core *core)
{
	return core->lease.known && !is_over(core, core->lease.until);
}

void lease_claimed(struct node_core *core, const struct claim *claim)
{
	const struct lease *lease = &core->lease;
	bool other_kind = !claim->lease.ns != !lease->told.ns;

	/* One told meanwhile may not have reached it. */
	if (claim->orphan || other_kind || claim->lease.ns < lease->told.ns)
		core->lease.is_told = false;
}

static bool is_due(const struct node_core *core)
{
	const struct lease *lease = &core->lease;

	if (!lease_holds(core))
		return false;
	if (!lease->is_told || !lease->until.ns)
		return !lease->is_told;
	return is_over(core, lease->told) ||
	       lease->until.ns - lease->told.ns >= (int64_t)lease->ms * NS_PER_MS / LEASE_STEPS;
}

void lease_settle(struct node_core *core)
{
	struct lease *lease = &core->lease;

	/* Nobody to tell: whoever begins from now on gets this one, or a later one. */
	if (!core->counts.vms[NODE_VM_RUNNING] && !core->counts.vms[NODE_VM_CLAIMING]) {
		lease->is_told = lease->known;
		lease->told = lease->until;
	}
	/* What was given up must not thaw, and whoever is being claimed is told when it runs. */
	if (!core->counts.vms[NODE_VM_RUNNING] || core->lost_done < core->lost_below ||
	    !is_due(core) || !node_effects_fit(core))
		return;
	node_effect_add(core, NODE_EFFECT_LEASE)->lease_mono = lease->until;
	lease->is_told = true;
	lease->told = lease->until;
}

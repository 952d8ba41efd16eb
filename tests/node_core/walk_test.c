/*
 * A random walk: leaders come and go, leases are given, overtaken and run out, nodes are declared
 * lost, agents die, microVMs freeze and thaw.  Whatever happens:
 *
 *   no shim has a lease that no leader gave;
 *   what runs has, but for an eighth, the newest lease, from the moment when it was heard of;
 *   what was given up gets none, and is gone when that is said;
 *   what is billed is what ran, to the millisecond.
 */
#include "tests/node_core/walk.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { SEEDS = 60, STEPS = 2000, LEASE_MS = 8000 };

static struct leaders {
	uint64_t epoch, attempts_n;
	struct mono until, latest; /* given by the present one; by any of them */
	uint64_t lease_epoch;      /* whose until is; 0: this agent knows of none */
} leaders;

/* Leaders of every third epoch give no leases. */
static uint64_t lease_ms(uint64_t epoch)
{
	return epoch % 3 ? LEASE_MS : 0;
}

static void note_lease(struct mono sent_at)
{
	struct mono until = {0};

	if (lease_ms(leaders.epoch)) {
		if (!sent_at.ns)
			return;
		until = mono_add_ms(sent_at, LEASE_MS);
	}
	if (leaders.lease_epoch != leaders.epoch || until.ns > leaders.until.ns)
		leaders.until = until;
	if (until.ns > leaders.latest.ns)
		leaders.latest = until;
	leaders.lease_epoch = leaders.epoch;
}

static void answer(struct walk *walk, uint64_t epoch)
{
	struct node_event event = {.kind = NODE_EVENT_ANSWER};
	int64_t ago_ms = (int64_t)rng_below(&walk->rng, 3000);

	event.answer.epoch = epoch;
	event.answer.lease_ms = lease_ms(epoch);
	if (!rng_one_in(&walk->rng, 10))
		event.answer.sent_at = mono_add_ms(walk->host->now, -ago_ms);
	if (epoch == leaders.epoch) {
		event.answer.lost_below = walk->lost_below;
		note_lease(event.answer.sent_at);
	} else {
		event.answer.lost_below = leaders.attempts_n + 100;
	}
	host_step(walk->host, &event);
}

static void claim(struct walk *walk)
{
	if (leaders.attempts_n + 1 >= WALK_ATTEMPTS)
		return;
	answer(walk, leaders.epoch);
	host_claim(walk->host, ++leaders.attempts_n);
}

static void kill(struct walk *walk)
{
	uint64_t back = rng_below(&walk->rng, 8);

	answer(walk, leaders.epoch);
	if (back < leaders.attempts_n)
		host_kill(walk->host, leaders.attempts_n - back);
}

static void lose(struct walk *walk)
{
	walk->lost_below = leaders.attempts_n + 1;
	answer(walk, leaders.epoch);
}

static void restart(struct walk *walk)
{
	walk_restart(walk);
	leaders.lease_epoch = 0;
}

static void act(struct walk *walk)
{
	uint64_t what = rng_below(&walk->rng, 100);

	if (what < 30)
		walk_shim(walk);
	else if (what < 60)
		walk_pass(walk, (int64_t)rng_below(&walk->rng, 200));
	else if (what < 72)
		answer(walk, leaders.epoch);
	else if (what < 84)
		claim(walk);
	else if (what < 88)
		kill(walk);
	else if (what < 90)
		answer(walk, leaders.epoch - 1);
	else if (what < 94)
		host_acked(walk->host, walk->host->records_n + 1);
	else if (what < 95)
		walk_pass(walk, (int64_t)rng_below(&walk->rng, 2 * LEASE_MS));
	else if (what < 96)
		restart(walk);
	else if (what < 97)
		answer(walk, ++leaders.epoch);
	else if (what < 98)
		lose(walk);
}

static bool is_held(const struct walk_shim *shim)
{
	if (!leaders.until.ns || !shim->lease.ns)
		return !leaders.until.ns && !shim->lease.ns;
	return shim->lease.ns >= leaders.until.ns - LEASE_MS * NS_PER_MS / 8;
}

static void look(struct walk *walk)
{
	uint64_t lost_done = host_poll(walk->host).lost_below;
	bool live =
		leaders.lease_epoch && (!leaders.until.ns || leaders.until.ns > walk->host->now.ns);

	for (size_t i = 0; i < WALK_SHIMS; i++) {
		const struct walk_shim *shim = &walk->shims[i];
		if (shim->state != WALK_CLAIMING && shim->state != WALK_RUNS)
			continue;
		assert_true(shim->lease.ns <= leaders.latest.ns);
		if (shim->killed)
			continue;
		assert_true(shim->claim.attempt >= lost_done);
		if (shim->state == WALK_RUNS && live && lost_done == walk->lost_below)
			assert_true(is_held(shim));
	}
}

static void walk_one(uint64_t seed, uint64_t *ended_n, uint64_t *thaws_n)
{
	static struct walk walk;

	walk_open(&walk, seed);
	leaders = (struct leaders){.epoch = 1};
	walk.host->limits.vms_max = 19;
	walk.host->limits.attempts_max = 100;
	walk.host->limits.pool_floor = 1;
	walk.host->limits.tick_ms = 5000;
	walk.host->limits.capacity = (struct wire_room){20, 20000, 20000, 10};
	host_boot(walk.host);
	walk_restart(&walk);
	for (int i = 0; i < STEPS; i++) {
		act(&walk);
		if (!rng_one_in(&walk.rng, 3))
			continue;
		answer(&walk, leaders.epoch);
		look(&walk);
	}
	*ended_n += walk.ended_n;
	*thaws_n += walk.thaws_n;
	host_close(walk.host);
}

static void what_runs_has_the_newest_lease_and_is_billed_what_it_ran(void **state)
{
	uint64_t ended_n = 0, thaws_n = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		walk_one(seed, &ended_n, &thaws_n);
	/* It did walk. */
	assert_true(ended_n > 20 * SEEDS && thaws_n > 5 * SEEDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_runs_has_the_newest_lease_and_is_billed_what_it_ran),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

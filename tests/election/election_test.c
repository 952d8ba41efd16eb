/* Who leads: stories with an etcd of a few lines, then a random one under drifting clocks. */
#include "common/base/check.h"
#include "common/base/rng.h"
#include "scheduler/election/election.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const struct election_limits limits = {
	.ttl_ms = 2000, .margin_ms = 300, .retry_ms = 100, .answer_ms = 700};

static struct election one;
static struct election_effects effects;

static struct mono at_ms(int64_t ms)
{
	return (struct mono){ms * NS_PER_MS};
}

static void step(int64_t ms, struct election_event event)
{
	event.now = at_ms(ms);
	election_step(&one, &event, &effects);
}

static const struct election_effect *find(enum election_effect_kind kind)
{
	for (uint32_t i = 0; i < effects.n; i++)
		if (effects.items[i].kind == kind)
			return &effects.items[i];
	return NULL;
}

static uint32_t request(enum election_effect_kind kind)
{
	assert_non_null(find(kind));
	return find(kind)->request;
}

/* Leads from 1000 ms on with lease 7 under revision 50; kept at 1000. */
static void lead(void)
{
	election_init(&one, &limits);
	step(1000, (struct election_event){.kind = ELECTION_START});
	step(1000, (struct election_event){.kind = ELECTION_GRANTED,
					   .request = request(ELECTION_GRANT),
					   .lease = 7,
					   .ttl_ms = 2000,
					   .asked_at = at_ms(1000)});
	step(1000,
	     (struct election_event){.kind = ELECTION_KEY, .request = request(ELECTION_READ)});
	step(1000, (struct election_event){.kind = ELECTION_KEY,
					   .request = request(ELECTION_CAMPAIGN),
					   .exists = true,
					   .lease = 7,
					   .revision = 50});
	assert_non_null(find(ELECTION_LEAD));
	assert_int_equal(find(ELECTION_LEAD)->revision, 50);
}

static void the_first_to_write_the_key_leads(void **state)
{
	(void)state;
	lead();
	assert_true(election_leads(&one, at_ms(2699)));
}

static void a_leader_ends_by_its_own_clock(void **state)
{
	struct mono at;

	(void)state;
	lead();
	assert_false(election_leads(&one, at_ms(2700)));
	step(1500, (struct election_event){.kind = ELECTION_TICK});
	step(1600,
	     (struct election_event){.kind = ELECTION_FAILED, .request = request(ELECTION_KEEP)});
	assert_true(election_next_deadline(&one, &at));
	assert_int_equal(at.ns, at_ms(1700).ns);
	step(2700, (struct election_event){.kind = ELECTION_TICK});
	assert_non_null(find(ELECTION_FOLLOW));
	assert_int_equal(find(ELECTION_REVOKE)->lease, 7);
}

static void a_kept_lease_counts_from_when_it_was_asked_for(void **state)
{
	(void)state;
	lead();
	step(1500, (struct election_event){.kind = ELECTION_TICK});
	step(2100, (struct election_event){.kind = ELECTION_KEPT,
					   .request = request(ELECTION_KEEP),
					   .ttl_ms = 2000,
					   .asked_at = at_ms(1500)});
	assert_true(election_leads(&one, at_ms(3199)));
	assert_false(election_leads(&one, at_ms(3200)));
}

static void a_lost_lease_ends_leading_at_once(void **state)
{
	(void)state;
	lead();
	step(1500, (struct election_event){.kind = ELECTION_TICK});
	step(1510,
	     (struct election_event){.kind = ELECTION_KEPT, .request = request(ELECTION_KEEP)});
	assert_non_null(find(ELECTION_FOLLOW));
	assert_non_null(find(ELECTION_GRANT));
}

static void an_unanswered_campaign_is_found_out_by_reading(void **state)
{
	uint32_t campaign;

	(void)state;
	election_init(&one, &limits);
	step(0, (struct election_event){.kind = ELECTION_START});
	step(0, (struct election_event){.kind = ELECTION_GRANTED,
					.request = request(ELECTION_GRANT),
					.lease = 7,
					.ttl_ms = 2000});
	step(0, (struct election_event){.kind = ELECTION_KEY, .request = request(ELECTION_READ)});
	campaign = request(ELECTION_CAMPAIGN);
	step(10, (struct election_event){.kind = ELECTION_FAILED, .request = campaign});
	step(110, (struct election_event){.kind = ELECTION_TICK});
	step(120, (struct election_event){.kind = ELECTION_KEY,
					  .request = request(ELECTION_READ),
					  .exists = true,
					  .lease = 7,
					  .revision = 9});
	assert_int_equal(find(ELECTION_LEAD)->revision, 9);
	/* The late answer itself changes nothing. */
	step(130, (struct election_event){.kind = ELECTION_KEY, .request = campaign});
	assert_int_equal(effects.n, 0);
	assert_true(one.leads);
}

static void a_standby_campaigns_the_moment_the_leader_is_gone(void **state)
{
	(void)state;
	lead();
	step(1100,
	     (struct election_event){.kind = ELECTION_LEADER_SEEN, .lease = 8, .revision = 60});
	assert_non_null(find(ELECTION_FOLLOW));
	step(1200, (struct election_event){.kind = ELECTION_LEADER_GONE, .revision = 61});
	assert_non_null(find(ELECTION_CAMPAIGN));
}

static void whoever_resigns_gives_the_lease_back_and_asks_for_nothing_more(void **state)
{
	struct mono at;

	(void)state;
	lead();
	step(1100, (struct election_event){.kind = ELECTION_RESIGN});
	assert_int_equal(find(ELECTION_REVOKE)->lease, 7);
	assert_non_null(find(ELECTION_FOLLOW));
	assert_false(election_next_deadline(&one, &at));
}

/* ---- a random etcd ---- */

enum { REPLICAS = 3, FLIGHTS = 64, STEPS = 4000 };

struct flight {
	int64_t due_ms; /* true time; 0: free */
	int who;
	bool is_answer;
	struct election_effect effect;
	struct election_event answer;
};

struct lease {
	int64_t id, ends_ms;
	uint32_t ttl_ms;
};

static struct world {
	struct rng rng;
	int64_t now_ms;
	struct election replicas[REPLICAS];
	int32_t drift[REPLICAS]; /* thousandths: within the margin over one ttl */
	struct flight flights[FLIGHTS];
	struct lease leases[REPLICAS * 2];
	int64_t last_lease, key_lease;
	uint64_t revision, key_revision;
	uint64_t led_n, last_led;
} world;

static uint32_t below(uint32_t n)
{
	return (uint32_t)(rng_next(&world.rng) % n);
}

static struct mono clock_of(int who)
{
	return (struct mono){world.now_ms * (1000 + world.drift[who]) * (NS_PER_MS / 1000)};
}

static struct flight *fly(int who)
{
	for (int i = 0; i < FLIGHTS; i++) {
		struct flight *flight = &world.flights[i];
		if (flight->due_ms)
			continue;
		*flight = (struct flight){.who = who};
		flight->due_ms = world.now_ms + 1 + below(below(10) ? 40 : 2500);
		return flight;
	}
	return NULL;
}

static void world_step(int who, struct election_event event)
{
	struct election_effects out;

	event.now = clock_of(who);
	election_step(&world.replicas[who], &event, &out);
	for (uint32_t i = 0; i < out.n; i++) {
		if (out.items[i].kind == ELECTION_LEAD) {
			assert_true(out.items[i].revision > world.last_led ||
				    out.items[i].revision == world.key_revision);
			world.last_led = out.items[i].revision;
			world.led_n++;
		}
		if (out.items[i].kind >= ELECTION_LEAD || below(20) == 0)
			continue; /* lost on the way, sometimes */
		struct flight *flight = fly(who);
		if (!flight)
			continue;
		flight->effect = out.items[i];
		flight->answer.asked_at = clock_of(who);
	}
}

static struct lease *lease_find(int64_t id)
{
	for (size_t i = 0; i < ARRAY_N(world.leases); i++)
		if (id && world.leases[i].id == id)
			return &world.leases[i];
	return NULL;
}

static void key_vanishes(int64_t lease)
{
	if (!lease || world.key_lease != lease)
		return;
	world.key_lease = 0;
	world.key_revision = 0;
	world.revision++;
	for (int who = 0; who < REPLICAS; who++) {
		if (below(4) == 0)
			world_step(who, (struct election_event){.kind = ELECTION_WATCH_LOST});
		else
			world_step(who, (struct election_event){.kind = ELECTION_LEADER_GONE,
								.revision = world.revision});
	}
}

static void leases_end(void)
{
	for (size_t i = 0; i < ARRAY_N(world.leases); i++) {
		struct lease *lease = &world.leases[i];
		if (lease->id && lease->ends_ms <= world.now_ms) {
			int64_t id = lease->id;
			lease->id = 0;
			key_vanishes(id);
		}
	}
}

static void etcd_grant(struct election_event *answer, uint32_t ttl_ms)
{
	for (size_t i = 0; i < ARRAY_N(world.leases); i++) {
		struct lease *lease = &world.leases[i];
		if (lease->id)
			continue;
		*lease = (struct lease){++world.last_lease, world.now_ms + ttl_ms, ttl_ms};
		answer->kind = ELECTION_GRANTED;
		answer->lease = lease->id;
		answer->ttl_ms = ttl_ms;
		return;
	}
}

static void etcd_take(const struct election_effect *effect, struct election_event *answer)
{
	struct lease *lease = lease_find(effect->lease);

	answer->kind = ELECTION_FAILED;
	answer->request = effect->request;
	if (effect->kind == ELECTION_GRANT) {
		etcd_grant(answer, effect->ttl_ms);
	} else if (effect->kind == ELECTION_KEEP) {
		answer->kind = ELECTION_KEPT;
		answer->ttl_ms = lease ? lease->ttl_ms : 0;
		if (lease)
			lease->ends_ms = world.now_ms + lease->ttl_ms;
	} else if (effect->kind == ELECTION_REVOKE) {
		if (lease)
			lease->id = 0;
		key_vanishes(effect->lease);
	} else if (effect->kind == ELECTION_READ || lease) {
		if (effect->kind == ELECTION_CAMPAIGN && !world.key_lease) {
			world.key_lease = lease->id;
			world.key_revision = ++world.revision;
		}
		answer->kind = ELECTION_KEY;
		answer->exists = world.key_lease != 0;
		answer->lease = world.key_lease;
		answer->revision = world.key_lease ? world.key_revision : world.revision;
	}
}

static void world_turn(void)
{
	int leaders = 0;

	world.now_ms += 1 + below(30);
	leases_end();
	for (int i = 0; i < FLIGHTS; i++) {
		struct flight flight = world.flights[i];
		if (!flight.due_ms || flight.due_ms > world.now_ms)
			continue;
		world.flights[i].due_ms = 0;
		if (flight.is_answer) {
			world_step(flight.who, flight.answer);
			continue;
		}
		etcd_take(&flight.effect, &flight.answer);
		struct flight *back = fly(flight.who);
		if (back && below(20)) {
			back->is_answer = true;
			back->answer = flight.answer;
		} else if (back) {
			back->due_ms = 0;
		}
	}
	for (int who = 0; who < REPLICAS; who++) {
		struct mono at;
		if (election_next_deadline(&world.replicas[who], &at) &&
		    at.ns <= clock_of(who).ns && below(5)) /* stopped now and then */
			world_step(who, (struct election_event){.kind = ELECTION_TICK});
		leaders += election_leads(&world.replicas[who], clock_of(who));
	}
	assert_true(leaders <= 1);
}

static void never_two_leaders_by_true_time(void **state)
{
	uint64_t led_n = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		world = (struct world){.rng = {seed}, .now_ms = 1, .revision = 1};
		for (int who = 0; who < REPLICAS; who++) {
			/* 300 of 2000 ms are 150 thousandths. */
			world.drift[who] = (int32_t)below(261) - 130;
			election_init(&world.replicas[who], &limits);
			world_step(who, (struct election_event){.kind = ELECTION_START});
		}
		for (int i = 0; i < STEPS; i++)
			world_turn();
		led_n += world.led_n;
	}
	/* The property means nothing where nobody leads. */
	assert_true(led_n > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_to_write_the_key_leads),
		cmocka_unit_test(a_leader_ends_by_its_own_clock),
		cmocka_unit_test(a_kept_lease_counts_from_when_it_was_asked_for),
		cmocka_unit_test(a_lost_lease_ends_leading_at_once),
		cmocka_unit_test(an_unanswered_campaign_is_found_out_by_reading),
		cmocka_unit_test(a_standby_campaigns_the_moment_the_leader_is_gone),
		cmocka_unit_test(whoever_resigns_gives_the_lease_back_and_asks_for_nothing_more),
		cmocka_unit_test(never_two_leaders_by_true_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

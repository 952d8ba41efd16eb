/* The agent among several schedulers: who is told what, and whose word counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/host.h"
#include "tests/node_shell/fleet.h"
#include "tests/node_shell/world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fleet *fleet;

static int teardown(void **state)
{
	(void)state;
	fleet_close(fleet);
	free(fleet);
	return 0;
}

static void open_fleet(size_t schedulers_n)
{
	fleet = calloc(1, sizeof(*fleet));
	CHECK(fleet);
	fleet_open(fleet, schedulers_n);
}

static bool all_were_polled(void)
{
	for (size_t i = 0; i < fleet->schedulers_n; i++)
		if (fleet->schedulers[i].polls_n == 0)
			return false;
	return true;
}

static void a_node_enrols_with_the_leader_and_opens_sessions_with_all(void **state)
{
	(void)state;
	open_fleet(3);
	fleet->schedulers[0].standby = true;
	fleet->schedulers[2].standby = false;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, all_were_polled());
	assert_int_equal(fleet->schedulers[0].enrols_asked_n, 1);
	assert_int_equal(fleet->schedulers[1].enrols_asked_n, 1);
	assert_int_equal(fleet->schedulers[2].enrols_asked_n, 1);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(fleet->schedulers[i].sessions_n, 1);
	/* Once and for all. */
	fleet_stop_agent(fleet);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->schedulers[0].sessions_n == 2 &&
				  fleet->schedulers[1].sessions_n == 2 &&
				  fleet->schedulers[2].sessions_n == 2);
	assert_int_equal(fleet->schedulers[2].enrols_asked_n, 1);
}

/* A URL that nobody listens at. */
static void make_dead_url(char out_url[64])
{
	struct scheduler nobody;

	scheduler_open(&nobody, &fleet->loop);
	scheduler_url(&nobody, out_url);
	scheduler_close(&nobody);
	for (int turn = 0; turn < 8; turn++)
		uv_run(&fleet->loop, UV_RUN_NOWAIT);
	scheduler_free(&nobody);
}

static void a_node_enrols_though_the_first_scheduler_is_away(void **state)
{
	char url[64], alive[64], urls[OPTION_TEXT_MAX];

	(void)state;
	open_fleet(1);
	make_dead_url(url);
	scheduler_url(&fleet->schedulers[0], alive);
	snprintf(urls, sizeof(urls), "%s", url);
	fleet_start_agent(fleet, urls);
	/* Whoever's turn it is at first. */
	fleet->agent.links.turn = 1;
	fleet_wait(fleet, all_were_polled());
}

static void a_scheduler_that_is_away_disturbs_nobody(void **state)
{
	struct node_effect records[3];
	char url[64];

	(void)state;
	open_fleet(2);
	make_dead_url(url);
	fleet_enrol(fleet);
	for (uint64_t seq = 1; seq <= 3; seq++)
		records[seq - 1] = effect_record(seq);
	fleet_journal(fleet, records, 3);
	fleet_start_agent(fleet, url);
	fleet_wait(fleet, fleet->schedulers[0].next_seq == 4 && fleet->schedulers[1].next_seq == 4);
	/* What it does not have is kept for it. */
	fleet_wait(fleet, fleet->schedulers[0].polls_n > 2);
	assert_int_equal(node_core_meta(fleet->agent.core).acked_seq, 1);
}

static void a_standby_only_acknowledges(void **state)
{
	struct scheduler *leader, *standby;
	struct node_effect record = effect_record(1);
	uint32_t polls_n;

	(void)state;
	open_fleet(2);
	fleet_enrol(fleet);
	fleet_journal(fleet, &record, 1);
	leader = &fleet->schedulers[0];
	standby = &fleet->schedulers[1];
	leader->epoch = 5;
	standby->epoch = 99;
	standby->lost_below = UINT64_MAX;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet,
		   leader->poll.epoch == 5 && leader->next_seq == 2 && standby->next_seq == 2);
	polls_n = standby->polls_n;
	fleet_wait(fleet, standby->polls_n > polls_n);
	fleet_wait(fleet, node_core_meta(fleet->agent.core).acked_seq == 2);
	assert_int_equal(standby->poll.epoch, 5);
	assert_int_equal(leader->poll.lost_below, 0);
}

static bool says_more_than_is_journaled;

static void look_at_epoch(struct scheduler *scheduler, const struct wire_poll *poll)
{
	(void)scheduler;
	if (poll->epoch > fleet_journaled_epoch(fleet))
		says_more_than_is_journaled = true;
}

static void an_epoch_is_said_to_all_when_it_is_journaled_and_not_before(void **state)
{
	(void)state;
	open_fleet(3);
	fleet_enrol(fleet);
	for (size_t i = 0; i < 3; i++)
		fleet->schedulers[i].on_poll = look_at_epoch;
	fleet->schedulers[0].epoch = 7;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet,
		   fleet->schedulers[1].poll.epoch == 7 && fleet->schedulers[2].poll.epoch == 7);
	/* The next leader is another. */
	fleet->schedulers[0].standby = true;
	fleet->schedulers[2].standby = false;
	fleet->schedulers[2].epoch = 9;
	scheduler_wake(&fleet->schedulers[2]);
	fleet_wait(fleet, fleet->schedulers[0].poll.epoch == 9 &&
				  fleet->schedulers[1].poll.epoch == 9 &&
				  fleet->schedulers[2].poll.epoch == 9);
	assert_false(says_more_than_is_journaled);
	/* And after a restart, from the first poll on. */
	fleet_stop_agent(fleet);
	fleet->schedulers[1].polls_n = 0;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->schedulers[1].polls_n == 1);
	assert_int_equal(fleet->schedulers[1].poll.epoch, 9);
}

static void a_stop_is_said_to_all_and_hangs_on_nobody(void **state)
{
	(void)state;
	open_fleet(3);
	fleet_enrol(fleet);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, all_were_polled());
	assert_false(fleet->schedulers[0].was_left);
	fleet_stop_agent(fleet);
	/* It said so before it closed, and the bus delivers. */
	fleet_wait(fleet, fleet->schedulers[0].was_left && fleet->schedulers[1].was_left &&
				  fleet->schedulers[2].was_left);
}

static size_t count_in_file(int fd, const char *text)
{
	static char content[1 << 20];
	ssize_t n = pread(fd, content, sizeof(content) - 1, 0);
	size_t found = 0;

	CHECK(n >= 0);
	content[n] = 0;
	for (const char *at = content; (at = strstr(at, text)); at++)
		found++;
	return found;
}

static void records_that_are_gone_are_complained_of_once(void **state)
{
	struct node_effect effects[9] = {{.kind = NODE_EFFECT_JOURNAL_META}};
	struct scheduler *late;
	char path[] = "/tmp/flotilla-log-XXXXXX";
	uint32_t polls_n;
	int fd = mkstemp(path);

	(void)state;
	CHECK(fd >= 0 && unlink(path) == 0);
	open_fleet(2);
	fleet_enrol(fleet);
	/* Trimmed below 5, as all had them once; the second has lost its ledger. */
	effects[0].meta = (struct node_meta){.acked_seq = 5, .epoch = 1};
	for (uint64_t seq = 5; seq < 13; seq++)
		effects[seq - 4] = effect_record(seq);
	fleet_journal(fleet, effects, 9);
	fleet->schedulers[0].next_seq = 5;
	late = &fleet->schedulers[1];
	pump_server_init(&fleet->schedulers[0].pump, 5);
	log_to(fd);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->schedulers[0].next_seq == 13 && late->polls_n > 0);
	polls_n = late->polls_n;
	fleet_wait(fleet, late->polls_n >= polls_n + 3);
	log_flush();
	log_to(2);
	assert_int_equal(late->next_seq, 1);
	assert_int_equal(count_in_file(fd, "records of this node that are gone"), 1);
	assert_int_equal(count_in_file(fd, "cannot write a poll"), 0);
	/* It is there, and heard, all the same. */
	assert_int_equal(late->poll.end_seq, 13);
	close(fd);
}

static void wrong_addresses_of_schedulers_are_refused_by_name(void **state)
{
	static const struct {
		const char *list, *problem;
	} rows[] = {
		{"", "names none"},
		{"tcp://a:1,tcp://b:2", NULL},
		{"tls+tcp://a.example:1 , tcp://[::1]:2", NULL},
		{"tcp://a:1,tcp://b:2,tcp://a:1", "names tcp://a:1 twice"},
		{"http://a:1", "neither tcp:// nor tls+tcp://"},
		{"a:1", "neither tcp:// nor tls+tcp://"},
		{"tcp://a", "not tcp://HOST:PORT"},
		{"tcp://a:0", "not tcp://HOST:PORT"},
		{"tcp://:1", "not tcp://HOST:PORT"},
		{"tcp://a:1,tcp://a:2,tcp://a:3,tcp://a:4,tcp://a:5,tcp://a:6,tcp://a:7,tcp://a:8",
		 NULL},
		{"tcp://a:1,tcp://a:2,tcp://a:3,tcp://a:4,tcp://a:5,tcp://a:6,tcp://a:7,tcp://a:8,"
		 "tcp://a:9",
		 "at most 8"},
	};
	static const struct option_spec row = {.type = OPTION_TYPE_LIST, .name = "scheduler"};
	struct option_list list;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		assert_int_equal(option_parse(&row, rows[i].list, &list, &err), 0);
		assert_int_equal(links_check(&list, &err), rows[i].problem ? -1 : 0);
		if (rows[i].problem)
			assert_non_null(strstr(err.text, rows[i].problem));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_node_enrols_with_the_leader_and_opens_sessions_with_all),
		TEST(a_node_enrols_though_the_first_scheduler_is_away),
		TEST(a_scheduler_that_is_away_disturbs_nobody),
		TEST(a_standby_only_acknowledges),
		TEST(an_epoch_is_said_to_all_when_it_is_journaled_and_not_before),
		TEST(a_stop_is_said_to_all_and_hangs_on_nobody),
		TEST(records_that_are_gone_are_complained_of_once),
		cmocka_unit_test(wrong_addresses_of_schedulers_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

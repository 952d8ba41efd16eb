/*
 * A node without a hypervisor: enrols, opens sessions with every scheduler and polls on the real
 * bus, says yes to every claim, and keeps leases and losses as a real node does.  For tests, chaos
 * and benches of the scheduler.
 *
 *	fake_agent --bus tcp://127.0.0.1:3003 [--bus ...] --token e2b_... [--name N]
 *		   [--sandboxes N] [--template NAME] [--claim-ms N] [--usage-ms N] [--refuse]
 *		   [--keep] [--truth FILE] [--inits FILE] [--egress FILE] [--trouble TEXT]
 *		   [--leaving] [--observe] [--spied SANDBOX]
 *
 * Ends on TERM, and then writes to --truth what really ran: see vms_write_truth.  What guests are
 * told at their claims is added to --inits, a line each: the sandbox, and the JSON; what they may
 * reach, now and at every change, to --egress (fake_agent_egress.c).
 */
#include "tests/sched_shell/fake_agent.h"

#include "common/base/check.h"

#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURN_MS = 20 };

struct fake_options options = {.name = "fake", .template_ = "base", .sandboxes = 1000};

static uv_loop_t loop;
static uv_timer_t turn;
static uv_signal_t stop;

struct mono now_mono(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (struct mono){now.tv_sec * NS_PER_S + now.tv_nsec};
}

int64_t now_wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void on_turn(uv_timer_t *timer)
{
	(void)timer;
	vms_turn();
	links_turn();
}

static void on_stop(uv_signal_t *signal, int number)
{
	(void)signal;
	(void)number;
	if (options.truth)
		vms_write_truth(options.truth);
	uv_close((uv_handle_t *)&turn, NULL);
	uv_close((uv_handle_t *)&stop, NULL);
	links_close();
}

static void add_bus(const char *bus)
{
	CHECK(options.buses_n < FAKE_SCHEDULERS_MAX);
	options.buses[options.buses_n++] = bus;
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"bus", 1, 0, 'b'},
		{"token", 1, 0, 't'},
		{"name", 1, 0, 'n'},
		{"sandboxes", 1, 0, 's'},
		{"template", 1, 0, 'T'},
		{"claim-ms", 1, 0, 'c'},
		{"usage-ms", 1, 0, 'u'},
		{"refuse", 0, 0, 'r'},
		{"truth", 1, 0, 'w'},
		{"trouble", 1, 0, 'x'},
		{"leaving", 0, 0, 'l'},
		{"keep", 0, 0, 'k'},
		{"observe", 0, 0, 'o'},
		{"spied", 1, 0, 'p'},
		{"inits", 1, 0, 'i'},
		{"egress", 1, 0, 'e'},
		{0},
	};
	int got;

	while ((got = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (got == 'b')
			add_bus(optarg);
		else if (got == 't')
			options.token = optarg;
		else if (got == 'n')
			options.name = optarg;
		else if (got == 's')
			options.sandboxes = (uint32_t)strtoul(optarg, NULL, 10);
		else if (got == 'T')
			options.template_ = optarg;
		else if (got == 'c')
			options.claim_ms = (uint32_t)strtoul(optarg, NULL, 10);
		else if (got == 'u')
			options.usage_ms = (uint32_t)strtoul(optarg, NULL, 10);
		else if (got == 'r')
			options.refuse = true;
		else if (got == 'w')
			options.truth = optarg;
		else if (got == 'x')
			options.trouble = optarg;
		else if (got == 'l')
			options.leaving = true;
		else if (got == 'k')
			options.keep = true;
		else if (got == 'o')
			options.observe = true;
		else if (got == 'i')
			options.inits = optarg;
		else if (got == 'e')
			options.egress = optarg;
		else if (got == 'p')
			options.spied = optarg;
		else
			exit(2);
	}
	if (!options.buses_n || !options.token) {
		fprintf(stderr, "fake_agent: --bus and --token are needed\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct err err;

	read_options(argc, argv);
	CHECK(sodium_init() >= 0 && uv_loop_init(&loop) == 0);
	vms_open();
	uv_timer_init(&loop, &turn);
	uv_timer_start(&turn, on_turn, TURN_MS, TURN_MS);
	uv_signal_init(&loop, &stop);
	uv_signal_start(&stop, on_stop, SIGTERM);
	if (links_open(&loop, &err)) {
		fprintf(stderr, "fake_agent: %s\n", err.text);
		return 1;
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	vms_close();
	return 0;
}

/* Runs seeds. Each is run twice, and both runs must be the same to the last effect; --once does not
 * look at that. */
#include "tests/sim/stories.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void on_abort(int signal)
{
	(void)signal;
	if (world_running)
		world_print_last_lines(world_running);
	_Exit(1);
}

static int usage(void)
{
	fprintf(stderr, "usage: flotilla-sim --seeds FIRST..LAST | --seed N | --stories [--trace] "
			"[--once] [--oracle-alone]\n");
	return 64;
}

static void print_totals(const struct totals *t, double seconds)
{
	printf("%" PRIu64 " seeds, %" PRIu64
	       " of them with several schedulers, each twice: %" PRIu64
	       " steps; died: schedulers %" PRIu64 ", agents %" PRIu64 ", hosts %" PRIu64
	       "; stopped in their tracks %" PRIu64 "; failed commits %" PRIu64 "\n",
	       t->seeds, t->several, t->steps, t->crashes_replica, t->crashes_agent, t->reboots,
	       t->stops, t->commit_faults);
	printf("messages %" PRIu64 ", lost %" PRIu64 ", repeated %" PRIu64
	       ", stale answers %" PRIu64 "\n",
	       t->messages, t->lost, t->repeated, t->stale);
	printf("etcd: restarted %" PRIu64 ", compacted %" PRIu64 ", full %" PRIu64
	       ", cut off a scheduler %" PRIu64 ", watches lost %" PRIu64 "\n",
	       t->etcd_restarts, t->etcd_compactions, t->etcd_full, t->etcd_cuts, t->watches_lost);
	printf("take-overs %" PRIu64 ", came to admit %" PRIu64 ", handed over %" PRIu64
	       ", adopted %" PRIu64 "; nodes declared lost %" PRIu64 "\n",
	       t->take_overs, t->admissions, t->hand_overs, t->adopted, t->nodes_lost);
	printf("creates %" PRIu64 ": granted %" PRIu64 ", refused %" PRIu64 ", asked again %" PRIu64
	       "; records %" PRIu64 ", microVMs %" PRIu64 ", posted %.1f h of running\n",
	       t->creates, t->granted, t->refused, t->repeats, t->records, t->vms,
	       (double)t->usage_ms / 3.6e6);
	printf("pauses %" PRIu64 ", resumed %" PRIu64 ", discarded %" PRIu64
	       "; templates copied %" PRIu64 "; networks changed %" PRIu64 "\n",
	       t->pauses, t->resumes, t->discards, t->copies, t->rules);
	printf("snapshots %" PRIu64 ", sandboxes begun from them %" PRIu64
	       "; paused ones, and they, copied %" PRIu64 ", handed over %" PRIu64 "\n",
	       t->snapshots, t->forks, t->moves, t->handovers);
	printf("copies of snapshots kept %" PRIu64 ", sandboxes begun from them %" PRIu64
	       ", told that they are the snapshot %" PRIu64 "\n",
	       t->spreads, t->spread_forks, t->taken_over);
	printf("freezes %" PRIu64 ", thaws %" PRIu64 ", %.1f h frozen\n", t->freezes, t->thaws,
	       (double)t->frozen_ms / 3.6e6);
	printf("virtual %.1f h in %.1f s, one run: %.0f times as fast\n",
	       (double)t->virtual_ns / 3.6e12, seconds / 2,
	       (double)t->virtual_ns / 1e9 / (seconds / 2));
}

int main(int argc, char **argv)
{
	struct totals totals = {0}, again = {0};
	uint64_t first = 0, last = 0, once, twice;
	bool trace = false, chosen = false, stories = false, once_only = false;
	struct timespec from, to;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seeds") && i + 1 < argc) {
			chosen = sscanf(argv[++i], "%" SCNu64 "..%" SCNu64, &first, &last) == 2;
		} else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			chosen = sscanf(argv[++i], "%" SCNu64, &first) == 1;
			last = first;
		} else if (!strcmp(argv[i], "--oracle-alone")) {
			world_verifies = false;
		} else if (!strcmp(argv[i], "--once")) {
			once_only = true;
		} else if (!strcmp(argv[i], "--stories")) {
			stories = true;
		} else if (!strcmp(argv[i], "--trace")) {
			trace = true;
		} else {
			return usage();
		}
	}
	if (stories == chosen || last < first)
		return usage();
	signal(SIGABRT, on_abort);
	if (stories) {
		stories_run(trace, &totals);
		return 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (uint64_t seed = first; seed <= last; seed++) {
		world_run(seed, trace, &totals, &once);
		if (once_only)
			continue;
		world_run(seed, false, &again, &twice);
		if (once != twice) {
			printf("seed %" PRIu64 " ran differently the second time\n", seed);
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	print_totals(&totals,
		     (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return 0;
}

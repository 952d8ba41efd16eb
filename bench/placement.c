/*
 * How fast the scheduler's core decides: a whole create (admission, quota, placement, effects) in
 * fleets of 1,000 and of 100,000 nodes, beside a look at all nodes by the same order in the same
 * run.  Both must name the same node each time, or the program stops.
 *
 * usage: bench_placement [NODES...]
 *
 * Prints one line of JSON a figure: name, unit, n (runs), p50, min, max.
 */
#include "common/base/check.h"
#include "common/base/rng.h"
#include "scheduler/core/core.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 9, CREATES = 20000, SCANS = 200 };
enum { VCPUS = 2, MEM_MIB = 512, DISK_MIB = 1024 };

/* What a scan looks at, as tight as it can be. */
struct seen {
	uint32_t vcpus, mem_mib, disk_mib, sandboxes; /* free */
	uint32_t warm_n;
};

struct fleet {
	struct core *core;
	struct core_effects *effects;
	struct seen *seen;
	uint64_t *seqs;
	uint32_t node_n;
	struct rng rng;
	uint64_t created_n;
	struct live {
		struct id id;
		uint64_t attempt;
		uint32_t node;
	} * lives;
	uint32_t live_n;
};

static double now_s(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static double resident_mib(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double say(const char *figure, uint32_t nodes, const char *unit, double *values, int n)
{
	qsort(values, (size_t)n, sizeof(*values), compare);
	printf("{\"figure\": \"%s_%" PRIu32
	       "\", \"unit\": \"%s\", \"n\": %d, \"p50\": %.3f, \"min\": %.3f, \"max\": %.3f}\n",
	       figure, nodes, unit, n, values[n / 2], values[0], values[n - 1]);
	fflush(stdout);
	return values[n / 2];
}

/* ---- the fleet ---- */

static void add_node(struct fleet *fleet, uint32_t n)
{
	struct wire_template template = {.name = "base",
					 .vcpus = VCPUS,
					 .mem_mib = MEM_MIB,
					 .disk_mib = DISK_MIB,
					 .ready = true};
	struct wire_poll poll = {.templates = &template, .templates_n = 1};
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};
	struct seen *seen = &fleet->seen[n];

	*seen = (struct seen){.vcpus = 4 + (uint32_t)rng_below(&fleet->rng, 60),
			      .mem_mib = 4096 + (uint32_t)rng_below(&fleet->rng, 1 << 15),
			      .disk_mib = 1 << 18,
			      .sandboxes = 64,
			      .warm_n = (uint32_t)rng_below(&fleet->rng, 4)};
	template.warm_n = seen->warm_n;
	poll.capacity =
		(struct wire_room){seen->vcpus, seen->mem_mib, seen->disk_mib, seen->sandboxes};
	snprintf(event.node.id.text, sizeof(event.node.id.text), "nod_%08" PRIu32, n);
	core_step(fleet->core, &event, fleet->effects);
	event.kind = CORE_EVENT_NODE_REPORT;
	memmove(&event.report.node, &event.node.id, sizeof(event.report.node));
	event.report.poll = &poll;
	core_step(fleet->core, &event, fleet->effects);
	fleet->seqs[n] = 1;
}

static struct core *make_core(const struct core_limits *limits)
{
	size_t bytes = core_size(limits);
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return core_init(memory, limits);
}

static void open_fleet(struct fleet *fleet, uint32_t node_n, const struct core_limits *limits)
{
	struct core_event event = {.kind = CORE_EVENT_BOOT, .boot = {.epoch = 1}};

	*fleet = (struct fleet){.node_n = node_n, .rng = {7}};
	fleet->core = make_core(limits);
	fleet->effects = calloc(1, sizeof(*fleet->effects));
	fleet->seen = calloc(node_n, sizeof(*fleet->seen));
	fleet->seqs = calloc(node_n, sizeof(*fleet->seqs));
	fleet->lives = calloc(limits->sandboxes, sizeof(*fleet->lives));
	CHECK(fleet->effects && fleet->seen && fleet->seqs && fleet->lives);
	core_step(fleet->core, &event, fleet->effects);
	event = (struct core_event){.kind = CORE_EVENT_TENANT_SET};
	event.tenant = (struct core_tenant){.id = {"ten_a"},
					    .concurrent_max = UINT32_MAX,
					    .vcpus_max = UINT32_MAX,
					    .mem_mib_max = UINT64_MAX,
					    .session_max_s = 3600};
	core_step(fleet->core, &event, fleet->effects);
	for (uint32_t n = 0; n < node_n; n++)
		add_node(fleet, n);
}

static void close_fleet(struct fleet *fleet, const struct core_limits *limits)
{
	munmap(fleet->core, core_size(limits));
	free(fleet->effects);
	free(fleet->seen);
	free(fleet->seqs);
	free(fleet->lives);
}

/* ---- creates and ends ---- */

static struct core_event next_create(struct fleet *fleet)
{
	struct core_event event = {.kind = CORE_EVENT_CREATE};

	event.create.request = ++fleet->created_n;
	/* Spread as real ids are, so that the index is not met in its order. */
	snprintf(event.create.sandbox.text, sizeof(event.create.sandbox.text), "i%016" PRIx64,
		 rng_next(&fleet->rng));
	memcpy(event.create.tenant.text, "ten_a", 6);
	memcpy(event.create.template_, "base", 5);
	event.create.timeout_s = 60;
	return event;
}

/* Keeps what was placed, for its end and for the scan. */
static void note_placed(struct fleet *fleet, const struct id *id)
{
	const struct core_sandbox *row = core_sandbox_find(fleet->core, id);
	struct live *live = &fleet->lives[fleet->live_n++];
	struct seen *seen;

	CHECK(row);
	live->id = *id;
	live->attempt = row->attempt;
	live->node = (uint32_t)strtoul(row->node.text + 4, NULL, 10);
	seen = &fleet->seen[live->node];
	seen->vcpus -= VCPUS;
	seen->mem_mib -= MEM_MIB;
	seen->disk_mib -= DISK_MIB;
	seen->sandboxes--;
	seen->warm_n -= seen->warm_n > 0;
}

static void end_one(struct fleet *fleet)
{
	uint32_t i = (uint32_t)rng_below(&fleet->rng, fleet->live_n);
	struct live live = fleet->lives[i];
	struct wire_record record = {.kind = WIRE_RECORD_ENDED,
				     .seq = fleet->seqs[live.node]++,
				     .sandbox = live.id,
				     .attempt = live.attempt,
				     .incarnation = 1,
				     .cause = CAUSE_TIMEOUT};
	struct core_event event = {.kind = CORE_EVENT_RECORD};

	fleet->lives[i] = fleet->lives[--fleet->live_n];
	snprintf(event.record.node.text, sizeof(event.record.node.text), "nod_%08" PRIu32,
		 live.node);
	event.record.record = &record;
	core_step(fleet->core, &event, fleet->effects);
	CHECK(!core_sandbox_find(fleet->core, &live.id));
	fleet->seen[live.node].vcpus += VCPUS;
	fleet->seen[live.node].mem_mib += MEM_MIB;
	fleet->seen[live.node].disk_mib += DISK_MIB;
	fleet->seen[live.node].sandboxes++;
}

/* Creates n, each by itself as in the shell; seconds spent in the core. */
static double create_many(struct fleet *fleet, int n)
{
	static struct core_event events[CREATES];
	double began;

	CHECK(n <= CREATES);
	for (int i = 0; i < n; i++)
		events[i] = next_create(fleet);
	began = now_s();
	for (int i = 0; i < n; i++)
		core_step(fleet->core, &events[i], fleet->effects);
	began = now_s() - began;
	for (int i = 0; i < n; i++)
		note_placed(fleet, &events[i].create.sandbox);
	return began;
}

/* ---- the scan ---- */

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* As in place.c: 1..7 each by itself, then by powers of two. */
static uint32_t class_of(uint32_t room)
{
	if (room < 8)
		return room;
	return smaller(8 + (28 - (uint32_t)__builtin_clz(room)), 11);
}

static uint32_t scan(const struct fleet *fleet)
{
	uint32_t best = UINT32_MAX, best_rank = UINT32_MAX;

	for (uint32_t n = 0; n < fleet->node_n; n++) {
		const struct seen *seen = &fleet->seen[n];
		uint32_t room = smaller(smaller(seen->vcpus / VCPUS, seen->mem_mib / MEM_MIB),
					smaller(seen->disk_mib / DISK_MIB, seen->sandboxes));
		uint32_t rank = class_of(room) + (seen->warm_n ? 0 : 16);
		if (room && rank < best_rank) {
			best = n;
			best_rank = rank;
		}
	}
	return best;
}

/* Seconds that n scans take, each followed by a create that must choose the same node. */
static double scan_many(struct fleet *fleet, int n)
{
	double spent = 0;

	for (int i = 0; i < n; i++) {
		double began = now_s();
		uint32_t best = scan(fleet);
		spent += now_s() - began;
		create_many(fleet, 1);
		CHECK(fleet->lives[fleet->live_n - 1].node == best);
		end_one(fleet);
	}
	return spent;
}

static double explain_many(const struct fleet *fleet, int n)
{
	struct core_explanation why;
	double began = now_s();

	for (int i = 0; i < n; i++)
		core_explain(fleet->core, "base", &why);
	return now_s() - began;
}

static void measure(uint32_t node_n)
{
	struct core_limits limits = {.tenants = 1000,
				     .nodes = node_n,
				     .templates = 256,
				     .sandboxes = 3 * node_n + CREATES};
	double indexed[RUNS], scanned[RUNS], ratio[RUNS], explained[RUNS], mib[1],
		before = resident_mib();
	struct fleet fleet;

	open_fleet(&fleet, node_n, &limits);
	mib[0] = resident_mib() - before;
	say("core_memory_of_idle_fleet", node_n, "MiB", mib, 1);
	for (uint32_t i = 0; i < 3 * node_n; i += 500)
		create_many(&fleet, 500);
	mib[0] = resident_mib() - before;
	say("core_memory_with_3_sandboxes_a_node", node_n, "MiB", mib, 1);
	for (int run = 0; run < RUNS; run++) {
		/* No more at a time than the fleet has room for. */
		int n = (int)smaller(CREATES, node_n * 2);
		indexed[run] = n / create_many(&fleet, n);
		for (int i = 0; i < n; i++)
			end_one(&fleet);
		scanned[run] = SCANS / scan_many(&fleet, SCANS);
		ratio[run] = indexed[run] / scanned[run];
		explained[run] = explain_many(&fleet, 10) / 10 * 1e3;
	}
	say("core_creates", node_n, "1/s", indexed, RUNS);
	say("scans_of_all_nodes", node_n, "1/s", scanned, RUNS);
	say("core_creates_to_scans", node_n, "ratio", ratio, RUNS);
	say("core_explain", node_n, "ms", explained, RUNS);
	close_fleet(&fleet, &limits);
}

/* What an installation of ordinary limits costs while there is nothing to do. */
static void measure_empty(void)
{
	struct core_limits limits = {
		.tenants = 10000, .nodes = 10000, .templates = 256, .sandboxes = 200000};
	double mib[1], before = resident_mib();
	struct fleet fleet;

	open_fleet(&fleet, 3, &limits);
	mib[0] = resident_mib() - before;
	say("core_memory_of_nodes", 3, "MiB", mib, 1);
	mib[0] = (double)core_size(&limits) / (1 << 20);
	say("core_memory_reserved_for_nodes", limits.nodes, "MiB", mib, 1);
	close_fleet(&fleet, &limits);
}

int main(int argc, char **argv)
{
	measure_empty();
	for (int i = 1; i < argc; i++)
		measure((uint32_t)strtoul(argv[i], NULL, 10));
	if (argc < 2) {
		measure(1000);
		measure(100000);
	}
	return 0;
}

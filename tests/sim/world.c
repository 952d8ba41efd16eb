#include "tests/sim/world.h"

#include "tests/sim/agent.h"
#include "tests/sim/etcd.h"
#include "tests/sim/faults.h"
#include "tests/sim/net.h"
#include "tests/sim/oracle.h"
#include "tests/sim/replica.h"
#include "tests/sim/shims.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world *world_running;
bool world_verifies = true;

/* ---- what is to come: a binary heap ---- */

static bool sooner(const struct planned *a, const struct planned *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(struct planned *a, struct planned *b)
{
	struct planned c = *a;

	*a = *b;
	*b = c;
}

void world_plan(struct world *world, int64_t in_ns, struct call call)
{
	size_t i = world->queue_n++;

	CHECK(in_ns >= 0);
	if (world->queue_n > world->queue_cap) {
		world->queue_cap = world->queue_cap ? world->queue_cap * 2 : 256;
		world->queue = realloc(world->queue, world->queue_cap * sizeof(*world->queue));
		CHECK(world->queue);
	}
	world->queue[i] = (struct planned){world->now_ns + in_ns, world->order++, call};
	for (; i && sooner(&world->queue[i], &world->queue[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&world->queue[i], &world->queue[(i - 1) / 2]);
}

static struct planned take_first(struct world *world)
{
	struct planned first = world->queue[0];
	size_t i = 0;

	world->queue[0] = world->queue[--world->queue_n];
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;
		if (left < world->queue_n && sooner(&world->queue[left], &world->queue[least]))
			least = left;
		if (right < world->queue_n && sooner(&world->queue[right], &world->queue[least]))
			least = right;
		if (least == i)
			return first;
		swap(&world->queue[i], &world->queue[least]);
		i = least;
	}
}

/* ---- programs that are stopped in their tracks ---- */

void world_go_on(struct world *world, uint32_t programs)
{
	size_t kept = 0;

	for (uint32_t i = 0; i < PROGRAMS_MAX; i++)
		if (programs & world->stopped & 1u << i)
			world->go_on_ns[i] = world->now_ns;
	world->stopped &= ~programs;
	for (size_t i = 0; i < world->waiting_n; i++)
		if (world->waiting[i].of & world->stopped)
			world->waiting[kept++] = world->waiting[i];
		else
			world_plan(world, 0, world->waiting[i]);
	world->waiting_n = kept;
	oracle_stir(world);
}

static void on_go_on(struct world *world, const struct call *call)
{
	uint32_t programs = (uint32_t)call->a;

	for (uint32_t i = 0; i < PROGRAMS_MAX; i++)
		if (world->go_on_ns[i] != world->now_ns)
			programs &= ~(1u << i);
	world_go_on(world, programs & world->stopped);
}

void world_stop(struct world *world, uint32_t programs, int64_t for_ns)
{
	int64_t until_ns = world->now_ns + for_ns;

	world_say(world, "programs %x stop in their tracks", programs);
	world->totals.stops++;
	for (uint32_t i = 0; i < PROGRAMS_MAX; i++)
		if (programs & 1u << i &&
		    (!(world->stopped & 1u << i) || world->go_on_ns[i] < until_ns))
			world->go_on_ns[i] = until_ns;
	world->stopped |= programs;
	world_plan(world, for_ns, (struct call){.fn = on_go_on, .a = programs});
	oracle_stir(world);
}

/* Whether the call waits; those that do keep their order. */
static bool has_to_wait(struct world *world, const struct call *call)
{
	if (!(call->of & world->stopped))
		return false;
	if (world->waiting_n == world->waiting_cap) {
		world->waiting_cap = world->waiting_cap ? 2 * world->waiting_cap : 64;
		world->waiting =
			realloc(world->waiting, world->waiting_cap * sizeof(*world->waiting));
		CHECK(world->waiting);
	}
	world->waiting[world->waiting_n++] = *call;
	return true;
}

/* ---- the story ---- */

void world_say(struct world *world, const char *format, ...)
{
	char *line = world->trace[world->trace_n++ % TRACE_LINES];
	uint64_t hash = world->hash;
	va_list args;
	int n;

	n = snprintf(line, TRACE_LINE_MAX, "%10.6f ", (double)world->now_ns / 1e9);
	va_start(args, format);
	vsnprintf(line + n, (size_t)(TRACE_LINE_MAX - n), format, args);
	va_end(args);
	for (const char *c = line; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	world->hash = hash ^ hash >> 29;
	if (world->print_trace)
		puts(line);
}

void world_print_last_lines(const struct world *world)
{
	uint64_t first = world->trace_n > TRACE_LINES ? world->trace_n - TRACE_LINES : 0;

	if (!world->print_trace)
		for (uint64_t i = first; i < world->trace_n; i++)
			puts(world->trace[i % TRACE_LINES]);
	printf("seed %" PRIu64 " broke a promise at %.6f s; again: flotilla-sim --seed %" PRIu64
	       " --trace\n",
	       world->seed, (double)world->now_ns / 1e9, world->seed);
	fflush(stdout);
}

void world_fail(struct world *world, const char *format, ...)
{
	va_list args;

	world_print_last_lines(world);
	va_start(args, format);
	printf("oracle: ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	exit(1);
}

/* ---- bytes that stay ---- */

struct kept {
	struct kept *next;
	uint8_t bytes[];
};

const uint8_t *world_keep(struct world *world, const uint8_t *bytes, size_t n)
{
	struct kept *kept = malloc(sizeof(*kept) + n);

	CHECK(kept);
	memcpy(kept->bytes, bytes, n);
	kept->next = world->kept;
	world->kept = kept;
	return kept->bytes;
}

static void free_kept(struct world *world)
{
	while (world->kept) {
		struct kept *next = world->kept->next;
		free(world->kept);
		world->kept = next;
	}
}

/* ---- chance ---- */

bool world_chance(struct world *world, uint32_t in_a_million)
{
	return in_a_million && rng_below(&world->rng, 1000000) < in_a_million;
}

int64_t world_between(struct world *world, int64_t low, int64_t high)
{
	return low + (int64_t)rng_below(&world->rng, (uint64_t)(high - low + 1));
}

int64_t world_around(struct world *world, int64_t mean)
{
	return mean / 2 + (int64_t)rng_below(&world->rng, (uint64_t)mean + 1);
}

/* ---- one seed ---- */

/* Tenants that ask often, and no faults. */
static void make_quiet(struct world *world, const struct plot *plot)
{
	memset(&world->faults, 0, sizeof(world->faults));
	world->shape.hosts_n = plot->hosts_n ? plot->hosts_n : 1;
	world->shape.replicas_n = plot->replicas_n ? plot->replicas_n : 1;
	world->shape.lease_ms = plot->lease_ms;
	world->shape.capacity_sandboxes = 40;
	world->shape.cap = 100;
	world->shape.chaos_ns = S(110);
	world->shape.ask_ns = MS(300);
	world->shape.transfers_max = 2;
	world->shape.everywhere = true;
	world->shape.platforms_n = 1;
}

static void world_open(struct world *world, const struct plot *plot)
{
	world->trace = calloc(TRACE_LINES, sizeof(*world->trace));
	CHECK(world->trace);
	world->hash = 0xcbf29ce484222325u;
	faults_choose(world);
	if (plot)
		make_quiet(world, plot);
	world->totals.several = world->shape.replicas_n > 1;
	oracle_open(world);
	net_open(world);
	if (world->shape.replicas_n > 1)
		etcd_open(world);
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		replica_open(world, i);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		shims_open(world, i);
		agent_open(world, i);
	}
	tenants_open(world);
	faults_begin(world);
	if (plot)
		plot->begin(world);
}

static void world_close(struct world *world)
{
	while (world->queue_n--)
		if (world->queue[world->queue_n].call.owned)
			free(world->queue[world->queue_n].call.data);
	while (world->waiting_n--)
		if (world->waiting[world->waiting_n].owned)
			free(world->waiting[world->waiting_n].data);
	tenants_close(world);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		agent_close(world, i);
		shims_close(world, i);
	}
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		replica_close(world, i);
	etcd_close(world);
	net_close(world);
	oracle_close(world);
	free_kept(world);
	free(world->waiting);
	free(world->queue);
	free(world->trace);
}

static void run_until(struct world *world, int64_t end_ns)
{
	while (world->queue_n && world->queue[0].at_ns <= end_ns) {
		struct planned next = take_first(world);
		world->now_ns = next.at_ns;
		if (has_to_wait(world, &next.call))
			continue;
		next.call.fn(world, &next.call);
		if (next.call.owned)
			free(next.call.data);
		world->totals.steps++;
		oracle_look(world);
	}
	world->now_ns = end_ns;
}

static void add_totals(struct totals *sum, const struct totals *more)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
		to[i] += from[i];
}

void world_run(uint64_t seed, bool print_trace, struct totals *totals, uint64_t *out_hash)
{
	world_run_story(seed, NULL, print_trace, totals, out_hash);
}

void world_run_story(uint64_t seed, const struct plot *plot, bool print_trace,
		     struct totals *totals, uint64_t *out_hash)
{
	struct world world = {.seed = seed, .rng.state = seed, .print_trace = print_trace};

	world_running = &world;
	world_open(&world, plot);
	run_until(&world, world.shape.chaos_ns);
	faults_end(&world);
	/* Long enough for what was unanswered to be given up, cancelled and answered. */
	run_until(&world, world.now_ns + S(60));
	/* Time limits are reached and meters tick even now: look between two of these. */
	for (int i = 0; i < 200 && !oracle_is_settled(&world); i++)
		run_until(&world, world.now_ns + MS(10));
	oracle_look_at_calm(&world);
	tenants_end_all(&world);
	run_until(&world, world.now_ns + S(60));
	oracle_look_at_end(&world);
	world.totals.virtual_ns = (uint64_t)world.now_ns;
	world.totals.seeds = 1;
	add_totals(totals, &world.totals);
	*out_hash = world.hash;
	world_close(&world);
	world_running = NULL;
}

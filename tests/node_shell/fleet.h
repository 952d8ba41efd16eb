/* An agent among schedulers and shims that do as a test says: all of it on one loop. */
#ifndef FLOTILLA_TESTS_NODE_SHELL_FLEET_H
#define FLOTILLA_TESTS_NODE_SHELL_FLEET_H

#include "node-agent/shell/agent.h"
#include "tests/node_shell/schedulers.h"
#include "tests/node_shell/shims.h"

#include <sys/resource.h>

enum { FLEET_SCHEDULERS_MAX = 4, FLEET_SHIMS_MAX = 4 };

#define FLEET_ATTEMPT 0x100000007ULL /* of the sandbox that fleet_row makes */

struct fleet {
	char root[64];
	uv_loop_t loop;
	uv_timer_t limit;
	bool is_late;
	struct agent_options options;
	struct agent agent;
	bool has_agent, was_ready;
	struct identity node; /* as the schedulers know it */
	struct scheduler schedulers[FLEET_SCHEDULERS_MAX];
	size_t schedulers_n;
	struct shim_double shims[FLEET_SHIMS_MAX];
	size_t shims_n;
	bool is_disk_full;
	struct rlimit file_limit; /* before it was */
};

/* Folders, a template "base", and so many schedulers; the first leads, the others are standbys. */
void fleet_open(struct fleet *fleet, size_t schedulers_n);
void fleet_close(struct fleet *fleet); /* whatever is still there */

void fleet_enrol(struct fleet *fleet); /* the agent finds itself enrolled */

/* Writes what the journal holds before the agent starts. */
void fleet_journal(struct fleet *fleet, const struct node_effect *effects, size_t n);

/* The row of a sandbox that has run in that microVM since then; and its order. */
struct node_effect fleet_row(uint64_t vm, int64_t resumed_ns);
struct wire_order fleet_order(uint64_t attempt);

/* A shim whose microVM is a clone of the template. */
struct shim_double *fleet_add_shim(struct fleet *fleet, uint64_t vm);

/* With the schedulers that are there, and more URLs behind them unless NULL. */
void fleet_start_agent(struct fleet *fleet, const char *more_urls);

/* Lets it say goodbye, and runs the loop until it is gone. */
void fleet_stop_agent(struct fleet *fleet);

/* No file can grow beyond so many bytes until fleet_free_disk. */
void fleet_fill_disk(struct fleet *fleet, size_t most);
void fleet_free_disk(struct fleet *fleet);

/* Reads the journal by another connection. */
uint64_t fleet_journaled_epoch(const struct fleet *fleet);

/* Runs the loop until the condition holds; the test fails when it does not in half a minute. */
#define fleet_wait(fleet, condition)                                                               \
	do {                                                                                       \
		fleet_wait_begin(fleet);                                                           \
		while (!(condition) && !(fleet)->is_late)                                          \
			uv_run(&(fleet)->loop, UV_RUN_ONCE);                                       \
		fleet_wait_end(fleet, (condition), #condition);                                    \
	} while (0)
void fleet_wait_begin(struct fleet *fleet);
void fleet_wait_end(struct fleet *fleet, bool is_true, const char *condition);

#endif

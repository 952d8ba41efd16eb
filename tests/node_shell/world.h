/* A journal in a folder of its own, durable effects to put into it, and disks that are full. */
#ifndef FLOTILLA_TESTS_NODE_SHELL_WORLD_H
#define FLOTILLA_TESTS_NODE_SHELL_WORLD_H

#include "node-agent/shell/journal.h"

#include <sys/resource.h>

enum { LOADED_MAX = 64 };

struct loaded {
	struct node_event events[LOADED_MAX];
	size_t n;
};

struct world {
	char folder[64];
	struct journal journal;
	struct rlimit file_limit; /* as it was before world_fill_disk */
};

void world_open(struct world *world);
void world_close(struct world *world); /* removes the folder */
void world_reopen(struct world *world);

/* What a start would load. */
void world_load(struct world *world, struct loaded *out_loaded);
size_t world_records_n(struct world *world);

/* The write-ahead log cannot grow by more than 'spare' bytes until world_free_disk. */
void world_fill_disk(struct world *world, size_t spare);
void world_free_disk(struct world *world);

/* Effects whose content follows from their number. */
struct node_effect effect_meta(uint64_t number);
struct node_effect effect_attempt(uint64_t attempt);
struct node_effect effect_attempt_gone(uint64_t attempt);
struct node_effect effect_sandbox(uint64_t attempt, uint64_t number);
struct node_effect effect_sandbox_gone(uint64_t attempt);
struct node_effect effect_record(uint64_t seq);
struct node_effect effect_records(uint64_t end_seq);

#endif

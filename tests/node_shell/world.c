#include "tests/node_shell/world.h"

#include "common/base/check.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void world_open(struct world *world)
{
	struct err err;

	memset(world, 0, sizeof(*world));
	strcpy(world->folder, "/tmp/flotilla-journal-XXXXXX");
	CHECK(mkdtemp(world->folder));
	CHECK(journal_open(&world->journal, world->folder, &err) == 0);
}

void world_close(struct world *world)
{
	struct dirent *entry;
	DIR *folder = opendir(world->folder);

	journal_close(&world->journal);
	CHECK(folder);
	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			CHECK(unlinkat(dirfd(folder), entry->d_name, 0) == 0);
	closedir(folder);
	CHECK(rmdir(world->folder) == 0);
}

void world_reopen(struct world *world)
{
	struct err err;

	journal_close(&world->journal);
	CHECK(journal_open(&world->journal, world->folder, &err) == 0);
}

static void world_on_loaded(void *arg, struct node_event *event)
{
	struct loaded *loaded = arg;

	CHECK(loaded->n < LOADED_MAX);
	loaded->events[loaded->n++] = *event;
}

void world_load(struct world *world, struct loaded *out_loaded)
{
	struct err err;

	out_loaded->n = 0;
	CHECK(journal_load(&world->journal, world_on_loaded, out_loaded, &err) == 0);
}

size_t world_records_n(struct world *world)
{
	static struct wire_record records[1024];
	struct err err;
	size_t n;

	CHECK(journal_records(&world->journal, 1, records, ARRAY_N(records), &n, &err) == 0);
	return n;
}

void world_fill_disk(struct world *world, size_t spare)
{
	char path[128];
	struct rlimit limit;
	struct stat now;

	snprintf(path, sizeof(path), "%s/journal.db-wal", world->folder);
	CHECK(stat(path, &now) == 0);
	CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR); /* the write fails instead */
	CHECK(getrlimit(RLIMIT_FSIZE, &world->file_limit) == 0);
	limit = world->file_limit;
	limit.rlim_cur = (rlim_t)now.st_size + spare;
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

void world_free_disk(struct world *world)
{
	CHECK(setrlimit(RLIMIT_FSIZE, &world->file_limit) == 0);
}

struct node_effect effect_meta(uint64_t number)
{
	struct node_effect effect = {.kind = NODE_EFFECT_JOURNAL_META};

	effect.meta.acked_seq = number;
	effect.meta.epoch = number + 1;
	effect.meta.attempt_floor = number + 2;
	return effect;
}

struct node_effect effect_attempt(uint64_t attempt)
{
	return (struct node_effect){.kind = NODE_EFFECT_JOURNAL_ATTEMPT, .attempt = attempt};
}

struct node_effect effect_attempt_gone(uint64_t attempt)
{
	return (struct node_effect){.kind = NODE_EFFECT_JOURNAL_ATTEMPT_GONE, .attempt = attempt};
}

struct node_effect effect_sandbox(uint64_t attempt, uint64_t number)
{
	struct node_effect effect = {.kind = NODE_EFFECT_JOURNAL_SANDBOX};
	uint32_t small = (uint32_t)number;

	effect.sandbox = (struct node_sandbox){
		.id = {"i00000000000000000001"},
		.tenant = {"ten_acme"},
		.attempt = attempt,
		.incarnation = small + 1,
		.plan = "pro",
		.price_version = small + 2,
		.template_ = "base",
		.vcpus = small + 3,
		.mem_mib = small + 4,
		.disk_mib = small + 5,
		.vm = number + 6,
		.boot_id = "8a1c2e4d-0000-4000-8000-0123456789ab",
		.resumed_mono = {(int64_t)number + 7},
		.resumed_wall = {(int64_t)number + 8},
		.metered_ms = number + 9,
		.deadline_version = number + 10,
		.end_mono = {(int64_t)number + 11},
		.end_wall = {(int64_t)number + 12},
	};
	return effect;
}

struct node_effect effect_sandbox_gone(uint64_t attempt)
{
	return (struct node_effect){.kind = NODE_EFFECT_JOURNAL_SANDBOX_GONE, .attempt = attempt};
}

struct node_effect effect_record(uint64_t seq)
{
	struct node_effect effect = {.kind = NODE_EFFECT_JOURNAL_RECORD};

	effect.record = (struct wire_record){
		.kind = WIRE_RECORD_USAGE,
		.seq = seq,
		.sandbox = {"i00000000000000000001"},
		.attempt = seq,
		.incarnation = 1,
		.at_wall_ns = (int64_t)seq * 1000,
		.from_ms = 1,
		.to_ms = 2,
	};
	/* As long as it gets, so that a few hundred need new pages. */
	memset(effect.record.detail, 'x', sizeof(effect.record.detail) - 1);
	return effect;
}

struct node_effect effect_records(uint64_t end_seq)
{
	struct node_effect effect = {.kind = NODE_EFFECT_RECORDS};

	effect.records.end_seq = end_seq;
	return effect;
}

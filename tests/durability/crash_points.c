/*
 * Crashes at every boundary.  A trace of 10,000 operations runs through the real code over a disk
 * in memory that logs each write and each flush.  Then the log is replayed: before each entry of
 * it the disk is taken as a crash would leave it, the real code opens it, and an oracle that was
 * made from the trace alone says whether every acknowledged batch is there whole, none twice, and
 * nothing of a batch that was never begun.
 *
 * crash_points store|journal [--plant synchronous-off|early-ack] [--seed N]
 *
 * With FLOTILLA_LONG=1 all boundaries are tried in each way; without it a share.  With --plant the
 * promise is broken on purpose, and it succeeds when that is found.
 */
#include "common/base/check.h"
#include "tests/durability/disk.h"
#include "tests/durability/subject.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPS_N = 10000,
	CHECKPOINT_PAGES = 60, /* often, so that many boundaries lie in checkpoints */
	REOPEN_BATCHES = 97,   /* a clean stop and start every so many batches */
	THOROUGH_EACH = 16,    /* of so many reopened disks one is compared to the last row */
};

struct run {
	const struct subject *subject;
	char dir[64];
	bool long_run, early_ack, plants;
	uint64_t seed;
	struct rng rng;
	struct disk_log log;
	struct disk disk;
	size_t batches_n;

	/* at the boundary */
	struct disk_replay replay;
	size_t begun, acked;

	size_t boundaries_n, images_n, pending_n, torn_n, thorough_n, violations_n;
};

/* ---- the trace ---- */

static void must(int fault, const struct err *err)
{
	if (fault) {
		fprintf(stderr, "the trace itself fails: %s\n", err->text);
		exit(2);
	}
}

/* Batch b is marked 2b when it begins, and 2b + 1 when its success was told. */
static void run_trace(struct run *run)
{
	const struct subject *subject = run->subject;
	struct err err;
	char why[WHY_MAX];

	run->disk.log = &run->log;
	disk_now = &run->disk;
	must(subject->open(run->dir, &err), &err);
	for (size_t batch = 1; batch <= run->batches_n; batch++) {
		disk_mark(&run->disk, 2 * batch);
		if (run->early_ack)
			disk_mark(&run->disk, 2 * batch + 1);
		must(subject->commit(batch, &err), &err);
		disk_mark(&run->disk, 2 * batch + 1);
		if (batch % REOPEN_BATCHES == 0) {
			subject->close();
			must(subject->open(run->dir, &err), &err);
		}
	}
	if (!subject->equals(run->batches_n, true, why)) {
		fprintf(stderr, "the oracle and the code differ without any crash: %s\n", why);
		exit(2);
	}
	subject->close();
}

/* ---- crashes ---- */

static void violation(struct run *run, enum disk_crash crash, const char *why)
{
	static const char *const crashes[] = {
		"all that was not flushed is gone", "what was not flushed is torn",
		"all that was written is there", "what was not flushed ends in the middle"};

	run->violations_n++;
	if (run->violations_n <= 3)
		printf("%s at entry %zu (seed %llu, batch %zu acknowledged, %zu begun): %s: %s\n",
		       run->plants ? "found" : "VIOLATION", run->replay.at,
		       (unsigned long long)run->seed, run->acked, run->begun, crashes[crash], why);
}

/* What a node does after a crash, says again what got no answer, and the work goes on. */
static bool goes_on(struct run *run, size_t found, char why[WHY_MAX])
{
	const struct subject *subject = run->subject;
	struct err err;
	int fault = 0;

	if (found > 0)
		fault = subject->repeat(found, &err);
	if (!fault && found > 0 && !subject->equals(found, true, why))
		return false;
	if (!fault && found < run->batches_n)
		fault = subject->commit(found + 1, &err);
	if (fault) {
		snprintf(why, WHY_MAX, "after the crash: %.480s", err.text);
		return false;
	}
	return found == run->batches_n || subject->equals(found + 1, true, why);
}

static void try_crash(struct run *run, enum disk_crash crash)
{
	const struct subject *subject = run->subject;
	bool thorough = (run->images_n + run->torn_n) % THOROUGH_EACH == 0;
	size_t found = run->begun + 1;
	char why[WHY_MAX] = "";
	struct disk disk;
	struct err err;

	disk_replay_crash(&run->replay, crash, &run->rng, &disk);
	disk_now = &disk;
	run->thorough_n += thorough;
	if (subject->open(run->dir, &err)) {
		violation(run, crash, err.text);
	} else {
		/* Never less than what was told, never more than what was begun. */
		for (size_t batch = run->acked; batch <= run->begun && found > run->begun; batch++)
			if (subject->equals(batch, thorough, why))
				found = batch;
		if (found > run->begun || (thorough && !goes_on(run, found, why)))
			violation(run, crash, why);
		subject->close();
	}
	disk_now = NULL;
	disk_free(&disk);
}

static void crash_torn(struct run *run)
{
	static const enum disk_crash ways[] = {DISK_CRASH_TEARS, DISK_CRASH_KEEPS_HEAD,
					       DISK_CRASH_TEARS, DISK_CRASH_KEEPS_ALL};

	run->pending_n++;
	if (!run->long_run && !rng_one_in(&run->rng, run->subject->torn_one_in))
		return;
	if (!run->long_run) {
		try_crash(run, ways[run->torn_n % 4]);
		run->torn_n++;
		return;
	}
	for (size_t i = 1; i < 4; i++) {
		try_crash(run, ways[i]);
		run->torn_n++;
	}
}

/*
 * What is durable changes only with a flush, and what must be there only with a mark; between them
 * all boundaries are one image, dropped, under one demand.  A flush just before the answer is
 * looked at after the answer, when the demand is stricter.
 */
static void crash_all(struct run *run)
{
	const struct disk_log *log = &run->log;
	bool changed = true;

	disk_replay_begin(&run->replay, log, &run->disk);
	for (;;) {
		const struct disk_op *next =
			run->replay.at < log->n ? &log->ops[run->replay.at] : NULL;
		if (changed && (!next || next->kind != DISK_MARK || next->at % 2 == 0)) {
			run->images_n++;
			try_crash(run, DISK_CRASH_DROPS_ALL);
			changed = false;
		}
		if (!next)
			break;
		if (next->kind == DISK_MARK) {
			changed |= next->at % 2 != 0 && run->acked != next->at / 2;
			*(next->at % 2 ? &run->acked : &run->begun) = next->at / 2;
		} else {
			run->boundaries_n++;
			if (run->replay.pending_n)
				crash_torn(run);
		}
		changed |= disk_replay_step(&run->replay);
		if (run->plants && run->violations_n >= 3)
			break;
	}
	disk_replay_end(&run->replay);
}

static void read_arguments(struct run *run, int argc, char **argv)
{
	run->subject =
		argc > 1 && strcmp(argv[1], "journal") == 0 ? &subject_journal : &subject_store;
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0)
			run->seed = strtoull(argv[i + 1], NULL, 10);
		if (strcmp(argv[i], "--plant") == 0) {
			run->plants = true;
			run->early_ack = strcmp(argv[i + 1], "early-ack") == 0;
			disk_vfs_plant_synchronous_off(!run->early_ack);
		}
	}
}

int main(int argc, char **argv)
{
	static struct run run = {.seed = 1, .dir = "/tmp/flotilla-crash-XXXXXX"};
	const char *wish = getenv("FLOTILLA_LONG");
	char lock[128];

	run.long_run = wish && strcmp(wish, "1") == 0;
	read_arguments(&run, argc, argv);
	CHECK(sodium_init() >= 0 && mkdtemp(run.dir));
	disk_vfs_register(CHECKPOINT_PAGES);
	run.rng.state = run.seed;
	run.batches_n = run.subject->make(run.seed, OPS_N);
	run_trace(&run);
	crash_all(&run);
	printf("%s: %d operations in %zu batches: %zu boundaries (writes and flushes), %zu with "
	       "unflushed writes\n"
	       "  all unflushed gone: all %zu distinct images tried, one of which each "
	       "boundary leaves\n"
	       "  unflushed writes torn, cut off or all there: %zu tried; thorough: %zu; "
	       "violations: %zu\n",
	       run.subject->name, OPS_N, run.batches_n, run.boundaries_n, run.pending_n,
	       run.images_n, run.torn_n, run.thorough_n, run.violations_n);
	run.subject->unmake();
	disk_free(&run.disk);
	disk_log_free(&run.log);
	snprintf(lock, sizeof(lock), "%s/%s", run.dir,
		 run.subject == &subject_store ? "scheduler.db.lock" : "journal.db.lock");
	unlink(lock);
	rmdir(run.dir);
	return (run.violations_n > 0) != run.plants;
}

/*
 * The N-th write fails, for every N.  Each batch of a trace is committed over a disk of which the
 * N-th call that changes or flushes anything fails, for N = 1, 2, ... until it goes through; once
 * alone and once with all calls after it, by turns as a full disk and as a broken one.  A commit
 * that failed must leave all as it was, and the next one, with nothing failing, must work, on the
 * same connection.  So must an open.
 *
 * failing_disk store|journal
 */
#include "common/base/check.h"
#include "tests/durability/disk.h"
#include "tests/durability/subject.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPS_N = 1500, LONG_OPS_N = 10000, CHECKPOINT_PAGES = 20, REOPEN_BATCHES = 13 };

static const struct subject *subject;
static struct disk disk;
static char dir[] = "/tmp/flotilla-failing-XXXXXX";
static size_t failed_commits_n, failed_checkpoints_n, failed_opens_n, bad_n;

static void bad(size_t batch, uint64_t nth, const char *what, const char *why)
{
	if (++bad_n <= 5)
		printf("VIOLATION: batch %zu, call %llu: %s: %s\n", batch, (unsigned long long)nth,
		       what, why);
}

/* From now on the nth call fails. */
static void fail(uint64_t nth, int way)
{
	disk.calls_n = disk.failed_n = 0;
	disk.fail_at = nth;
	disk.fail_code = way & 1 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	disk.fail_lasts = way & 2;
}

static void heal(void)
{
	disk.fail_at = 0;
}

/* Opens with the nth call failing, for every N; afterwards it is open, and as after `batches`. */
static void open_each_way(size_t batches)
{
	char why[WHY_MAX];
	struct err err;

	for (uint64_t nth = 1;; nth++) {
		fail(nth, (int)nth);
		int fault = subject->open(dir, &err);
		uint64_t failed_n = disk.failed_n;
		heal();
		if (fault) {
			failed_opens_n++;
			continue;
		}
		if (!subject->equals(batches, false, why))
			bad(batches, nth, "after an open", why);
		if (failed_n == 0)
			return;
		subject->close();
	}
}

/* True when it went through without meeting the fault. */
static bool commit_once(size_t batch, uint64_t nth, int way)
{
	char why[WHY_MAX];
	struct err err;

	fail(nth, way);
	int fault = subject->commit(batch, &err);
	uint64_t failed_n = disk.failed_n;
	heal();
	if (!fault) {
		/* A checkpoint that fails is no failed commit: all is in the log still. */
		failed_checkpoints_n += failed_n > 0;
		if (!subject->equals(batch, failed_n > 0 || batch % 10 == 0, why))
			bad(batch, nth, "after it went through", why);
		return true;
	}
	failed_commits_n++;
	if (failed_n == 0)
		bad(batch, nth, "failed by itself", err.text);
	if (!subject->equals(batch - 1, nth % 8 == 0, why))
		bad(batch, nth, "after it failed", why);
	return false;
}

int main(int argc, char **argv)
{
	const char *wish = getenv("FLOTILLA_LONG");
	size_t ops_n = wish && strcmp(wish, "1") == 0 ? LONG_OPS_N : OPS_N, batches_n;
	char lock[128];

	subject = argc > 1 && strcmp(argv[1], "journal") == 0 ? &subject_journal : &subject_store;
	CHECK(sodium_init() >= 0 && mkdtemp(dir));
	disk_vfs_register(CHECKPOINT_PAGES);
	disk_now = &disk;
	batches_n = subject->make(1, ops_n);
	open_each_way(0);
	for (size_t batch = 1; batch <= batches_n; batch++) {
		for (uint64_t nth = 1; !commit_once(batch, nth, (int)(batch + nth)); nth++)
			;
		if (batch % REOPEN_BATCHES == 0) {
			subject->close();
			open_each_way(batch);
		}
	}
	subject->close();
	printf("%s: %zu batches; %zu commits, %zu checkpoints and %zu opens met a failing call; "
	       "violations: %zu\n",
	       subject->name, batches_n, failed_commits_n, failed_checkpoints_n, failed_opens_n,
	       bad_n);
	if (failed_commits_n < batches_n || failed_checkpoints_n == 0 || failed_opens_n == 0) {
		printf("VIOLATION: too little failed for this to have been a test\n");
		bad_n++;
	}
	subject->unmake();
	disk_free(&disk);
	snprintf(lock, sizeof(lock), "%s/%s", dir,
		 subject == &subject_store ? "scheduler.db.lock" : "journal.db.lock");
	unlink(lock);
	rmdir(dir);
	return bad_n > 0;
}

/*
 * Puts a memory's difference into a machine that waits for it.  See saved_memory.h.
 *
 * Most of it is the kernel's work of giving the process pages of its own, which goes on two
 * processors side by side: two threads take the file's blocks in turns.
 */
#include "node-agent/vm/saved_memory.h"

#include "common/base/check.h"
#include "node-agent/vm/process_memory.h"
#include "node-agent/vm/saved_internal.h"
#include "node-agent/vm/saved_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

enum { THREADS_N = 2 };

_Static_assert((int)PROCESS_PAGE == (int)VM_PAGE, "one size of page");

struct restorer {
	struct process_memory memory;
	const atomic_bool *cancel;
	const struct vm_memory_figures *figures;
	const char *path;
	int fd;
	struct saved_row *rows;
	uint64_t *sums; /* of each block */
	uint64_t blocks_n;
	atomic_uint_fast64_t next_block;
	atomic_bool has_failed; /* the other thread need not go on */
};

/* One thread's share. */
struct worker {
	struct restorer *restorer;
	uint8_t *block;
	uint64_t row;    /* the next page to be placed is of this one, */
	uint64_t in_row; /* so far into it, */
	uint64_t at;     /* and the file's page of this number */
	bool has_failed; /* before the other */
	struct err err;
};

static int damaged(const struct restorer *restorer, struct err *err)
{
	return err_set(err, "%s is damaged", restorer->path);
}

static int read_at(const struct restorer *restorer, void *bytes, size_t n, uint64_t offset,
		   struct err *err)
{
	uint8_t *to = bytes;

	while (n) {
		ssize_t got = pread(restorer->fd, to, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, errno, "%s", restorer->path);
		if (got == 0)
			return damaged(restorer, err);
		to += got;
		n -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

/* Ascending, and as many pages as the file has: the rest is for the mapping to refuse. */
static int check_rows(const struct restorer *restorer, struct err *err)
{
	uint64_t pages_n = 0, next = 0;

	for (uint64_t i = 0; i < restorer->figures->runs_n; i++) {
		const struct saved_row *row = &restorer->rows[i];

		if (row->page < next || row->page >= UINT64_MAX / VM_PAGE / 2 || !row->pages_n ||
		    row->is_zero > 1)
			return damaged(restorer, err);
		next = row->page + row->pages_n;
		pages_n += row->is_zero ? 0 : row->pages_n;
	}
	return pages_n == restorer->figures->pages_n ? 0 : damaged(restorer, err);
}

static int read_table(struct restorer *restorer, struct err *err)
{
	uint64_t offset = restorer->figures->pages_n * VM_PAGE;
	size_t n = (size_t)saved_table_bytes(restorer->figures->runs_n);

	restorer->rows = saved_page_buffer(n, err);
	return !restorer->rows || read_at(restorer, restorer->rows, n, offset, err) ||
			       check_rows(restorer, err)
		       ? -1
		       : 0;
}

/* The next run of at most so many pages, past rows that have none in the file. */
static struct process_run take_run(struct worker *worker, uint64_t pages_max)
{
	const struct saved_row *row = &worker->restorer->rows[worker->row];
	struct process_run run;

	while (row->is_zero || worker->in_row == row->pages_n) {
		row = &worker->restorer->rows[++worker->row];
		worker->in_row = 0;
	}
	run.page = row->page + worker->in_row;
	run.pages_n = row->pages_n - worker->in_row;
	if (run.pages_n > pages_max)
		run.pages_n = pages_max;
	worker->in_row += run.pages_n;
	worker->at += run.pages_n;
	return run;
}

static int place(struct worker *worker, uint64_t pages_n, struct err *err)
{
	struct process_run runs[PROCESS_PARTS_MAX];
	const uint8_t *bytes = worker->block;

	while (pages_n) {
		uint64_t taken = 0;
		size_t runs_n = 0;

		while (taken < pages_n && runs_n < PROCESS_PARTS_MAX) {
			runs[runs_n] = take_run(worker, pages_n - taken);
			taken += runs[runs_n++].pages_n;
		}
		if (process_memory_write(&worker->restorer->memory, runs, runs_n, bytes, err))
			return -1;
		bytes += taken * VM_PAGE;
		pages_n -= taken;
	}
	return 0;
}

static int restore_block(struct worker *worker, uint64_t block, struct err *err)
{
	struct restorer *restorer = worker->restorer;
	uint64_t first = block * SAVED_BLOCK_PAGES, left = restorer->figures->pages_n - first;
	uint64_t n = left < SAVED_BLOCK_PAGES ? left : SAVED_BLOCK_PAGES;
	struct vm_sum sum;

	if (*restorer->cancel || restorer->has_failed)
		return err_set(err, "given up");
	if (read_at(restorer, worker->block, (size_t)n * VM_PAGE, first * VM_PAGE, err))
		return -1;
	vm_sum_begin(&sum);
	vm_sum_add(&sum, worker->block, (size_t)n * VM_PAGE);
	restorer->sums[block] = vm_sum_end(&sum);
	while (worker->at < first)
		take_run(worker, first - worker->at);
	return place(worker, n, err);
}

static void work(void *arg)
{
	struct worker *worker = arg;
	uint64_t block;

	int result;

	worker->block = saved_page_buffer(SAVED_BLOCK_BYTES, &worker->err);
	result = worker->block ? 0 : -1;
	while (result == 0 && (block = worker->restorer->next_block++) < worker->restorer->blocks_n)
		result = restore_block(worker, block, &worker->err);
	if (result)
		worker->has_failed = !atomic_exchange(&worker->restorer->has_failed, true);
	free(worker->block);
}

static int place_blocks(struct restorer *restorer, struct err *err)
{
	struct worker workers[THREADS_N] = {{.restorer = restorer}, {.restorer = restorer}};
	uv_thread_t other;
	/* Where there is no second thread, the first does it all. */
	bool has_other = restorer->blocks_n > 1 && !uv_thread_create(&other, work, &workers[1]);

	work(&workers[0]);
	if (has_other)
		uv_thread_join(&other);
	for (size_t i = 0; i < THREADS_N; i++)
		if (workers[i].has_failed)
			return err_set(err, "%s", workers[i].err.text);
	return 0;
}

static int place_zeros(const struct restorer *restorer, struct err *err)
{
	uint8_t *zeros = NULL;
	int result = 0;

	for (uint64_t i = 0; i < restorer->figures->runs_n && result == 0; i++) {
		struct process_run rest = {restorer->rows[i].page, restorer->rows[i].pages_n};

		while (restorer->rows[i].is_zero && rest.pages_n && result == 0) {
			struct process_run run = rest;

			if (run.pages_n > SAVED_BLOCK_PAGES)
				run.pages_n = SAVED_BLOCK_PAGES;
			if (!zeros)
				zeros = calloc(SAVED_BLOCK_PAGES, VM_PAGE);
			if (!zeros)
				return err_errno(err, ENOMEM, "%s", restorer->path);
			result = process_memory_write(&restorer->memory, &run, 1, zeros, err);
			rest.page += run.pages_n;
			rest.pages_n -= run.pages_n;
		}
	}
	free(zeros);
	return result;
}

static int check_sum(const struct restorer *restorer, struct err *err)
{
	struct vm_sum sum;
	uint64_t all = 0;

	for (uint64_t i = 0; i < restorer->blocks_n; i++)
		all = vm_sum_join(all, restorer->sums[i]);
	vm_sum_begin(&sum);
	vm_sum_add(&sum, restorer->rows, (size_t)saved_table_bytes(restorer->figures->runs_n));
	all = vm_sum_join(all, vm_sum_end(&sum));
	return all == restorer->figures->sum ? 0 : damaged(restorer, err);
}

int vm_memory_restore(pid_t pid, const char *mem, const char *path,
		      const struct vm_memory_figures *figures, const atomic_bool *cancel,
		      struct err *err)
{
	struct restorer restorer = {
		.cancel = cancel,
		.figures = figures,
		.path = path,
		.blocks_n = (figures->pages_n + SAVED_BLOCK_PAGES - 1) / SAVED_BLOCK_PAGES,
	};
	int result = -1;

	restorer.fd = saved_open_direct(path, O_RDONLY);
	restorer.sums = calloc(restorer.blocks_n + 1, sizeof(*restorer.sums));
	if (restorer.fd < 0 || !restorer.sums)
		err_errno(err, errno, "%s", path);
	else if (!process_memory_find(pid, mem, &restorer.memory, err) &&
		 !read_table(&restorer, err) && !place_blocks(&restorer, err) &&
		 !place_zeros(&restorer, err))
		result = check_sum(&restorer, err);
	if (restorer.fd >= 0)
		close(restorer.fd);
	free(restorer.sums);
	free(restorer.rows);
	return result;
}

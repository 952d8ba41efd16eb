/* The file of a memory's difference. See saved_memory.h. */
#include "node-agent/vm/saved_memory.h"

#include "common/base/check.h"
#include "node-agent/vm/process_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_PAGES = 256, BATCH_BYTES = BATCH_PAGES * VM_PAGE };

/* A row of the file's table, in the host's byte order: it belongs to one machine's processor. */
struct row {
	uint64_t page;
	uint32_t pages_n;
	uint32_t is_zero; /* has no bytes in the file */
};

_Static_assert(sizeof(struct row) == 16 && VM_PAGE % sizeof(struct row) == 0,
	       "rows fill whole pages");
_Static_assert((int)PROCESS_PAGE == (int)VM_PAGE, "one size of page");

/* ---- checksum ---- */

#define SUM_PRIME 0x100000001b3ULL

void vm_sum_begin(struct vm_sum *sum)
{
	for (size_t i = 0; i < ARRAY_N(sum->lanes); i++)
		sum->lanes[i] = 0xcbf29ce484222325ULL + i;
}

void vm_sum_add(struct vm_sum *sum, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;
	uint64_t words[8], lanes[8];

	CHECK(n % sizeof(words) == 0);
	memcpy(lanes, sum->lanes, sizeof(lanes));
	for (; n; n -= sizeof(words), at += sizeof(words)) {
		memcpy(words, at, sizeof(words));
		for (size_t i = 0; i < 8; i++)
			lanes[i] = (lanes[i] ^ words[i]) * SUM_PRIME;
	}
	memcpy(sum->lanes, lanes, sizeof(lanes));
}

uint64_t vm_sum_end(const struct vm_sum *sum)
{
	uint64_t all = 0;

	for (size_t i = 0; i < ARRAY_N(sum->lanes); i++) {
		all = (all ^ sum->lanes[i]) * SUM_PRIME;
		all ^= all >> 29;
	}
	/* JSON's integers are signed. */
	return all & INT64_MAX;
}

/* ---- the file ---- */

static uint64_t table_bytes(uint64_t runs_n)
{
	return (runs_n * sizeof(struct row) + VM_PAGE - 1) / VM_PAGE * VM_PAGE;
}

uint64_t vm_memory_file_bytes(const struct vm_memory_figures *figures)
{
	return figures->pages_n * VM_PAGE + table_bytes(figures->runs_n);
}

/* Past the page cache, unless the file system has no such way. */
static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_DIRECT, 0600);

	if (fd >= 0 || errno != EINVAL)
		return fd;
	/* Where that is refused, it may have been made before. */
	return open(path, (flags & ~O_EXCL) | O_CLOEXEC, 0600);
}

static void *page_buffer(size_t n, struct err *err)
{
	void *buffer = aligned_alloc(VM_PAGE, n ? n : VM_PAGE);

	if (!buffer)
		err_errno(err, ENOMEM, "the memory's file");
	return buffer;
}

static bool is_zero_page(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, VM_PAGE - 1) == 0;
}

/* ---- saving ---- */

struct saver {
	struct process_memory memory;
	const atomic_bool *cancel;
	int template_fd; /* the file that it differs from */
	int fd;
	uint8_t *batch;
	struct process_run runs[PROCESS_PARTS_MAX]; /* what the batch is to hold */
	size_t runs_n;
	size_t pages_n;
	struct row *rows;
	size_t rows_n, rows_max;
	struct vm_memory_figures figures;
	struct vm_sum sum;
};

static int add_page(struct saver *saver, uint64_t page, bool is_zero, struct err *err)
{
	struct row *last = saver->rows_n ? &saver->rows[saver->rows_n - 1] : NULL;

	if (last && last->page + last->pages_n == page && (bool)last->is_zero == is_zero &&
	    last->pages_n < UINT32_MAX) {
		last->pages_n++;
		return 0;
	}
	if (saver->rows_n == saver->rows_max) {
		size_t max = saver->rows_max ? 2 * saver->rows_max : VM_PAGE / sizeof(struct row);
		struct row *more = realloc(saver->rows, max * sizeof(*more));

		if (!more)
			return err_errno(err, ENOMEM, "the memory's table");
		saver->rows = more;
		saver->rows_max = max;
	}
	saver->rows[saver->rows_n++] = (struct row){page, 1, is_zero};
	return 0;
}

/* Such a page is as good as never written. */
static bool is_zero_in_template(const struct saver *saver, uint64_t page)
{
	uint8_t bytes[VM_PAGE];

	return pread(saver->template_fd, bytes, VM_PAGE, (off_t)(page * VM_PAGE)) == VM_PAGE &&
	       is_zero_page(bytes);
}

static int write_out(struct saver *saver, const uint8_t *bytes, size_t n, struct err *err)
{
	vm_sum_add(&saver->sum, bytes, n);
	while (n) {
		ssize_t written = write(saver->fd, bytes, n);

		if (written < 0 && errno == EINTR)
			continue;
		/* Less than a page more: the next try tells why. */
		if (written <= 0)
			return err_errno(err, written < 0 ? errno : ENOSPC, "memory");
		bytes += written;
		n -= (size_t)written;
	}
	return 0;
}

/* What the runs hold is fetched; pages of zeros are taken out, what remains is written. */
static int flush_batch(struct saver *saver, struct err *err)
{
	size_t kept = 0, at = 0;

	if (*saver->cancel)
		return err_set(err, "given up");
	if (process_memory_read(&saver->memory, saver->runs, saver->runs_n, saver->batch, err))
		return -1;
	for (size_t i = 0; i < saver->runs_n; i++) {
		for (uint64_t j = 0; j < saver->runs[i].pages_n; j++, at++) {
			uint64_t page = saver->runs[i].page + j;
			const uint8_t *bytes = saver->batch + at * VM_PAGE;
			bool is_zero = is_zero_page(bytes);

			if (is_zero && is_zero_in_template(saver, page))
				continue;
			if (add_page(saver, page, is_zero, err))
				return -1;
			if (is_zero)
				continue;
			if (kept != at)
				memcpy(saver->batch + kept * VM_PAGE, bytes, VM_PAGE);
			kept++;
		}
	}
	saver->runs_n = saver->pages_n = 0;
	saver->figures.pages_n += kept;
	return write_out(saver, saver->batch, kept * VM_PAGE, err);
}

static int on_run(void *arg, const struct process_run *run, struct err *err)
{
	struct saver *saver = arg;
	struct process_run rest = *run;

	while (rest.pages_n) {
		uint64_t room = BATCH_PAGES - saver->pages_n;
		uint64_t n = rest.pages_n < room ? rest.pages_n : room;

		saver->runs[saver->runs_n++] = (struct process_run){rest.page, n};
		saver->pages_n += (size_t)n;
		rest.page += n;
		rest.pages_n -= n;
		if ((saver->pages_n == BATCH_PAGES || saver->runs_n == PROCESS_PARTS_MAX) &&
		    flush_batch(saver, err))
			return -1;
	}
	return 0;
}

static int write_table(struct saver *saver, struct err *err)
{
	size_t n = (size_t)table_bytes(saver->rows_n);
	uint8_t *table = page_buffer(n, err);
	int result;

	if (!table)
		return -1;
	memset(table, 0, n);
	if (saver->rows_n)
		memcpy(table, saver->rows, saver->rows_n * sizeof(struct row));
	saver->figures.runs_n = saver->rows_n;
	result = write_out(saver, table, n, err);
	free(table);
	return result;
}

int vm_memory_save(pid_t pid, const char *mem, const char *path, const atomic_bool *cancel,
		   struct vm_memory_figures *out_figures, struct err *err)
{
	struct saver *saver = calloc(1, sizeof(*saver));
	int result = -1;

	if (!saver)
		return err_errno(err, ENOMEM, "%s", path);
	saver->cancel = cancel;
	saver->fd = -1;
	saver->batch = page_buffer(BATCH_BYTES, err);
	saver->template_fd = open(mem, O_RDONLY | O_CLOEXEC);
	vm_sum_begin(&saver->sum);
	if (!saver->batch || saver->template_fd < 0) {
		err_errno(err, errno, "%s", mem);
		goto done;
	}
	saver->fd = open_direct(path, O_WRONLY | O_CREAT | O_EXCL);
	if (saver->fd < 0) {
		err_errno(err, errno, "%s", path);
		goto done;
	}
	if (process_memory_find(pid, mem, &saver->memory, err) ||
	    process_memory_written(&saver->memory, on_run, saver, err) || flush_batch(saver, err) ||
	    write_table(saver, err))
		goto done;
	saver->figures.sum = vm_sum_end(&saver->sum);
	*out_figures = saver->figures;
	result = 0;
done:
	if (saver->fd >= 0)
		close(saver->fd);
	if (saver->template_fd >= 0)
		close(saver->template_fd);
	free(saver->rows);
	free(saver->batch);
	free(saver);
	return result;
}

/* ---- restoring ---- */

struct restorer {
	struct process_memory memory;
	const atomic_bool *cancel;
	const struct vm_memory_figures *figures;
	const char *path;
	int fd;
	uint8_t *batch;
	uint8_t *zeros;
	struct row *rows;
	struct vm_sum sum;
	size_t row;      /* the next page to be placed is of this one, */
	uint32_t in_row; /* so far into it */
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
		const struct row *row = &restorer->rows[i];

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
	size_t n = (size_t)table_bytes(restorer->figures->runs_n);

	restorer->rows = page_buffer(n, err);
	return !restorer->rows || read_at(restorer, restorer->rows, n, offset, err) ||
			       check_rows(restorer, err)
		       ? -1
		       : 0;
}

/* Places pages that have just been read, as far as the batch goes. */
static int place(struct restorer *restorer, size_t pages_n, struct err *err)
{
	struct process_run runs[PROCESS_PARTS_MAX];
	const uint8_t *bytes = restorer->batch;

	while (pages_n) {
		size_t runs_n = 0, taken = 0;

		while (pages_n > taken && runs_n < PROCESS_PARTS_MAX) {
			const struct row *row = &restorer->rows[restorer->row];
			size_t left = row->pages_n - restorer->in_row;
			size_t n = left < pages_n - taken ? left : pages_n - taken;

			if (!row->is_zero) {
				runs[runs_n++] =
					(struct process_run){row->page + restorer->in_row, n};
				taken += n;
				restorer->in_row += (uint32_t)n;
			}
			if (row->is_zero || n == left) {
				restorer->row++;
				restorer->in_row = 0;
			}
		}
		if (process_memory_write(&restorer->memory, runs, runs_n, bytes, err))
			return -1;
		bytes += taken * VM_PAGE;
		pages_n -= taken;
	}
	return 0;
}

static int place_zeros(struct restorer *restorer, struct err *err)
{
	for (uint64_t i = 0; i < restorer->figures->runs_n; i++) {
		struct process_run rest = {restorer->rows[i].page, restorer->rows[i].pages_n};

		while (restorer->rows[i].is_zero && rest.pages_n) {
			struct process_run run = {
				rest.page, rest.pages_n < BATCH_PAGES ? rest.pages_n : BATCH_PAGES};

			if (!restorer->zeros)
				restorer->zeros = calloc(BATCH_PAGES, VM_PAGE);
			if (!restorer->zeros)
				return err_errno(err, ENOMEM, "%s", restorer->path);
			if (process_memory_write(&restorer->memory, &run, 1, restorer->zeros, err))
				return -1;
			rest.page += run.pages_n;
			rest.pages_n -= run.pages_n;
		}
	}
	return 0;
}

static int restore_all(struct restorer *restorer, struct err *err)
{
	uint64_t left = restorer->figures->pages_n, at = 0;

	if (read_table(restorer, err))
		return -1;
	while (left) {
		size_t n = left < BATCH_PAGES ? (size_t)left : BATCH_PAGES;

		if (*restorer->cancel)
			return err_set(err, "given up");
		if (read_at(restorer, restorer->batch, n * VM_PAGE, at * VM_PAGE, err))
			return -1;
		vm_sum_add(&restorer->sum, restorer->batch, n * VM_PAGE);
		if (place(restorer, n, err))
			return -1;
		at += n;
		left -= n;
	}
	if (place_zeros(restorer, err))
		return -1;
	vm_sum_add(&restorer->sum, restorer->rows, (size_t)table_bytes(restorer->figures->runs_n));
	return vm_sum_end(&restorer->sum) == restorer->figures->sum ? 0 : damaged(restorer, err);
}

int vm_memory_restore(pid_t pid, const char *mem, const char *path,
		      const struct vm_memory_figures *figures, const atomic_bool *cancel,
		      struct err *err)
{
	struct restorer restorer = {.cancel = cancel, .figures = figures, .path = path, .fd = -1};
	int result = -1;

	vm_sum_begin(&restorer.sum);
	restorer.batch = page_buffer(BATCH_BYTES, err);
	if (!restorer.batch)
		return -1;
	restorer.fd = open_direct(path, O_RDONLY);
	if (restorer.fd < 0)
		err_errno(err, errno, "%s", path);
	else if (!process_memory_find(pid, mem, &restorer.memory, err))
		result = restore_all(&restorer, err);
	if (restorer.fd >= 0)
		close(restorer.fd);
	free(restorer.batch);
	free(restorer.zeros);
	free(restorer.rows);
	return result;
}

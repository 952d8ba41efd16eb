/* The file of a memory's difference. See saved_memory.h. */
#include "node-agent/vm/saved_memory.h"

#include "common/base/check.h"
#include "node-agent/vm/process_memory.h"
#include "node-agent/vm/saved_internal.h"
#include "node-agent/vm/saved_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the file ---- */

uint64_t saved_table_bytes(uint64_t runs_n)
{
	return (runs_n * sizeof(struct saved_row) + VM_PAGE - 1) / VM_PAGE * VM_PAGE;
}

uint64_t vm_memory_file_bytes(const struct vm_memory_figures *figures)
{
	return figures->pages_n * VM_PAGE + saved_table_bytes(figures->runs_n);
}

/* Past the page cache, unless the file system has no such way. */
int saved_open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_DIRECT, 0600);

	if (fd >= 0 || errno != EINVAL)
		return fd;
	/* Where that is refused, it may have been made before. */
	return open(path, (flags & ~O_EXCL) | O_CLOEXEC, 0600);
}

void *saved_page_buffer(size_t n, struct err *err)
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
	struct saved_row *rows;
	size_t rows_n, rows_max;
	struct vm_memory_figures figures;
	struct vm_sum sum; /* of the block that is being written */
	size_t in_block;
};

static int add_page(struct saver *saver, uint64_t page, bool is_zero, struct err *err)
{
	struct saved_row *last = saver->rows_n ? &saver->rows[saver->rows_n - 1] : NULL;

	if (last && last->page + last->pages_n == page && (bool)last->is_zero == is_zero &&
	    last->pages_n < UINT32_MAX) {
		last->pages_n++;
		return 0;
	}
	if (saver->rows_n == saver->rows_max) {
		size_t max =
			saver->rows_max ? 2 * saver->rows_max : VM_PAGE / sizeof(struct saved_row);
		struct saved_row *more = realloc(saver->rows, max * sizeof(*more));

		if (!more)
			return err_errno(err, ENOMEM, "the memory's table");
		saver->rows = more;
		saver->rows_max = max;
	}
	saver->rows[saver->rows_n++] = (struct saved_row){page, 1, is_zero};
	return 0;
}

/* Such a page is as good as never written. */
static bool is_zero_in_template(const struct saver *saver, uint64_t page)
{
	uint8_t bytes[VM_PAGE];

	return pread(saver->template_fd, bytes, VM_PAGE, (off_t)(page * VM_PAGE)) == VM_PAGE &&
	       is_zero_page(bytes);
}

static void sum_block(struct saver *saver)
{
	if (!saver->in_block)
		return;
	saver->figures.sum = vm_sum_join(saver->figures.sum, vm_sum_end(&saver->sum));
	vm_sum_begin(&saver->sum);
	saver->in_block = 0;
}

/* Whoever reads it does so block by block, and several at a time. */
static void sum_up(struct saver *saver, const uint8_t *bytes, size_t n)
{
	while (n) {
		size_t room = SAVED_BLOCK_BYTES - saver->in_block;
		size_t part = n < room ? n : room;

		vm_sum_add(&saver->sum, bytes, part);
		saver->in_block += part;
		bytes += part;
		n -= part;
		if (saver->in_block == SAVED_BLOCK_BYTES)
			sum_block(saver);
	}
}

static int write_out(struct saver *saver, const uint8_t *bytes, size_t n, struct err *err)
{
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
	sum_up(saver, saver->batch, kept * VM_PAGE);
	return write_out(saver, saver->batch, kept * VM_PAGE, err);
}

static int on_run(void *arg, const struct process_run *run, struct err *err)
{
	struct saver *saver = arg;
	struct process_run rest = *run;

	while (rest.pages_n) {
		uint64_t room = SAVED_BLOCK_PAGES - saver->pages_n;
		uint64_t n = rest.pages_n < room ? rest.pages_n : room;

		saver->runs[saver->runs_n++] = (struct process_run){rest.page, n};
		saver->pages_n += (size_t)n;
		rest.page += n;
		rest.pages_n -= n;
		if ((saver->pages_n == SAVED_BLOCK_PAGES || saver->runs_n == PROCESS_PARTS_MAX) &&
		    flush_batch(saver, err))
			return -1;
	}
	return 0;
}

static int write_table(struct saver *saver, struct err *err)
{
	size_t n = (size_t)saved_table_bytes(saver->rows_n);
	uint8_t *table = saved_page_buffer(n, err);
	int result;

	if (!table)
		return -1;
	memset(table, 0, n);
	if (saver->rows_n)
		memcpy(table, saver->rows, saver->rows_n * sizeof(struct saved_row));
	saver->figures.runs_n = saver->rows_n;
	sum_block(saver);
	vm_sum_add(&saver->sum, table, n);
	saver->figures.sum = vm_sum_join(saver->figures.sum, vm_sum_end(&saver->sum));
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
	saver->batch = saved_page_buffer(SAVED_BLOCK_BYTES, err);
	saver->template_fd = open(mem, O_RDONLY | O_CLOEXEC);
	vm_sum_begin(&saver->sum);
	if (!saver->batch || saver->template_fd < 0) {
		err_errno(err, errno, "%s", mem);
		goto done;
	}
	saver->fd = saved_open_direct(path, O_WRONLY | O_CREAT | O_EXCL);
	if (saver->fd < 0) {
		err_errno(err, errno, "%s", path);
		goto done;
	}
	if (process_memory_find(pid, mem, &saver->memory, err) ||
	    process_memory_written(&saver->memory, on_run, saver, err) || flush_batch(saver, err) ||
	    write_table(saver, err))
		goto done;
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

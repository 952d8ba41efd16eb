/* See process_memory.h; proc(5), process_vm_readv(2), the kernel's admin-guide/mm/pagemap. */
#include "node-agent/vm/process_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of a pagemap entry: here, in the swap, and a page of the file (or shared) rather than its own. */
#define PAGE_PRESENT (1ULL << 63)
#define PAGE_SWAPPED (1ULL << 62)
#define PAGE_OF_FILE (1ULL << 61)

enum { ENTRIES_MAX = 4096 };

static int by_page(const void *a, const void *b)
{
	const struct process_mapping *x = a, *y = b;

	return x->page < y->page ? -1 : x->page > y->page;
}

/* The device is not compared: some file systems tell another one here than stat does. */
static bool take_line(struct process_memory *memory, const char *line, uint64_t inode)
{
	uint64_t start, end, offset, number;
	char rights[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %" SCNu64, &start, &end,
		   rights, &offset, &number) != 5 ||
	    number != inode || rights[3] != 'p' || rights[1] != 'w')
		return true;
	if (memory->mappings_n == PROCESS_MAPPINGS_MAX)
		return false;
	memory->mappings[memory->mappings_n++] = (struct process_mapping){
		start, offset / PROCESS_PAGE, (end - start) / PROCESS_PAGE};
	return true;
}

int process_memory_find(pid_t pid, const char *file, struct process_memory *out_memory,
			struct err *err)
{
	bool is_believed = true;
	uint64_t next = 0;
	struct stat stat_;
	char path[64];
	size_t line_max = 0;
	char *line = NULL;
	FILE *maps;

	out_memory->pid = pid;
	out_memory->mappings_n = 0;
	if (stat(file, &stat_))
		return err_errno(err, errno, "%s", file);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return err_errno(err, errno, "%s", path);
	while (is_believed && getline(&line, &line_max, maps) > 0)
		is_believed = take_line(out_memory, line, stat_.st_ino);
	free(line);
	fclose(maps);
	if (!is_believed || out_memory->mappings_n == 0)
		return err_set(err, "process %d has not mapped %s as a machine does", (int)pid,
			       file);
	/* Sorted, they are to be the file once over: nothing else of that inode's number slips in.
	 */
	qsort(out_memory->mappings, out_memory->mappings_n, sizeof(out_memory->mappings[0]),
	      by_page);
	for (size_t i = 0; i < out_memory->mappings_n; i++) {
		if (out_memory->mappings[i].page != next)
			is_believed = false;
		next += out_memory->mappings[i].pages_n;
	}
	if (!is_believed || next != (uint64_t)stat_.st_size / PROCESS_PAGE)
		return err_set(err, "process %d has not mapped all of %s once", (int)pid, file);
	return 0;
}

static bool is_own(uint64_t entry)
{
	return (entry & (PAGE_PRESENT | PAGE_SWAPPED)) && !(entry & PAGE_OF_FILE);
}

/* The runs of one piece of the pagemap; one that goes on stays open in *open. */
static int take_entries(const uint64_t *entries, size_t n, uint64_t page, struct process_run *open,
			int (*on_run)(void *arg, const struct process_run *run, struct err *err),
			void *arg, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (is_own(entries[i])) {
			if (!open->pages_n++)
				open->page = page + i;
			continue;
		}
		if (open->pages_n && on_run(arg, open, err))
			return -1;
		open->pages_n = 0;
	}
	return 0;
}

int process_memory_written(const struct process_memory *memory,
			   int (*on_run)(void *arg, const struct process_run *run, struct err *err),
			   void *arg, struct err *err)
{
	uint64_t *entries = malloc(ENTRIES_MAX * sizeof(*entries));
	int fd = -1, result = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)memory->pid);
	if (entries)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_errno(err, errno, "%s", path);
		goto done;
	}
	for (size_t i = 0; i < memory->mappings_n; i++) {
		const struct process_mapping *mapping = &memory->mappings[i];
		struct process_run open_run = {0, 0};

		for (uint64_t at = 0; at < mapping->pages_n;) {
			uint64_t left = mapping->pages_n - at;
			size_t want = left < ENTRIES_MAX ? (size_t)left : ENTRIES_MAX;
			uint64_t first = mapping->start / PROCESS_PAGE + at;
			ssize_t n = pread(fd, entries, want * sizeof(*entries),
					  (off_t)(first * sizeof(*entries)));

			if (n != (ssize_t)(want * sizeof(*entries))) {
				err_errno(err, n < 0 ? errno : EIO, "%s", path);
				goto done;
			}
			if (take_entries(entries, want, mapping->page + at, &open_run, on_run, arg,
					 err))
				goto done;
			at += want;
		}
		if (open_run.pages_n && on_run(arg, &open_run, err))
			goto done;
	}
	result = 0;
done:
	if (fd >= 0)
		close(fd);
	free(entries);
	return result;
}

/* Where the run lies, in as many pieces as it takes. */
static int locate(const struct process_memory *memory, struct process_run run, struct iovec *parts,
		  size_t *parts_n, struct err *err)
{
	for (size_t i = 0; i < memory->mappings_n && run.pages_n; i++) {
		const struct process_mapping *mapping = &memory->mappings[i];
		uint64_t into = run.page - mapping->page, n;

		if (run.page < mapping->page || into >= mapping->pages_n)
			continue;
		n = mapping->pages_n - into < run.pages_n ? mapping->pages_n - into : run.pages_n;
		if (*parts_n == 2 * PROCESS_PARTS_MAX)
			break;
		parts[(*parts_n)++] =
			(struct iovec){(void *)(uintptr_t)(mapping->start + into * PROCESS_PAGE),
				       (size_t)(n * PROCESS_PAGE)};
		run.page += n;
		run.pages_n -= n;
	}
	return run.pages_n ? err_set(err, "page %llu of the machine's memory is not mapped",
				     (unsigned long long)run.page)
			   : 0;
}

static int transfer(const struct process_memory *memory, const struct process_run *runs,
		    size_t runs_n, void *bytes, bool is_read, struct err *err)
{
	struct iovec parts[2 * PROCESS_PARTS_MAX], local = {bytes, 0};
	size_t parts_n = 0;
	ssize_t n;

	for (size_t i = 0; i < runs_n; i++) {
		if (locate(memory, runs[i], parts, &parts_n, err))
			return -1;
		local.iov_len += (size_t)(runs[i].pages_n * PROCESS_PAGE);
	}
	n = is_read ? process_vm_readv(memory->pid, &local, 1, parts, parts_n, 0)
		    : process_vm_writev(memory->pid, &local, 1, parts, parts_n, 0);
	if (n != (ssize_t)local.iov_len)
		return err_errno(err, n < 0 ? errno : EFAULT, "the machine's memory");
	return 0;
}

int process_memory_read(const struct process_memory *memory, const struct process_run *runs,
			size_t runs_n, void *bytes, struct err *err)
{
	return transfer(memory, runs, runs_n, bytes, true, err);
}

int process_memory_write(const struct process_memory *memory, const struct process_run *runs,
			 size_t runs_n, const void *bytes, struct err *err)
{
	/* The call takes one kind of vector for both directions, and only reads these. */
	return transfer(memory, runs, runs_n, (void *)(uintptr_t)bytes, false, err);
}

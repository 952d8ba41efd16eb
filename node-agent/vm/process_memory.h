/* Where a process has mapped a file privately, and which pages of it are its own by now. */
#ifndef FLOTILLA_VM_PROCESS_MEMORY_H
#define FLOTILLA_VM_PROCESS_MEMORY_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESS_MAPPINGS_MAX = 32, PROCESS_PAGE = 4096, PROCESS_PARTS_MAX = 64 };

struct process_mapping {
	uint64_t start; /* address */
	uint64_t page;  /* of the file, where it begins */
	uint64_t pages_n;
};

struct process_memory {
	pid_t pid;
	struct process_mapping mappings[PROCESS_MAPPINGS_MAX]; /* by page of the file */
	size_t mappings_n;
};

/* Fault: it has not mapped it, or in more pieces than are believed in. */
int process_memory_find(pid_t pid, const char *file, struct process_memory *out_memory,
			struct err *err);

/* Pages of the file, next to each other. */
struct process_run {
	uint64_t page;
	uint64_t pages_n;
};

/* Calls on_run for each run that the process has written (or that was swapped out since), in
 * order; stops at a fault of it. */
int process_memory_written(const struct process_memory *memory,
			   int (*on_run)(void *arg, const struct process_run *run, struct err *err),
			   void *arg, struct err *err);

/* Between the process and `bytes`, which are the runs' pages, one behind the other.  At most
 * PROCESS_PARTS_MAX runs; fault: not all of it is mapped, or the process is no more. */
int process_memory_read(const struct process_memory *memory, const struct process_run *runs,
			size_t runs_n, void *bytes, struct err *err);
int process_memory_write(const struct process_memory *memory, const struct process_run *runs,
			 size_t runs_n, const void *bytes, struct err *err);

#endif

/*
 * A clone's memory as its difference from the template's.
 *
 * A clone maps the template's memory file privately, so what it has written is exactly what of that
 * mapping is no longer the file's: /proc/PID/pagemap tells, page by page.  Those pages go into one
 * file, one behind the other, pages of zeros left out; behind them stands the table of runs that
 * says where they belong, filled up with zeros to a whole page.
 *
 * The file is written and read past the page cache where that is possible: it is read once, if
 * ever, and new pages for it cost more than the disk does.
 */
#ifndef FLOTILLA_VM_SAVED_MEMORY_H
#define FLOTILLA_VM_SAVED_MEMORY_H

#include "common/base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { VM_PAGE = 4096 };

struct vm_memory_figures {
	uint64_t pages_n; /* in the file */
	uint64_t runs_n;  /* in its table, those of zeros included */
	uint64_t sum;     /* of all bytes of the file, block by block */
};

/*
 * The difference of process `pid`, which maps the file `mem` and is stopped, into a new file
 * `path`. From any thread; looks at *cancel now and then, and gives up when it is set.  Not synced.
 */
int vm_memory_save(pid_t pid, const char *mem, const char *path, const atomic_bool *cancel,
		   struct vm_memory_figures *out_figures, struct err *err);

/*
 * Puts it into process `pid`, which maps the same template's memory and has not run yet.  Fault:
 * the process's memory is of no use any more.  A file that is not what was written is noticed, at
 * the latest at its end, and is never written outside of that mapping.
 */
int vm_memory_restore(pid_t pid, const char *mem, const char *path,
		      const struct vm_memory_figures *figures, const atomic_bool *cancel,
		      struct err *err);

/* How long such a file is. */
uint64_t vm_memory_file_bytes(const struct vm_memory_figures *figures);

#endif

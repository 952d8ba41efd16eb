/* The files of builds: DIR/specs/<build> and DIR/files/<tenant>/<hash>. For builds.c. */
#ifndef FLOTILLA_SHELL_BUILDS_FILES_H
#define FLOTILLA_SHELL_BUILDS_FILES_H

#include "common/base/err.h"
#include "common/base/ids.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct build_files {
	char dir[PATH_MAX - 300]; /* room for the names below it */
};

int build_files_open(struct build_files *files, const char *state_dir, struct err *err);

void build_files_spec_path(const struct build_files *files, const char *build, char out[PATH_MAX]);
void build_files_path(const struct build_files *files, const struct id *tenant, const char *hash,
		      char out[PATH_MAX]);

/* Bytes that are kept of a tenant. */
uint64_t build_files_used(const struct build_files *files, const struct id *tenant);

int build_files_create(const struct build_files *files, const struct id *tenant, struct err *err);
int build_files_name(const struct build_files *files, const struct id *tenant, const char *hash,
		     int fd, struct err *err);

/* Reads at most max bytes from there on.  1; 0: there is no such file; -1: fault. */
int build_files_read(const char *path, uint64_t offset, uint8_t *bytes, size_t max, size_t *out_n,
		     uint64_t *out_size, struct err *err);

/* Removes what was last written or used longer ago. */
void build_files_sweep(const struct build_files *files, uint64_t keep_ms);

#endif

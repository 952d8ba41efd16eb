/* Small files, read whole and written so that a crash leaves the old or the new one, never half. */
#ifndef FLOTILLA_IO_FILE_H
#define FLOTILLA_IO_FILE_H

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads the file into *out_text, NUL-terminated, to be freed by the caller. A file longer than
 * limit_n bytes is a fault. errno is kept (ENOENT for a missing file). */
int file_read(const char *path, size_t limit_n, char **out_text, size_t *out_n, struct err *err);

/* Reads exactly n bytes of a secret; refuses a file that group or others may read or write. */
int file_read_secret(const char *path, uint8_t *out, size_t n, struct err *err);

/* Writes beside, syncs, renames over, syncs the folder. */
int file_write_atomic(const char *path, const void *data, size_t n, mode_t mode, struct err *err);

/* As `mkdir -p`: what exists already stays as it is. */
int file_make_dirs(const char *path, mode_t mode, struct err *err);

#endif

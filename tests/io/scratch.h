/* A folder of one's own for a test, and small files in it. Include after cmocka.h. */
#ifndef FLOTILLA_TESTS_IO_SCRATCH_H
#define FLOTILLA_TESTS_IO_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct scratch {
	char dir[64];
	char path[512]; /* of the last scratch_path() */
};

static inline void scratch_open(struct scratch *scratch)
{
	snprintf(scratch->dir, sizeof(scratch->dir), "/tmp/flotilla-io-XXXXXX");
	assert_non_null(mkdtemp(scratch->dir));
}

static inline const char *scratch_path(struct scratch *scratch, const char *name)
{
	snprintf(scratch->path, sizeof(scratch->path), "%s/%s", scratch->dir, name);
	return scratch->path;
}

static inline void scratch_write(struct scratch *scratch, const char *name, const char *text)
{
	FILE *file = fopen(scratch_path(scratch, name), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static inline int scratch_remove(const char *path, const struct stat *about, int kind,
				 struct FTW *where)
{
	(void)about;
	(void)kind;
	(void)where;
	return remove(path);
}

static inline void scratch_close(struct scratch *scratch)
{
	nftw(scratch->dir, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

#endif

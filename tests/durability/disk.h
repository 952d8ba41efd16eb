/*
 * A disk in memory, for SQLite: what is durable of each file, what was written since and not yet
 * flushed, and a log of all that happened.  From the log a crash can be staged at any boundary.
 *
 * A crash keeps what was flushed.  Of the rest each write may be there or not, whole or in sectors
 * of 512 bytes, in any order; the kernel promises nothing more.
 */
#ifndef FLOTILLA_TESTS_DURABILITY_DISK_H
#define FLOTILLA_TESTS_DURABILITY_DISK_H

#include "common/base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DISK_FILES_MAX = 8,
	DISK_CHUNK = 4096,
	DISK_SECTOR = 512,
	DISK_SHM_MAX = 64,
	DISK_HANDLES_MAX = 8,
};

struct disk_chunk {
	int refs; /* images that share it; written only when it is 1 */
	uint8_t bytes[DISK_CHUNK];
};

struct disk_handle;

struct disk_file {
	char name[192]; /* empty: not used yet */
	bool exists;
	uint64_t size;
	struct disk_chunk **chunks; /* NULL: zeros */
	size_t chunks_n;

	/* of the running machine, and gone with it */
	void *shm[DISK_SHM_MAX];
	int shm_shared[8];
	bool shm_exclusive[8];
	struct disk_handle *handles[DISK_HANDLES_MAX];
};

enum disk_op_kind { DISK_WRITE, DISK_TRUNCATE, DISK_SYNC, DISK_DELETE, DISK_MARK };

struct disk_op {
	enum disk_op_kind kind;
	uint8_t file;
	uint64_t at; /* WRITE: where; TRUNCATE: new size; MARK: what the test says */
	size_t n;
	uint8_t *data;
};

struct disk_log {
	struct disk_op *ops;
	size_t n, cap;
};

struct disk {
	struct disk_file files[DISK_FILES_MAX];
	struct disk_log *log; /* NULL: nothing is noted */
	/* Faults: the call number fail_at from now on that changes or flushes something fails, with
	 * this SQLite code; if fail_lasts all after it too.  0: none does. */
	uint64_t fail_at, calls_n, failed_n;
	int fail_code;
	bool fail_lasts;
};

/* The disk that files are opened on from now on. */
extern struct disk *disk_now;

/* Makes it SQLite's default. A writer checkpoints at that many pages, whatever it asks for. */
void disk_vfs_register(int checkpoint_pages);

/* PRAGMA synchronous is OFF, whatever is asked for. */
void disk_vfs_plant_synchronous_off(bool planted);

void disk_free(struct disk *disk);
void disk_log_free(struct disk_log *log);
void disk_mark(struct disk *disk, uint64_t number);

/* The file of that name; a new one if there is none. */
struct disk_file *disk_file(struct disk *disk, const char *name);
void disk_file_write(struct disk_file *file, uint64_t at, const uint8_t *data, size_t n);
void disk_file_read(const struct disk_file *file, uint64_t at, uint8_t *out, size_t n);
void disk_file_truncate(struct disk_file *file, uint64_t size);
void disk_log_add(struct disk *disk, enum disk_op_kind kind, const struct disk_file *file,
		  uint64_t at, const void *data, size_t n);

/* ---- crashes ---- */

struct disk_replay {
	const struct disk_log *log;
	struct disk durable;
	size_t at; /* the next op */
	size_t *pending;
	size_t pending_n, pending_cap;
};

enum disk_crash {
	DISK_CRASH_DROPS_ALL,  /* power: nothing that was not flushed */
	DISK_CRASH_TEARS,      /* power: any sectors of it */
	DISK_CRASH_KEEPS_ALL,  /* a killed process: all of it */
	DISK_CRASH_KEEPS_HEAD, /* power: the first so many writes, the last one torn */
};

/* names: the disk that the log is of, which has the files' names. */
void disk_replay_begin(struct disk_replay *replay, const struct disk_log *log,
		       const struct disk *names);
/* Carries one op out. True when what is durable changed by it. */
bool disk_replay_step(struct disk_replay *replay);
/* The disk as a crash before the next op leaves it; to be freed. */
void disk_replay_crash(const struct disk_replay *replay, enum disk_crash crash, struct rng *rng,
		       struct disk *out);
void disk_replay_end(struct disk_replay *replay);

#endif

/*
 * Copies of a daemon's state: a folder with the database, the secrets if they are wanted, and a
 * MANIFEST with sizes and hashes.  A copy is made beside the running daemon, by a connection that
 * only reads and never checkpoints (sqlite.h says why), of one instant; the write-ahead log grows
 * meanwhile.  It is whole or it is not there: the folder gets its name last.
 *
 * A scheduler's copy can be restored: under an epoch that no node has seen, so that they take its
 * orders, and they send again what the copy lacks.  An agent's journal can be copied and verified
 * only: a journal that forgot records would give their numbers to others.
 */
#ifndef FLOTILLA_SHELL_STORE_BACKUP_H
#define FLOTILLA_SHELL_STORE_BACKUP_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	BACKUP_FILES_MAX = 8,
	BACKUP_HASH_N = 32,
	BACKUP_PATH_MAX = 4096,
	BACKUP_EPOCHS = 65536, /* added by a restore: more than were begun since the copy */
};

enum backup_kind { BACKUP_SCHEDULER, BACKUP_AGENT, BACKUP_KINDS_N };

struct backup_kind_info {
	const char *name, *database;
	int32_t application_id;
	const char *secrets[6]; /* NULL behind the last */
};

extern const struct backup_kind_info backup_kinds[BACKUP_KINDS_N];

struct backup_file {
	char name[32];
	int64_t size;
	uint8_t hash[BACKUP_HASH_N];
};

struct backup_manifest {
	enum backup_kind kind;
	char made_at[32];
	struct backup_file files[BACKUP_FILES_MAX];
	int files_n;
};

struct backup_report {
	struct backup_manifest manifest;
	bool has_secrets;
	bool chain_verified;     /* false: an agent's, or of an older version (a restore does it) */
	bool signatures_checked; /* with the bus.key of the copy */
	int64_t events_n, heads_n, head_event;
	uint8_t chain_hash[BACKUP_HASH_N];
	int64_t epoch;                  /* restore: the new one */
	char replaced[BACKUP_PATH_MAX]; /* restore: where the old folder is now; empty: none */
};

/* done of all bytes (or facts) of one piece of work. */
typedef void (*backup_progress_cb)(void *data, const char *what, int64_t done, int64_t all);

struct backup_options {
	enum backup_kind kind;
	bool with_secrets, force;
	backup_progress_cb on_progress; /* or NULL */
	void *data;
};

/* dir: the daemon's state folder. out must not exist. */
int backup_create(const char *dir, const char *out, const struct backup_options *options,
		  struct backup_report *report, struct err *err);

/* Sizes, hashes, SQLite's integrity_check; of a scheduler's also chain, heads and books. */
int backup_verify(const char *copy, const struct backup_options *options,
		  struct backup_report *report, struct err *err);

/* dir must be empty or not there, or options->force: then it is moved aside. No daemon may run. */
int backup_restore(const char *copy, const char *dir, const struct backup_options *options,
		   struct backup_report *report, struct err *err);

/* The ledger in a state folder, or a copy: all of it. NULL key: dir's bus.key, if there is one. */
int backup_verify_ledger(const char *dir, const struct backup_options *options,
			 struct backup_report *report, struct err *err);

/* ---- what its files share ---- */

int backup_path(char out_path[BACKUP_PATH_MAX], const char *dir, const char *name, struct err *err);
int backup_manifest_write(const char *dir, const struct backup_manifest *manifest, struct err *err);
int backup_manifest_read(const char *dir, struct backup_manifest *out, struct err *err);
/* Size and hash of dir/file->name. */
int backup_measure(const char *dir, struct backup_file *file, const struct backup_options *options,
		   struct err *err);
/* Copies a file, flushed, mode 0600. */
int backup_copy_file(const char *from, const char *to, const struct backup_options *options,
		     struct err *err);
int backup_sync_dir(const char *dir, struct err *err);
/* Removes a folder of files; for folders that we made. */
void backup_remove_dir(const char *dir);

#endif

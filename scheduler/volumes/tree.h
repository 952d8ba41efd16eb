/*
 * One volume's files: a folder of the host's, which nothing leads out of.
 *
 * Paths are a tenant's: "/a/b", resolved by the kernel within the folder (openat2's
 * RESOLVE_IN_ROOT), so that a symlink's "/" is the volume's and its ".." ends there.  What is in
 * the folder was made by tenants too, by way of their sandboxes: any name, link and loop is to be
 * expected.
 *
 * All of it blocks, and may be called on any thread.  Functions return 0 or an errno; whatever
 * changes something holds the volume's lock, so that its sum stays right.
 */
#ifndef FLOTILLA_VOLUMES_TREE_H
#define FLOTILLA_VOLUMES_TREE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
	TREE_ENTRY_BYTES = 4096, /* what each entry counts for, beside its size */
	TREE_DEPTH_MAX = 256,    /* of what is walked through */
	TREE_OPEN_SLOTS = 256,
	TREE_OWNER = 1000, /* of what is made without saying whose: the sandboxes' own user */
};

struct tree_open_file;

struct tree {
	int root;     /* the folder that tenants see as "/" */
	int incoming; /* beside it: files that are not whole yet */
	pthread_mutex_t lock;
	/* Of files' sizes, and TREE_ENTRY_BYTES for each entry. Under the lock. */
	uint64_t used, used_max;
	uint64_t reserve;                                   /* bytes that stay free on the disk */
	bool keeps_owners;                                  /* we may give files away */
	struct tree_open_file *open_files[TREE_OPEN_SLOTS]; /* by inode. Under the lock. */
};

/* dir: made if it is not there.  Counts what is in it. */
int tree_open(struct tree *tree, const char *dir, uint64_t reserve);
void tree_close(struct tree *tree);

/* Removes a volume's folder and all in it. */
int tree_destroy(const char *dir);

/* "/a/./b//c" and "a/b/../b/c" to "/a/b/c"; false: it cannot be a path. */
bool tree_path(const char *text, char out[PATH_MAX]);

struct tree_entry {
	struct stat status;
	char target[PATH_MAX]; /* of a symlink; else "" */
};

/* Of the last component itself, also if it is a symlink. */
int tree_stat(struct tree *tree, const char *path, struct tree_entry *out);

/* Each below the path, up to so many levels, folders before what is in them; the visitor's errno
 * ends it. */
typedef int tree_visit_fn(void *data, const char *path, const struct tree_entry *entry);
int tree_list(struct tree *tree, const char *path, unsigned depth, tree_visit_fn *visit,
	      void *data);

/* -1: as it is, or for a new one by default. */
struct tree_attributes {
	int64_t uid, gid, mode;
};

/* is_forced: folders on the way are made, and one that is there will do. */
int tree_make_folder(struct tree *tree, const char *path, const struct tree_attributes *attributes,
		     bool is_forced);
int tree_set(struct tree *tree, const char *path, const struct tree_attributes *attributes);
int tree_remove(struct tree *tree, const char *path); /* with all that is in it */

/* A regular file, for reading. */
int tree_read(struct tree *tree, const char *path, int *out_fd, uint64_t *out_size);

/* A new file, which takes its place once it is whole.  Zeroed: none. */
struct tree_upload {
	struct tree *tree;
	int fd;
	char name[32]; /* among what is incoming */
	uint64_t size;
};

int tree_upload_begin(struct tree *tree, struct tree_upload *out);
int tree_upload_write(struct tree_upload *upload, const void *bytes, size_t n);
/* Whatever comes of it, the upload is over.  makes_folders: those on the way; may_replace: a file
 * that is there. */
int tree_upload_end(struct tree_upload *upload, const char *path,
		    const struct tree_attributes *attributes, bool makes_folders, bool may_replace);
void tree_upload_drop(struct tree_upload *upload); /* none is fine */

/* ---- for whoever keeps descriptors of files in it ---- */

/* With the lock held: takes room, or gives some back. ENOSPC: there is none. */
int tree_charge(struct tree *tree, uint64_t bytes);
void tree_refund(struct tree *tree, uint64_t bytes);

/* With the lock held: what an entry's end gives back, which is its own room, and its file's when it
 * was the last name and nobody has it open; then the last who closes it gives that back. */
uint64_t tree_worth(const struct tree *tree, const struct stat *status);

/* With the lock held: a descriptor of a regular file was opened, within the same lock, and is kept;
 * and it is about to be closed.  0, or ENOMEM. */
int tree_hold(struct tree *tree, int fd);
void tree_let_go(struct tree *tree, int fd);

#endif

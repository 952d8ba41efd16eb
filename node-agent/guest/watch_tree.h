/*
 * The folders that an inotify instance watches, as a tree: the kernel names a folder by a number,
 * and only whoever keeps the tree knows where it is by now.
 */
#ifndef FLOTILLA_GUEST_WATCH_TREE_H
#define FLOTILLA_GUEST_WATCH_TREE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WATCH_FOLDERS_MAX = 8 * 1024, WATCH_BUCKETS_N = 256 };

struct watch_node {
	struct watch_node *parent; /* NULL: the root, or it was moved away */
	struct watch_node *first_child, *next_sibling;
	struct watch_node *next_in_bucket;
	struct watch_node *next_pending; /* the walk's */
	int wd;
	char *name; /* in its parent, owned */
};

struct watch_tree {
	int fd;
	char path[PATH_MAX]; /* of the root */
	struct watch_node *root;
	struct watch_node *buckets[WATCH_BUCKETS_N];
	size_t nodes_n;
	/* What was moved away, until it is known where to. */
	struct watch_node *moved;
	uint32_t moved_cookie;
};

/* 0, or -1 with errno. path: an absolute and clean one of a folder. */
int watch_tree_open(struct watch_tree *tree, const char *path);
void watch_tree_close(struct watch_tree *tree);

/* NULL when there is none. */
struct watch_node *watch_tree_find(const struct watch_tree *tree, int wd);

/* The path below the root of what is called so in the folder ("" names the folder itself; "." is
 * the root's).  False when the folder was moved away, or the path is too long. */
bool watch_tree_path(const struct watch_tree *tree, const struct watch_node *node, const char *name,
		     char out[PATH_MAX]);
/* The same as an absolute path. */
bool watch_tree_full_path(const struct watch_tree *tree, const struct watch_node *node,
			  const char *name, char out[PATH_MAX]);

/* Watches a folder inside another one; links are not followed.  One that is watched already is
 * moved to where it is now.  NULL with errno: ENOSPC when a bound is reached; else it is no folder
 * any more, or cannot be watched there. */
struct watch_node *watch_tree_add(struct watch_tree *tree, struct watch_node *parent,
				  const char *name);

/* A folder was moved away: remembered under the kernel's cookie. */
void watch_tree_move_from(struct watch_tree *tree, struct watch_node *parent, const char *name,
			  uint32_t cookie);
/* And has appeared there; nothing happens when the cookie is another's. */
void watch_tree_move_to(struct watch_tree *tree, struct watch_node *parent, const char *name,
			uint32_t cookie);
/* What was moved away and did not appear is out of the tree. */
void watch_tree_move_end(struct watch_tree *tree);

/* The folder and all below it.  is_ignored: the kernel has given the number up by itself. */
void watch_tree_drop(struct watch_tree *tree, struct watch_node *node, bool is_ignored);

#endif

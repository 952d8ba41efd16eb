/* The folders that are watched: see watch_tree.h. */
#include "node-agent/guest/watch_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* What Go's fsnotify asks for. */
#define WATCHED                                                                                    \
	(IN_CREATE | IN_MODIFY | IN_DELETE | IN_DELETE_SELF | IN_MOVED_TO | IN_MOVED_FROM |        \
	 IN_MOVE_SELF | IN_ATTRIB)

/* -- Nodes ---------------------------------------------------------------------------------------
 */

static struct watch_node **bucket_of(struct watch_tree *tree, int wd)
{
	return &tree->buckets[(unsigned)wd % WATCH_BUCKETS_N];
}

struct watch_node *watch_tree_find(const struct watch_tree *tree, int wd)
{
	struct watch_node *node = tree->buckets[(unsigned)wd % WATCH_BUCKETS_N];

	while (node && node->wd != wd)
		node = node->next_in_bucket;
	return node;
}

static void unlink_from_parent(struct watch_node *node)
{
	struct watch_node **at;

	if (!node->parent)
		return;
	at = &node->parent->first_child;
	while (*at != node)
		at = &(*at)->next_sibling;
	*at = node->next_sibling;
	node->parent = node->next_sibling = NULL;
}

static void link_to_parent(struct watch_node *node, struct watch_node *parent)
{
	node->parent = parent;
	node->next_sibling = parent->first_child;
	parent->first_child = node;
}

static struct watch_node *child_find(const struct watch_node *parent, const char *name)
{
	struct watch_node *node = parent->first_child;

	while (node && strcmp(node->name, name))
		node = node->next_sibling;
	return node;
}

static bool is_above(const struct watch_node *node, const struct watch_node *other)
{
	while (other && other != node)
		other = other->parent;
	return other;
}

/* False when there is no memory, or it would be put below itself; nothing has changed then. */
static bool place(struct watch_node *node, struct watch_node *parent, const char *name)
{
	char *copy = is_above(node, parent) ? NULL : strdup(name);

	if (!copy)
		return false;
	free(node->name);
	node->name = copy;
	unlink_from_parent(node);
	link_to_parent(node, parent);
	return true;
}

static struct watch_node *node_new(struct watch_tree *tree, int wd)
{
	struct watch_node *node = calloc(1, sizeof(*node)), **bucket = bucket_of(tree, wd);

	if (!node)
		return NULL;
	node->wd = wd;
	node->next_in_bucket = *bucket;
	*bucket = node;
	tree->nodes_n++;
	return node;
}

static void node_free(struct watch_tree *tree, struct watch_node *node)
{
	struct watch_node **at = bucket_of(tree, node->wd);

	while (*at != node)
		at = &(*at)->next_in_bucket;
	*at = node->next_in_bucket;
	tree->nodes_n--;
	free(node->name);
	free(node);
}

/* Without recursion: a tree may be as deep as a path is long. */
void watch_tree_drop(struct watch_tree *tree, struct watch_node *node, bool is_ignored)
{
	struct watch_node *at = node;

	if (tree->root == node)
		tree->root = NULL;
	if (tree->moved == node)
		tree->moved = NULL;
	unlink_from_parent(node);
	while (at) {
		struct watch_node *parent = at->parent;

		if (at->first_child) {
			at = at->first_child;
			continue;
		}
		if (parent)
			parent->first_child = at->next_sibling;
		if (at != node || !is_ignored)
			inotify_rm_watch(tree->fd, at->wd);
		node_free(tree, at);
		at = parent;
	}
}

/* -- The tree ------------------------------------------------------------------------------------
 */

int watch_tree_open(struct watch_tree *tree, const char *path)
{
	int wd;

	*tree = (struct watch_tree){.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
	if (tree->fd < 0)
		return -1;
	snprintf(tree->path, sizeof(tree->path), "%s", path);
	wd = inotify_add_watch(tree->fd, path, WATCHED | IN_ONLYDIR);
	tree->root = wd < 0 ? NULL : node_new(tree, wd);
	if (tree->root)
		return 0;
	watch_tree_close(tree);
	return -1;
}

void watch_tree_close(struct watch_tree *tree)
{
	int number = errno;

	/* The kernel needs not be told of each: it is all over. */
	if (tree->fd >= 0)
		close(tree->fd);
	tree->fd = -1;
	if (tree->moved)
		watch_tree_drop(tree, tree->moved, true);
	if (tree->root)
		watch_tree_drop(tree, tree->root, true);
	errno = number;
}

/* Puts a part, and a slash behind it if there was one already, before what is at *start. */
static bool put_before(char out[PATH_MAX], size_t *start, const char *part)
{
	size_t n = strlen(part), slash = *start < PATH_MAX - 1;

	if (n + slash > *start)
		return false;
	if (slash)
		out[--*start] = '/';
	*start -= n;
	memcpy(out + *start, part, n);
	return true;
}

bool watch_tree_path(const struct watch_tree *tree, const struct watch_node *node, const char *name,
		     char out[PATH_MAX])
{
	size_t start = PATH_MAX - 1;

	out[start] = 0;
	if (name[0] && !put_before(out, &start, name))
		return false;
	for (; node->parent; node = node->parent)
		if (!put_before(out, &start, node->name))
			return false;
	if (node != tree->root)
		return false;
	if (start == PATH_MAX - 1)
		out[--start] = '.';
	memmove(out, out + start, PATH_MAX - start);
	return true;
}

bool watch_tree_full_path(const struct watch_tree *tree, const struct watch_node *node,
			  const char *name, char out[PATH_MAX])
{
	char below[PATH_MAX];
	const char *front = strcmp(tree->path, "/") ? tree->path : "";

	if (!watch_tree_path(tree, node, name, below))
		return false;
	if (!strcmp(below, "."))
		return snprintf(out, PATH_MAX, "%s", tree->path) < PATH_MAX;
	return snprintf(out, PATH_MAX, "%s/%s", front, below) < PATH_MAX;
}

struct watch_node *watch_tree_add(struct watch_tree *tree, struct watch_node *parent,
				  const char *name)
{
	char path[PATH_MAX];
	struct watch_node *node;
	int wd;

	if (!watch_tree_full_path(tree, parent, name, path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	wd = inotify_add_watch(tree->fd, path, WATCHED | IN_ONLYDIR | IN_DONT_FOLLOW);
	if (wd < 0)
		return NULL;
	node = watch_tree_find(tree, wd);
	if (node && node->parent == parent && !strcmp(node->name, name))
		return node;
	if (!node && tree->nodes_n >= WATCH_FOLDERS_MAX) {
		inotify_rm_watch(tree->fd, wd);
		errno = ENOSPC;
		return NULL;
	}
	if (!node)
		node = node_new(tree, wd);
	if (tree->moved == node)
		tree->moved = NULL;
	if (node && node != tree->root && place(node, parent, name))
		return node;
	if (node && !node->parent && node != tree->root)
		watch_tree_drop(tree, node, false);
	errno = ENOMEM;
	return NULL;
}

void watch_tree_move_from(struct watch_tree *tree, struct watch_node *parent, const char *name,
			  uint32_t cookie)
{
	struct watch_node *node = child_find(parent, name);

	watch_tree_move_end(tree);
	if (!node)
		return;
	unlink_from_parent(node);
	tree->moved = node;
	tree->moved_cookie = cookie;
}

void watch_tree_move_to(struct watch_tree *tree, struct watch_node *parent, const char *name,
			uint32_t cookie)
{
	struct watch_node *node = tree->moved, *covered = child_find(parent, name);

	if (!node || tree->moved_cookie != cookie)
		return;
	/* An empty folder may have been there before. */
	if (covered)
		watch_tree_drop(tree, covered, false);
	if (place(node, parent, name))
		tree->moved = NULL;
}

void watch_tree_move_end(struct watch_tree *tree)
{
	if (tree->moved)
		watch_tree_drop(tree, tree->moved, false);
}

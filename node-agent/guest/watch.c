/* What changes in a folder: see watch.h. */
#include "node-agent/guest/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "node-agent/guest/entry.h"

#define PROBLEM_OVERFLOW "watcher error: fsnotify: queue or buffer overflow"
#define PROBLEM_FOLDERS  "watcher error: no space left on device"
#define PROBLEM_READ     "watcher error: the events cannot be read"

enum { READ_N = 16 * 1024 };

size_t watch_types(uint32_t mask, const char *out[WATCH_TYPES_MAX])
{
	static const struct {
		uint32_t mask;
		const char *type;
	} rows[] = {
		{IN_CREATE | IN_MOVED_TO, "EVENT_TYPE_CREATE"},
		{IN_MOVED_FROM | IN_MOVE_SELF, "EVENT_TYPE_RENAME"},
		{IN_ATTRIB, "EVENT_TYPE_CHMOD"},
		{IN_MODIFY, "EVENT_TYPE_WRITE"},
		{IN_DELETE | IN_DELETE_SELF, "EVENT_TYPE_REMOVE"},
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_N(rows); i++)
		if (mask & rows[i].mask)
			out[n++] = rows[i].type;
	return n;
}

/* -- The queue -----------------------------------------------------------------------------------
 */

bool watch_has_room(const struct watch *watch)
{
	return !watch->problem && watch->queue_n - watch->queue_at < WATCH_QUEUE_FULL;
}

static bool queue_grow(struct watch *watch, size_t wanted)
{
	size_t max = watch->queue_max ? watch->queue_max : 4096;
	char *grown;

	while (max < wanted)
		max *= 2;
	max = max < WATCH_QUEUE_MAX ? max : WATCH_QUEUE_MAX;
	if (wanted > WATCH_QUEUE_MAX ||
	    *watch->queues_bytes - watch->queue_max + max > WATCH_QUEUES_MAX ||
	    !(grown = realloc(watch->queue, max)))
		return false;
	*watch->queues_bytes += max - watch->queue_max;
	watch->queue = grown;
	watch->queue_max = max;
	return true;
}

static void queue_free(struct watch *watch)
{
	if (watch->queue)
		*watch->queues_bytes -= watch->queue_max;
	free(watch->queue);
	watch->queue = NULL;
	watch->queue_max = 0;
}

static void queue_add(struct watch *watch, const char *json, uint32_t json_n)
{
	size_t wanted = watch->queue_n + sizeof(json_n) + json_n;

	if (wanted > watch->queue_max && !queue_grow(watch, wanted)) {
		watch->problem = PROBLEM_OVERFLOW;
		return;
	}
	memcpy(watch->queue + watch->queue_n, &json_n, sizeof(json_n));
	memcpy(watch->queue + watch->queue_n + sizeof(json_n), json, json_n);
	watch->queue_n = wanted;
}

size_t watch_next(const struct watch *watch, size_t room, const char **out_json)
{
	uint32_t n;

	if (watch->queue_at == watch->queue_n)
		return 0;
	memcpy(&n, watch->queue + watch->queue_at, sizeof(n));
	*out_json = watch->queue + watch->queue_at + sizeof(n);
	return n <= room ? n : 0;
}

void watch_take(struct watch *watch)
{
	uint32_t n;

	memcpy(&n, watch->queue + watch->queue_at, sizeof(n));
	watch->queue_at += sizeof(n) + n;
	if (watch->queue_at < watch->queue_n)
		return;
	watch->queue_at = watch->queue_n = 0;
	if (watch->queue_max > WATCH_QUEUE_FULL)
		queue_free(watch);
}

/* -- Events --------------------------------------------------------------------------------------
 */

static json_t *entry_of(const struct watch *watch, const struct watch_node *node, const char *name)
{
	struct entry_owners owners = {0};
	char path[PATH_MAX];

	if (!watch->has_entries || !watch_tree_full_path(&watch->tree, node, name, path))
		return NULL;
	return entry_read(path, &owners);
}

static void tell_type(struct watch *watch, const char *path, const char *type, json_t *entry)
{
	json_t *event = json_pack("{s:s,s:s,s:O*}", "name", path, "type", type, "entry", entry);
	char *json = event ? json_dumps(event, JSON_COMPACT) : NULL;

	if (json && strlen(json) > WATCH_EVENT_MAX) {
		free(json);
		json_object_del(event, "entry");
		json = json_dumps(event, JSON_COMPACT);
	}
	/* Without one its name is not UTF-8, and cannot be told. */
	if (json)
		queue_add(watch, json, (uint32_t)strlen(json));
	free(json);
	json_decref(event);
}

static void tell(struct watch *watch, const struct watch_node *node, const char *name,
		 uint32_t mask)
{
	const char *types[WATCH_TYPES_MAX];
	size_t types_n = watch_types(mask, types);
	char path[PATH_MAX];
	json_t *entry;

	if (!types_n || !watch_tree_path(&watch->tree, node, name, path))
		return;
	entry = entry_of(watch, node, name);
	for (size_t i = 0; i < types_n && !watch->problem; i++)
		tell_type(watch, path, types[i], entry);
	json_decref(entry);
}

/* -- Folders that appear -------------------------------------------------------------------------
 */

static bool is_folder(const struct dirent *entry, DIR *folder)
{
	struct stat status;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return !fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) &&
	       S_ISDIR(status.st_mode);
}

/* Watches the folders in one, and puts them behind *last.  0, or -1 when there are too many. */
static int walk_one(struct watch *watch, struct watch_node *node, bool is_told,
		    struct watch_node **last)
{
	char path[PATH_MAX];
	DIR *folder = watch_tree_full_path(&watch->tree, node, "", path) ? opendir(path) : NULL;
	struct dirent *entry;
	int result = 0;

	while (folder && !result && !watch->problem && (entry = readdir(folder))) {
		struct watch_node *child;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (is_told)
			tell(watch, node, entry->d_name, IN_CREATE);
		if (!is_folder(entry, folder))
			continue;
		child = watch_tree_add(&watch->tree, node, entry->d_name);
		if (child && child != *last && !child->next_pending) {
			(*last)->next_pending = child;
			*last = child;
		} else if (!child && errno == ENOSPC) {
			result = -1;
		}
	}
	if (folder)
		closedir(folder);
	return result;
}

/*
 * All folders below one are watched from here on; is_told: what is in them is told as created.  One
 * folder is open at a time, however deep it goes.  0, or -1 with errno.
 */
static int walk(struct watch *watch, struct watch_node *node, bool is_told,
		const atomic_bool *is_abandoned)
{
	struct watch_node *last = node;
	int result = 0;

	while (node) {
		struct watch_node *next;

		if (is_abandoned && atomic_load_explicit(is_abandoned, memory_order_relaxed)) {
			errno = ECANCELED;
			result = -1;
		}
		if (!result && walk_one(watch, node, is_told, &last)) {
			errno = ENOSPC;
			result = -1;
		}
		next = node->next_pending;
		node->next_pending = NULL;
		node = next;
	}
	return result;
}

static void folder_appeared(struct watch *watch, struct watch_node *parent, const char *name)
{
	struct watch_node *node = watch_tree_add(&watch->tree, parent, name);

	if (node ? walk(watch, node, true, NULL) : errno == ENOSPC)
		watch->problem = PROBLEM_FOLDERS;
}

/* -- The kernel's words --------------------------------------------------------------------------
 */

static void on_event(struct watch *watch, const struct inotify_event *event)
{
	struct watch_tree *tree = &watch->tree;
	struct watch_node *node = watch_tree_find(tree, event->wd);
	const char *name = event->len ? event->name : "";
	bool is_below = event->mask & IN_ISDIR && name[0];

	if (event->mask & IN_Q_OVERFLOW)
		watch->problem = PROBLEM_OVERFLOW;
	if (!node)
		return;
	if (event->mask & (IN_IGNORED | IN_UNMOUNT)) {
		watch_tree_drop(tree, node, true);
		return;
	}
	/* What happens to a folder inside is told by the one around it. */
	if (!name[0] && node != tree->root)
		return;
	tell(watch, node, name, event->mask);
	if (event->mask & IN_MOVE_SELF) {
		/* Nobody knows where it is now. */
		watch_tree_drop(tree, node, false);
		return;
	}
	if (!watch->is_recursive || !is_below || watch->problem)
		return;
	if (event->mask & IN_MOVED_FROM)
		watch_tree_move_from(tree, node, name, event->cookie);
	if (event->mask & IN_MOVED_TO)
		watch_tree_move_to(tree, node, name, event->cookie);
	if (event->mask & (IN_CREATE | IN_MOVED_TO))
		folder_appeared(watch, node, name);
}

/* False when there is nothing more to be read now. */
static bool read_some(struct watch *watch)
{
	_Alignas(struct inotify_event) char bytes[READ_N];
	ssize_t n = read(watch->tree.fd, bytes, sizeof(bytes));

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		watch->problem = PROBLEM_READ;
	for (ssize_t at = 0; at < n && !watch->problem;) {
		const struct inotify_event *event = (const struct inotify_event *)(bytes + at);

		on_event(watch, event);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	return n > 0;
}

void watch_read(struct watch *watch)
{
	bool goes_on = true;

	while (goes_on && watch_has_room(watch))
		goes_on = read_some(watch);
	/* Both halves of a move come together: whose second one has not come is out. */
	if (!goes_on)
		watch_tree_move_end(&watch->tree);
}

int watch_open(struct watch *watch, const char *path, bool is_recursive, bool has_entries,
	       const atomic_bool *is_abandoned)
{
	*watch = (struct watch){.is_recursive = is_recursive, .has_entries = has_entries};
	if (watch_tree_open(&watch->tree, path))
		return -1;
	if (!is_recursive || !walk(watch, watch->tree.root, false, is_abandoned))
		return 0;
	watch_close(watch);
	return -1;
}

void watch_close(struct watch *watch)
{
	int number = errno;

	watch_tree_close(&watch->tree);
	queue_free(watch);
	errno = number;
}

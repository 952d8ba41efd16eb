/*
 * What changes in a folder, as E2B's FilesystemEvents.
 *
 * Kinds of events are those of Go's fsnotify, which E2B uses: a rename is RENAME of the old name
 * and CREATE of the new one, an attribute is CHMOD.  With 'recursive' new folders are followed, and
 * what was in them when that began is told as created.  A change may be told twice, never not at
 * all: when events are lost for want of room, the watch says so and ends.
 */
#ifndef FLOTILLA_GUEST_WATCH_H
#define FLOTILLA_GUEST_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node-agent/guest/watch_tree.h"

enum {
	/* While so much waits to be told, the rest waits in the kernel (16,384 events). */
	WATCH_QUEUE_FULL = 256 * 1024,
	/* Only a large folder that appears at once fills more. */
	WATCH_QUEUE_MAX = 4 * 1024 * 1024,
	WATCH_QUEUES_MAX = 32 * 1024 * 1024, /* of all watches together */
	WATCH_EVENT_MAX = 32 * 1024,
	WATCH_TYPES_MAX = 5,
};

struct watch {
	struct watch_tree tree;
	bool is_recursive, has_entries;
	const char *problem; /* NULL, or why there will be no more events (static text) */
	char *queue;         /* each event's length, and its JSON; owned */
	size_t queue_at, queue_n, queue_max;
	size_t *queues_bytes; /* the owner's sum of queue_max; set once the watch is open */
};

/* 0, or -1 with errno (ENOSPC: more folders than can be watched; ECANCELED: abandoned meanwhile).
 * May be called on any thread, as long as nobody else has the watch. */
int watch_open(struct watch *watch, const char *path, bool is_recursive, bool has_entries,
	       const atomic_bool *is_abandoned);
void watch_close(struct watch *watch);

/* Whether the kernel's events are wanted now: readable(watch->tree.fd) is then watch_read's. */
bool watch_has_room(const struct watch *watch);
void watch_read(struct watch *watch);

/* The next event's JSON, up to 'room' bytes: its length, or 0 when there is none or it has no room.
 * Stays until the next call of watch_take or watch_read. */
size_t watch_next(const struct watch *watch, size_t room, const char **out_json);
/* Takes that event. */
void watch_take(struct watch *watch);

/* The names of E2B's event types that are in inotify's mask: how many.  Pure. */
size_t watch_types(uint32_t mask, const char *out[WATCH_TYPES_MAX]);

#endif

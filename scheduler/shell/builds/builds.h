/*
 * Builds of tenants' templates, as the leader sees them: what waits to be built, which node is at
 * it, what it said, and how it ended.
 *
 * What is to be built is a file (the spec), and so is each file that its COPY steps name; a node
 * asks for a build, fetches its files, and tells of its progress, by messages which may come again
 * (build_ask in wire.def).  Whether a build is ready is a decision, made when the core knows its
 * template, so that who hears of it can start it.
 *
 * After a restart, and in a new leader, builds are taken up from the store: a node that is at one
 * goes on telling of it; one that no node has and whose spec is here is given to the next; the
 * others fail, with a reason.  Of what was said only what the node still tells is kept: lines live
 * in memory.
 */
#ifndef FLOTILLA_SHELL_BUILDS_H
#define FLOTILLA_SHELL_BUILDS_H

#include "proto/wire.h"
#include "scheduler/shell/decisions.h"

#include <jansson.h>
#include <uv.h>

struct builds;

struct builds_options {
	const char *state_dir;
	struct engine *engine;
	struct decisions *decisions;
	uint64_t space_max;        /* bytes of uploads that are kept of one tenant */
	uint64_t keep_ms;          /* an upload that nothing used for so long goes */
	bool (*leads)(void *data); /* NULL: where there is one scheduler */
	void *data;
};

enum {
	BUILDS_HASH_N = 64,           /* hex digits that name a file */
	BUILDS_LINES_MAX = 20000,     /* of one build */
	BUILDS_LINES_BYTES = 4 << 20, /* the same */
	BUILDS_KEPT_MAX = 64,         /* builds that are over, whose lines are still here */
	BUILDS_WAIT_S = 3600,         /* for what is to be built, */
	BUILDS_QUEUE_S = 1800,        /* for a node that takes it, */
	BUILDS_SILENT_S = 60,         /* and for a word of the node that has it */
};

int builds_open(struct builds **out_builds, uv_loop_t *loop, const struct builds_options *options,
		struct err *err);
void builds_close(struct builds *builds); /* NULL is fine */

/* ---- what tenants bring ---- */

bool builds_hash_is_good(const char *hash);

/* Whether it is here; from now on it was used. */
bool builds_has_file(struct builds *builds, const struct id *tenant, const char *hash);

/* A descriptor of a new file without a name; -1: fault.  out_room: bytes that the tenant may
 * still bring. */
int builds_file_begin(struct builds *builds, const struct id *tenant, uint64_t *out_room,
		      struct err *err);
/* Gives it its name, in place of what is there.  The descriptor stays the caller's. */
int builds_file_end(struct builds *builds, const struct id *tenant, const char *hash, int fd,
		    struct err *err);

/* What a build is to be; before it is decided that it is BUILDING. */
int builds_spec_write(struct builds *builds, const char *build, const json_t *spec,
		      struct err *err);

/* ---- what nodes say ---- */

/* tell->data points into a buffer that is good until the next call. */
void builds_take(struct builds *builds, const struct id *node, const struct wire_build_ask *ask,
		 struct wire_build_tell *tell);

/* ---- what tenants ask ---- */

/* Lines from that number on, at most limit, each {timestamp, level, message, step}; an empty list
 * when there are none, or no more. */
json_t *builds_lines(struct builds *builds, const char *build, size_t from, size_t limit);

#endif

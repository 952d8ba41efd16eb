/*
 * Builds of tenants' templates on this node: one at a time, by flotilla-template as a process of
 * its own.  The leader is asked for one, for the files that it needs, and told how far it is; all
 * of it by messages that may be lost and sent again (build_ask and build_tell in wire.def).
 *
 * A build that this agent was at when it ended is lost, and its leader notices: an agent that is
 * idle has none.  What nobody can start any more is removed in the same way, one by one.
 */
#ifndef FLOTILLA_NODE_BUILDS_H
#define FLOTILLA_NODE_BUILDS_H

#include "common/base/units.h"
#include "node-agent/vm/store.h"
#include "proto/wire.h"

#include <jansson.h>
#include <uv.h>

struct agent;

enum builds_state {
	BUILDS_IDLE,
	BUILDS_FETCHING, /* what the build needs */
	BUILDS_RUNNING,
	BUILDS_ENDED,    /* and to be told so */
	BUILDS_DROPPING, /* a template is being removed */
};

enum {
	BUILDS_LINE_MAX = 8192,     /* bytes of a line; a longer one is cut into several */
	BUILDS_LINES_MAX = 20000,   /* of one build; more are dropped, and that is said */
	BUILDS_BYTES_MAX = 4 << 20, /* of all its lines */
	BUILDS_FILES_MAX = 200,     /* as many as it can have steps */
};

struct builds {
	struct agent *agent;
	uv_timer_t timer;
	enum builds_state state;
	bool is_closing;
	/* asking */
	uint32_t turn; /* of the link that is asked */
	bool is_asking;
	struct mono asked_at;
	/* the build */
	struct wire_build_tell job; /* as it was given; its bytes are not looked at */
	char dir[PATH_MAX];
	char files[BUILDS_FILES_MAX][65]; /* that it copies */
	size_t files_n, file_at;          /* 0: the spec */
	int fd;
	uint64_t offset;
	/* what it said */
	char **lines;
	uint32_t lines_n, told_n;
	size_t lines_bytes;
	char partial[BUILDS_LINE_MAX];
	size_t partial_n;
	bool ready;
	char reason[1001], step[33];
	/* its process */
	uv_process_t process;
	uv_pipe_t out;
	unsigned open_handles_n;
	bool is_unwanted;
	struct mono kill_at; /* 0: it was not told to end */
};

/* Begins to ask when the agent is loaded. */
void builds_open(struct builds *builds, struct agent *agent);

/* A leader, or one that is none, has answered. */
void builds_on_tell(struct builds *builds, const struct wire_build_tell *tell);

/* Ends what runs; its handles are closed from the loop. */
void builds_close(struct builds *builds);

#endif

/*
 * What the shim sees of its sandbox: a sample of what it uses every OBSERVE_MS, and the lines of
 * its log, told to the agent while there is one.  Nothing depends on it; what is not told is lost.
 *
 * How much processor it used is read off QEMU's process on the host.  The guest is asked (for
 * memory, disk and log lines) only when that says that it did something, or after OBSERVE_IDLE_MS:
 * each question costs an emulated guest some milliseconds.
 */
#ifndef FLOTILLA_SHIM_OBSERVE_H
#define FLOTILLA_SHIM_OBSERVE_H

#include "proto/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum {
	OBSERVE_FIRST_MS = 1000, /* after the claim, which must not wait for this */
	OBSERVE_MS = 5000,
	OBSERVE_MORE_MS = 500, /* when lines were left over */
	OBSERVE_IDLE_MS = 60 * 1000,
	OBSERVE_TOKEN_MAX = 257,
	OBSERVE_LINES_MAX = 128,      /* in one message, as in wire.def, */
	OBSERVE_TEXT_MAX = 64 * 1024, /* and their text, so that it fits between shim and agent */
};

struct observer {
	uv_timer_t timer;
	char token[OBSERVE_TOKEN_MAX]; /* what the guest wants to see */
	int64_t since_wall_ns;         /* of the claim: older lines are not of this sandbox */
	bool is_asking;
	bool wants_sample;       /* of the question under way */
	int64_t sampled_mono_ns; /* 0: not yet */
	uint64_t line;           /* number of the guest's last line that was told */
	int64_t asked_mono_ns;
	uint64_t streams_n;  /* of the gateway, at the last look: whoever starts a process opens one
			      */
	int64_t cpu_mono_ns; /* when cpu_ns was read */
	uint64_t cpu_ns;
	uint32_t cpu_used;       /* hundredths of a percent, at the last look */
	struct wire_sample last; /* at_wall_ns 0: the guest has not answered yet */
};

/* Pure: what a guest says, taken for hostile.  lines: OBSERVE_LINES_MAX of them; texts are borrowed
 * from *out_document, which the caller releases.  is_first: lines from before since_wall_ns are of
 * the template, or of the sandbox whose copy this is, and left out; later on they are of a clock
 * that was set back.  False: it is not what was asked for. */
struct json_t;
struct observe_answer {
	struct wire_sample sample; /* at_wall_ns and cpu_used are left to the caller */
	double cpu_used_pct;
	struct wire_log_line lines[OBSERVE_LINES_MAX];
	size_t lines_n;
	uint64_t next, lost_n;
	bool has_more;
};
bool observe_read(const char *body, size_t body_n, bool is_first, int64_t since_wall_ns,
		  int64_t now_wall_ns, struct observe_answer *out, struct json_t **out_document);

#endif

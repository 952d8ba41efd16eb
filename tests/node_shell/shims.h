/* A shim without a microVM: its folder, its socket, its word. It does as it is told. */
#ifndef FLOTILLA_TESTS_NODE_SHELL_SHIMS_H
#define FLOTILLA_TESTS_NODE_SHELL_SHIMS_H

#include "node-agent/shim/wire_stream.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct shim_double {
	char dir[PATH_MAX];
	uv_pipe_t listener;
	struct wire_stream agent;
	struct wire_shim_status status; /* what it says; claim points into claim_memory */
	uint8_t claim_memory[32768];
	bool is_mute; /* it listens, and no more */
	pid_t child;  /* stands for its process; 0: none */
	bool was_killed;
	/* What it was told: */
	uint32_t agents_n, leases_n;
	int64_t lease_mono_ns, end_mono_ns;
	enum cause killed_for;
	struct wire_shim_claim claim; /* its slices are not kept, but these two: */
	uint8_t claimed_order[32768];
	uint8_t claimed_ingress[WIRE_INGRESS_MAX];
};

/* vm: its number; its folder is made below vms_dir. */
void shim_double_open(struct shim_double *shim, uv_loop_t *loop, const char *vms_dir, uint64_t vm);

/* It was claimed by that order, and runs since then. */
void shim_double_run(struct shim_double *shim, const struct wire_order *order, int64_t resumed_ns,
		     int64_t end_ns);

/* Gives it a process of its own that can be killed. */
void shim_double_fork(struct shim_double *shim);
bool shim_double_was_killed(struct shim_double *shim);

void shim_double_tell(struct shim_double *shim); /* its status, as of now */
void shim_double_close(struct shim_double *shim);

#endif

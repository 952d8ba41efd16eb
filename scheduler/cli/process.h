/*
 * A process in a sandbox, as if it ran here: output to ours, input from ours, signals on to it.
 * Speaks envd's process.Process at the gateway; the requests run side by side in one libcurl multi
 * handle, because a process that does not read its input may yet have output to give.
 */
#ifndef FLOTILLA_CLI_PROCESS_H
#define FLOTILLA_CLI_PROCESS_H

#include "scheduler/cli/cli.h"

enum process_outcome {
	PROCESS_ENDED,  /* by itself or a signal: status is its own */
	PROCESS_FAILED, /* could not start, or was refused: told, status says how to exit */
	PROCESS_LOST,   /* the stream broke off: the sandbox, or the way to it, is gone */
};

struct process_spec {
	const char *sandbox_id;
	const char *access_token;
	const char *user;  /* NULL: the template's */
	const char *cwd;   /* NULL: the user's home */
	char *const *argv; /* NULL-terminated, at least one */
	int64_t timeout_s; /* 0: none; then it is killed */
	bool has_input;    /* ours is sent on */
};

/* The environment is in cli->args ("env"). cli->interrupt_fd must be a signalfd, or -1. */
enum process_outcome process_run(struct cli *cli, const struct process_spec *spec, int *out_status);

/* From here on INT, TERM, HUP and QUIT make cli->interrupt_fd readable instead of ending us. */
void process_catch_signals(struct cli *cli);

/* True for "K=V" with K of [A-Za-z_][A-Za-z0-9_]*. */
bool process_env_is_valid(const char *pair);

#endif

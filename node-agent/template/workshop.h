/*
 * A microVM in which a template comes about: QEMU as our child, its control channel, and requests
 * to the guest's HTTP server, one after the other or side by side.  For flotilla-template, which
 * waits for each; never on a daemon's loop.
 *
 * What happens inside is the tenant's: every wait has a limit, every answer a bound.
 */
#ifndef FLOTILLA_TEMPLATE_WORKSHOP_H
#define FLOTILLA_TEMPLATE_WORKSHOP_H

#include "common/mux/link.h"
#include "common/mux/mux.h"
#include "node-agent/shim/emulator.h"
#include "node-agent/shim/network.h"
#include "node-agent/template/output.h"
#include "node-agent/vm/qmp.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct workshop {
	/* private */
	uv_loop_t loop;
	uv_timer_t timer;
	struct emulator emulator;
	struct qmp qmp;
	struct mux *mux;
	struct mux_link link;
	uv_pipe_t *pipe;
	int64_t end_ms; /* of all of it, on CLOCK_MONOTONIC */
	int state_fd;
	bool is_ready;    /* the guest is there */
	bool is_gone;     /* QEMU has ended */
	bool is_late;     /* the wait's limit was reached */
	bool is_broken;   /* the guest broke the protocol: fault */
	bool is_migrated; /* the device state is saved */
	bool has_qmp, is_started;
	struct network network;
	bool has_network, is_networked; /* opened; up */
	struct err fault;
	uint8_t input[32 * 1024];
};

/* Who runs a command, where, with what. */
struct workshop_command {
	const char *user;
	const char *cwd;
	json_t *env; /* borrowed; NULL: nothing beside what every process has */
	const char *line;
};

struct guest_call {
	/* private */
	struct workshop *workshop;
	uint32_t stream; /* 0: over */
	char *request;
	size_t request_n, request_at;
	int body_fd; /* -1: no file follows the request */
	char *piece;
	size_t piece_n, piece_at;
	bool is_body_sent;
	char head[1024];
	size_t head_n;
	int status; /* 0: not known yet */
	bool is_over;
	struct output *output; /* NULL: the answer's body is read over */
};

/* Starts the machine and waits for its guest.  dir: for its log.  state_path: where the device
 * state will go; NULL: it is no machine that a snapshot is taken of. */
int workshop_open(struct workshop *workshop, struct vm_launch *launch, const char *dir,
		  const char *state_path, int64_t limit_ms, struct err *err);

/* Gives it a way out, to all that the operator's settings (egress_host_parse) let any sandbox
 * reach; the guest has to be told (network_describe). */
int workshop_network(struct workshop *workshop, const char *host, struct err *err);

/* Lets QEMU write out what it has, and end. */
int workshop_shut(struct workshop *workshop, struct err *err);

/* In any state: nothing of it is left. */
void workshop_close(struct workshop *workshop);

/* A command of QEMU's control channel. arguments: JSON, or NULL. */
int workshop_order(struct workshop *workshop, const char *command, const char *arguments,
		   struct err *err);

/* Stops the machine and saves its device state; RAM is in its file. */
int workshop_save(struct workshop *workshop, struct err *err);

/* Until *flag, or for so long; fault: the machine is gone, or the build's time is over, or (unless
 * may_pass) the limit was reached. */
int workshop_wait(struct workshop *workshop, const bool *flag, int64_t limit_ms, bool may_pass,
		  struct err *err);

/* ---- guest_call.c ---- */

/* document: JSON.  Fault: any answer but 2xx. */
int workshop_init(struct workshop *workshop, json_t *document, struct err *err);
int workshop_health(struct workshop *workshop, struct err *err);

/* A file of the host into the guest, as root. */
int workshop_upload(struct workshop *workshop, const char *from, const char *to, struct err *err);

/* Runs it to its end, which is in output.  A command that fails is no fault, one that the guest
 * refuses is. */
int workshop_run(struct workshop *workshop, const struct workshop_command *command,
		 struct output *output, struct err *err);

/* The same without waiting: call and output are the caller's until guest_call_end. */
int workshop_start(struct workshop *workshop, struct guest_call *call,
		   const struct workshop_command *command, struct output *output, struct err *err);
void guest_call_end(struct guest_call *call);

/* What came in on a call's stream; for workshop.c. */
void guest_call_event(struct guest_call *call, const struct mux_event *event);

#endif

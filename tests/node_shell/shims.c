#include "tests/node_shell/shims.h"

#include "common/base/check.h"
#include "node-agent/shell/host.h"
#include "node-agent/shim/identity.h"
#include "node-agent/vm/config.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void shim_double_tell(struct shim_double *shim)
{
	shim->status.at_mono_ns = host_mono().ns;
	if (!shim->is_mute)
		wire_stream_send(&shim->agent, &wire_shape_shim_status, &shim->status);
}

static void take_claim(struct shim_double *shim, const struct wire_shim_claim *claim)
{
	shim->claim = *claim;
	shim->claim.init.data = NULL;
	memcpy(shim->claimed_order, claim->claim.data, claim->claim.n);
	shim->claim.claim.data = shim->claimed_order;
	if (claim->ingress.n)
		memcpy(shim->claimed_ingress, claim->ingress.data, claim->ingress.n);
	shim->claim.ingress.data = shim->claimed_ingress;
}

static void take_lease(struct shim_double *shim, int64_t lease_mono_ns)
{
	shim->leases_n++;
	shim->lease_mono_ns = lease_mono_ns;
}

static void on_message(void *arg, const struct wire_shape *shape, const struct wire_bytes *body)
{
	union {
		struct wire_shim_claim claim;
		struct wire_shim_deadline deadline;
		struct wire_shim_lease lease;
		struct wire_shim_kill kill;
		struct wire_shim_ask ask;
	} message;
	struct wire_arena none = {0};
	struct shim_double *shim = arg;

	CHECK(wire_decode(shape, body->data, body->n, &none, &message, NULL) == 0);
	if (shape == &wire_shape_shim_claim)
		take_claim(shim, &message.claim);
	else if (shape == &wire_shape_shim_deadline)
		shim->end_mono_ns = message.deadline.end_mono_ns;
	else if (shape == &wire_shape_shim_lease)
		take_lease(shim, message.lease.lease_mono_ns);
	else if (shape == &wire_shape_shim_kill)
		shim->killed_for = message.kill.cause;
	else
		shim_double_tell(shim);
}

static void on_closed(void *arg, const struct err *why)
{
	(void)arg;
	(void)why;
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct shim_double *shim = listener->data;
	const struct wire_stream_callbacks callbacks = {on_message, on_closed, shim};
	uv_pipe_t *pipe = malloc(sizeof(*pipe));

	CHECK(status == 0 && pipe);
	uv_pipe_init(listener->loop, pipe, 0);
	CHECK(uv_accept(listener, (uv_stream_t *)pipe) == 0);
	wire_stream_close(&shim->agent);
	wire_stream_open(&shim->agent, pipe, &callbacks);
	shim->agents_n++;
	shim_double_tell(shim);
}

void shim_double_open(struct shim_double *shim, uv_loop_t *loop, const char *vms_dir, uint64_t vm)
{
	char path[PATH_MAX];

	memset(shim, 0, sizeof(*shim));
	CHECK(snprintf(shim->dir, sizeof(shim->dir), "%s/vm%" PRIu64, vms_dir, vm) < PATH_MAX);
	CHECK(mkdir(shim->dir, 0700) == 0);
	CHECK(snprintf(path, sizeof(path), "%.4000s/" VM_FILE_SOCKET, shim->dir) < 108);
	snprintf(shim->status.vm.text, sizeof(shim->status.vm.text), "vm%" PRIu64, vm);
	shim->status.state = WIRE_SHIM_READY;
	uv_pipe_init(loop, &shim->listener, 0);
	shim->listener.data = shim;
	CHECK(uv_pipe_bind(&shim->listener, path) == 0);
	CHECK(uv_listen((uv_stream_t *)&shim->listener, 4, on_connection) == 0);
}

void shim_double_run(struct shim_double *shim, const struct wire_order *order, int64_t resumed_ns,
		     int64_t end_ns)
{
	struct wire_shim_status *status = &shim->status;
	struct err err;

	CHECK(wire_order_encode(order, shim->claim_memory, sizeof(shim->claim_memory),
				&status->claim.n, &err) == 0);
	status->claim.data = shim->claim_memory;
	status->state = WIRE_SHIM_CLAIMED;
	status->sandbox = order->sandbox;
	status->attempt = order->attempt;
	status->incarnation = order->incarnation;
	status->resumed_mono_ns = resumed_ns;
	status->end_mono_ns = end_ns;
}

void shim_double_fork(struct shim_double *shim)
{
	struct identity child, none = {0};
	struct err err;

	shim->child = fork();
	CHECK(shim->child >= 0);
	if (shim->child == 0) {
		for (;;)
			pause();
	}
	CHECK(identity_of(shim->child, &child));
	CHECK(identity_write(shim->dir, &child, &none, &err) == 0);
}

bool shim_double_was_killed(struct shim_double *shim)
{
	int status;

	if (shim->child && waitpid(shim->child, &status, WNOHANG) == shim->child) {
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		shim->child = 0;
		shim->was_killed = true;
	}
	return shim->was_killed;
}

void shim_double_close(struct shim_double *shim)
{
	if (uv_is_closing((uv_handle_t *)&shim->listener))
		return;
	wire_stream_close(&shim->agent);
	uv_close((uv_handle_t *)&shim->listener, NULL);
	if (shim->child) {
		kill(shim->child, SIGKILL);
		waitpid(shim->child, NULL, 0);
	}
}

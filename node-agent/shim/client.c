/* See client.h. */
#include "node-agent/shim/client.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/shim/identity.h"
#include "node-agent/shim/wire_stream.h"
#include "node-agent/vm/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	SHIM_CONTROL_FD = 3, /* where flotilla-shim expects its socket */
	RECONNECT_MS = 100,  /* after a connection that broke while the shim lives */
	BURY_MS = 20,        /* looking whether what was killed is dead */
	END_RECORD_MAX = 48 * 1024,
	CLAIM_PATIENCE_MS = 5 * 1000, /* a shim that runs says no by itself before */
	ASK_PATIENCE_MS = 30 * 1000,
};

struct shim_client {
	struct shim_client_callbacks callbacks;
	uv_loop_t *loop;
	char dir[PATH_MAX];
	struct wire_stream stream;
	uv_timer_t timer;    /* connecting anew, burying */
	uv_timer_t patience; /* until an answer is overdue */
	unsigned handles_n;
	uint64_t claim_due, ask_due;  /* of the loop's clock; 0: nothing is asked */
	uint64_t attempt;             /* of the claim that is asked */
	enum cause kill_cause;        /* the last that was ordered */
	struct identity shim, qemu;   /* as far as known */
	struct wire_shim_status last; /* without its claim; at_mono_ns 0: none heard */
	bool is_hung;
	bool is_over; /* on_ended or on_gone has been told */
};

/* ---- sockets ---- */

/* Paths of sockets are limited to 107 bytes; the way through a descriptor is always short. */
static int socket_address(const char *dir, struct sockaddr_un *out_address, int *out_dir_fd)
{
	*out_dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*out_dir_fd < 0)
		return -1;
	memset(out_address, 0, sizeof(*out_address));
	out_address->sun_family = AF_UNIX;
	snprintf(out_address->sun_path, sizeof(out_address->sun_path), "/proc/self/fd/%d/%s",
		 *out_dir_fd, VM_FILE_SOCKET);
	return 0;
}

static int listen_in(const char *dir, int *out_fd, struct err *err)
{
	struct sockaddr_un address;
	int dir_fd, fd;

	if (socket_address(dir, &address, &dir_fd))
		return err_errno(err, errno, "%s", dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4)) {
		err_errno(err, errno, "%s/%s", dir, VM_FILE_SOCKET);
		if (fd >= 0)
			close(fd);
		close(dir_fd);
		return -1;
	}
	close(dir_fd);
	*out_fd = fd;
	return 0;
}

/* Succeeds at once while a shim lives, whatever it is doing: it listens for as long as it lives.
 * -1: it does not live (any more). */
static int connect_in(const char *dir, bool *out_is_full)
{
	struct sockaddr_un address;
	int dir_fd, fd;

	*out_is_full = false;
	if (socket_address(dir, &address, &dir_fd))
		return -1;
	/* A stopped shim takes nobody from its queue: we must not wait in it. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		*out_is_full = errno == EAGAIN;
		close(fd);
		fd = -1;
	}
	close(dir_fd);
	return fd;
}

/* ---- what is told ---- */

static void tell_ended(struct shim_client *client, const struct wire_shim_status *end)
{
	client->is_over = true;
	client->callbacks.on_ended(client->callbacks.arg, end);
}

/* True: there is a record and it has been told. */
static bool tell_end_record(struct shim_client *client)
{
	struct wire_arena no_lists = {NULL, 0, 0};
	const struct wire_shape *shape;
	struct wire_shim_status end;
	struct wire_bytes body;
	bool is_told = false;
	char path[PATH_MAX];
	size_t n, used;
	char *bytes;

	if (snprintf(path, sizeof(path), "%s/%s", client->dir, VM_FILE_END) >= PATH_MAX ||
	    file_read(path, END_RECORD_MAX, &bytes, &n, NULL))
		return false;
	if (!frame_next((const uint8_t *)bytes, n, &used, &shape, &body, NULL) && used == n &&
	    shape == &wire_shape_shim_status &&
	    !wire_shim_status_decode(body.data, body.n, &no_lists, &end, NULL) &&
	    end.state == WIRE_SHIM_ENDED) {
		is_told = true;
		tell_ended(client, &end);
	}
	free(bytes);
	return is_told;
}

/* ---- what is not answered ---- */

static void on_patience(uv_timer_t *timer);

static void patience_set(struct shim_client *client)
{
	uint64_t due = client->claim_due, now = uv_now(client->loop);

	if (!due || (client->ask_due && client->ask_due < due))
		due = client->ask_due;
	if (due)
		uv_timer_start(&client->patience, on_patience, due > now ? due - now : 0, 0);
	else
		uv_timer_stop(&client->patience);
}

static void expect_status(struct shim_client *client)
{
	if (!client->ask_due && !client->is_hung)
		client->ask_due = uv_now(client->loop) + ASK_PATIENCE_MS;
	patience_set(client);
}

static void on_patience(uv_timer_t *timer)
{
	struct shim_client *client = timer->data;
	const struct shim_client_callbacks *tell = &client->callbacks;
	uint64_t now = uv_now(client->loop);

	if (client->is_over)
		return;
	if (client->claim_due && client->claim_due <= now) {
		const struct wire_shim_claimed no = {.attempt = client->attempt,
						     .detail = "its shim does not answer"};

		/* The sandbox has not been told to be here, and goes elsewhere. */
		client->claim_due = 0;
		client->ask_due = 0;
		client->kill_cause = CAUSE_PLATFORM;
		identity_kill(&client->shim);
		tell->on_claimed(tell->arg, &no);
		return;
	}
	if (!client->ask_due || client->ask_due > now) {
		patience_set(client);
		return;
	}
	client->ask_due = 0;
	client->is_hung = true;
	/* Nobody uses it; a sandbox might be continued, so it is only told. */
	if (client->last.at_mono_ns && client->last.attempt == 0 && !client->claim_due)
		identity_kill(&client->shim);
	patience_set(client);
	if (tell->on_hung)
		tell->on_hung(tell->arg, true);
}

static void heard(struct shim_client *client)
{
	if (!client->is_hung)
		return;
	client->is_hung = false;
	if (client->callbacks.on_hung)
		client->callbacks.on_hung(client->callbacks.arg, false);
}

static void heard_status(struct shim_client *client, const struct wire_shim_status *status)
{
	client->last = *status;
	client->last.claim = (struct wire_bytes){NULL, 0};
	client->ask_due = 0;
	patience_set(client);
	if (!client->qemu.pid)
		identity_read(client->dir, &client->shim, &client->qemu);
	heard(client);
}

static void on_message(void *arg, const struct wire_shape *shape, const struct wire_bytes *body)
{
	struct shim_client *client = arg;
	struct wire_arena no_lists = {NULL, 0, 0};
	struct wire_shim_claimed claimed;
	struct wire_shim_status status;

	if (shape == &wire_shape_shim_claimed &&
	    !wire_shim_claimed_decode(body->data, body->n, &no_lists, &claimed, NULL)) {
		client->claim_due = 0;
		patience_set(client);
		client->callbacks.on_claimed(client->callbacks.arg, &claimed);
	} else if (shape == &wire_shape_shim_status &&
		   !wire_shim_status_decode(body->data, body->n, &no_lists, &status, NULL)) {
		if (status.state != WIRE_SHIM_ENDED) {
			heard_status(client, &status);
			if (client->is_over)
				return;
			client->callbacks.on_status(client->callbacks.arg, &status);
			return;
		}
		/* What the callback frees is freed by the loop. */
		wire_stream_close(&client->stream);
		tell_ended(client, &status);
	}
}

static void on_timer(uv_timer_t *timer);

static void on_closed(void *arg, const struct err *why)
{
	struct shim_client *client = arg;

	(void)why;
	if (!client->is_over)
		uv_timer_start(&client->timer, on_timer, RECONNECT_MS, 0);
}

static bool connect_now(struct shim_client *client)
{
	const struct wire_stream_callbacks callbacks = {on_message, on_closed, client};
	bool is_full;
	int fd = connect_in(client->dir, &is_full);
	uv_pipe_t *pipe;

	if (fd < 0 && is_full)
		uv_timer_start(&client->timer, on_timer, RECONNECT_MS, 0);
	if (fd < 0 && !is_full)
		return false;
	expect_status(client);
	if (fd < 0)
		return true;
	pipe = malloc(sizeof(*pipe));
	CHECK(pipe);
	CHECK(uv_pipe_init(client->loop, pipe, 0) == 0 && uv_pipe_open(pipe, fd) == 0);
	wire_stream_open(&client->stream, pipe, &callbacks);
	return true;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* It cannot be told when the machine stopped, only when it ran last: no more is billed. */
static void tell_lost(struct shim_client *client)
{
	struct wire_shim_status end = client->last;

	client->is_over = true;
	if (end.state != WIRE_SHIM_CLAIMED || access(client->dir, F_OK)) {
		client->callbacks.on_gone(client->callbacks.arg,
					  access(client->dir, F_OK)
						  ? "its folder is gone"
						  : "its shim is gone and left no end record");
		return;
	}
	end.ended_mono_ns = end.at_mono_ns;
	end.ended_wall_ns = clock_ns(CLOCK_REALTIME) - (clock_ns(CLOCK_BOOTTIME) - end.at_mono_ns);
	end.state = WIRE_SHIM_ENDED;
	end.qemu_pid = 0;
	end.cause = client->kill_cause == CAUSE_NONE ? CAUSE_SHIM_FAULT : client->kill_cause;
	snprintf(end.detail, sizeof(end.detail), "its shim is gone and left no end record");
	client->callbacks.on_ended(client->callbacks.arg, &end);
}

/* Nobody listens: then the shim is gone, and if it could, it has left a record. If it could not,
 * nothing is told before its machine is known to be dead. */
static void on_timer(uv_timer_t *timer)
{
	struct shim_client *client = timer->data;
	bool is_shim_left, is_qemu_left;

	if (client->is_over || connect_now(client) || tell_end_record(client))
		return;
	identity_read(client->dir, &client->shim, &client->qemu);
	is_shim_left = identity_kill(&client->shim);
	is_qemu_left = identity_kill(&client->qemu);
	if (is_shim_left || is_qemu_left)
		uv_timer_start(&client->timer, on_timer, BURY_MS, 0);
	else
		tell_lost(client);
}

/* ---- life ---- */

static void on_freed(uv_handle_t *handle)
{
	free(handle);
}

static struct shim_client *client_make(uv_loop_t *loop, const char *dir,
				       const struct shim_client_callbacks *callbacks,
				       struct err *err)
{
	struct shim_client *client = calloc(1, sizeof(*client));

	if (!client || strlen(dir) >= sizeof(client->dir)) {
		free(client);
		err_set(err, "%.100s: no memory, or the path is too long", dir);
		return NULL;
	}
	client->callbacks = *callbacks;
	client->loop = loop;
	strcpy(client->dir, dir);
	uv_timer_init(loop, &client->timer);
	uv_timer_init(loop, &client->patience);
	client->timer.data = client->patience.data = client;
	client->handles_n = 2;
	return client;
}

/* It is ours as long as we live: then we must reap it. */
static void on_shim_exit(uv_process_t *process, int64_t status, int signal)
{
	(void)status;
	(void)signal;
	uv_close((uv_handle_t *)process, on_freed);
}

static int spawn(uv_loop_t *loop, const char *program, const char *dir, int listen_fd,
		 struct identity *out_shim, struct err *err)
{
	uv_process_t *process = malloc(sizeof(*process));
	char *argv[] = {(char *)program, (char *)dir, NULL};
	uv_stdio_container_t stdio[SHIM_CONTROL_FD + 1] = {0};
	uv_process_options_t options = {
		.file = program,
		.args = argv,
		.flags = UV_PROCESS_DETACHED,
		.exit_cb = on_shim_exit,
		.stdio = stdio,
		.stdio_count = SHIM_CONTROL_FD + 1,
	};
	int status;

	CHECK(process);
	stdio[SHIM_CONTROL_FD].flags = UV_INHERIT_FD;
	stdio[SHIM_CONTROL_FD].data.fd = listen_fd;
	status = uv_spawn(loop, process, &options);
	if (status) {
		uv_close((uv_handle_t *)process, on_freed);
		return err_set(err, "%s: %s", program, uv_strerror(status));
	}
	/* Not reaped before the loop runs, so the number is its own. */
	identity_of(process->pid, out_shim);
	uv_unref((uv_handle_t *)process);
	return 0;
}

int shim_client_start(uv_loop_t *loop, const char *program, const char *dir,
		      const struct vm_config *config, const struct shim_client_callbacks *callbacks,
		      struct shim_client **out_client, struct err *err)
{
	struct shim_client *client;
	int fd = -1, result = -1;

	if (mkdir(dir, 0700))
		return err_errno(err, errno, "%s", dir);
	if (vm_config_write(dir, config, err) || listen_in(dir, &fd, err))
		goto done;
	client = client_make(loop, dir, callbacks, err);
	if (!client)
		goto done;
	if (spawn(loop, program, dir, fd, &client->shim, err) == 0) {
		/* In the backlog already, though the shim is not up yet. */
		CHECK(connect_now(client));
		*out_client = client;
		result = 0;
	} else {
		shim_client_close(client);
	}
done:
	if (fd >= 0)
		close(fd);
	if (result)
		shim_dir_remove(dir);
	return result;
}

int shim_client_adopt(uv_loop_t *loop, const char *dir,
		      const struct shim_client_callbacks *callbacks,
		      struct shim_client **out_client, struct err *err)
{
	struct shim_client *client = client_make(loop, dir, callbacks, err);

	if (!client)
		return -1;
	uv_timer_start(&client->timer, on_timer, 0, 0);
	*out_client = client;
	return 0;
}

void shim_client_claim(struct shim_client *client, const struct wire_shim_claim *claim)
{
	client->attempt = claim->attempt;
	client->claim_due = uv_now(client->loop) + CLAIM_PATIENCE_MS;
	patience_set(client);
	wire_stream_send(&client->stream, &wire_shape_shim_claim, claim);
}

void shim_client_deadline(struct shim_client *client, int64_t end_mono_ns)
{
	const struct wire_shim_deadline deadline = {.end_mono_ns = end_mono_ns};

	wire_stream_send(&client->stream, &wire_shape_shim_deadline, &deadline);
}

void shim_client_lease(struct shim_client *client, int64_t lease_mono_ns)
{
	const struct wire_shim_lease lease = {.lease_mono_ns = lease_mono_ns};

	wire_stream_send(&client->stream, &wire_shape_shim_lease, &lease);
}

void shim_client_kill(struct shim_client *client, enum cause cause)
{
	const struct wire_shim_kill kill_order = {.cause = cause};

	client->kill_cause = cause;
	wire_stream_send(&client->stream, &wire_shape_shim_kill, &kill_order);
}

void shim_client_ask(struct shim_client *client)
{
	const struct wire_shim_ask ask = {};

	expect_status(client);
	wire_stream_send(&client->stream, &wire_shape_shim_ask, &ask);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct shim_client *client = handle->data;

	if (--client->handles_n == 0)
		free(client);
}

void shim_client_close(struct shim_client *client)
{
	client->is_over = true;
	wire_stream_close(&client->stream);
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
	uv_close((uv_handle_t *)&client->patience, on_timer_closed);
}

static void let_go(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (handle->type == UV_PROCESS && !uv_is_closing(handle))
		uv_close(handle, on_freed);
}

void shim_client_let_go(uv_loop_t *loop)
{
	uv_walk(loop, let_go, NULL);
}

void shim_dir_remove(const char *dir)
{
	vm_store_remove_tree(dir);
}

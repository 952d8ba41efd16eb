/* See client.h. */
#include "node-agent/shim/client.h"

#include "common/base/check.h"
#include "common/io/file.h"
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
#include <unistd.h>

enum {
	SHIM_CONTROL_FD = 3, /* where flotilla-shim expects its socket */
	RECONNECT_MS = 100,  /* after a connection that broke while the shim lives */
	END_RECORD_MAX = 48 * 1024,
};

struct shim_client {
	struct shim_client_callbacks callbacks;
	uv_loop_t *loop;
	char dir[PATH_MAX];
	struct wire_stream stream;
	uv_timer_t *timer;
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
static int connect_in(const char *dir)
{
	struct sockaddr_un address;
	int dir_fd, fd;

	if (socket_address(dir, &address, &dir_fd))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
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

static void on_message(void *arg, const struct wire_shape *shape, const struct wire_bytes *body)
{
	struct shim_client *client = arg;
	struct wire_arena no_lists = {NULL, 0, 0};
	struct wire_shim_claimed claimed;
	struct wire_shim_status status;

	if (shape == &wire_shape_shim_claimed &&
	    !wire_shim_claimed_decode(body->data, body->n, &no_lists, &claimed, NULL)) {
		client->callbacks.on_claimed(client->callbacks.arg, &claimed);
	} else if (shape == &wire_shape_shim_status &&
		   !wire_shim_status_decode(body->data, body->n, &no_lists, &status, NULL)) {
		if (status.state != WIRE_SHIM_ENDED) {
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
		uv_timer_start(client->timer, on_timer, RECONNECT_MS, 0);
}

static bool connect_now(struct shim_client *client)
{
	const struct wire_stream_callbacks callbacks = {on_message, on_closed, client};
	int fd = connect_in(client->dir);
	uv_pipe_t *pipe;

	if (fd < 0)
		return false;
	pipe = malloc(sizeof(*pipe));
	CHECK(pipe);
	CHECK(uv_pipe_init(client->loop, pipe, 0) == 0 && uv_pipe_open(pipe, fd) == 0);
	wire_stream_open(&client->stream, pipe, &callbacks);
	return true;
}

/* Nobody listens: then the shim is gone, and if it could, it has left a record. */
static void on_timer(uv_timer_t *timer)
{
	struct shim_client *client = timer->data;

	if (client->is_over || connect_now(client) || tell_end_record(client))
		return;
	client->is_over = true;
	client->callbacks.on_gone(client->callbacks.arg,
				  access(client->dir, F_OK)
					  ? "its folder is gone"
					  : "its shim is gone and left no end record");
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
	uv_timer_t *timer = malloc(sizeof(*timer));

	if (!client || !timer || strlen(dir) >= sizeof(client->dir)) {
		free(client);
		free(timer);
		err_set(err, "%.100s: no memory, or the path is too long", dir);
		return NULL;
	}
	client->callbacks = *callbacks;
	client->loop = loop;
	strcpy(client->dir, dir);
	uv_timer_init(loop, timer);
	timer->data = client;
	client->timer = timer;
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
		 struct err *err)
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
	if (spawn(loop, program, dir, fd, err) == 0) {
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
	uv_timer_start(client->timer, on_timer, 0, 0);
	*out_client = client;
	return 0;
}

void shim_client_claim(struct shim_client *client, const struct wire_shim_claim *claim)
{
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

	wire_stream_send(&client->stream, &wire_shape_shim_kill, &kill_order);
}

void shim_client_ask(struct shim_client *client)
{
	const struct wire_shim_ask ask = {};

	wire_stream_send(&client->stream, &wire_shape_shim_ask, &ask);
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
	free(handle);
}

void shim_client_close(struct shim_client *client)
{
	client->is_over = true;
	wire_stream_close(&client->stream);
	uv_close((uv_handle_t *)client->timer, on_timer_closed);
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

/* Orders to a shim, and its start. See client.h. */
#include "node-agent/shim/client_internal.h"

#include "common/base/check.h"
#include "node-agent/vm/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHIM_CONTROL_FD = 3 }; /* where flotilla-shim expects its socket */

/* ---- life ---- */

static int listen_in(const char *dir, int *out_fd, struct err *err)
{
	struct sockaddr_un address;
	int dir_fd, fd;

	if (shim_socket_address(dir, &address, &dir_fd))
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
		CHECK(shim_connect(client));
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
	client->is_found = true;
	uv_timer_start(&client->timer, shim_on_timer, 0, 0);
	*out_client = client;
	return 0;
}

void shim_client_claim(struct shim_client *client, const struct wire_shim_claim *claim)
{
	client->attempt = claim->attempt;
	client->claim_due = uv_now(client->loop) + SHIM_CLAIM_PATIENCE_MS;
	shim_patience_set(client);
	wire_stream_send(&client->stream, &wire_shape_shim_claim, claim);
}

void shim_client_deadline(struct shim_client *client, int64_t end_mono_ns)
{
	const struct wire_shim_deadline deadline = {.end_mono_ns = end_mono_ns};

	wire_stream_send(&client->stream, &wire_shape_shim_deadline, &deadline);
}

void shim_client_network(struct shim_client *client, const struct wire_shim_network *network)
{
	wire_stream_send(&client->stream, &wire_shape_shim_network, network);
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
	/* It may be the shim that hangs, and what is to end must end. */
	if (!client->kill_due)
		client->kill_due =
			uv_now(client->loop) + (client->is_hung ? 0 : SHIM_KILL_PATIENCE_MS);
	shim_patience_set(client);
}

void shim_client_save(struct shim_client *client, uint64_t save, enum wire_save_how how)
{
	const struct wire_shim_save order = {.save = save, .how = how};

	wire_stream_send(&client->stream, &wire_shape_shim_save, &order);
}

void shim_client_ask(struct shim_client *client)
{
	const struct wire_shim_ask ask = {};

	shim_expect_status(client);
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

bool shim_dir_is_of_this_boot(const char *dir)
{
	struct identity shim, qemu;

	return identity_read(dir, &shim, &qemu);
}

/* What it kept in the store. */
static void release_template(const char *dir)
{
	char store[PATH_MAX], id[VM_ARTEFACT_ID_MAX];
	struct vm_config config;

	if (vm_config_read(dir, &config, NULL) || vm_store_of(config.template_dir, store, id, NULL))
		return;
	vm_store_release(store, VM_KEEP_RUNNING, id, config.vm.text);
	vm_store_release(store, VM_KEEP_SAVED, id, config.vm.text);
}

void shim_dir_remove(const char *dir)
{
	release_template(dir);
	vm_store_remove_tree(dir);
}

/* What a shim says, and does not say: its words, its silence, its death. See client.h. */
#include "node-agent/shim/client_internal.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- its socket ---- */

int shim_socket_address(const char *dir, struct sockaddr_un *out_address, int *out_dir_fd)
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

/* Succeeds at once while a shim lives, whatever it is doing: it listens for as long as it lives.
 * -1: it does not live (any more). */
static int connect_in(const char *dir, bool *out_is_full)
{
	struct sockaddr_un address;
	int dir_fd, fd;

	*out_is_full = false;
	if (shim_socket_address(dir, &address, &dir_fd))
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
	    file_read(path, SHIM_END_RECORD_MAX, &bytes, &n, NULL))
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

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

void shim_patience_set(struct shim_client *client)
{
	uint64_t due = sooner(client->kill_due, sooner(client->claim_due, client->ask_due));
	uint64_t now = uv_now(client->loop);

	client->had_last_look = false;
	if (due)
		uv_timer_start(&client->patience, on_patience, due > now ? due - now : 0, 0);
	else
		uv_timer_stop(&client->patience);
}

void shim_expect_status(struct shim_client *client)
{
	if (!client->ask_due && !client->is_hung)
		client->ask_due = uv_now(client->loop) + (client->is_found ? SHIM_ADOPT_PATIENCE_MS
									   : SHIM_ASK_PATIENCE_MS);
	shim_patience_set(client);
}

/* The sandbox has not been told to be here, and goes elsewhere. */
static void give_claim_up(struct shim_client *client)
{
	const struct wire_shim_claimed no = {.attempt = client->attempt,
					     .detail = "its shim does not answer"};

	client->claim_due = 0;
	client->ask_due = 0;
	client->kill_cause = CAUSE_PLATFORM;
	identity_kill(&client->shim);
	client->callbacks.on_claimed(client->callbacks.arg, &no);
}

/* Its end is wanted and it does not see to it; its machine is killed when it is dead itself. */
static void kill_hard(struct shim_client *client)
{
	client->kill_due = 0;
	identity_read(client->dir, &client->shim, &client->qemu);
	identity_kill(&client->shim);
	shim_patience_set(client);
}

static void on_patience(uv_timer_t *timer)
{
	struct shim_client *client = timer->data;
	const struct shim_client_callbacks *tell = &client->callbacks;
	uint64_t now = uv_now(client->loop);

	if (client->is_over)
		return;
	/* It may be we who were held up: what it said meanwhile is read before we judge. */
	if (!client->had_last_look) {
		client->had_last_look = true;
		uv_timer_start(&client->patience, on_patience, 1, 0);
		return;
	}
	if (client->claim_due && client->claim_due <= now) {
		give_claim_up(client);
		return;
	}
	if (client->kill_due && client->kill_due <= now) {
		kill_hard(client);
		return;
	}
	if (!client->ask_due || client->ask_due > now) {
		shim_patience_set(client);
		return;
	}
	client->ask_due = 0;
	client->is_hung = true;
	/* Nobody uses it; a sandbox might be continued, so it is only told. */
	if (client->last.at_mono_ns && client->last.attempt == 0 && !client->claim_due)
		identity_kill(&client->shim);
	shim_patience_set(client);
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
	client->is_found = false;
	client->last.claim = (struct wire_bytes){NULL, 0};
	client->ask_due = 0;
	shim_patience_set(client);
	if (!client->qemu.pid)
		identity_read(client->dir, &client->shim, &client->qemu);
	heard(client);
}

/* The last word. The connection is over with it, and so is the memory that it came in. */
static void hear_end(struct shim_client *client, const struct wire_shim_status *status)
{
	struct wire_shim_status end = *status;
	uint8_t *claim = malloc(status->claim.n + 1);

	CHECK(claim);
	if (status->claim.n)
		memcpy(claim, status->claim.data, status->claim.n);
	end.claim.data = claim;
	/* What the callback frees of the client is freed by the loop. */
	wire_stream_close(&client->stream);
	tell_ended(client, &end);
	free(claim);
}

static void hear_observed(struct shim_client *client, const struct wire_bytes *body)
{
	struct wire_arena arena = {malloc(wire_arena_need(&wire_shape_observed)),
				   wire_arena_need(&wire_shape_observed), 0};
	struct wire_observed observed;

	CHECK(arena.data);
	if (client->callbacks.on_observed &&
	    !wire_observed_decode(body->data, body->n, &arena, &observed, NULL))
		client->callbacks.on_observed(client->callbacks.arg, &observed);
	free(arena.data);
}

static void on_message(void *arg, const struct wire_shape *shape, const struct wire_bytes *body)
{
	struct shim_client *client = arg;
	struct wire_arena no_lists = {NULL, 0, 0};
	struct wire_shim_claimed claimed;
	struct wire_shim_status status;
	struct wire_shim_saved saved;
	struct wire_shim_networked networked;

	if (shape == &wire_shape_shim_claimed &&
	    !wire_shim_claimed_decode(body->data, body->n, &no_lists, &claimed, NULL)) {
		client->claim_due = 0;
		shim_patience_set(client);
		client->callbacks.on_claimed(client->callbacks.arg, &claimed);
	} else if (shape == &wire_shape_shim_saved &&
		   !wire_shim_saved_decode(body->data, body->n, &no_lists, &saved, NULL)) {
		if (client->callbacks.on_saved)
			client->callbacks.on_saved(client->callbacks.arg, &saved);
	} else if (shape == &wire_shape_shim_networked &&
		   !wire_shim_networked_decode(body->data, body->n, &no_lists, &networked, NULL)) {
		if (client->callbacks.on_networked)
			client->callbacks.on_networked(client->callbacks.arg, &networked);
	} else if (shape == &wire_shape_shim_status &&
		   !wire_shim_status_decode(body->data, body->n, &no_lists, &status, NULL)) {
		if (status.state != WIRE_SHIM_ENDED) {
			heard_status(client, &status);
			if (client->is_over)
				return;
			client->callbacks.on_status(client->callbacks.arg, &status);
			return;
		}
		hear_end(client, &status);
	} else if (shape == &wire_shape_observed) {
		hear_observed(client, body);
	}
}

static void on_closed(void *arg, const struct err *why)
{
	struct shim_client *client = arg;

	(void)why;
	if (!client->is_over)
		uv_timer_start(&client->timer, shim_on_timer, SHIM_RECONNECT_MS, 0);
}

bool shim_connect(struct shim_client *client)
{
	const struct wire_stream_callbacks callbacks = {on_message, on_closed, client};
	bool is_full;
	int fd = connect_in(client->dir, &is_full);
	uv_pipe_t *pipe;

	if (fd < 0 && is_full)
		uv_timer_start(&client->timer, shim_on_timer, SHIM_RECONNECT_MS, 0);
	if (fd < 0 && !is_full)
		return false;
	shim_expect_status(client);
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
void shim_on_timer(uv_timer_t *timer)
{
	struct shim_client *client = timer->data;
	bool is_shim_left, is_qemu_left;

	if (client->is_over || shim_connect(client) || tell_end_record(client))
		return;
	identity_read(client->dir, &client->shim, &client->qemu);
	is_shim_left = identity_kill(&client->shim);
	is_qemu_left = identity_kill(&client->qemu);
	if (is_shim_left || is_qemu_left)
		uv_timer_start(&client->timer, shim_on_timer, SHIM_BURY_MS, 0);
	else
		tell_lost(client);
}

/*
 * The channel to the host: see channel.h.
 *
 * The port says "hung up" for as long as nobody is connected at the host's side, which would wake a
 * level-triggered loop for ever; so the loop watches an epoll instance of its own that is edge
 * triggered, and each edge is used up: read until there is nothing, write until it does not go.
 */
#include "node-agent/guest/channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "common/mux/mount.h"
#include "node-agent/guest/forward.h"
#include "node-agent/guest/mounts.h"

#define PORTS_FOLDER "/sys/class/virtio-ports"

enum { DEVICE_WAIT_MS = 10 * 1000, DEVICE_TRY_MS = 5 };

/* -- Streams to our own port --------------------------------------------------------------------
 */

struct channel_stream {
	struct stream stream; /* first: the two are cast into each other */
	struct channel_user user;
	struct channel *channel;
	uint32_t id;
};

static size_t stream_write(struct stream *stream, const char *bytes, size_t bytes_n)
{
	struct channel_stream *at = (struct channel_stream *)stream;

	return mux_write(at->channel->mux, at->id, (const uint8_t *)bytes, bytes_n);
}

static void stream_consumed(struct stream *stream, size_t bytes_n)
{
	struct channel_stream *at = (struct channel_stream *)stream;

	mux_consumed(at->channel->mux, at->id, bytes_n);
}

static void stream_free(struct channel_stream *at)
{
	channel_user_remove(at->channel, at->id, &at->user);
	free(at);
}

static void stream_close(struct stream *stream, bool abort)
{
	struct channel_stream *at = (struct channel_stream *)stream;
	struct mux *mux = at->channel->mux;
	uint32_t id = at->id;

	stream_free(at);
	if (abort)
		mux_reset(mux, id, MUX_REASON_GONE);
	else
		mux_end(mux, id);
}

static const struct stream_ops stream_ops = {stream_write, stream_consumed, stream_close};

static void on_stream_data(void *user, const char *bytes, size_t bytes_n)
{
	struct stream *stream = user;

	stream->events->on_data(stream->user, bytes, bytes_n);
}

static void on_stream_end(void *user)
{
	struct stream *stream = user;

	stream->events->on_end(stream->user);
}

static void on_stream_writable(void *user)
{
	struct stream *stream = user;

	stream->events->on_writable(stream->user);
}

static void on_stream_gone(void *user)
{
	struct channel_stream *at = user;
	struct stream stream = at->stream;

	stream_free(at);
	stream.events->on_gone(stream.user);
}

static const struct stream_events stream_events = {
	on_stream_data,
	on_stream_end,
	on_stream_writable,
	on_stream_gone,
};

static void own_stream_open(struct channel *channel, uint32_t id)
{
	struct channel_stream *at = calloc(1, sizeof(*at));

	if (!at) {
		mux_reset(channel->mux, id, MUX_REASON_LIMIT);
		return;
	}
	at->stream.ops = &stream_ops;
	at->user = (struct channel_user){.events = &stream_events, .user = at};
	at->channel = channel;
	at->id = id;
	channel_user_add(channel, id, &at->user);
	if (channel->accept(channel->context, &at->stream)) {
		mux_accept(channel->mux, id);
		return;
	}
	stream_free(at);
	mux_reset(channel->mux, id, MUX_REASON_LIMIT);
}

/* -- Events -------------------------------------------------------------------------------------
 */

void channel_user_add(struct channel *channel, uint32_t stream, struct channel_user *user)
{
	user->stream = stream;
	user->before = NULL;
	user->next = channel->users;
	if (user->next)
		user->next->before = user;
	channel->users = user;
	mux_owner_set(channel->mux, stream, user);
}

void channel_user_remove(struct channel *channel, uint32_t stream, struct channel_user *user)
{
	if (user->before)
		user->before->next = user->next;
	else
		channel->users = user->next;
	if (user->next)
		user->next->before = user->before;
	mux_owner_set(channel->mux, stream, NULL);
}

static void handle(struct channel *channel, const struct mux_event *event)
{
	struct channel_user *user = event->owner;

	switch (event->kind) {
	case MUX_OPENED:
		if (event->port == MOUNT_PORT)
			mounts_accept(channel, event->stream);
		else if (event->port == channel->own_port && !channel->is_detached)
			own_stream_open(channel, event->stream);
		else
			forward_open(channel, event->stream, event->port);
		return;
	case MUX_DATA:
		/* Nobody: we have closed it, and the peer has not yet heard of that. */
		if (user)
			user->events->on_data(user->user, (const char *)event->data, event->data_n);
		else
			mux_consumed(channel->mux, event->stream, event->data_n);
		return;
	case MUX_END:
		if (user)
			user->events->on_end(user->user);
		else
			mux_end(channel->mux, event->stream);
		return;
	case MUX_RESET:
		if (user)
			user->events->on_gone(user->user);
		return;
	case MUX_WRITABLE:
		if (user)
			user->events->on_writable(user->user);
		return;
	case MUX_RESTARTED:
		while ((user = channel->users))
			user->events->on_gone(user->user);
		if (channel->on_new_host)
			channel->on_new_host(channel->context);
		return;
	case MUX_BROKEN:
		channel->on_broken(event->problem);
		return;
	case MUX_READY:
	case MUX_ACCEPTED:
	case MUX_CREDIT:
	case MUX_PONG:
		return;
	}
}

static void handle_all(struct channel *channel)
{
	struct mux_event event;

	while (!channel->is_leaving && mux_next(channel->mux, &event))
		handle(channel, &event);
}

/* Sends until there is nothing or the port is full; its edge then calls again. */
static void send_all(struct channel *channel)
{
	struct mux_slice slices[2];

	while (!channel->is_leaving && mux_output(channel->mux, slices)) {
		ssize_t n = write(channel->fd, slices[0].bytes, slices[0].n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		mux_output_done(channel->mux, (size_t)n);
		handle_all(channel);
	}
}

static void on_edge(uv_poll_t *poll, int status, int events)
{
	struct channel *channel = poll->data;
	struct epoll_event edge;
	ssize_t n;

	(void)status;
	(void)events;
	(void)epoll_wait(channel->edge_fd, &edge, 1, 0);
	while (!channel->is_leaving) {
		n = read(channel->fd, channel->input, sizeof(channel->input));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* nothing there, or nobody there */
			break;
		mux_feed(channel->mux, channel->input, (size_t)n);
		handle_all(channel);
		send_all(channel);
	}
	send_all(channel);
}

/* Before the loop waits: what timers and pipes have put into the engine goes out. */
static void on_flush(uv_prepare_t *flush)
{
	send_all(flush->data);
}

/* -- A thread of its own ------------------------------------------------------------------------
 */

static int watch(struct channel *channel, uv_loop_t *loop)
{
	channel->loop = loop;
	channel->poll.data = channel->flush.data = channel;
	uv_prepare_init(loop, &channel->flush);
	uv_prepare_start(&channel->flush, on_flush);
	uv_poll_init(loop, &channel->poll, channel->edge_fd);
	return uv_poll_start(&channel->poll, UV_READABLE, on_edge);
}

static void on_own_thread(void *arg)
{
	struct channel *channel = arg;

	if (uv_loop_init(&channel->own_loop) || watch(channel, &channel->own_loop)) {
		channel->on_broken("the channel's own loop cannot be made");
		return;
	}
	channel->is_leaving = false;
	channel->on_thread(channel->on_thread_arg);
	handle_all(channel); /* of what was fed before */
	on_edge(&channel->poll, 0, 0);
	uv_run(&channel->own_loop, UV_RUN_DEFAULT);
	channel->on_broken("the channel's own loop has ended");
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct channel *channel = handle->data;

	if (--channel->closing_n == 0 && uv_thread_create(&channel->thread, on_own_thread, channel))
		channel->on_broken("the channel's thread cannot be made");
}

int channel_detach(struct channel *channel, struct channel_user *kept, void (*on_thread)(void *arg),
		   void *arg)
{
	struct channel_user *user;

	if (channel->is_leaving)
		return -1;
	if (channel->is_detached) {
		on_thread(arg);
		return 0;
	}
	for (;;) {
		for (user = channel->users; user == kept;)
			user = user->next;
		if (!user)
			break;
		mux_reset(channel->mux, user->stream, MUX_REASON_GONE);
		user->events->on_gone(user->user);
	}
	channel->is_detached = channel->is_leaving = true;
	channel->on_thread = on_thread;
	channel->on_thread_arg = arg;
	channel->closing_n = 2;
	uv_close((uv_handle_t *)&channel->poll, on_handle_closed);
	uv_close((uv_handle_t *)&channel->flush, on_handle_closed);
	return 0;
}

/* -- Opening ------------------------------------------------------------------------------------
 */

static bool port_has_name(const char *port, const char *name)
{
	char path[300], found[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), PORTS_FOLDER "/%s/name", port);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(found, sizeof(found), file))
		found[strcspn(found, "\n")] = 0;
	fclose(file);
	return !strcmp(found, name);
}

static bool device_look(char *out_path, size_t out_max)
{
	DIR *folder = opendir(PORTS_FOLDER);
	struct dirent *entry;
	bool found = false;

	while (folder && !found && (entry = readdir(folder))) {
		snprintf(out_path, out_max, "/dev/%s", entry->d_name);
		found = port_has_name(entry->d_name, CHANNEL_NAME) && !access(out_path, F_OK);
	}
	if (folder)
		closedir(folder);
	return found;
}

int channel_device_find(char *out_path, size_t out_max, struct err *err)
{
	struct timespec pause = {0, DEVICE_TRY_MS * 1000000L};

	for (int waited_ms = 0; waited_ms < DEVICE_WAIT_MS; waited_ms += DEVICE_TRY_MS) {
		if (device_look(out_path, out_max))
			return 0;
		nanosleep(&pause, NULL);
	}
	return err_set(err, "no virtio port is called " CHANNEL_NAME);
}

int channel_open(struct channel *channel, uv_loop_t *loop, int fd, stream_accept_fn *accept,
		 void *context, uint16_t own_port, struct err *err)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
	struct mux_config config = {
		.restartable = true,
		.accept_max = CHANNEL_STREAMS_MAX,
		.output_max = CHANNEL_OUTPUT_MAX,
	};

	channel->loop = loop;
	channel->fd = fd;
	channel->accept = accept;
	channel->context = context;
	channel->own_port = own_port;
	channel->users = NULL;
	channel->mux = mux_create(&config);
	channel->edge_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!channel->mux || channel->edge_fd < 0 ||
	    epoll_ctl(channel->edge_fd, EPOLL_CTL_ADD, fd, &edge))
		return err_errno(err, errno, "watch the channel");
	if (watch(channel, loop))
		return err_set(err, "the event loop cannot watch the channel");
	return 0;
}

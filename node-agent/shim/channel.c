/* Bytes between the guest, the relay and the shim's own requests. See channel.h. */
#include "node-agent/shim/channel.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUIET_TOKEN = 1 }; /* there is no other ping */

static void fault(struct channel *channel, const char *problem)
{
	if (channel->is_broken)
		return;
	channel->is_broken = true;
	if (channel->pipe)
		uv_read_stop((uv_stream_t *)channel->pipe);
	if (channel->relay)
		relay_on_guest_gone(channel->relay);
	channel->callbacks.on_fault(channel->callbacks.arg, problem);
}

/* ---- output ---- */

static void on_link_room(struct mux_link *link)
{
	struct channel *channel = link->arg;

	if (channel->relay)
		relay_on_guest_room(channel->relay);
	channel_flush(channel);
}

/* QEMU is going: its exit comes next and says more than this could. */
static void on_link_fault(struct mux_link *link, int error)
{
	struct channel *channel = link->arg;

	(void)error;
	channel->is_broken = true;
}

/* A ping overtakes resets that have no place in the output yet. */
static void ping_behind_resets(struct channel *channel)
{
	if (channel->quiet != CHANNEL_RESETTING || mux_streams_n(channel->mux) > 0)
		return;
	channel->quiet = CHANNEL_PINGED;
	mux_ping(channel->mux, QUIET_TOKEN);
	if (mux_link_flush(&channel->link))
		on_link_fault(&channel->link, 0);
}

void channel_flush(struct channel *channel)
{
	if (!channel->pipe || channel->is_broken)
		return;
	if (mux_link_flush(&channel->link)) {
		on_link_fault(&channel->link, 0);
		return;
	}
	if (channel->relay)
		relay_on_guest_room(channel->relay);
	ping_behind_resets(channel);
}

/* ---- the shim's own requests ---- */

static void ask_free(struct channel_ask *ask)
{
	free(ask->request);
	free(ask->gathered);
	memset(ask, 0, sizeof(*ask));
}

static void ask_tell_document(const struct channel_ask *ask, int status)
{
	const char *end = status == 200 && ask->gathered_n
				  ? memmem(ask->gathered, ask->gathered_n, "\r\n\r\n", 4)
				  : NULL;

	if (end)
		ask->document(ask->arg, end + 4,
			      ask->gathered_n - (size_t)(end + 4 - ask->gathered));
	else
		ask->document(ask->arg, NULL, 0);
}

/* False: it is longer than anything that is wanted. */
static bool ask_gather(struct channel_ask *ask, const uint8_t *data, size_t n)
{
	char *grown;

	if (ask->gathered_n + n > CHANNEL_DOCUMENT_MAX)
		return false;
	grown = realloc(ask->gathered, ask->gathered_n + n);
	CHECK(grown);
	memcpy(grown + ask->gathered_n, data, n);
	ask->gathered = grown;
	ask->gathered_n += n;
	return true;
}

/* The ask's slot may be taken anew by what the callback does. */
static void ask_answer(struct channel_ask *ask, int status, bool is_over)
{
	struct channel_ask copy = *ask;

	ask->is_answered = true;
	ask->gathered = NULL;
	if (is_over)
		ask_free(ask);
	if (!copy.is_answered && copy.document)
		ask_tell_document(&copy, status);
	else if (!copy.is_answered)
		copy.answer(copy.arg, status);
	free(copy.gathered);
}

static void ask_write(struct channel *channel, struct channel_ask *ask)
{
	if (!ask->request)
		return;
	ask->request_at += mux_write(channel->mux, ask->stream,
				     (const uint8_t *)ask->request + ask->request_at,
				     ask->request_n - ask->request_at);
	if (ask->request_at == ask->request_n) {
		free(ask->request);
		ask->request = NULL;
	}
}

/* 204 of "HTTP/1.1 204"; 0 for anything else. */
static int ask_status(const struct channel_ask *ask)
{
	const char *digit = ask->head + 9;

	if (ask->head_n < sizeof(ask->head) || memcmp(ask->head, "HTTP/1.1 ", 9) != 0)
		return 0;
	for (int i = 0; i < 3; i++)
		if (digit[i] < '0' || digit[i] > '9')
			return 0;
	return (digit[0] - '0') * 100 + (digit[1] - '0') * 10 + (digit[2] - '0');
}

static void ask_data(struct channel *channel, struct channel_ask *ask,
		     const struct mux_event *event)
{
	size_t room = sizeof(ask->head) - ask->head_n;
	size_t n = event->data_n < room ? event->data_n : room;

	memcpy(ask->head + ask->head_n, event->data, n);
	ask->head_n += n;
	mux_consumed(channel->mux, event->stream, event->data_n);
	if (ask->document && !ask_gather(ask, event->data, event->data_n)) {
		mux_reset(channel->mux, event->stream, MUX_REASON_LIMIT);
		ask_answer(ask, 0, true);
		return;
	}
	if (ask->head_n == sizeof(ask->head) && ask->patience == CHANNEL_STATUS)
		ask_answer(ask, ask_status(ask), false);
}

static void ask_event(struct channel *channel, struct channel_ask *ask,
		      const struct mux_event *event)
{
	if (event->kind == MUX_DATA)
		ask_data(channel, ask, event);
	else if (event->kind == MUX_WRITABLE || event->kind == MUX_ACCEPTED)
		ask_write(channel, ask);
	else if (event->kind == MUX_RESET)
		ask_answer(ask, 0, true);
	else if (event->kind == MUX_END) {
		mux_end(channel->mux, event->stream);
		ask_answer(ask, ask_status(ask), true);
	}
}

static struct channel_ask *ask_begin(struct channel *channel, const char *request, size_t request_n,
				     enum channel_patience patience, void *arg)
{
	struct channel_ask *ask = NULL;

	for (size_t i = 0; i < CHANNEL_ASKS_MAX && !ask; i++)
		if (channel->asks[i].stream == 0)
			ask = &channel->asks[i];
	CHECK(ask && request_n <= CHANNEL_REQUEST_MAX);
	ask->patience = patience;
	ask->arg = arg;
	ask->request = malloc(request_n);
	CHECK(ask->request);
	memcpy(ask->request, request, request_n);
	ask->request_n = request_n;
	return ask;
}

/* False: the guest takes no more streams, and the ask is forgotten. */
static bool ask_send(struct channel *channel, struct channel_ask *ask)
{
	ask->stream = mux_open(channel->mux, CHANNEL_PORT, ask);
	if (ask->stream == 0) {
		ask_free(ask);
		return false;
	}
	ask_write(channel, ask);
	channel_flush(channel);
	return true;
}

void channel_ask(struct channel *channel, const char *request, size_t request_n,
		 enum channel_patience patience, channel_answer_cb answer, void *arg)
{
	struct channel_ask *ask = ask_begin(channel, request, request_n, patience, arg);

	CHECK(channel->quiet == CHANNEL_LOUD);
	ask->answer = answer;
	if (!ask_send(channel, ask))
		fault(channel, "the guest takes no more streams");
}

bool channel_ask_document(struct channel *channel, const char *request, size_t request_n,
			  channel_document_cb document, void *arg)
{
	struct channel_ask *ask;

	/* What is said once the ping is behind it would be answered to the machine that goes on. */
	if (channel->quiet != CHANNEL_LOUD)
		return false;
	ask = ask_begin(channel, request, request_n, CHANNEL_DOCUMENT, arg);
	ask->document = document;
	return ask_send(channel, ask);
}

/* ---- input ---- */

static void take_event(struct channel *channel, const struct mux_event *event)
{
	if (event->kind == MUX_READY) {
		channel->is_ready = true;
		channel->callbacks.on_ready(channel->callbacks.arg);
	} else if (event->kind == MUX_PONG) {
		if (channel->quiet == CHANNEL_PINGED && channel->on_quiet) {
			void (*on_quiet)(void *arg) = channel->on_quiet;

			channel->on_quiet = NULL;
			on_quiet(channel->quiet_arg);
		}
	} else if (event->kind == MUX_BROKEN) {
		fault(channel, event->problem);
	} else if (channel->relay && relay_owns(channel->relay, event)) {
		relay_on_guest_event(channel->relay, event);
	} else if (event->owner) {
		ask_event(channel, event->owner, event);
	}
}

static void take_input(struct channel *channel)
{
	struct mux_event event;
	bool has_room = true;

	while (!channel->is_broken && channel->pipe) {
		has_room = !channel->relay || relay_has_room(channel->relay);
		if (!has_room || !mux_next(channel->mux, &event))
			break;
		take_event(channel, &event);
	}
	if (channel->is_broken || !channel->pipe)
		return;
	if (channel->relay)
		relay_flush(channel->relay);
	channel_flush(channel);
	channel->is_read_stopped = !has_room;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct channel *channel = handle->data;

	(void)suggested;
	*buf = uv_buf_init((char *)channel->input, sizeof(channel->input));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct channel *channel = stream->data;

	(void)buf;
	if (n == 0)
		return;
	if (n < 0) {
		/* QEMU is going; its exit says more than this does. */
		uv_read_stop(stream);
		return;
	}
	mux_feed(channel->mux, channel->input, (size_t)n);
	take_input(channel);
	if (channel->is_read_stopped && channel->pipe)
		uv_read_stop(stream);
}

void channel_resume(struct channel *channel)
{
	if (!channel->is_read_stopped || !channel->pipe)
		return;
	take_input(channel);
	if (!channel->is_read_stopped && !channel->is_broken && channel->pipe)
		uv_read_start((uv_stream_t *)channel->pipe, on_alloc, on_read);
}

/* ---- quiet ---- */

void channel_drop_asks(struct channel *channel)
{
	for (size_t i = 0; i < CHANNEL_ASKS_MAX; i++) {
		struct channel_ask *ask = &channel->asks[i];
		channel_document_cb document = ask->document;
		void *arg = ask->arg;
		bool is_open = ask->stream && !ask->is_answered;

		if (ask->stream)
			mux_reset(channel->mux, ask->stream, MUX_REASON_CANCELLED);
		ask_free(ask);
		if (is_open && document)
			document(arg, NULL, 0);
	}
	channel_flush(channel);
}

void channel_quiet_begin(struct channel *channel, void (*on_quiet)(void *arg), void *arg)
{
	channel->quiet = CHANNEL_RESETTING;
	channel->on_quiet = on_quiet;
	channel->quiet_arg = arg;
	if (channel->relay)
		relay_hold(channel->relay);
	channel_drop_asks(channel);
	/* The gateway may have had no room; now none is needed. */
	channel_resume(channel);
}

void channel_quiet_end(struct channel *channel)
{
	if (channel->quiet == CHANNEL_LOUD)
		return;
	channel->quiet = CHANNEL_LOUD;
	channel->on_quiet = NULL;
	if (channel->relay)
		relay_release(channel->relay);
}

/* ---- life ---- */

int channel_open(struct channel *channel, const struct channel_callbacks *callbacks,
		 struct err *err)
{
	const struct mux_config config = {
		.initiator = true,
		.open_max = CHANNEL_STREAMS_MAX + CHANNEL_ASKS_MAX,
		.accept_max = 0, /* a guest has nothing to open towards us */
		.output_max = 64 * 1024,
	};

	memset(channel, 0, sizeof(*channel));
	channel->callbacks = *callbacks;
	channel->mux = mux_create(&config);
	return channel->mux ? 0 : err_errno(err, ENOMEM, "the guest's channel");
}

int channel_attach(struct channel *channel, uv_loop_t *loop, int fd, struct err *err)
{
	int status;

	channel->pipe = malloc(sizeof(*channel->pipe));
	CHECK(channel->pipe);
	uv_pipe_init(loop, channel->pipe, 0);
	channel->pipe->data = channel;
	channel->link = (struct mux_link){.mux = channel->mux,
					  .stream = (uv_stream_t *)channel->pipe,
					  .on_room = on_link_room,
					  .on_fault = on_link_fault,
					  .arg = channel};
	status = uv_pipe_open(channel->pipe, fd);
	if (status)
		close(fd);
	else
		status = uv_read_start((uv_stream_t *)channel->pipe, on_alloc, on_read);
	if (status)
		return err_set(err, "the guest's channel: %s", uv_strerror(status));
	channel_flush(channel); /* HELLO waits in the socket for the guest to read it */
	return 0;
}

static void on_pipe_closed(uv_handle_t *handle)
{
	free(handle);
}

void channel_close(struct channel *channel)
{
	if (channel->pipe)
		uv_close((uv_handle_t *)channel->pipe, on_pipe_closed);
	channel->pipe = NULL;
	for (size_t i = 0; i < CHANNEL_ASKS_MAX; i++)
		ask_free(&channel->asks[i]);
}

void channel_free(struct channel *channel)
{
	mux_destroy(channel->mux);
	channel->mux = NULL;
}

/* QMP over libuv. See qmp.h. */
#include "node-agent/vm/qmp.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct qmp_write {
	uv_write_t req;
	char text[];
};

static void on_pipe_closed(uv_handle_t *handle)
{
	free(handle);
}

static void pipe_close(struct qmp *qmp)
{
	if (!qmp->pipe)
		return;
	qmp->pipe->data = NULL;
	uv_close((uv_handle_t *)qmp->pipe, on_pipe_closed);
	qmp->pipe = NULL;
}

void qmp_close(struct qmp *qmp)
{
	pipe_close(qmp);
	qmp->pending_n = 0;
}

/* Callbacks may close the client: each is the last thing done with it on its path. */
static void fail(struct qmp *qmp, const struct err *why)
{
	if (!qmp->pipe)
		return;
	pipe_close(qmp);
	while (qmp->pending_n > 0) {
		struct qmp_pending oldest = qmp->pending[0];

		memmove(qmp->pending, qmp->pending + 1, --qmp->pending_n * sizeof(oldest));
		if (oldest.answer)
			oldest.answer(oldest.arg, NULL, why);
	}
	qmp->callbacks.on_closed(qmp->callbacks.arg, why);
}

static void on_written(uv_write_t *req, int status)
{
	(void)status; /* a broken channel is noticed by reading */
	free((char *)req - offsetof(struct qmp_write, req));
}

static void write_line(struct qmp *qmp, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void write_line(struct qmp *qmp, const char *format, ...)
{
	char line[1024];
	struct qmp_write *write;
	uv_buf_t buf;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	CHECK(n > 0 && (size_t)n < sizeof(line));
	buf = uv_buf_init(line, (unsigned)n);
	if (uv_try_write((uv_stream_t *)qmp->pipe, &buf, 1) == n)
		return;
	/* The socket is never full in practice; when it is, QEMU hangs and a time limit speaks. */
	write = malloc(sizeof(*write) + (size_t)n);
	CHECK(write);
	memcpy(write->text, line, (size_t)n);
	buf = uv_buf_init(write->text, (unsigned)n);
	if (uv_write(&write->req, (uv_stream_t *)qmp->pipe, &buf, 1, on_written))
		free(write);
}

void qmp_send(struct qmp *qmp, const char *command, const char *arguments, qmp_answer_cb answer,
	      void *arg)
{
	uint32_t id = ++qmp->next_id;

	if (!qmp->pipe)
		return;
	CHECK(qmp->pending_n < QMP_PENDING_MAX && !qmp->is_held);
	qmp->pending[qmp->pending_n++] = (struct qmp_pending){id, answer, arg};
	write_line(qmp, "{\"execute\":\"%s\",\"arguments\":%s,\"id\":%u}\n", command,
		   arguments ? arguments : "{}", id);
}

void qmp_hold(struct qmp *qmp, const char *command)
{
	if (!qmp->pipe)
		return;
	CHECK(!qmp->is_held);
	qmp->is_held = true;
	write_line(qmp, "{\"execute\":\"%s\",\"id\":%u", command, ++qmp->next_id);
}

void qmp_release(struct qmp *qmp, qmp_answer_cb answer, void *arg)
{
	if (!qmp->pipe)
		return;
	CHECK(qmp->is_held && qmp->pending_n < QMP_PENDING_MAX);
	qmp->is_held = false;
	qmp->pending[qmp->pending_n++] = (struct qmp_pending){qmp->next_id, answer, arg};
	write_line(qmp, "}");
}

/* libuv passes no descriptors of files, so this goes past it; nothing of ours may wait in it. */
int qmp_send_fd(struct qmp *qmp, const char *command, const char *arguments, int fd,
		qmp_answer_cb answer, void *arg, struct err *err)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec line;
	struct msghdr message = {.msg_iov = &line,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	char text[256];
	uv_os_fd_t socket;
	int n;

	CHECK(qmp->pending_n < QMP_PENDING_MAX && !qmp->is_held);
	if (!qmp->pipe || uv_stream_get_write_queue_size((uv_stream_t *)qmp->pipe) ||
	    uv_fileno((uv_handle_t *)qmp->pipe, &socket))
		return err_set(err, "QMP: a descriptor cannot be passed now");
	n = snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"arguments\":%s,\"id\":%u}\n",
		     command, arguments, qmp->next_id + 1);
	CHECK(n > 0 && (size_t)n < sizeof(text));
	line = (struct iovec){text, (size_t)n};
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	if (sendmsg(socket, &message, MSG_NOSIGNAL) != n)
		return err_errno(err, errno, "QMP: pass a descriptor");
	qmp->pending[qmp->pending_n++] = (struct qmp_pending){++qmp->next_id, answer, arg};
	return 0;
}

static void take_answer(struct qmp *qmp, const struct qmp_message *message)
{
	struct qmp_pending oldest;
	struct err err;

	if (qmp->pending_n == 0 || qmp->pending[0].id != message->id) {
		err_set(&err, "QMP: an answer to command %u, which is not the oldest", message->id);
		fail(qmp, &err);
		return;
	}
	oldest = qmp->pending[0];
	memmove(qmp->pending, qmp->pending + 1, --qmp->pending_n * sizeof(oldest));
	if (!oldest.answer)
		return;
	if (message->kind == QMP_RETURN) {
		oldest.answer(oldest.arg, message, NULL);
	} else {
		err_set(&err, "QEMU: %s", message->text);
		oldest.answer(oldest.arg, message, &err);
	}
}

static void take_line(struct qmp *qmp, const char *line, size_t line_n)
{
	struct qmp_message message;
	struct err err;

	if (qmp_message_parse(line, line_n, &message, &err)) {
		fail(qmp, &err);
		return;
	}
	switch (message.kind) {
	case QMP_GREETING:
	case QMP_OTHER:
		return;
	case QMP_RETURN:
	case QMP_ERROR:
		take_answer(qmp, &message);
		return;
	case QMP_EVENT:
		if (message.event != QMP_EVENT_UNKNOWN)
			qmp->callbacks.on_event(qmp->callbacks.arg, &message);
		return;
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct qmp *qmp = handle->data;

	(void)suggested;
	*buf = uv_buf_init(qmp->input + qmp->input_n, (unsigned)(QMP_LINE_MAX - qmp->input_n));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct qmp *qmp = stream->data;
	size_t taken = 0;
	struct err err;
	char *end;

	(void)buf;
	if (!qmp || n == 0)
		return;
	if (n < 0) {
		err_set(&err, "QMP: %s", n == UV_EOF ? "closed" : uv_strerror((int)n));
		if (n == UV_ENOBUFS)
			err_set(&err, "QMP: a line longer than %d bytes", QMP_LINE_MAX);
		fail(qmp, &err);
		return;
	}
	qmp->input_n += (size_t)n;
	while ((end = memchr(qmp->input + taken, '\n', qmp->input_n - taken))) {
		size_t line_n = (size_t)(end - (qmp->input + taken));

		take_line(qmp, qmp->input + taken, line_n);
		if (!stream->data)
			return; /* closed by what the line led to */
		taken += line_n + 1;
	}
	qmp->input_n -= taken;
	memmove(qmp->input, qmp->input + taken, qmp->input_n);
}

int qmp_open(struct qmp *qmp, uv_loop_t *loop, int fd, const struct qmp_callbacks *callbacks,
	     struct err *err)
{
	int status;

	memset(qmp, 0, sizeof(*qmp));
	qmp->callbacks = *callbacks;
	qmp->pipe = malloc(sizeof(*qmp->pipe));
	if (!qmp->pipe) {
		close(fd);
		return err_errno(err, ENOMEM, "QMP");
	}
	uv_pipe_init(loop, qmp->pipe, 0);
	qmp->pipe->data = qmp;
	status = uv_pipe_open(qmp->pipe, fd);
	if (status) {
		close(fd);
		goto fail;
	}
	status = uv_read_start((uv_stream_t *)qmp->pipe, on_alloc, on_read);
	if (status)
		goto fail;
	qmp_send(qmp, "qmp_capabilities", NULL, NULL, NULL);
	return 0;
fail:
	qmp_close(qmp);
	return err_set(err, "QMP: %s", uv_strerror(status));
}

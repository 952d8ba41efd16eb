/*
 * Requests to the guest's HTTP server. See workshop.h.
 *
 * They are HTTP/1.0: an answer is then over when its stream is.
 */
#include "node-agent/template/workshop.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	GUEST_PORT = 49983,
	PIECE_MAX = 64 * 1024,
	SMALL_LIMIT_MS = 60 * 1000,
	UNLIMITED_MS = 1000 * 1000 * 1000, /* the build's own limit ends it */
};

/* ---- what is sent ---- */

static void call_over(struct guest_call *call)
{
	call->stream = 0;
	call->is_over = true;
}

static void break_off(struct guest_call *call, const char *problem)
{
	mux_reset(call->workshop->mux, call->stream, MUX_REASON_GONE);
	call_over(call);
	call->status = 0;
	if (!call->workshop->is_broken)
		err_set(&call->workshop->fault, "%.300s", problem);
	call->workshop->is_broken = true;
}

/* The next piece of the file; false: there is none. */
static bool refill(struct guest_call *call)
{
	ssize_t n;

	if (call->body_fd < 0)
		return false;
	n = read(call->body_fd, call->piece, PIECE_MAX);
	if (n < 0) {
		break_off(call, "the file to be copied cannot be read");
		return false;
	}
	call->piece_n = (size_t)n;
	call->piece_at = 0;
	return n > 0;
}

static void send_more(struct guest_call *call)
{
	struct mux *mux = call->workshop->mux;

	while (call->stream && call->request_at < call->request_n) {
		size_t n = mux_write(mux, call->stream,
				     (const uint8_t *)call->request + call->request_at,
				     call->request_n - call->request_at);

		call->request_at += n;
		if (n == 0)
			return;
	}
	while (call->stream && !call->is_body_sent) {
		size_t n;

		if (call->piece_at == call->piece_n && !refill(call)) {
			call->is_body_sent = true;
			return;
		}
		n = mux_write(mux, call->stream, (const uint8_t *)call->piece + call->piece_at,
			      call->piece_n - call->piece_at);
		call->piece_at += n;
		if (n == 0)
			return;
	}
}

/* ---- what comes ---- */

/* "HTTP/1.1 204 ..." */
static int status_of(const struct guest_call *call)
{
	int status;

	if (call->head_n < 12 || memcmp(call->head, "HTTP/1.", 7) != 0)
		return 0;
	status = atoi(call->head + 9);
	return status >= 100 && status <= 999 ? status : 0;
}

static void take_body(struct guest_call *call, const char *bytes, size_t n)
{
	struct err err;

	if (call->output && call->status == 200 && output_feed(call->output, bytes, n, &err))
		break_off(call, err.text);
}

static void take_data(struct guest_call *call, const char *bytes, size_t n)
{
	size_t used = 0;

	while (used < n && call->status == 0) {
		if (call->head_n == sizeof(call->head) - 1) {
			break_off(call, "the guest's answer has an endless head");
			return;
		}
		call->head[call->head_n++] = bytes[used++];
		call->head[call->head_n] = 0;
		if (call->head_n < 4 || memcmp(call->head + call->head_n - 4, "\r\n\r\n", 4) != 0)
			continue;
		call->status = status_of(call);
		if (call->status == 0) {
			break_off(call, "the guest's answer is no HTTP");
			return;
		}
	}
	if (used < n)
		take_body(call, bytes + used, n - used);
}

void guest_call_event(struct guest_call *call, const struct mux_event *event)
{
	struct mux *mux = call->workshop->mux;

	if (event->kind == MUX_DATA) {
		mux_consumed(mux, event->stream, event->data_n);
		take_data(call, (const char *)event->data, event->data_n);
	} else if (event->kind == MUX_WRITABLE || event->kind == MUX_ACCEPTED) {
		send_more(call);
	} else if (event->kind == MUX_END) {
		mux_end(mux, event->stream);
		call_over(call);
	} else if (event->kind == MUX_RESET) {
		call_over(call);
	}
}

/* ---- one call ---- */

/* head: all header lines but Content-Length and Connection. */
static int begin(struct workshop *workshop, struct guest_call *call, const char *head,
		 const void *body, size_t body_n, int body_fd, uint64_t length, struct err *err)
{
	int n;

	memset(call, 0, sizeof(*call));
	call->workshop = workshop;
	call->body_fd = body_fd;
	call->request = malloc(strlen(head) + body_n + 256);
	call->piece = body_fd < 0 ? NULL : malloc(PIECE_MAX);
	CHECK(call->request && (body_fd < 0 || call->piece));
	n = sprintf(call->request, "%sHost: sandbox\r\nContent-Length: %" PRIu64 "\r\n\r\n", head,
		    length);
	memcpy(call->request + n, body, body_n);
	call->request_n = (size_t)n + body_n;
	call->stream = mux_open(workshop->mux, GUEST_PORT, call);
	if (!call->stream) {
		guest_call_end(call);
		return err_set(err, "the guest takes no more streams");
	}
	send_more(call);
	mux_link_flush(&workshop->link);
	return 0;
}

void guest_call_end(struct guest_call *call)
{
	if (call->stream) {
		mux_reset(call->workshop->mux, call->stream, MUX_REASON_GONE);
		mux_link_flush(&call->workshop->link);
	}
	call->stream = 0;
	free(call->request);
	free(call->piece);
	call->request = call->piece = NULL;
}

static int finish(struct workshop *workshop, struct guest_call *call, int64_t limit_ms,
		  const char *what, struct err *err)
{
	int result = workshop_wait(workshop, &call->is_over, limit_ms, false, err);

	if (!result && (call->status < 200 || call->status > 299))
		result = err_set(err, "the guest answered %d to %s", call->status, what);
	guest_call_end(call);
	return result;
}

int workshop_health(struct workshop *workshop, struct err *err)
{
	struct guest_call call;

	if (begin(workshop, &call, "GET /health HTTP/1.0\r\n", "", 0, -1, 0, err))
		return -1;
	return finish(workshop, &call, SMALL_LIMIT_MS, "GET /health", err);
}

int workshop_init(struct workshop *workshop, json_t *document, struct err *err)
{
	char *text = json_dumps(document, JSON_COMPACT);
	struct guest_call call;
	int result;

	CHECK(text);
	result = begin(workshop, &call, "POST /init HTTP/1.0\r\nContent-Type: application/json\r\n",
		       text, strlen(text), -1, strlen(text), err);
	free(text);
	return result ? -1 : finish(workshop, &call, SMALL_LIMIT_MS, "POST /init", err);
}

int workshop_upload(struct workshop *workshop, const char *from, const char *to, struct err *err)
{
	int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct guest_call call;
	char head[512];
	struct stat stat;
	int result;

	if (fd < 0 || fstat(fd, &stat)) {
		err_errno(err, errno, "%s", from);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	snprintf(head, sizeof(head),
		 "POST /files?username=root&path=%s HTTP/1.0\r\n"
		 "Content-Type: application/octet-stream\r\n",
		 to);
	result = begin(workshop, &call, head, "", 0, fd, (uint64_t)stat.st_size, err) ||
				 finish(workshop, &call, UNLIMITED_MS, "an upload", err)
			 ? -1
			 : 0;
	close(fd);
	return result;
}

static char *command_body(const struct workshop_command *command, size_t *out_n)
{
	json_t *root = json_pack("{s:{s:s, s:[s, s, s], s:s, s:O?}, s:b}", "process", "cmd",
				 "/bin/bash", "args", "-l", "-c", command->line, "cwd",
				 command->cwd, "envs", command->env, "stdin", 0);
	char *json = root ? json_dumps(root, JSON_COMPACT) : NULL, *body;
	size_t n;

	json_decref(root);
	CHECK(json);
	n = strlen(json);
	body = malloc(n + 5);
	CHECK(body);
	body[0] = 0;
	for (int i = 0; i < 4; i++)
		body[1 + i] = (char)(n >> (24 - 8 * i));
	memcpy(body + 5, json, n);
	free(json);
	*out_n = n + 5;
	return body;
}

int workshop_start(struct workshop *workshop, struct guest_call *call,
		   const struct workshop_command *command, struct output *output, struct err *err)
{
	char plain[80], code[128], head[512];
	size_t n, plain_n;
	char *body;
	int result;

	plain_n = (size_t)snprintf(plain, sizeof(plain), "%.70s:", command->user);
	sodium_bin2base64(code, sizeof(code), (const unsigned char *)plain, plain_n,
			  sodium_base64_VARIANT_ORIGINAL);
	snprintf(head, sizeof(head),
		 "POST /process.Process/Start HTTP/1.0\r\n"
		 "Content-Type: application/connect+json\r\nConnect-Protocol-Version: 1\r\n"
		 "Authorization: Basic %s\r\n",
		 code);
	body = command_body(command, &n);
	result = begin(workshop, call, head, body, n, -1, n, err);
	call->output = output;
	free(body);
	return result;
}

int workshop_run(struct workshop *workshop, const struct workshop_command *command,
		 struct output *output, struct err *err)
{
	struct guest_call call;

	if (workshop_start(workshop, &call, command, output, err))
		return -1;
	if (finish(workshop, &call, UNLIMITED_MS, "a command", err)) {
		output_finish(output);
		return -1;
	}
	output_finish(output);
	if (output->is_refused)
		return err_set(err, "%s", output->problem);
	if (!output->has_ended)
		return err_set(err, "the command's end was not told");
	return 0;
}

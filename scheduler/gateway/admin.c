/* /livez, /readyz and /metrics, on an address of their own: one short answer a connection. */
#include "scheduler/gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/head.h"
#include "common/http/write.h"

enum { ADMIN_HEAD_MAX = 8 * 1024, ADMIN_MAX = 64 };

static const struct metric_spec metric_rows[] = {
#define METRIC(...) METRIC_ROW(struct gateway_metrics, __VA_ARGS__)
#include "scheduler/gateway/metrics.def"
#undef METRIC
};

const char *const gateway_outcome_names[OUTCOMES_N] = {
#define OUTCOME(name, metric, status, message) metric,
#include "scheduler/gateway/verdicts.def"
#undef OUTCOME
};

struct admin {
	struct gateway *gateway;
	struct list link;
	uv_tcp_t tcp;
	uv_write_t write;
	char in[ADMIN_HEAD_MAX];
	size_t in_n, in_scanned_n;
	char *answer;
	size_t answer_n;
	bool is_closing, is_answered;
};

static void on_closed(uv_handle_t *handle)
{
	struct admin *admin = handle->data;

	free(admin->answer);
	free(admin);
}

static void admin_close(struct admin *admin)
{
	if (admin->is_closing)
		return;
	admin->is_closing = true;
	list_remove(&admin->link);
	uv_close((uv_handle_t *)&admin->tcp, on_closed);
}

static void on_written(uv_write_t *request, int status)
{
	(void)status;
	admin_close(request->data);
}

static int write_body(struct gateway *gateway, struct http_text path, FILE *out)
{
	if (http_text_equal(path, "/livez")) {
		fputs("ok\n", out);
		return 200;
	}
	if (http_text_equal(path, "/readyz")) {
		fputs(gateway->is_stopping ? "stopping\n" : "ok\n", out);
		return gateway->is_stopping ? 503 : 200;
	}
	if (http_text_equal(path, "/metrics")) {
		metrics_write(metric_rows, ARRAY_N(metric_rows), &gateway->metrics, out);
		return 200;
	}
	fputs("here are /livez, /readyz and /metrics\n", out);
	return 404;
}

/* Head and body in one block; false when there is no memory. */
static bool make_answer(struct admin *admin, struct http_text path)
{
	char head[256];
	struct http_writer writer;
	char *body = NULL;
	size_t body_n = 0;
	FILE *out = open_memstream(&body, &body_n);
	int status;

	if (!out)
		return false;
	status = write_body(admin->gateway, path, out);
	if (fclose(out) || !body)
		goto fail;
	http_writer_init(&writer, head, sizeof(head));
	http_write_status(&writer, status);
	http_write_header(&writer, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	http_write_header_u64(&writer, "Content-Length", body_n);
	http_write_header(&writer, "Connection", "close");
	admin->answer = malloc(sizeof(head) + body_n);
	if (!http_write_end(&writer) || !admin->answer)
		goto fail;
	memcpy(admin->answer, head, writer.n);
	memcpy(admin->answer + writer.n, body, body_n);
	admin->answer_n = writer.n + body_n;
	free(body);
	return true;
fail:
	free(body);
	return false;
}

static void answer(struct admin *admin, struct http_text path)
{
	uv_buf_t buffer;

	admin->is_answered = true;
	if (!make_answer(admin, path)) {
		admin_close(admin);
		return;
	}
	buffer = uv_buf_init(admin->answer, (unsigned)admin->answer_n);
	admin->write.data = admin;
	if (uv_write(&admin->write, (uv_stream_t *)&admin->tcp, &buffer, 1, on_written) < 0)
		admin_close(admin);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct admin *admin = handle->data;

	(void)suggested_n;
	*out_buffer =
		uv_buf_init(admin->in + admin->in_n, (unsigned)(sizeof(admin->in) - admin->in_n));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct admin *admin = stream->data;
	struct http_head head;
	size_t head_n;

	(void)buffer;
	if (n == 0 || admin->is_answered)
		return;
	if (n < 0) {
		admin_close(admin);
		return;
	}
	admin->in_n += (size_t)n;
	switch (http_request_parse(admin->in, admin->in_n, &admin->in_scanned_n, &head, &head_n)) {
	case HTTP_OK:
		answer(admin, head.target);
		return;
	case HTTP_MORE:
		if (admin->in_n == sizeof(admin->in))
			admin_close(admin);
		return;
	default:
		admin_close(admin);
		return;
	}
}

void admin_on_connection(uv_stream_t *listener, int status)
{
	struct gateway *gateway = listener->data;
	struct admin *admin = status < 0 ? NULL : calloc(1, sizeof(*admin));
	struct list *link;
	unsigned n = 0;

	if (!admin)
		return;
	admin->gateway = gateway;
	admin->tcp.data = admin;
	uv_tcp_init(gateway->loop, &admin->tcp);
	list_append(&gateway->admins, &admin->link);
	for (link = list_first(&gateway->admins); link; link = list_next(&gateway->admins, link))
		n++;
	/* Who stays without asking gives way to who comes. */
	if (n > ADMIN_MAX)
		admin_close(LIST_OBJECT(list_first(&gateway->admins), struct admin, link));
	if (uv_accept(listener, (uv_stream_t *)&admin->tcp) < 0 ||
	    uv_read_start((uv_stream_t *)&admin->tcp, on_allocate, on_read) < 0)
		admin_close(admin);
}

void admin_close_all(struct gateway *gateway)
{
	struct list *link;

	while ((link = list_first(&gateway->admins)))
		admin_close(LIST_OBJECT(link, struct admin, link));
}

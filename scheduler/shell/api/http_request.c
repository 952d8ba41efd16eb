/* One request: its parts as they arrive, waiting, and its answer. */
#include "scheduler/shell/api/http_internal.h"

#include "common/base/check.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- held requests ---- */

uint64_t http_hold(struct http_request *request)
{
	struct http *http = request->http;
	uint32_t slot = 0;

	CHECK(!request->answered);
	if (request->held)
		return request->number;
	while (slot < http->held_cap && http->held[slot])
		slot++;
	CHECK(slot < http->held_cap); /* as many slots as connections */
	http->held[slot] = request;
	request->number = (++http->generation << HTTP_HELD_BITS) | slot;
	request->held = true;
	http->counts.held++;
	return request->number;
}

struct http_request *http_held(struct http *http, uint64_t number)
{
	uint64_t slot = number & ((1u << HTTP_HELD_BITS) - 1);
	struct http_request *request = slot < http->held_cap ? http->held[slot] : NULL;

	return request && request->number == number ? request : NULL;
}

struct http_request *http_any_held(struct http *http)
{
	for (uint32_t slot = 0; slot < http->held_cap; slot++)
		if (http->held[slot])
			return http->held[slot];
	return NULL;
}

struct http_request *http_next_held(struct http *http, uint32_t *slot)
{
	while (*slot < http->held_cap)
		if (http->held[(*slot)++])
			return http->held[*slot - 1];
	return NULL;
}

static void http_release(struct http_request *request)
{
	request->http->held[request->number & ((1u << HTTP_HELD_BITS) - 1)] = NULL;
	request->held = false;
	request->http->counts.held--;
}

/* ---- answers ---- */

void http_add_header(struct http_request *request, const char *name, const char *value)
{
	struct http_header_line *line = &request->headers[request->headers_n];

	CHECK(request->headers_n < HTTP_HEADERS_MAX);
	request->headers_n++;
	line->name = name;
	snprintf(line->value, sizeof(line->value), "%s", value);
}

static enum MHD_Result http_queue(struct http_request *request)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		request->answer_n, request->answer ? request->answer : (char *)"",
		request->answer ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	CHECK(response);
	request->answer = NULL; /* the response's */
	if (request->type)
		MHD_add_response_header(response, "Content-Type", request->type);
	MHD_add_response_header(response, "X-Request-Id", request->id);
	for (size_t i = 0; i < request->headers_n; i++)
		MHD_add_response_header(response, request->headers[i].name,
					request->headers[i].value);
	result = MHD_queue_response(request->connection, (unsigned)request->status, response);
	MHD_destroy_response(response);
	return result;
}

void http_answer(struct http_request *request, int status, const char *type, char *body,
		 size_t body_n)
{
	CHECK(!request->answered);
	request->answered = true;
	request->status = status;
	request->type = type;
	request->answer = body;
	request->answer_n = body_n;
	if (!request->held)
		return;
	http_release(request);
	if (request->link)
		request->link->since_ms = uv_now(request->http->timeout->loop);
	MHD_resume_connection(request->connection);
	request->http->resumed = true;
}

/* ---- requests ---- */

static void http_take_id(struct http_request *request)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "._-";
	const char *theirs = http_header(request, "X-Request-Id");
	size_t n = theirs ? strlen(theirs) : 0;
	uint8_t random[12];

	if (n > 0 && n < sizeof(request->id) && strspn(theirs, good) == n) {
		memcpy(request->id, theirs, n + 1);
		return;
	}
	randombytes_buf(random, sizeof(random));
	memcpy(request->id, "req_", 4);
	sodium_bin2hex(request->id + 4, sizeof(request->id) - 4, random, sizeof(random));
}

void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct http_request *request = calloc(1, sizeof(*request));

	CHECK(request);
	request->http = cls;
	request->connection = connection;
	request->upload_fd = -1;
	request->target = strdup(uri);
	CHECK(request->target);
	return request;
}

static enum MHD_Result http_count_framing(void *cls, enum MHD_ValueKind kind, const char *name,
					  const char *value)
{
	unsigned *said = cls;

	(void)kind;
	if (!strcasecmp(name, "Content-Length"))
		*said += 1;
	if (!strcasecmp(name, "Transfer-Encoding"))
		*said += value && !strcasecmp(value, "chunked") ? 1 : 2;
	return MHD_YES;
}

/* A proxy before us may have seen another end of a body whose length is said twice, or in a way
 * that is not known here; libmicrohttpd would take the first, or wait. */
static bool http_is_framed_once(struct http_request *request)
{
	unsigned said = 0;

	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, http_count_framing, &said);
	return said <= 1;
}

static uint64_t http_body_max(const struct http_request *request)
{
	return request->upload_fd >= 0 ? request->upload_max : request->http->options.body_max;
}

static enum MHD_Result http_begin(struct http_request *request, const char *method)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const char *length = http_header(request, "Content-Length");

	request->begun = true;
	request->method = method;
	request->link = info ? info->socket_context : NULL;
	if (request->link) {
		request->link->request = request;
		request->link->since_ms = uv_now(request->http->timeout->loop);
	}
	http_take_id(request);
	request->http->counts.requests++;
	/* Said early, so that a client that asked (Expect) need not send what nobody reads. */
	request->unclear = !http_is_framed_once(request);
	if (!request->unclear && request->http->options.on_upload &&
	    request->http->uploads_n < HTTP_UPLOADS_MAX)
		request->upload_fd = request->http->options.on_upload(
			request->http->options.data, request, &request->upload_max);
	request->http->uploads_n += request->upload_fd >= 0;
	request->too_long = length && strtoull(length, NULL, 10) > http_body_max(request);
	if (!request->unclear && !request->too_long)
		return MHD_YES;
	request->http->options.on_request(request->http->options.data, request);
	CHECK(request->answered);
	return http_queue(request);
}

/* Who brings something shows good will with every piece. */
static enum MHD_Result http_take_upload(struct http_request *request, const char *data, size_t *n)
{
	while (*n > 0 && !request->upload_failed) {
		ssize_t written = write(request->upload_fd, data, *n);

		if (written < 0 && errno == EINTR)
			continue;
		request->upload_failed = written <= 0;
		if (request->upload_failed)
			break;
		data += written;
		*n -= (size_t)written;
		request->upload_n += (uint64_t)written;
	}
	*n = 0;
	if (request->link)
		request->link->since_ms = uv_now(request->http->timeout->loop);
	return MHD_YES;
}

static enum MHD_Result http_take_body(struct http_request *request, const char *data, size_t *n)
{
	size_t need = request->body_n + *n;

	if (request->upload_fd >= 0 && !request->too_long &&
	    request->upload_n + *n <= request->upload_max)
		return http_take_upload(request, data, n);
	if (request->too_long || request->upload_fd >= 0 ||
	    need > request->http->options.body_max) {
		request->too_long = true;
		request->drained_n += *n;
		*n = 0;
		return request->drained_n <= HTTP_DRAIN_MAX ? MHD_YES : MHD_NO;
	}
	if (need + 1 > request->body_cap) {
		request->body_cap = need * 2 + 256;
		request->body = realloc(request->body, request->body_cap);
		CHECK(request->body);
	}
	memcpy(request->body + request->body_n, data, *n);
	request->body_n = need;
	request->body[need] = 0;
	*n = 0;
	return MHD_YES;
}

enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *upload_data,
			       size_t *upload_data_n, void **request_cls)
{
	struct http_request *request = *request_cls;

	(void)cls;
	(void)connection;
	(void)url;
	(void)version;
	if (!request || (request->http->closing && !request->answered))
		return MHD_NO;
	if (!request->begun)
		return http_begin(request, method);
	if (*upload_data_n > 0)
		return http_take_body(request, upload_data, upload_data_n);
	if (!request->answered && !request->held)
		request->http->options.on_request(request->http->options.data, request);
	if (request->answered)
		return http_queue(request);
	CHECK(request->held);
	MHD_suspend_connection(connection);
	return MHD_YES;
}

void http_on_completed(void *cls, struct MHD_Connection *connection, void **request_cls,
		       enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *request_cls;

	(void)cls;
	(void)connection;
	(void)code;
	if (!request)
		return;
	CHECK(!request->held);
	if (request->link) {
		request->link->request = NULL;
		request->link->since_ms = uv_now(request->http->timeout->loop);
	}
	if (request->upload_fd >= 0) {
		request->http->uploads_n--;
		close(request->upload_fd);
	}
	free(request->target);
	free(request->body);
	free(request->answer);
	free(request);
	*request_cls = NULL;
}

/* ---- questions ---- */

const char *http_method(const struct http_request *request)
{
	return request->method;
}

const char *http_target(const struct http_request *request)
{
	return request->target;
}

const char *http_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool http_peer(const struct http_request *request, struct address *out)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info && info->client_addr && address_from_sockaddr(info->client_addr, out);
}

struct http_header_visit {
	void (*on_header)(void *data, const char *name, const char *value);
	void *data;
};

static enum MHD_Result http_visit_header(void *cls, enum MHD_ValueKind kind, const char *name,
					 const char *value)
{
	const struct http_header_visit *visit = cls;

	(void)kind;
	visit->on_header(visit->data, name, value);
	return MHD_YES;
}

void http_each_header(const struct http_request *request,
		      void (*on_header)(void *data, const char *name, const char *value),
		      void *data)
{
	struct http_header_visit visit = {on_header, data};

	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, http_visit_header, &visit);
}

const char *http_body(const struct http_request *request, size_t *out_n)
{
	*out_n = request->body_n;
	return request->body ? request->body : "";
}

int http_upload(const struct http_request *request)
{
	return request->upload_failed ? -1 : request->upload_fd;
}

const char *http_request_id(const struct http_request *request)
{
	return request->id;
}

bool http_is_too_long(const struct http_request *request)
{
	return request->too_long;
}

bool http_is_unclear(const struct http_request *request)
{
	return request->unclear;
}

void http_set_data(struct http_request *request, void *data)
{
	request->data = data;
}

void *http_data(const struct http_request *request)
{
	return request->data;
}

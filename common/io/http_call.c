/* One call of the HTTP client: from a request to an easy handle, and what comes back. */
#include "common/io/http_client_internal.h"

#include "common/base/check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- what a request may be ---- */

static bool http_is_token(const char *text)
{
	if (!text || !*text)
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("!#$%&'*+-.^_`|~", *text))
			return false;
	return true;
}

/* No line breaks and nothing else that could end a line early. */
static bool http_is_line(const char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
			return false;
	return true;
}

static int http_check(const struct http_client_request *request, struct err *err)
{
	const char *url = request->url ? request->url : "";

	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return err_set(err, "\"%.200s\" is no URL of http or https", url);
	if (!http_is_line(url) || strchr(url, ' '))
		return err_set(err, "the URL has characters that must be escaped");
	if (request->method && !http_is_token(request->method))
		return err_set(err, "\"%.40s\" is no method", request->method);
	for (size_t i = 0; i < request->headers_n; i++) {
		if (!http_is_token(request->headers[i].name) ||
		    !http_is_line(request->headers[i].value))
			return err_set(err, "header %zu cannot be one", i + 1);
	}
	return 0;
}

/* The connection's own, not the caller's. */
static bool http_is_ours(const char *name)
{
	static const char *const ours[] = {"content-length", "transfer-encoding", "connection",
					   "expect"};

	for (size_t i = 0; i < ARRAY_N(ours); i++)
		if (strcasecmp(name, ours[i]) == 0)
			return true;
	return false;
}

static bool http_has(const struct http_client_request *request, const char *name)
{
	for (size_t i = 0; i < request->headers_n; i++)
		if (strcasecmp(request->headers[i].name, name) == 0)
			return true;
	return false;
}

static void http_add_line(struct http_client_call *call, const char *name, const char *middle,
			  const char *value)
{
	size_t n = strlen(name) + strlen(middle) + strlen(value) + 1;
	char *line = malloc(n);

	CHECK(line);
	snprintf(line, n, "%s%s%s", name, middle, value);
	struct curl_slist *lines = curl_slist_append(call->lines, line);
	CHECK(lines);
	call->lines = lines;
	free(line);
}

static void http_set_lines(struct http_client_call *call, const struct http_client_request *request)
{
	/* libcurl adds these by itself, unless it is told of them without a value. */
	static const char *const unwanted[] = {"Accept", "Content-Type"};

	for (size_t i = 0; i < request->headers_n; i++) {
		const struct http_client_header *header = &request->headers[i];

		if (http_is_ours(header->name))
			continue;
		/* Its way to write a header that is empty. */
		if (header->value[strspn(header->value, " \t")] == 0)
			http_add_line(call, header->name, ";", "");
		else
			http_add_line(call, header->name, ": ", header->value);
	}
	for (size_t i = 0; i < ARRAY_N(unwanted); i++)
		if (!http_has(request, unwanted[i]))
			http_add_line(call, unwanted[i], ":", "");
	http_add_line(call, "Expect", ":", "");
	curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->lines);
}

static void http_set_method(struct http_client_call *call,
			    const struct http_client_request *request)
{
	const char *method = request->method ? request->method : "GET";
	bool says_length = request->body || strcmp(method, "POST") == 0 ||
			   strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;

	if (strcmp(method, "HEAD") == 0) {
		curl_easy_setopt(call->easy, CURLOPT_NOBODY, 1L);
		return;
	}
	if (says_length) {
		curl_off_t n = request->body ? (curl_off_t)request->body_n : 0;

		curl_easy_setopt(call->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, n);
		curl_easy_setopt(call->easy, CURLOPT_COPYPOSTFIELDS, n ? request->body : "");
	}
	curl_easy_setopt(call->easy, CURLOPT_CUSTOMREQUEST, method);
}

/* ---- what comes back, from within libcurl ---- */

static void http_fill(struct http_client_call *call, struct http_client_answer *answer)
{
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	*answer = (struct http_client_answer){
		.status = (int)status,
		.sent = true,
		.headers = call->headers,
		.headers_n = call->headers_n,
		.body = call->body ? call->body : (const uint8_t *)"",
		.body_n = call->body_n,
	};
}

static int http_take_header(struct http_client_call *call, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n);
	size_t name_n, value_n;

	if (!colon)
		return 0; /* a folded line: nothing that we know sends them */
	name_n = (size_t)(colon - line);
	line = colon + 1;
	value_n = n - name_n - 1;
	while (value_n && (*line == ' ' || *line == '\t')) {
		line++;
		value_n--;
	}
	if (call->headers_n == HTTP_CLIENT_HEADERS_MAX ||
	    call->head_n + name_n + value_n + 2 > HTTP_CLIENT_HEAD_MAX)
		return err_set(&call->fault, "the answer's head is too long");
	char *at = call->head + call->head_n;
	call->headers[call->headers_n++] = (struct http_client_header){at, at + name_n + 1};
	memcpy(at, colon - name_n, name_n);
	at[name_n] = 0;
	memcpy(at + name_n + 1, line, value_n);
	at[name_n + 1 + value_n] = 0;
	call->head_n += name_n + value_n + 2;
	return 0;
}

static void http_end_head(struct http_client_call *call)
{
	struct http_client_answer answer;

	http_fill(call, &answer);
	if (answer.status < 200)
		return; /* an interim answer */
	call->head_is_whole = true;
	if (call->on_head)
		call->on_head(call->data, &answer);
}

static size_t http_on_header(char *line, size_t one, size_t n, void *user)
{
	struct http_client_call *call = user;
	size_t bare_n;

	n *= one;
	if (call->state == HTTP_CALL_CANCELLED)
		return 0;
	if (call->head_is_whole)
		return n; /* a trailer */
	if (!call->head) {
		call->head = malloc(HTTP_CLIENT_HEAD_MAX);
		CHECK(call->head);
	}
	for (bare_n = n; bare_n && strchr("\r\n \t", line[bare_n - 1]);)
		bare_n--;
	if (bare_n == 0) {
		http_end_head(call);
	} else if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {
		call->headers_n = call->head_n = 0;
	} else if (http_take_header(call, line, bare_n)) {
		return 0;
	}
	return call->state == HTTP_CALL_CANCELLED ? 0 : n;
}

static size_t http_on_bytes(char *bytes, size_t one, size_t n, void *user)
{
	struct http_client_call *call = user;

	n *= one;
	if (call->state == HTTP_CALL_CANCELLED)
		return 0;
	if (call->on_body) {
		call->on_body(call->data, (const uint8_t *)bytes, n);
		return call->state == HTTP_CALL_CANCELLED ? 0 : n;
	}
	if (n > call->body_max - call->body_n) {
		err_set(&call->fault, "the answer is longer than %zu bytes", call->body_max);
		return 0;
	}
	if (call->body_n + n + 1 > call->body_room) {
		call->body_room = (call->body_n + n) * 2 + 1;
		call->body = realloc(call->body, call->body_room);
		CHECK(call->body);
	}
	memcpy(call->body + call->body_n, bytes, n);
	call->body_n += n;
	call->body[call->body_n] = 0;
	return n;
}

/* ---- the call ---- */

static void http_set_up(struct http_client_call *call, const struct http_client_request *request)
{
	CURL *easy = call->easy;
	uint32_t connect_ms =
		request->connect_ms ? request->connect_ms : (uint32_t)HTTP_CLIENT_CONNECT_MS;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "flotilla/" FLOTILLA_VERSION);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->total_ms);
	/* A stream without an end must notice that the other machine is gone. */
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	/* Sooner than a server of ours closes an idle connection. */
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 20L);
	/* Only a connection that was used before is tried again on another one. */
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->once ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_text);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_on_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	if (call->client->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, call->client->ca_file);
}

struct http_client_call *http_call_make(struct http_client *client,
					const struct http_client_request *request, struct err *err)
{
	if (http_check(request, err))
		return NULL;
	struct http_client_call *call = calloc(1, sizeof(*call));
	CHECK(call);
	call->client = client;
	call->easy = curl_easy_init();
	CHECK(call->easy);
	call->body_max = request->body_max;
	call->on_done = request->on_done;
	call->on_head = request->on_head;
	call->on_body = request->on_body;
	call->data = request->data;
	/* Without the query, which may hold what is nobody's business. */
	CHECK(asprintf(&call->target, "%s %.*s", request->method ? request->method : "GET",
		       (int)strcspn(request->url, "?#"), request->url) >= 0);
	http_set_up(call, request);
	http_set_lines(call, request);
	http_set_method(call, request);
	return call;
}

void http_call_tell(struct http_client_call *call, CURLcode code)
{
	struct http_client_answer answer;
	long sent_n = 0;

	http_fill(call, &answer);
	if (code != CURLE_OK) {
		const char *why = call->fault.text[0]  ? call->fault.text
				  : call->curl_text[0] ? call->curl_text
						       : curl_easy_strerror(code);

		curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent_n);
		answer.sent = sent_n > 0;
		answer.cut = call->on_body && call->head_is_whole;
		if (!answer.cut) {
			answer.status = 0;
			answer.headers_n = answer.body_n = 0;
			answer.body = (const uint8_t *)"";
		}
		err_set(&answer.err, "%s: %s", call->target, why);
	}
	if (call->on_done)
		call->on_done(call->data, &answer);
}

void http_call_free(struct http_client_call *call)
{
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->lines);
	list_remove(&call->link);
	free(call->target);
	free(call->head);
	free(call->body);
	free(call);
}

const char *http_client_answer_header(const struct http_client_answer *answer, const char *name)
{
	for (size_t i = 0; i < answer->headers_n; i++)
		if (strcasecmp(answer->headers[i].name, name) == 0)
			return answer->headers[i].value;
	return NULL;
}

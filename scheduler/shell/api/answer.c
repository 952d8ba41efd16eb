/* Answers, and the two manners of saying no: E2B's and RFC 9457's. */
#include "scheduler/shell/api/door.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "proto/reasons.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_TYPE    "application/json"
#define PROBLEM_TYPE "application/problem+json"

static void api_unlink(struct api_call **at, const struct api_call *call)
{
	for (; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			return;
		}
	}
}

static void api_end(struct api_call *call, int status)
{
	struct api *api = call->api;
	uint64_t took_ns = uv_hrtime() - call->began_ns;

	scheduler_metrics_answered(api->options.metrics, status);
	metric_observe(&api->options.metrics->answer_ns, took_ns);
	log_debug("api", "answered", LOG_TEXT("method", http_method(call->request)),
		  LOG_TEXT("route", call->route ? call->route->path : ""),
		  LOG_INT("status", status), LOG_TEXT("tenant", call->tenant.text),
		  LOG_UINT("took_us", took_ns / 1000),
		  LOG_TEXT("request", http_request_id(call->request)));
	api_unlink(&api->idempotent, call);
	api_unlink(&api->secrets, call);
	api_unlink(&api->new_volumes, call);
	api_mounts_cancel(call);
	json_decref(call->query);
	json_decref(call->body);
	json_decref(call->answer);
	for (size_t i = 0; i < call->ops_n; i++)
		store_op_clear(&call->ops[i]);
	free(call->ops);
	free(call);
}

static void api_send(struct api_call *call, int status, const char *type, char *text, size_t n)
{
	struct http_request *request = call->request;

	/* One that is at its cap is not helped by waiting for a second. */
	if (status == 503)
		http_add_header(request, "Retry-After", "1");
	if (status == 401)
		http_add_header(request, "WWW-Authenticate", "Bearer");
	/* The log names the request, so the call ends first. */
	api_end(call, status);
	http_answer(request, status, type, text, n);
}

static void api_send_json(struct api_call *call, int status, const char *type, json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	CHECK(text);
	json_decref(json);
	api_send(call, status, type, text, strlen(text));
}

void api_answer(struct api_call *call, json_t *json)
{
	CHECK(json);
	api_send_json(call, call->status ? call->status : call->route->status, JSON_TYPE, json);
}

void api_answer_text(struct api_call *call, int status, const char *type, char *text, size_t n)
{
	api_send(call, status, type, text, n);
}

void api_pass(struct api_call *call, int status, char *body, size_t n)
{
	struct http_request *request = call->request;

	api_end(call, status);
	http_answer(request, status, NULL, body, n);
}

void api_answer_nothing(struct api_call *call)
{
	api_send(call, call->route->status, NULL, NULL, 0);
}

/* ---- no ---- */

static const char *api_status_title(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 402:
		return "Payment Required";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 410:
		return "Gone";
	case 413:
		return "Content Too Large";
	case 422:
		return "Unprocessable Content";
	case 429:
		return "Too Many Requests";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	default:
		return "Internal Server Error";
	}
}

static void api_fail_with(struct api_call *call, int status, const char *code,
			  const char *error_code, const char *text, json_t *errors)
{
	json_t *json;

	if (call->ours) {
		json = json_pack("{s:s,s:s,s:i,s:s,s:s,s:s}", "type", "about:blank", "title",
				 api_status_title(status), "status", status, "detail", text, "code",
				 code, "request_id", http_request_id(call->request));
		if (errors)
			json_object_set(json, "errors", errors);
	} else {
		json = json_pack("{s:i,s:s}", "code", status, "message", text);
		if (error_code[0])
			json_object_set_new(json, "error_code", json_string(error_code));
	}
	json_decref(errors);
	CHECK(json);
	api_send_json(call, status, call->ours ? PROBLEM_TYPE : JSON_TYPE, json);
}

void api_fail(struct api_call *call, int status, const char *code, const char *error_code,
	      const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Cutting a long text may have cut a character in two. */
	json_t *judged = json_string(text);
	if (!judged)
		snprintf(text, sizeof(text), "%s", api_status_title(status));
	json_decref(judged);
	api_fail_with(call, status, code, error_code, text, NULL);
}

void api_fail_problems(struct api_call *call, const struct problems *problems)
{
	json_t *errors = json_array();
	const struct problem *first = &problems->items[0];
	char text[400];

	CHECK(problems->n > 0);
	for (size_t i = 0; i < problems->n; i++) {
		const struct problem *problem = &problems->items[i];
		json_t *loc = json_pack("[s]", problem->in);
		if (problem->field[0])
			json_array_append_new(loc, json_string(problem->field));
		json_array_append_new(errors, json_pack("{s:o,s:s*,s:s}", "loc", loc, "msg",
							problem->text, "type", problem->type));
	}
	snprintf(text, sizeof(text), "%s: %s", first->field[0] ? first->field : first->in,
		 first->text);
	api_fail_with(call, 400, "invalid_request", "", text, errors);
}

void api_fail_store(struct api_call *call, const struct err *err)
{
	log_error("store", "cannot read", LOG_ERR(err));
	api_fail(call, 500, "internal", "internal_server_error", "The store cannot be read");
}

/* What stands in for {limit}, {template}, {sandbox} in a refusal's text. */
static void api_fill_in(struct api_call *call, enum refusal refusal, const char *name, char *out,
			size_t out_max)
{
	struct store_tenant tenant = {0};
	struct err err;
	const char *given;

	out[0] = 0;
	if (strcmp(name, "limit") == 0) {
		if (store_tenant_find(call->api->store, &call->tenant, &tenant, &err) != 1)
			return;
		if (refusal == REFUSAL_TIMEOUT_TOO_LONG)
			snprintf(out, out_max, "%g", tenant.session_max_s / 3600.0);
		else if (refusal == REFUSAL_QUOTA_CONCURRENCY)
			snprintf(out, out_max, "%u", tenant.concurrent_max);
		else if (refusal == REFUSAL_QUOTA_SNAPSHOTS)
			snprintf(out, out_max, "%d", CORE_SNAPSHOTS_MAX);
	} else if (strcmp(name, "template") == 0) {
		given = api_text(call->body, "templateID");
		snprintf(out, out_max, "%s", given ? given : "");
	} else if (strcmp(name, "sandbox") == 0) {
		/* "iabc…-clientID" is what older clients call "iabc…". */
		snprintf(out, out_max, "%.*s", (int)strcspn(call->parameter, "-"), call->parameter);
	}
}

static void api_expand(struct api_call *call, enum refusal refusal, const char *text, char *out,
		       size_t out_max)
{
	size_t used = 0;

	while (*text && used + 1 < out_max) {
		size_t n = strcspn(text, "{");
		char name[16] = "", value[256];
		if (n >= out_max - used)
			n = out_max - used - 1;
		memcpy(out + used, text, n);
		used += n;
		text += n;
		if (*text != '{')
			continue;
		n = strcspn(text, "}");
		if (n - 1 < sizeof(name)) {
			memcpy(name, text + 1, n - 1);
			name[n - 1] = 0;
		}
		text += n + (text[n] == '}');
		api_fill_in(call, refusal, name, value, sizeof(value));
		used += (size_t)snprintf(out + used, out_max - used, "%s", value);
		if (used >= out_max)
			used = out_max - 1;
	}
	out[used] = 0;
}

/* Its row is here, and it is the caller's: then it is known to have ended. */
static bool api_has_ended(struct api_call *call)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	struct err err;
	struct id id;
	bool found = false;

	if (!id_parse(call->parameter, strcspn(call->parameter, "-"), &id) ||
	    sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(id.text)), &err))
		return false;
	if (sqlite_next(reader, STORE_READ_SANDBOX, &err) == 1) {
		store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
		found = call->is_operator || id_equal(&sandbox.row.tenant, &call->tenant);
	}
	sqlite_reset(reader, STORE_READ_SANDBOX);
	return found;
}

/* A leader that has not heard every node's log cannot say that there is no such sandbox: another
 * leader may have told of it.  Lost nodes will not bring any back. */
static bool api_may_be_unheard(struct api_call *call)
{
	enum core_role role = api_role(call->api);
	struct core_node_view node;
	uint32_t cursor = 0;

	/* While it takes over, it answers what only reads. */
	if (role != CORE_LEADING && role != CORE_TAKING_OVER)
		return false;
	while (core_node_next(engine_core(call->api->engine), &cursor, &node))
		if (!node.joined && !node.lost)
			return !api_has_ended(call);
	return false;
}

/* Its text; counted as told. */
static const struct refusal_info *api_refusal_text(struct api_call *call, enum refusal refusal,
						   char *out, size_t out_max)
{
	const struct refusal_info *info = refusal_info(refusal);
	size_t n;

	scheduler_metrics_refused(call->api->options.metrics, refusal);
	api_expand(call, refusal, info->text, out, out_max);
	n = strlen(out);
	if (refusal == REFUSAL_QUOTA_CONCURRENCY)
		snprintf(out + n, out_max - n,
			 ". If you need more, ask your operator for another plan.");
	return info;
}

void api_refuse(struct api_call *call, enum refusal refusal)
{
	const struct refusal_info *info;
	char text[640];

	if (refusal == REFUSAL_SANDBOX_UNKNOWN && api_may_be_unheard(call))
		refusal = REFUSAL_UNCONFIRMED;
	info = api_refusal_text(call, refusal, text, sizeof(text));
	api_fail(call, info->http_status ? info->http_status : 500, info->name, info->error_code,
		 "%s", text);
}

json_t *api_refusal_json(struct api_call *call, enum refusal refusal)
{
	char text[640];
	const struct refusal_info *info = api_refusal_text(call, refusal, text, sizeof(text));
	json_t *json = json_pack("{s:i,s:s}", "code", info->http_status ? info->http_status : 500,
				 "message", text);

	CHECK(json);
	return json;
}

#include "scheduler/shell/api/api.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "scheduler/shell/api/door.h"
#include "scheduler/shell/api/forward.h"
#include "scheduler/shell/egress/renew.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- who asks ---- */

static const char *api_given_key(const struct http_request *request)
{
	const char *key = http_header(request, "X-API-Key");

	if (key)
		return key;
	key = http_header(request, "Authorization");
	return key && strncasecmp(key, "Bearer ", 7) == 0 ? key + 7 : NULL;
}

/* 1: known, 0: not, -1: the store cannot be read. */
static int api_know(struct api_call *call, const char *key, struct err *err)
{
	struct sqlite *reader = store_reader(call->api->store);
	uint8_t hash[SECRET_HASH_N];
	int got;

	secrets_hash(call->api->options.secrets, key, hash);
	if (sqlite_bind(reader, STORE_READ_KEY, SQL(SQL_BLOB(hash, sizeof(hash))), err))
		return -1;
	got = sqlite_next(reader, STORE_READ_KEY, err);
	if (got != 1)
		return got;
	call->is_operator = sqlite_is_null(reader, STORE_READ_KEY, 1);
	if (!call->is_operator)
		snprintf(call->tenant.text, sizeof(call->tenant.text), "%s",
			 sqlite_text(reader, STORE_READ_KEY, 1));
	sqlite_reset(reader, STORE_READ_KEY);
	return 1;
}

/* Whoever has the fleet's key; a token is good for the sandbox of the path alone. */
static bool api_is_gateway(struct api_call *call)
{
	const char *given = http_header(call->request, "X-Wake-Token");
	char right[ENVD_TOKEN_TEXT_MAX];
	struct id id;

	if (given && strlen(given) == sizeof(right) - 1 &&
	    id_parse(call->parameter, strlen(call->parameter), &id)) {
		fleet_key_wake_token(&call->api->options.secrets->fleet, &id, right);
		if (sodium_memcmp(given, right, sizeof(right) - 1) == 0)
			return true;
	}
	api_fail(call, 401, "unauthorized", "", "This is for the fleet's gateway");
	return false;
}

/* False: the call is ended. */
static bool api_authorise(struct api_call *call)
{
	const char *key = api_given_key(call->request);
	struct err err;
	int known;

	if (call->route->who == ROUTE_ANYONE)
		return true;
	if (call->route->who == ROUTE_GATEWAY)
		return api_is_gateway(call);
	known = key && strlen(key) < 256 ? api_know(call, key, &err) : 0;
	if (known < 0) {
		api_fail_store(call, &err);
		return false;
	}
	if (!known && !api_limit_strangers(call))
		return false;
	if (!known) {
		api_fail(call, 401, "unauthorized", "", "%s",
			 key ? "Invalid API key" : "API key is missing: send it as X-API-Key");
		return false;
	}
	if (call->route->who & (call->is_operator ? ROUTE_OPERATOR : ROUTE_TENANT))
		return true;
	api_fail(call, 403, "forbidden", "", "This needs %s key",
		 call->is_operator ? "a tenant's" : "an operator's");
	return false;
}

/* ---- what is asked ---- */

/* False: the call is ended. */
static bool api_validate(struct api_call *call, const struct target *target)
{
	const struct route *route = call->route;
	struct problems problems = {0};
	size_t n;
	const char *text = http_body(call->request, &n);

	call->query = schema_parse_query(route->query, target->query, &problems);
	if (call->query)
		schema_check(route->query, call->query, "query", &problems);
	if (route->body != &schema_none) {
		call->body = schema_parse_body(text, n, &problems);
		if (call->body)
			schema_check(route->body, call->body, "body", &problems);
	}
	if (problems.n == 0)
		return true;
	api_fail_problems(call, &problems);
	return false;
}

static void api_fail_method(struct api_call *call, unsigned allowed)
{
	char allow[64] = "";

	for (unsigned method = 0; method < ROUTE_METHOD_N; method++) {
		if (!(allowed & 1u << method))
			continue;
		size_t used = strlen(allow);
		snprintf(allow + used, sizeof(allow) - used, "%s%s", used ? ", " : "",
			 route_method_name((enum route_method)method));
	}
	http_add_header(call->request, "Allow", allow);
	api_fail(call, 405, "method_not_allowed", "", "%s is not possible here: %s is",
		 http_method(call->request), allow);
}

static const api_handler api_handlers[ROUTE_N] = {
#define ROUTE(id, method, path, who, query, body, status, answer, shape, errors, summary)          \
	[ROUTE_ID_##id] = api_##id,
#include "scheduler/shell/api/routes.def"
#undef ROUTE
};

static void api_on_request(void *data, struct http_request *request)
{
	struct api_call *call = calloc(1, sizeof(*call));
	struct route_match match = {0};
	struct target target;

	CHECK(call);
	call->api = data;
	call->request = request;
	call->began_ns = uv_hrtime();
	call->ours = route_path_is_ours(http_target(request));
	if (http_is_too_long(request)) {
		api_fail(call, 413, "too_large", "", "The body is longer than %llu bytes",
			 (unsigned long long)call->api->options.body_max);
		return;
	}
	if (http_is_unclear(request)) {
		api_fail(call, 400, "invalid_request", "",
			 "Content-Length or Transfer-Encoding: chunked, once, is wanted");
		return;
	}
	if (target_split(http_target(request), &target))
		route_find(http_method(request), &target, &match);
	if (!match.allowed) {
		api_fail(call, 404, "not_found", "", "There is no such path");
		return;
	}
	if (!match.route) {
		api_fail_method(call, match.allowed);
		return;
	}
	call->route = match.route;
	memcpy(call->parameter, match.parameters[0], sizeof(call->parameter));
	memcpy(call->second, match.parameters[1], sizeof(call->second));
	door_pass(call);
}

void api_serve(struct api_call *call)
{
	struct target target;

	CHECK(target_split(http_target(call->request), &target));
	if (api_authorise(call) && (call->route->who == ROUTE_ANYONE || api_limit_requests(call)) &&
	    api_validate(call, &target))
		api_handlers[call->route - routes](call);
}

/* ---- waiting ---- */

bool api_needs_engine(struct api_call *call)
{
	if (engine_is_available(call->api->engine))
		return true;
	api_refuse(call, REFUSAL_STORE_UNAVAILABLE);
	return false;
}

uint64_t api_wait(struct api_call *call,
		  void (*on_reply)(struct api_call *call, const struct core_effect *reply))
{
	call->on_reply = on_reply;
	http_set_data(call->request, call);
	return http_hold(call->request);
}

static void api_on_decided(void *data, enum refusal refusal)
{
	struct api_call *call = data;
	struct http *http = call->api->http;
	json_t *answer = call->answer;

	if (refusal == REFUSAL_NONE && ++call->ops_at < call->ops_n) {
		decisions_make(call->api->options.decisions, &call->ops[call->ops_at],
			       api_on_decided, call);
		return;
	}
	call->answer = NULL;
	if (refusal == REFUSAL_NONE && call->secret[0])
		renewals_secret(call->api->options.renewals, &call->tenant, call->secret);
	if (refusal == REFUSAL_NONE && call->route->shape == ROUTE_NOTHING) {
		json_decref(answer);
		api_answer_nothing(call);
	} else if (refusal == REFUSAL_NONE) {
		api_answer(call, answer);
	} else {
		json_decref(answer);
		api_refuse(call, refusal);
	}
	http_flush(http);
}

void api_decide_all(struct api_call *call, const struct store_op *ops, size_t n, json_t *answer)
{
	if (!answer)
		answer = json_null(); /* it says that decisions are under way */
	CHECK(n > 0 && !call->ops);
	call->answer = answer;
	call->ops = malloc(n * sizeof(*ops));
	CHECK(call->ops);
	for (size_t i = 0; i < n; i++)
		store_op_copy(&call->ops[i], &ops[i]);
	call->ops_n = n;
	http_hold(call->request);
	http_set_data(call->request, call);
	decisions_make(call->api->options.decisions, call->ops, api_on_decided, call);
}

void api_decide(struct api_call *call, const struct store_op *op, json_t *answer)
{
	CHECK(answer);
	api_decide_all(call, op, 1, answer);
}

void api_on_reply(struct api *api, const struct core_effect *effect)
{
	struct http_request *request;
	struct api_call *call;

	if (api_fork_on_reply(api, effect))
		return;
	request = http_held(api->http, effect->reply.request);
	call = request ? http_data(request) : NULL;
	/* One that came back to the door in the meantime is not answered by what it left. */
	if (!call || !call->on_reply)
		return;
	if (effect->reply.refusal == REFUSAL_NONE)
		call->on_reply(call, effect);
	else
		api_refuse(call, effect->reply.refusal);
}

/* Only who waited for the core has lost something; one of several replicas looks for the leader
 * that there is now, where that can do no harm. */
void api_on_lost(struct api *api)
{
	struct http_request *request;
	uint32_t slot = 0;

	api_forks_lost(api);
	while ((request = http_next_held(api->http, &slot)) != NULL) {
		struct api_call *call = http_data(request);
		if (!call || !call->on_reply)
			continue;
		if (!api->options.leader)
			api_refuse(call, REFUSAL_STORE_UNAVAILABLE);
		else if (door_is_repeatable(call))
			door_again(call);
		else
			api_refuse(call, REFUSAL_NO_LEADER);
	}
}

void api_leave(struct api *api)
{
	api->is_leaving = true;
}

uint32_t api_under_way_n(const struct api *api)
{
	const struct http_request *request;
	uint32_t slot = 0, n = 0;

	while ((request = http_next_held(api->http, &slot)) != NULL) {
		const struct api_call *call = http_data(request);
		n += call && (call->on_reply || call->answer || call->mounting);
	}
	return n;
}

uint32_t api_waiting_n(const struct api *api)
{
	return http_count(api->http).held;
}

void api_on_role(struct api *api)
{
	if (api->door_timer) {
		forward_look(api);
		door_look(api);
	}
}

void api_on_round(struct api *api)
{
	http_flush(api->http);
}

/* ---- small helpers of the handlers ---- */

const char *api_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

int64_t api_int(const json_t *object, const char *name, int64_t missing)
{
	const json_t *value = json_object_get(object, name);

	return json_is_integer(value) ? json_integer_value(value) : missing;
}

struct id api_make_id(const char *prefix)
{
	uint8_t random[ID_RANDOM_BYTES];

	randombytes_buf(random, sizeof(random));
	return id_make(prefix, random);
}

bool api_cursor_parse(const char *text, struct api_cursor *out)
{
	char *end;

	out->at_ns = strtoll(text, &end, 10);
	return end != text && *end == '.' && id_parse(end + 1, strlen(end + 1), &out->id);
}

void api_cursor_header(struct api_call *call, int64_t at_ns, const struct id *id)
{
	char text[API_CURSOR_MAX];

	snprintf(text, sizeof(text), "%lld.%s", (long long)at_ns, id->text);
	http_add_header(call->request, "X-Next-Token", text);
}

bool api_page_rows(struct api_call *call, const struct api_page *page, struct sqlite_values values,
		   json_t *rows, struct err *err)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	struct store_sandbox sandbox;
	struct core_sandbox last = {0};
	int64_t n = 0;
	int got;

	if (sqlite_bind(reader, page->statement, values, err))
		return false;
	while ((got = sqlite_next(reader, page->statement, err)) == 1) {
		if (n++ == page->limit) {
			api_cursor_header(call,
					  page->is_by_creation ? last.created_at.ns
							       : last.started_at.ns,
					  &last.id);
			sqlite_reset(reader, page->statement);
			return true;
		}
		store_sandbox_row(store, page->statement, &sandbox);
		json_array_append_new(rows, page->row_json(call, &sandbox));
		last = sandbox.row;
	}
	return got == 0;
}

/* ---- open and close ---- */

int api_open(struct api **out_api, uv_loop_t *loop, const struct api_options *options,
	     struct err *err)
{
	struct api *api = calloc(1, sizeof(*api));
	struct http_options http = {
		.listen = options->listen,
		.connections_max = options->connections_max,
		.body_max = options->body_max,
		.patience_s = options->patience_s,
		.on_request = api_on_request,
		.on_upload = api_on_upload,
		.data = api,
	};

	CHECK(api);
	api->options = *options;
	api->engine = options->engine;
	api->store = engine_store(options->engine);
	api_limits_open(api);
	api->opened_wall_ns = engine_wall().ns;
	if ((options->volumes_at.host[0] &&
	     http_client_open(&api->mount_client, loop, &(struct http_client_options){0}, err)) ||
	    door_open(api, loop, err) || http_open(&api->http, loop, &http, err)) {
		http_client_close(api->mount_client);
		door_close(api);
		free(api);
		return -1;
	}
	api_snapshots_open(api, loop);
	*out_api = api;
	return 0;
}

void api_close(struct api *api)
{
	struct http_request *request;

	if (!api)
		return;
	api_forks_lost(api);
	api_snapshots_close(api);
	door_close(api);
	while ((request = http_any_held(api->http)) != NULL)
		api_refuse(http_data(request), REFUSAL_STORE_UNAVAILABLE);
	http_client_close(api->mount_client);
	http_close(api->http);
	free(api->openapi);
	free(api);
}

struct address api_address(const struct api *api)
{
	return http_address(api->http);
}

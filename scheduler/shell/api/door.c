#include "scheduler/shell/api/door.h"

#include "common/base/check.h"
#include "scheduler/shell/api/forward.h"

#include <stdlib.h>
#include <string.h>

enum {
	DOOR_LOOK_MS = 50,            /* between looks at what waits */
	DOOR_PATIENCE_MS = 30 * 1000, /* of one request, however often it was forwarded */
};

enum core_role api_role(const struct api *api)
{
	enum core_role role;

	if (!api->options.leader)
		return CORE_ALONE;
	/* While it cannot write, a replica is none that leads. */
	if (!engine_is_available(api->engine))
		return CORE_STANDBY;
	role = core_role(engine_core(api->engine));
	/* One that was stopped in its tracks may have been followed by another meanwhile. */
	if (role != CORE_STANDBY && !api->options.leads(api->options.data))
		return CORE_STANDBY;
	return role == CORE_LEADING && api->is_leaving ? CORE_TAKING_OVER : role;
}

const char *api_role_name(enum core_role role)
{
	switch (role) {
	case CORE_ALONE:
		return "alone";
	case CORE_STANDBY:
		return "standby";
	case CORE_TAKING_OVER:
		return "taking over";
	case CORE_LEADING:
		return "leading";
	}
	return "";
}

bool door_is_repeatable(const struct api_call *call)
{
	switch (call->route->method) {
	case ROUTE_GET:
	case ROUTE_DELETE:
		return true;
	case ROUTE_PUT: /* sets what it says */
	case ROUTE_PATCH:
		return true;
	case ROUTE_POST:
		return http_header(call->request, "Idempotency-Key") != NULL;
	case ROUTE_METHOD_N:
		break;
	}
	return false;
}

/* ---- waiting ---- */

static void door_on_timer(uv_timer_t *timer)
{
	door_look(timer->data);
}

static void door_look_again(struct api *api)
{
	if (!uv_is_active((uv_handle_t *)api->door_timer))
		uv_timer_start(api->door_timer, door_on_timer, DOOR_LOOK_MS, DOOR_LOOK_MS);
}

static void door_keep(struct api_call *call)
{
	struct api *api = call->api;
	uint64_t now_ms = uv_hrtime() / 1000000;
	uint64_t last_ms = call->began_ns / 1000000 + DOOR_PATIENCE_MS;

	if (call->wait_until_ms == 0)
		call->wait_until_ms = now_ms + api->options.leader_wait_ms;
	if (call->wait_until_ms > last_ms)
		call->wait_until_ms = last_ms;
	http_hold(call->request);
	http_set_data(call->request, call);
	call->door_next = api->at_door;
	api->at_door = call;
	door_look_again(api);
}

void door_pass(struct api_call *call)
{
	struct api *api = call->api;
	const struct ha_peer *leader;

	switch (api_role(api)) {
	case CORE_ALONE:
	case CORE_LEADING:
		api_serve(call);
		return;
	case CORE_TAKING_OVER:
		if (call->route->method == ROUTE_GET)
			api_serve(call);
		else
			door_keep(call);
		return;
	case CORE_STANDBY:
		break;
	}
	leader = api->options.leader(api->options.data);
	/* etcd may still show this one, which knows better. */
	if (leader && strcmp(leader->name, api->options.replica_name) == 0)
		leader = NULL;
	if (call->route->who == ROUTE_ANYONE)
		api_serve(call);
	else if (forward_was_forwarded(call))
		forward_refuse(call); /* whoever sent it looks again who leads */
	else if (leader)
		forward_start(call, leader);
	else
		door_keep(call);
}

void door_again(struct api_call *call)
{
	struct api_call **at;

	for (at = &call->api->idempotent; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			break;
		}
	}
	json_decref(call->query);
	json_decref(call->body);
	call->query = call->body = NULL;
	call->next = NULL;
	call->on_reply = NULL;
	call->tenant = (struct id){0};
	call->is_operator = false;
	call->idempotency_key[0] = 0;
	door_keep(call);
}

void door_look(struct api *api)
{
	uint64_t now_ms = uv_hrtime() / 1000000;
	struct api_call *call, *waiting = api->at_door;

	/* What has to wait on goes back into the list. */
	api->at_door = NULL;
	while ((call = waiting) != NULL) {
		waiting = call->door_next;
		call->door_next = NULL;
		if (now_ms < call->wait_until_ms)
			door_pass(call);
		else
			api_refuse(call, api_role(api) == CORE_TAKING_OVER ? REFUSAL_TAKING_OVER
									   : REFUSAL_NO_LEADER);
	}
	if (!forward_give_up(api) && !api->at_door)
		uv_timer_stop(api->door_timer);
	else
		door_look_again(api);
	http_flush(api->http);
}

/* ---- open and close ---- */

int door_open(struct api *api, uv_loop_t *loop, struct err *err)
{
	struct http_client_options options = {0};

	if (!api->options.leader)
		return 0;
	if (http_client_open(&api->client, loop, &options, err))
		return err_wrap(err, "forwarding");
	api->door_timer = calloc(1, sizeof(*api->door_timer));
	CHECK(api->door_timer);
	uv_timer_init(loop, api->door_timer);
	api->door_timer->data = api;
	return 0;
}

static void door_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void door_close(struct api *api)
{
	http_client_close(api->client);
	api->client = NULL;
	api->at_door = NULL;
	if (api->door_timer)
		uv_close((uv_handle_t *)api->door_timer, door_free_handle);
}

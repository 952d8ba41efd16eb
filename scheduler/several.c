/*
 * This scheduler as one of several: what it needs to be told for that, who it is to the others, and
 * how it leaves them.
 */
#include "scheduler/scheduler.h"

#include "common/base/check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LEAVE_LOOK_MS = 5,
	LEAVE_LINGER_MS = 200,
	LEAVE_REQUESTS_MS = 2000, /* for what waits for nodes, and then for what is forwarded */
	LEASE_DEFAULT_MS = 60 * 1000,
	LEASE_MIN_MS = 6 * 1000, /* a poll is parked for a third of it, and the next has to come */
};

bool is_replica(const struct scheduler *scheduler)
{
	return scheduler->options.etcd[0] != 0;
}

/* ---- hooks ---- */

static void several_on_lead(void *data)
{
	nodes_on_lead(((struct scheduler *)data)->nodes);
}

static void several_on_role(void *data)
{
	api_on_role(((struct scheduler *)data)->api);
}

bool several_leads(void *data)
{
	return replica_leads(&((struct scheduler *)data)->replica);
}

const struct ha_peer *several_leader(void *data)
{
	return replica_leader(&((struct scheduler *)data)->replica);
}

const char *several_leader_bus(void *data)
{
	const struct ha_peer *leader = several_leader(data);

	return leader ? leader->bus : "";
}

/* ---- leaving ---- */

/* As etcd shows it: until the key is gone nobody else can lead. */
static bool is_leader(const struct scheduler *scheduler)
{
	const struct ha_peer *leader = replica_leader(&scheduler->replica);

	return leader && strcmp(leader->name, scheduler->replica_name) == 0;
}

/* Requests that others sent to us before they heard who leads now are on their way for this long.
 */
static bool has_lingered(struct scheduler *scheduler)
{
	struct leaving *leaving = &scheduler->leaving;

	if (!replica_leader(&scheduler->replica) || is_leader(scheduler))
		return false;
	if (leaving->followed_at.ns == 0)
		leaving->followed_at = engine_mono();
	return mono_ms_since(engine_mono(), leaving->followed_at) >= LEAVE_LINGER_MS &&
	       api_waiting_n(scheduler->api) == 0;
}

static void several_on_leave(uv_timer_t *timer)
{
	struct scheduler *scheduler = timer->data;
	struct leaving *leaving = &scheduler->leaving;
	bool is_late = mono_ms_since(engine_mono(), leaving->since) >= LEAVE_REQUESTS_MS;

	if (!leaving->has_resigned && (api_under_way_n(scheduler->api) == 0 || is_late)) {
		leaving->has_resigned = true;
		leaving->since = engine_mono();
		replica_resign(&scheduler->replica);
	} else if (leaving->has_resigned && (is_late || has_lingered(scheduler))) {
		uv_timer_stop(timer);
		uv_stop(&scheduler->loop);
	}
}

/*
 * A replica leaves so that hardly anybody notices: what is asked of it from now on waits; what it
 * was asked is answered; it gives the lead back; and what waited is forwarded to the next leader.
 */
void several_leave(struct scheduler *scheduler)
{
	struct leaving *leaving = &scheduler->leaving;

	if (leaving->timer)
		return;
	leaving->timer = calloc(1, sizeof(*leaving->timer));
	CHECK(leaving->timer);
	leaving->timer->data = scheduler;
	leaving->since = engine_mono();
	uv_timer_init(&scheduler->loop, leaving->timer);
	uv_timer_start(leaving->timer, several_on_leave, 0, LEAVE_LOOK_MS);
	api_leave(scheduler->api);
}

/* ---- open and close ---- */

static bool is_replica_name(const char *name)
{
	return name[0] && strlen(name) < HA_NAME_MAX &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")] == 0;
}

int several_check_options(struct scheduler *scheduler, struct err *err)
{
	struct scheduler_options *options = &scheduler->options;
	char host[256] = "";
	const char *name = options->replica_name[0] ? options->replica_name : host;

	if (options->lease_ms && options->lease_ms < LEASE_MIN_MS)
		return err_set(err, "--lease: should be 0 or at least 6s");
	if (!is_replica(scheduler))
		return 0;
	if (options->lease_ms == 0)
		options->lease_ms = LEASE_DEFAULT_MS;
	gethostname(host, sizeof(host) - 1);
	for (char *at = host; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	if (!is_replica_name(name))
		return err_set(err, "--replica-name: '%s' should be 1 to %d of a-z 0-9 - _ .", name,
			       HA_NAME_MAX - 1);
	memcpy(scheduler->replica_name, name, strlen(name) + 1);
	if (strlen(options->api_advertise) >= ADDRESS_TEXT_MAX ||
	    strlen(options->bus_advertise) >= ADDRESS_TEXT_MAX)
		return err_set(err, "--api-advertise, --bus-advertise: too long");
	return 0;
}

static void several_advertise(const char *told, struct address listens,
			      char out_text[ADDRESS_TEXT_MAX])
{
	if (told[0])
		memcpy(out_text, told, strlen(told) + 1);
	else
		address_format(&listens, out_text);
}

int several_open(struct scheduler *scheduler, struct err *err)
{
	const struct scheduler_options *options = &scheduler->options;
	struct replica *replica = &scheduler->replica;
	struct ha_peer *self = &replica->options.self;

	if (!is_replica(scheduler))
		return 0;
	replica->loop = &scheduler->loop;
	replica->engine = scheduler->engine;
	replica->decisions = &scheduler->decisions;
	replica->options.endpoints = options->etcd;
	replica->options.ca_file = options->etcd_ca[0] ? options->etcd_ca : NULL;
	snprintf(self->name, sizeof(self->name), "%s", scheduler->replica_name);
	several_advertise(options->api_advertise, api_address(scheduler->api), self->api);
	several_advertise(options->bus_advertise, nodes_address(scheduler->nodes), self->bus);
	secrets_fingerprint(&scheduler->secrets, replica->options.fingerprint);
	replica->hooks = (struct replica_hooks){
		.data = scheduler, .on_lead = several_on_lead, .on_role = several_on_role};
	return replica_open(replica, err);
}

static void several_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void several_close(struct scheduler *scheduler)
{
	replica_close(&scheduler->replica);
	if (scheduler->leaving.timer)
		uv_close((uv_handle_t *)scheduler->leaving.timer, several_free_handle);
}

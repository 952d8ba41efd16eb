/*
 * The API: requests to events of the core and rows of the store, and back to answers.
 */
#ifndef FLOTILLA_API_API_H
#define FLOTILLA_API_API_H

#include "common/io/address.h"
#include "common/io/options.h"
#include "scheduler/ha/ha.h"
#include "scheduler/shell/builds/builds.h"
#include "scheduler/shell/decisions.h"
#include "scheduler/shell/engine.h"
#include "scheduler/shell/observe/observations.h"
#include "scheduler/shell/secrets.h"

struct api;

struct api_options {
	struct address listen;
	uint32_t connections_max;
	uint64_t body_max;
	uint32_t patience_s;
	struct engine *engine;
	struct decisions *decisions;
	struct scheduler_metrics *metrics;
	struct observations *observations; /* NULL: none are kept */
	struct builds *builds;
	uint64_t upload_max; /* bytes of a file that a build copies */
	uint32_t build_vcpus_max, build_mem_max_mib, build_disk_mib;
	uint32_t builds_max, templates_max; /* of one tenant: open at once, and altogether */
	const struct secrets *secrets;
	const char *gateway_url; /* as tenants reach it */
	const char *issuer;      /* of identity tokens, a URL; "": there are none */
	struct renewals *renewals;
	const char *domain; /* below which each sandbox has host names; "": none */
	/* In 30 s, of one tenant and of one address without a key; 0: any number. */
	uint32_t requests_max, strangers_max;
	const struct option_list *creates;     /* in a second, by plan: "pro=5"; must stay */
	struct address volumes_at;             /* flotilla-volumes; no host: there is none */
	const struct option_list *volumes;     /* of one tenant, by plan; must stay */
	const struct option_list *volume_gibs; /* in each of them, by plan; must stay */
	const struct option_list *proxies; /* addresses whose X-Forwarded-For is true; must stay */
	/* The version of a node's agent, "" when not known. */
	const char *(*node_version)(void *data, const struct id *node);
	/* Who leads, NULL: nobody does now. The function is NULL where there is one scheduler. */
	const struct ha_peer *(*leader)(void *data);
	bool (*leads)(void *data); /* this replica, by its own clock, at this moment */
	const char *replica_name;  /* where there are several */
	uint64_t leader_wait_ms;   /* requests wait so long for a leader that admits */
	void *data;
};

/* Whether the option is a list of numbers by plan. */
int api_limits_check(const char *option, const struct option_list *by_plan, struct err *err);

int api_open(struct api **out_api, uv_loop_t *loop, const struct api_options *options,
	     struct err *err);

/* Requests under way are cut off. NULL is fine. */
void api_close(struct api *api);

struct address api_address(const struct api *api);

/* Hooks of the engine. */
void api_on_reply(struct api *api, const struct core_effect *effect);
void api_on_lost(struct api *api);
void api_on_round(struct api *api);

/* This replica leaves: what is asked from now on waits for another to lead. */
void api_leave(struct api *api);

/* Requests that wait for the core or a decision; and all that are not answered yet. */
uint32_t api_under_way_n(const struct api *api);
uint32_t api_waiting_n(const struct api *api);

/* Who leads, or what this replica is, has changed. */
void api_on_role(struct api *api);

#endif

/*
 * Who asks too often: a tenant for anything, a tenant for new sandboxes, and an address that has no
 * key.  Operators and what everyone may ask (health above all) are not counted.
 */
#include "scheduler/shell/api/call.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	REQUESTS_PERIOD_MS = 30 * 1000, /* as E2B counts them */
	CREATES_PERIOD_MS = 1000,
	RATE_MAX = 1000000,
};

/* "pro=5": the part behind the name's '='; NULL when it is about another plan. */
static const char *rate_of(const char *item, const char *plan)
{
	size_t n = strcspn(item, "=");

	return item[n] && strlen(plan) == n && memcmp(item, plan, n) == 0 ? item + n + 1 : NULL;
}

static bool rate_read(const char *text, uint32_t *out_rate)
{
	char *end;
	unsigned long rate = strtoul(text, &end, 10);

	*out_rate = (uint32_t)rate;
	return text[0] >= '0' && text[0] <= '9' && !*end && rate <= RATE_MAX;
}

int api_limits_check(const char *option, const struct option_list *by_plan, struct err *err)
{
	for (size_t i = 0; i < by_plan->n; i++) {
		const char *item = option_list_at(by_plan, i);
		uint32_t rate;
		if (!strchr(item, '=') || item[0] == '=' ||
		    !rate_read(strchr(item, '=') + 1, &rate))
			return err_set(err, "--limits-%s: %s: not PLAN=0..%d", option, item,
				       RATE_MAX);
	}
	return 0;
}

uint32_t api_limit_of(const struct option_list *by_plan, const char *plan)
{
	uint32_t rate = 0;

	for (size_t i = 0; i < by_plan->n; i++) {
		const char *text = rate_of(option_list_at(by_plan, i), plan);
		if (text)
			rate_read(text, &rate);
	}
	return rate;
}

static void header_number(struct api_call *call, const char *name, uint32_t number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	http_add_header(call->request, name, text);
}

static void limit_headers(struct api_call *call, const struct limiter_verdict *verdict)
{
	if (verdict->limit == 0)
		return;
	header_number(call, "RateLimit-Limit", verdict->limit);
	header_number(call, "RateLimit-Remaining", verdict->remaining);
	header_number(call, "RateLimit-Reset", verdict->reset_s);
	if (verdict->is_allowed)
		return;
	header_number(call, "X-RateLimit-Limit", verdict->limit);
	header_number(call, "X-RateLimit-Remaining", verdict->remaining);
	header_number(call, "X-RateLimit-Reset", verdict->reset_s);
	header_number(call, "Retry-After", verdict->retry_s);
}

/* False: the call is ended. */
static bool limit_take(struct api_call *call, char kind, const char *name, struct limiter_rate rate,
		       bool tells)
{
	struct limiter_verdict verdict =
		limiter_take(&call->api->limiter, kind, name, rate, uv_hrtime() / 1000000);

	if (tells || !verdict.is_allowed)
		limit_headers(call, &verdict);
	if (verdict.is_allowed)
		return true;
	api_fail(call, 429, "rate_limited", "", "Rate limit exceeded, please try again later");
	return false;
}

void api_limits_open(struct api *api)
{
	uint8_t seed[LIMITER_SEED_N];

	randombytes_buf(seed, sizeof(seed));
	limiter_init(&api->limiter, seed);
}

bool api_limit_requests(struct api_call *call)
{
	const struct limiter_rate rate = {call->api->options.requests_max, REQUESTS_PERIOD_MS};
	bool is_create = call->route->id == routes[ROUTE_ID_sandbox_create].id ||
			 call->route->id == routes[ROUTE_ID_sandbox_create_v2].id;

	if (call->is_operator)
		return true;
	return limit_take(call, 'r', call->tenant.text, rate, !is_create);
}

bool api_limit_creates(struct api_call *call)
{
	struct limiter_rate rate = {0, CREATES_PERIOD_MS};
	struct store_tenant tenant;
	struct err err;

	if (call->api->options.creates->n == 0 ||
	    store_tenant_find(call->api->store, &call->tenant, &tenant, &err) != 1)
		return true; /* who it is, the core says */
	rate.burst = api_limit_of(call->api->options.creates, tenant.plan);
	return limit_take(call, 'c', call->tenant.text, rate, true);
}

/* Whose request it is: a gateway's says so. */
static const char *asking_address(struct api_call *call, const struct address *peer)
{
	const struct option_list *proxies = call->api->options.proxies;
	const char *told = http_header(call->request, "X-Forwarded-For");

	for (size_t i = 0; told && i < proxies->n; i++) {
		if (strcmp(option_list_at(proxies, i), peer->host) == 0)
			return told;
	}
	return peer->host;
}

bool api_limit_strangers(struct api_call *call)
{
	const struct limiter_rate rate = {call->api->options.strangers_max, REQUESTS_PERIOD_MS};
	struct address peer;

	if (!http_peer(call->request, &peer))
		return true;
	return limit_take(call, 's', asking_address(call, &peer), rate, false);
}

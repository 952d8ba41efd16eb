/* What everyone may ask: whether it lives, whether it works, what it counts, how it is used. */
#include "scheduler/shell/api/door.h"

#include "common/base/check.h"
#include "scheduler/shell/api/openapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_TYPE "text/plain; charset=utf-8"

static void answer_printed(struct api_call *call, int status, const char *text)
{
	char *copy = strdup(text);

	CHECK(copy);
	api_answer_text(call, status, TEXT_TYPE, copy, strlen(copy));
}

void api_e2b_health(struct api_call *call)
{
	answer_printed(call, 200, "Health check successful");
}

void api_livez(struct api_call *call)
{
	answer_printed(call, 200, "ok\n");
}

/* Damage to the past does not stop the present: it is said here, and the status stays. */
static void ledger_line(struct store *store, char *out, size_t out_n)
{
	struct ledger_audit_status status;

	if (!store_audit_status(store, &status)) {
		snprintf(out, out_n, "[+] ledger: not audited");
		return;
	}
	switch (status.state) {
	case LEDGER_AUDIT_RUNS:
		snprintf(out, out_n, "[+] ledger: %lld of %lld facts verified%s%.300s",
			 (long long)status.events_n, (long long)status.of_n,
			 status.err.text[0] ? ", cannot be read now: " : "", status.err.text);
		return;
	case LEDGER_AUDIT_PASSED:
		snprintf(out, out_n, "[+] ledger: verified, %lld facts",
			 (long long)status.events_n);
		return;
	case LEDGER_AUDIT_DAMAGED:
		snprintf(out, out_n, "[-] ledger: DAMAGED behind %lld facts: %.400s",
			 (long long)status.events_n, status.err.text);
		return;
	}
}

/* One of several schedulers: what it is, and who leads. */
static void replica_line(const struct api *api, char *out, size_t out_max)
{
	const struct ha_peer *leader;

	out[0] = 0;
	if (!api->options.leader)
		return;
	leader = api->options.leader(api->options.data);
	snprintf(out, out_max, "[%c] replica: %s, %s; leader: %s\n", leader ? '+' : '-',
		 api->options.replica_name, api_role_name(api_role(api)),
		 leader ? leader->name : "none, or none that is known");
}

void api_readyz(struct api_call *call)
{
	bool ready = engine_is_available(call->api->engine);
	struct core_counts counts = {0};
	char text[2048], ledger[512], replica[256];

	if (ready)
		core_count(engine_core(call->api->engine), &counts);
	if (!api_text(call->query, "verbose")) {
		answer_printed(call, ready ? 200 : 503, ready ? "ok\n" : "not ready\n");
		return;
	}
	ledger_line(call->api->store, ledger, sizeof(ledger));
	replica_line(call->api, replica, sizeof(replica));
	snprintf(text, sizeof(text),
		 "[%c] store: %s\n%s\n[%c] core: epoch %u\n%s[+] bus: %u of %u nodes heard of "
		 "lately\n%s\n",
		 ready ? '+' : '-', ready ? "writes" : "cannot be written now", ledger,
		 ready ? '+' : '-', engine_epoch(call->api->engine), replica, counts.nodes_awake,
		 counts.nodes, ready ? "ready" : "not ready");
	answer_printed(call, ready ? 200 : 503, text);
}

void api_scheduler_get(struct api_call *call)
{
	const struct api_options *options = &call->api->options;

	if (!api_needs_engine(call))
		return;
	api_answer(call, json_pack("{s:s,s:s,s:I,s:s}", "name",
				   options->replica_name ? options->replica_name : "", "role",
				   api_role_name(api_role(call->api)), "epoch",
				   (json_int_t)engine_epoch(call->api->engine), "version",
				   FLOTILLA_VERSION));
}

void api_metrics(struct api_call *call)
{
	struct http_counts counts = http_count(call->api->http);
	struct scheduler_metrics *metrics = call->api->options.metrics;
	struct ledger_audit_status audit;
	size_t n;
	char *text;

	metrics->connections = counts.connections;
	metrics->held = counts.held;
	if (store_audit_status(call->api->store, &audit)) {
		metrics->ledger_audited = audit.events_n;
		metrics->ledger_damaged = audit.state == LEDGER_AUDIT_DAMAGED;
	}
	text = scheduler_metrics_print(
		metrics,
		engine_is_available(call->api->engine) ? engine_core(call->api->engine) : NULL, &n);
	api_answer_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
}

void api_openapi(struct api_call *call)
{
	struct api *api = call->api;
	char *copy;

	if (!api->openapi) {
		json_t *document = openapi_make(FLOTILLA_VERSION);
		api->openapi = json_dumps(document, JSON_COMPACT);
		CHECK(api->openapi);
		json_decref(document);
		api->openapi_n = strlen(api->openapi);
	}
	copy = strdup(api->openapi);
	CHECK(copy);
	api_answer_text(call, 200, "application/json", copy, api->openapi_n);
}

/*
 * flotilla-scheduler: the API, the core, the store and the bus on one loop, and one thread that
 * commits.
 */
#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "scheduler/scheduler.h"

#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct option_spec rows[] = {
#define OPTION(...) OPTION_ROW(struct scheduler_options, __VA_ARGS__)
#include "scheduler/options.def"
#undef OPTION
};

static const struct options_program program = {
	.name = "scheduler",
	.summary = "places sandboxes on nodes, and keeps the books",
	.rows = rows,
	.rows_n = ARRAY_N(rows),
	.size = sizeof(struct scheduler_options),
};

/* ---- hooks ---- */

/* Another leader began in the meantime; or, alone, an older copy of the database runs here. */
static void scheduler_on_epoch_over(struct scheduler *scheduler, uint64_t seen)
{
	log_error("scheduler", "a node has seen a newer epoch", LOG_UINT("seen", seen),
		  LOG_UINT("ours", engine_epoch(scheduler->engine)));
	if (is_replica(scheduler))
		replica_step_down(&scheduler->replica);
	else
		engine_renew(scheduler->engine, seen);
}

static void scheduler_on_tell(void *data, const struct core_effect *effect)
{
	struct scheduler *scheduler = data;

	switch (effect->kind) {
	case CORE_EFFECT_REPLY:
		api_on_reply(scheduler->api, effect);
		return;
	case CORE_EFFECT_EPOCH_OVER:
		scheduler_on_epoch_over(scheduler, effect->epoch_over.seen);
		return;
	case CORE_EFFECT_ADMITTING:
		log_info("scheduler", "admits");
		nodes_on_admitting(scheduler->nodes);
		api_on_role(scheduler->api);
		return;
	case CORE_EFFECT_WAKE:
	case CORE_EFFECT_ORDER:
	case CORE_EFFECT_ACK:
		nodes_on_tell(scheduler->nodes, effect);
		return;
	case CORE_EFFECT_SAVE_NODE:
	case CORE_EFFECT_SAVE_TEMPLATE:
	case CORE_EFFECT_SAVE_SANDBOX:
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_POST_USAGE:
	case CORE_EFFECT_N:
		break;
	}
	check_broken("an effect to be told", __FILE__, __LINE__);
}

static void scheduler_on_lost(void *data)
{
	struct scheduler *scheduler = data;

	nodes_on_lost(scheduler->nodes);
	api_on_lost(scheduler->api);
	if (is_replica(scheduler) && replica_leads(&scheduler->replica))
		replica_step_down(&scheduler->replica);
}

static void scheduler_on_rebuilt(void *data)
{
	struct scheduler *scheduler = data;

	nodes_on_rebuilt(scheduler->nodes);
	api_on_role(scheduler->api);
}

static void scheduler_on_round(void *data)
{
	struct scheduler *scheduler = data;

	if (scheduler->api)
		api_on_round(scheduler->api);
}

static void scheduler_on_enrolled(void *data, const struct store_node *node)
{
	nodes_on_enrolled(((struct scheduler *)data)->nodes, node);
}

static const char *scheduler_node_version(void *data, const struct id *node)
{
	return nodes_version(((struct scheduler *)data)->nodes, node);
}

/* ---- stopping ---- */

static void scheduler_on_stop(struct daemon_signals *signals)
{
	struct scheduler *scheduler = signals->data;

	log_info("scheduler", "stopping");
	daemon_notify("STOPPING=1");
	if (is_replica(scheduler))
		several_leave(scheduler);
	else
		uv_stop(&scheduler->loop);
}

/* ---- start ---- */

static int scheduler_open_engine(struct scheduler *scheduler, struct err *err)
{
	const struct scheduler_options *options = &scheduler->options;
	struct identity self;
	identity_make(scheduler->secrets.bus_seed, &self);
	struct engine_options engine = {
		.state_dir = options->state_dir,
		.limits = {.tenants = options->limit_tenants,
			   .nodes = options->limit_nodes,
			   .templates = options->limit_templates,
			   .sandboxes = options->limit_sandboxes,
			   .lease_ms = (uint32_t)options->lease_ms,
			   .transfers_max = options->templates_copies,
			   .everywhere = options->templates_everywhere},
		.retry_ms = (uint32_t)options->store_retry_ms,
		.is_replica = is_replica(scheduler),
		.signer = &self,
	};
	struct engine_hooks hooks = {.data = scheduler,
				     .on_tell = scheduler_on_tell,
				     .on_lost = scheduler_on_lost,
				     .on_round = scheduler_on_round,
				     .on_rebuilt = scheduler_on_rebuilt};

	int fault = engine_open(&scheduler->engine, &scheduler->loop, &engine, &hooks,
				&scheduler->metrics, err);
	sodium_memzero(&self, sizeof(self));
	return fault;
}

static int scheduler_open_nodes(struct scheduler *scheduler, char tunnel[ADDRESS_TEXT_MAX],
				struct err *err)
{
	struct nodes_options nodes = {
		.listen = scheduler->options.bus_listen,
		.nodes_max = scheduler->options.limit_nodes,
		.gateway_tunnel = tunnel,
		.gateway_url = scheduler->options.gateway_url,
		.issuer = scheduler->issuer,
		.engine = scheduler->engine,
		.decisions = &scheduler->decisions,
		.metrics = &scheduler->metrics,
		.observations = scheduler->observations,
		.builds = scheduler->builds,
		.secrets = &scheduler->secrets,
		.lease_ms = scheduler->options.lease_ms,
		.leads = is_replica(scheduler) ? several_leads : NULL,
		.leader_bus = several_leader_bus,
		.data = scheduler,
	};

	address_format(&scheduler->options.gateway_tunnel, tunnel);
	return nodes_open(&scheduler->nodes, &scheduler->loop, &nodes, err);
}

static int scheduler_open_api(struct scheduler *scheduler, struct err *err)
{
	struct api_options api = {
		.listen = scheduler->options.api_listen,
		.connections_max = scheduler->options.api_connections,
		.body_max = scheduler->options.api_body,
		.patience_s = (uint32_t)((scheduler->options.api_patience_ms + 999) / 1000),
		.engine = scheduler->engine,
		.decisions = &scheduler->decisions,
		.metrics = &scheduler->metrics,
		.observations = scheduler->observations,
		.builds = scheduler->builds,
		.upload_max = scheduler->options.upload_max,
		.build_vcpus_max = scheduler->options.build_vcpus,
		.build_mem_max_mib = scheduler->options.build_mem_mib,
		.build_disk_mib = scheduler->options.build_disk_mib,
		.builds_max = scheduler->options.builds_max,
		.templates_max = scheduler->options.tenant_templates,
		.secrets = &scheduler->secrets,
		.leader = is_replica(scheduler) ? several_leader : NULL,
		.leads = several_leads,
		.replica_name = scheduler->replica_name,
		.leader_wait_ms = scheduler->options.leader_wait_ms,
		.requests_max = scheduler->options.limit_requests,
		.strangers_max = scheduler->options.limit_strangers,
		.proxies = &scheduler->options.limit_proxies,
		.creates = &scheduler->options.limit_creates,
		.volumes_at = scheduler->options.volumes,
		.volumes = &scheduler->options.limit_volumes,
		.volume_gibs = &scheduler->options.limit_volume_gibs,
		.gateway_url = scheduler->options.gateway_url,
		.issuer = scheduler->issuer,
		.renewals = scheduler->renewals,
		.domain = scheduler->options.domain,
		.node_version = scheduler_node_version,
		.data = scheduler,
	};

	return api_open(&scheduler->api, &scheduler->loop, &api, err);
}

/* What is seen of sandboxes is a help, and no reason not to start. */
static void scheduler_open_observations(struct scheduler *scheduler)
{
	const struct observations_options options = {
		.dir = scheduler->options.state_dir,
		.retention_ms = scheduler->options.observe_retention_ms,
		.size_max = scheduler->options.observe_size,
		.dropped = &scheduler->metrics.observed_dropped,
	};
	struct err err;

	if (observations_open(&scheduler->observations, &options, &err))
		log_error("scheduler", "samples and logs of sandboxes are not kept", LOG_ERR(&err));
}

static int scheduler_open_builds(struct scheduler *scheduler, struct err *err)
{
	const struct builds_options options = {
		.state_dir = scheduler->options.state_dir,
		.engine = scheduler->engine,
		.decisions = &scheduler->decisions,
		.space_max = scheduler->options.upload_space,
		.keep_ms = scheduler->options.upload_keep_ms,
		.leads = is_replica(scheduler) ? several_leads : NULL,
		.data = scheduler,
	};

	return builds_open(&scheduler->builds, &scheduler->loop, &options, err);
}

/* A trailing "/" would be twice in what is below it. */
static int scheduler_open_identity(struct scheduler *scheduler, struct err *err)
{
	const struct renewals_options renewals = {.engine = scheduler->engine,
						  .secrets = &scheduler->secrets};
	const char *given = scheduler->options.identity_issuer;
	size_t n = strlen(given);

	if (*given && strncmp(given, "http://", 7) != 0 && strncmp(given, "https://", 8) != 0)
		return err_set(err, "--identity-issuer: should begin with https:// or http://");
	if (n > 256)
		return err_set(err, "--identity-issuer: too long");
	while (n && given[n - 1] == '/')
		n--;
	if (n)
		snprintf(scheduler->issuer, sizeof(scheduler->issuer), "%.*s", (int)n, given);
	else if (scheduler->options.domain[0])
		snprintf(scheduler->issuer, sizeof(scheduler->issuer), "https://api.%.300s",
			 scheduler->options.domain);
	renewals_open(&scheduler->renewals, &scheduler->loop, &renewals);
	return 0;
}

static int scheduler_verify(struct scheduler *scheduler, struct err *err)
{
	struct store *store = engine_store(scheduler->engine);
	uint64_t events_n;

	if (!scheduler->options.store_verify)
		return store_verify_end(store, &events_n, err) ? err_wrap(err, "verify") : 0;
	if (sqlite_check(store_reader(store), err) || store_verify(store, &events_n, err))
		return err_wrap(err, "verify");
	log_info("store", "verified", LOG_UINT("usage_events", events_n));
	return 0;
}

static void scheduler_on_audited(void *data, const struct ledger_audit_status *status)
{
	(void)data;
	if (status->state == LEDGER_AUDIT_DAMAGED)
		log_error("ledger", "damaged: do not bill from it before it is looked into",
			  LOG_ERR(&status->err));
	else
		log_info("ledger", "verified", LOG_INT("usage_events", status->events_n));
}

/* The first operator's key is one of the keys like any other; kept known at every start. */
static int scheduler_admit_operator(struct scheduler *scheduler, struct err *err)
{
	struct store_op *op = engine_write(scheduler->engine, STORE_OP_KEY);

	/* The id follows from the key, so that the same row is met again. */
	secrets_hash(&scheduler->secrets, scheduler->secrets.operator_key, op->key.hash);
	op->key.id = id_make("key_", op->key.hash);
	snprintf(op->key.name, sizeof(op->key.name), "operator.key");
	return engine_settle(scheduler->engine, err);
}

static int scheduler_open(struct scheduler *scheduler, char tunnel[ADDRESS_TEXT_MAX],
			  struct err *err)
{
	const char *dir = scheduler->options.state_dir;

	if (file_make_dirs(dir, 0700, err) || daemon_lock(dir, &scheduler->lock_fd, err) ||
	    secrets_open(&scheduler->secrets, dir, err))
		return -1;
	if (api_limits_check("creates", &scheduler->options.limit_creates, err) ||
	    api_limits_check("volumes", &scheduler->options.limit_volumes, err) ||
	    api_limits_check("volume-gib", &scheduler->options.limit_volume_gibs, err) ||
	    several_check_options(scheduler, err) || scheduler_open_engine(scheduler, err))
		return -1;
	scheduler->decisions = (struct decisions){.engine = scheduler->engine,
						  .is_replica = is_replica(scheduler),
						  .on_node = scheduler_on_enrolled,
						  .data = scheduler};
	scheduler_open_observations(scheduler);
	if (scheduler_open_identity(scheduler, err) || scheduler_verify(scheduler, err) ||
	    scheduler_open_builds(scheduler, err) || scheduler_open_nodes(scheduler, tunnel, err) ||
	    scheduler_admit_operator(scheduler, err) || scheduler_open_api(scheduler, err) ||
	    store_audit(engine_store(scheduler->engine), scheduler_on_audited, scheduler, err) ||
	    several_open(scheduler, err))
		return -1;
	scheduler->signals.data = scheduler;
	scheduler->signals.on_stop = scheduler_on_stop;
	return daemon_signals_start(&scheduler->signals, &scheduler->loop, err);
}

static int scheduler_say_ready(struct scheduler *scheduler, struct err *err)
{
	struct daemon_endpoint endpoints[] = {
		{"api", api_address(scheduler->api)},
		{"bus", nodes_address(scheduler->nodes)},
	};

	return daemon_ready(scheduler->options.ready_file, endpoints, ARRAY_N(endpoints), err);
}

static void scheduler_close(struct scheduler *scheduler)
{
	daemon_signals_stop(&scheduler->signals);
	several_close(scheduler);
	/* The engine first: it ends what waits for the store. */
	engine_close(scheduler->engine);
	renewals_close(scheduler->renewals);
	api_close(scheduler->api);
	nodes_close(scheduler->nodes);
	builds_close(scheduler->builds);
	observations_close(scheduler->observations);
	uv_run(&scheduler->loop, UV_RUN_DEFAULT);
	uv_loop_close(&scheduler->loop);
	if (scheduler->lock_fd >= 0)
		close(scheduler->lock_fd);
}

int main(int argc, char **argv)
{
	static struct options_set set;
	static struct scheduler scheduler = {.lock_fd = -1};
	char tunnel[ADDRESS_TEXT_MAX];
	struct err err;
	int status = options_start(&set, &program, &scheduler.options, argc, argv);

	if (status != OPTIONS_GO_ON)
		return status;
	log_setup(scheduler.options.log_level, scheduler.options.log_format);
	daemon_raise_files();
	/* A file-size limit that is met is a failed write, which is lived with, not a signal. */
	signal(SIGXFSZ, SIG_IGN);
	/* Many short-lived small objects on two threads: one arena keeps the process small. */
	mallopt(M_ARENA_MAX, 1);
	CHECK(uv_loop_init(&scheduler.loop) == 0);
	status = 0;
	if (scheduler_open(&scheduler, tunnel, &err) || scheduler_say_ready(&scheduler, &err)) {
		log_error("scheduler", "cannot start", LOG_ERR(&err));
		status = 1;
	} else {
		log_info("scheduler", "ready", LOG_UINT("epoch", engine_epoch(scheduler.engine)));
		uv_run(&scheduler.loop, UV_RUN_DEFAULT);
	}
	scheduler_close(&scheduler);
	log_flush();
	return status;
}

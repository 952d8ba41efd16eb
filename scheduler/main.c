/*
 * flotilla-scheduler: the API, the core, the store and the bus on one loop, and one thread that
 * commits.
 */
#include "common/base/check.h"
#include "common/io/daemon.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "common/io/options.h"
#include "scheduler/shell/api/api.h"
#include "scheduler/shell/bus/nodes.h"
#include "scheduler/shell/decisions.h"
#include "scheduler/shell/engine.h"
#include "scheduler/shell/replica.h"
#include "scheduler/shell/secrets.h"

#include <ctype.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scheduler_options {
#define OPTION OPTION_MEMBER
#include "scheduler/options.def"
#undef OPTION
};

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

/* How a replica stops: see scheduler_leave. */
struct leaving {
	uv_timer_t *timer; /* freed by its close callback */
	struct mono since;
	bool has_resigned;
};

enum {
	LEAVE_LOOK_MS = 5,
	LEAVE_REQUESTS_MS = 2000, /* for what waits for nodes, and then for what is forwarded */
	LEASE_DEFAULT_MS = 60 * 1000,
	LEASE_MIN_MS = 3 * 1000, /* a heartbeat must have a chance */
};

struct scheduler {
	struct scheduler_options options;
	uv_loop_t loop;
	int lock_fd;
	struct secrets secrets;
	struct scheduler_metrics metrics;
	struct engine *engine;
	struct decisions decisions;
	struct replica replica; /* unused where there is one scheduler */
	char replica_name[HA_NAME_MAX];
	struct api *api;
	struct nodes *nodes;
	struct daemon_signals signals;
	struct leaving leaving;
};

static bool is_replica(const struct scheduler *scheduler)
{
	return scheduler->options.etcd[0] != 0;
}

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

static void scheduler_on_lead(void *data)
{
	nodes_on_lead(((struct scheduler *)data)->nodes);
}

static void scheduler_on_role(void *data)
{
	api_on_role(((struct scheduler *)data)->api);
}

static bool scheduler_leads(void *data)
{
	return replica_leads(&((struct scheduler *)data)->replica);
}

static const struct ha_peer *scheduler_leader(void *data)
{
	return replica_leader(&((struct scheduler *)data)->replica);
}

static const char *scheduler_leader_bus(void *data)
{
	const struct ha_peer *leader = scheduler_leader(data);

	return leader ? leader->bus : "";
}

static const char *scheduler_node_version(void *data, const struct id *node)
{
	return nodes_version(((struct scheduler *)data)->nodes, node);
}

/* ---- stopping ---- */

static void scheduler_on_leave(uv_timer_t *timer)
{
	struct scheduler *scheduler = timer->data;
	struct leaving *leaving = &scheduler->leaving;
	bool is_late = mono_ms_since(engine_mono(), leaving->since) >= LEAVE_REQUESTS_MS;

	if (!leaving->has_resigned && (api_under_way_n(scheduler->api) == 0 || is_late)) {
		leaving->has_resigned = true;
		leaving->since = engine_mono();
		replica_resign(&scheduler->replica);
	} else if (leaving->has_resigned && !replica_leads(&scheduler->replica) &&
		   (api_waiting_n(scheduler->api) == 0 || is_late)) {
		uv_timer_stop(timer);
		uv_stop(&scheduler->loop);
	}
}

/*
 * A replica leaves so that hardly anybody notices: what is asked of it from now on waits; what it
 * was asked is answered; it gives the lead back; and what waited is forwarded to the next leader.
 */
static void scheduler_leave(struct scheduler *scheduler)
{
	struct leaving *leaving = &scheduler->leaving;

	if (leaving->timer)
		return;
	leaving->timer = calloc(1, sizeof(*leaving->timer));
	CHECK(leaving->timer);
	leaving->timer->data = scheduler;
	leaving->since = engine_mono();
	uv_timer_init(&scheduler->loop, leaving->timer);
	uv_timer_start(leaving->timer, scheduler_on_leave, 0, LEAVE_LOOK_MS);
	api_leave(scheduler->api);
}

static void scheduler_on_stop(struct daemon_signals *signals)
{
	struct scheduler *scheduler = signals->data;

	log_info("scheduler", "stopping");
	daemon_notify("STOPPING=1");
	if (is_replica(scheduler))
		scheduler_leave(scheduler);
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
			   .lease_ms = (uint32_t)options->lease_ms},
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
		.engine = scheduler->engine,
		.decisions = &scheduler->decisions,
		.metrics = &scheduler->metrics,
		.secrets = &scheduler->secrets,
		.lease_ms = scheduler->options.lease_ms,
		.leads = is_replica(scheduler) ? scheduler_leads : NULL,
		.leader_bus = scheduler_leader_bus,
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
		.secrets = &scheduler->secrets,
		.leader = is_replica(scheduler) ? scheduler_leader : NULL,
		.replica_name = scheduler->replica_name,
		.leader_wait_ms = scheduler->options.leader_wait_ms,
		.gateway_url = scheduler->options.gateway_url,
		.node_version = scheduler_node_version,
		.data = scheduler,
	};

	return api_open(&scheduler->api, &scheduler->loop, &api, err);
}

/* ---- one of several ---- */

static bool is_replica_name(const char *name)
{
	return name[0] && strlen(name) < HA_NAME_MAX &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")] == 0;
}

static int scheduler_check_options(struct scheduler *scheduler, struct err *err)
{
	struct scheduler_options *options = &scheduler->options;
	char host[256] = "";
	const char *name = options->replica_name[0] ? options->replica_name : host;

	if (options->lease_ms && options->lease_ms < LEASE_MIN_MS)
		return err_set(err, "--lease: should be 0 or at least 3s");
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

static void scheduler_advertise(const char *told, struct address listens,
				char out_text[ADDRESS_TEXT_MAX])
{
	if (told[0])
		memcpy(out_text, told, strlen(told) + 1);
	else
		address_format(&listens, out_text);
}

static int scheduler_open_replica(struct scheduler *scheduler, struct err *err)
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
	scheduler_advertise(options->api_advertise, api_address(scheduler->api), self->api);
	scheduler_advertise(options->bus_advertise, nodes_address(scheduler->nodes), self->bus);
	secrets_fingerprint(&scheduler->secrets, replica->options.fingerprint);
	replica->hooks = (struct replica_hooks){
		.data = scheduler, .on_lead = scheduler_on_lead, .on_role = scheduler_on_role};
	return replica_open(replica, err);
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
	if (scheduler_check_options(scheduler, err) || scheduler_open_engine(scheduler, err))
		return -1;
	scheduler->decisions = (struct decisions){.engine = scheduler->engine,
						  .is_replica = is_replica(scheduler),
						  .on_node = scheduler_on_enrolled,
						  .data = scheduler};
	if (scheduler_verify(scheduler, err) || scheduler_open_nodes(scheduler, tunnel, err) ||
	    scheduler_admit_operator(scheduler, err) || scheduler_open_api(scheduler, err) ||
	    store_audit(engine_store(scheduler->engine), scheduler_on_audited, scheduler, err) ||
	    scheduler_open_replica(scheduler, err))
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

static void scheduler_free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void scheduler_close(struct scheduler *scheduler)
{
	daemon_signals_stop(&scheduler->signals);
	replica_close(&scheduler->replica);
	if (scheduler->leaving.timer)
		uv_close((uv_handle_t *)scheduler->leaving.timer, scheduler_free_handle);
	/* The engine first: it ends what waits for the store. */
	engine_close(scheduler->engine);
	api_close(scheduler->api);
	nodes_close(scheduler->nodes);
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

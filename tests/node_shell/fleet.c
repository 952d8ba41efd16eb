#include "tests/node_shell/fleet.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/shell/host.h"
#include "node-agent/vm/machine.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LATE_MS = 30 * 1000 };

static const char template_id[] = "0123456789abcdef0123456789abcdef01234567";

static void path_in(const struct fleet *fleet, const char *name, char out_path[OPTION_TEXT_MAX])
{
	snprintf(out_path, OPTION_TEXT_MAX, "%s/%s", fleet->root, name);
}

static void make_dirs(const struct fleet *fleet, const char *name)
{
	char path[OPTION_TEXT_MAX];

	path_in(fleet, name, path);
	CHECK(file_make_dirs(path, 0700, NULL) == 0);
}

/* One that this host's QEMU could have made; nobody restores it. */
static void make_template(const struct fleet *fleet)
{
	struct vm_template template_ = {
		.name = "base",
		.shape = {.vcpus = 1, .mem_mib = 512, .disk_mib = 1024},
		.accel = VM_ACCEL_TCG,
	};
	char path[OPTION_TEXT_MAX];
	struct err err;

	make_dirs(fleet, "store/name");
	make_dirs(fleet, "store/snapshot/base");
	path_in(fleet, "store/snapshot/base", template_.dir);
	strcpy(template_.id, template_id);
	strcpy(template_.rootfs_id, template_id);
	strcpy(template_.guest_hash, template_id);
	CHECK(vm_qemu_version(template_.qemu, &err) == 0);
	CHECK(vm_machine_fingerprint(&template_.shape, template_.accel, template_.machine, &err) ==
	      0);
	CHECK(vm_template_write(&template_, &err) == 0);
	path_in(fleet, "store/name/base", path);
	CHECK(symlink("../snapshot/base", path) == 0);
}

static void make_node(struct fleet *fleet)
{
	uint8_t seed[IDENTITY_SEED_N] = {9};
	char path[OPTION_TEXT_MAX];

	identity_make(seed, &fleet->node);
	path_in(fleet, "state/node.key", path);
	CHECK(file_write_atomic(path, seed, sizeof(seed), 0600, NULL) == 0);
	path_in(fleet, "token", path);
	CHECK(file_write_atomic(path, "e2b_token\n", 10, 0600, NULL) == 0);
}

static void set_options(struct fleet *fleet)
{
	struct agent_options *options = &fleet->options;

	path_in(fleet, "state", options->state_dir);
	path_in(fleet, "run", options->run_dir);
	path_in(fleet, "store", options->template_dir);
	path_in(fleet, "token", options->enrol_token_file);
	path_in(fleet, "bin", options->bin_dir);
	strcpy(options->node_name, "test");
	strcpy(options->accel, "tcg");
	options->capacity_vcpus = 8;
	options->capacity_mem = 8ULL << 30;
	options->capacity_disk = 64ULL << 30;
	options->capacity_sandboxes = 8;
	options->pool_floor = options->pool_ceiling = 1;
	options->pool_restores = 1;
	options->meter_tick_ms = 24 * 3600 * 1000; /* not by itself */
}

void fleet_open(struct fleet *fleet, size_t schedulers_n)
{
	char path[OPTION_TEXT_MAX];

	memset(fleet, 0, sizeof(*fleet));
	CHECK(sodium_init() >= 0 && uv_loop_init(&fleet->loop) == 0);
	strcpy(fleet->root, "/tmp/flotilla-fleet-XXXXXX");
	CHECK(mkdtemp(fleet->root));
	make_dirs(fleet, "state");
	make_dirs(fleet, "run/vm");
	make_dirs(fleet, "bin");
	/* Clones that are started end at once. */
	path_in(fleet, "bin/flotilla-shim", path);
	CHECK(symlink("/bin/false", path) == 0);
	make_template(fleet);
	make_node(fleet);
	set_options(fleet);
	uv_timer_init(&fleet->loop, &fleet->limit);
	fleet->limit.data = fleet;
	for (size_t i = 0; i < schedulers_n; i++) {
		struct scheduler *scheduler = &fleet->schedulers[i];
		scheduler_open(scheduler, &fleet->loop);
		memcpy(scheduler->node_key, fleet->node.public_key, IDENTITY_PUBLIC_N);
		scheduler->standby = i > 0;
	}
	fleet->schedulers_n = schedulers_n;
}

void fleet_close(struct fleet *fleet)
{
	if (fleet->has_agent)
		fleet_stop_agent(fleet);
	for (size_t i = 0; i < fleet->schedulers_n; i++)
		scheduler_close(&fleet->schedulers[i]);
	for (size_t i = 0; i < fleet->shims_n; i++)
		shim_double_close(&fleet->shims[i]);
	uv_close((uv_handle_t *)&fleet->limit, NULL);
	uv_run(&fleet->loop, UV_RUN_DEFAULT);
	CHECK(uv_loop_close(&fleet->loop) == 0);
	for (size_t i = 0; i < fleet->schedulers_n; i++)
		scheduler_free(&fleet->schedulers[i]);
	vm_store_remove_tree(fleet->root);
}

void fleet_enrol(struct fleet *fleet)
{
	char path[OPTION_TEXT_MAX], key[2 * IDENTITY_PUBLIC_N + 1], text[256];

	sodium_bin2hex(key, sizeof(key), fleet->schedulers[0].self.public_key, IDENTITY_PUBLIC_N);
	snprintf(text, sizeof(text), "node=%s\nscheduler_public_key=%s\n", scheduler_node, key);
	path_in(fleet, "state/enrolment", path);
	CHECK(file_write_atomic(path, text, strlen(text), 0600, NULL) == 0);
}

void fleet_journal(struct fleet *fleet, const struct node_effect *effects, size_t n)
{
	struct journal journal;
	struct err err;

	CHECK(journal_open(&journal, fleet->options.state_dir, &err) == 0);
	CHECK(journal_commit(&journal, effects, n, &err) == 0);
	journal_close(&journal);
}

struct wire_order fleet_order(uint64_t attempt)
{
	struct wire_order order = {
		.kind = WIRE_ORDER_CLAIM,
		.attempt = attempt,
		.incarnation = 1,
		.template = "base",
		.vcpus = 1,
		.mem_mib = 512,
		.ttl_ms = 600 * 1000,
		.plan = "pro",
		.price_version = 1,
	};

	strcpy(order.sandbox.text, "i0000000000000000000a");
	strcpy(order.tenant.text, "ten_acme");
	return order;
}

struct node_effect fleet_row(uint64_t vm, int64_t resumed_ns)
{
	struct node_effect effect = {.kind = NODE_EFFECT_JOURNAL_SANDBOX};
	struct wire_order order = fleet_order(FLEET_ATTEMPT);
	struct node_sandbox *row = &effect.sandbox;

	*row = (struct node_sandbox){
		.id = order.sandbox,
		.tenant = order.tenant,
		.attempt = order.attempt,
		.incarnation = 1,
		.plan = "pro",
		.price_version = 1,
		.template_ = "base",
		.vcpus = 1,
		.mem_mib = 512,
		.disk_mib = 1024,
		.vm = vm,
		.resumed_mono = {resumed_ns},
		.resumed_wall = {host_wall().ns - (host_mono().ns - resumed_ns)},
		.end_mono = {resumed_ns + 600 * NS_PER_S},
		.end_wall = {host_wall().ns + 600 * NS_PER_S},
	};
	CHECK(host_boot_id(row->boot_id, NULL) == 0);
	return effect;
}

struct shim_double *fleet_add_shim(struct fleet *fleet, uint64_t vm)
{
	struct shim_double *shim = &fleet->shims[fleet->shims_n++];
	struct vm_config config = {.purpose = VM_PURPOSE_CLONE};
	char path[OPTION_TEXT_MAX];

	path_in(fleet, "run/vm", path);
	shim_double_open(shim, &fleet->loop, path, vm);
	config.vm = shim->status.vm;
	path_in(fleet, "store/snapshot/base", config.template_dir);
	CHECK(vm_config_write(shim->dir, &config, NULL) == 0);
	return shim;
}

static void on_ready(void *arg)
{
	struct fleet *fleet = arg;

	fleet->was_ready = true;
}

void fleet_start_agent(struct fleet *fleet, const char *more_urls)
{
	static const struct option_spec row = {
		.type = OPTION_TYPE_LIST,
		.name = "scheduler",
		.offset = offsetof(struct agent_options, scheduler),
	};
	struct agent_callbacks callbacks = {.on_ready = on_ready, .arg = fleet};
	char urls[OPTION_TEXT_MAX] = "", url[64];
	struct err err;

	for (size_t i = 0; i < fleet->schedulers_n; i++) {
		scheduler_url(&fleet->schedulers[i], url);
		strcat(strcat(urls, i ? "," : ""), url);
	}
	if (more_urls)
		strcat(strcat(urls, ","), more_urls);
	CHECK(option_parse(&row, urls, &fleet->options, &err) == 0);
	fleet->was_ready = false;
	fleet->has_agent = true;
	if (agent_open(&fleet->agent, &fleet->loop, &fleet->options, &callbacks, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

void fleet_stop_agent(struct fleet *fleet)
{
	agent_close(&fleet->agent);
	fleet_wait(fleet, fleet->agent.is_closing);
	/* What is the agent's ends in a few turns, if it ends at all. */
	for (int turn = 0; turn < 16 || !rounds_are_idle(&fleet->agent.rounds); turn++)
		uv_run(&fleet->loop, UV_RUN_NOWAIT);
	agent_free(&fleet->agent);
	fleet->has_agent = false;
}

void fleet_fill_disk(struct fleet *fleet, size_t most)
{
	struct rlimit limit;

	CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR); /* the write fails instead */
	CHECK(getrlimit(RLIMIT_FSIZE, &fleet->file_limit) == 0);
	limit = fleet->file_limit;
	limit.rlim_cur = most;
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	fleet->is_disk_full = true;
}

void fleet_free_disk(struct fleet *fleet)
{
	CHECK(setrlimit(RLIMIT_FSIZE, &fleet->file_limit) == 0);
	fleet->is_disk_full = false;
}

uint64_t fleet_journaled_epoch(const struct fleet *fleet)
{
	static const char *const statements[] = {"SELECT epoch FROM meta"};
	char path[OPTION_TEXT_MAX];
	struct sqlite_options options = {
		.path = path, .read_only = true, .statements = statements, .statements_n = 1};
	struct sqlite db;
	int64_t epoch;
	struct err err;

	path_in(fleet, "state/journal.db", path);
	options.application_id = 0x464c544a;
	options.migrations_n = 2; /* the version that journal.c writes */
	CHECK(sqlite_open(&db, &options, &err) == 0 || (fprintf(stderr, "%s\n", err.text), false));
	CHECK(sqlite_get_int(&db, 0, SQL_NONE, 0, &epoch, &err) == 0);
	sqlite_close(&db);
	return (uint64_t)epoch;
}

static void on_late(uv_timer_t *timer)
{
	struct fleet *fleet = timer->data;

	fleet->is_late = true;
}

void fleet_wait_begin(struct fleet *fleet)
{
	fleet->is_late = false;
	uv_timer_start(&fleet->limit, on_late, LATE_MS, 0);
}

void fleet_wait_end(struct fleet *fleet, bool is_true, const char *condition)
{
	uv_timer_stop(&fleet->limit);
	if (is_true)
		return;
	fprintf(stderr, "waited in vain for: %s\n", condition);
	abort();
}

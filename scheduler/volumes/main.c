/*
 * flotilla-volumes: keeps tenants' volumes, one folder each.  Beside the gateway, which brings it
 * what tenants ask for; see DESIGN.md.
 */
#include <curl/curl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/io/daemon.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "common/io/options.h"
#include "scheduler/volumes/content.h"

struct volumes_daemon_options {
#define OPTION OPTION_MEMBER
#include "scheduler/volumes/options.def"
#undef OPTION
};

static const struct option_spec option_rows[] = {
#define OPTION(...) OPTION_ROW(struct volumes_daemon_options, __VA_ARGS__)
#include "scheduler/volumes/options.def"
#undef OPTION
};

static const struct options_program program = {
	.name = "volumes",
	.summary = "keeps tenants' volumes",
	.rows = option_rows,
	.rows_n = ARRAY_N(option_rows),
	.size = sizeof(struct volumes_daemon_options),
};

static struct options_set set;
static struct volumes_daemon_options options;
static struct fleet_key key;
static struct volumes *volumes;
static struct mounts *mounts;
static struct content *content;
static struct daemon_signals signals;
static uv_loop_t loop;
static uv_timer_t sweep;
static uv_work_t sweeping;
static bool is_sweeping, is_stopping;

static void on_sweeping(uv_work_t *work)
{
	(void)work;
	volumes_sweep(volumes);
}

static void on_swept(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
	is_sweeping = false;
}

static void on_sweep(uv_timer_t *timer)
{
	(void)timer;
	if (!is_sweeping && !is_stopping)
		is_sweeping = !uv_queue_work(&loop, &sweeping, on_sweeping, on_swept);
}

static void on_stop(struct daemon_signals *which)
{
	log_info("volumes", "stopping");
	is_stopping = true;
	daemon_signals_stop(which);
	uv_timer_stop(&sweep);
	uv_close((uv_handle_t *)&sweep, NULL);
}

static int open_all(struct daemon_endpoint *endpoint, struct err *err)
{
	int lock_fd;

	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT))
		return err_set(err, "libsodium or libcurl does not start");
	if (fleet_key_read(options.fleet_key, &key, err) ||
	    file_make_dirs(options.state_dir, 0700, err) ||
	    daemon_lock(options.state_dir, &lock_fd, err))
		return -1;
	struct volumes_options kept = {.dir = options.state_dir,
				       .api_backend = options.api_backend,
				       .key = &key,
				       .reserve = options.reserve};
	if (volumes_open(&volumes, &kept, err))
		return -1;
	static char mounts_dir[PATH_MAX];
	struct mounts_options mounted = {.dir = mounts_dir,
					 .volumes = volumes,
					 .key = &key,
					 .gateway = options.gateway,
					 .api_backend = options.api_backend,
					 .max = options.mounts_max};
	snprintf(mounts_dir, sizeof(mounts_dir), "%s/mounts", options.state_dir);
	if (mounts_open(&mounts, &mounted, err))
		return -1;
	struct content_options served = {.listen = options.listen,
					 .connections_max = options.connections_max,
					 .threads = options.threads,
					 .volumes = volumes,
					 .mounts = mounts,
					 .key = &key};
	if (content_open(&content, &served, err))
		return -1;
	if (geteuid() != 0)
		log_warn("volumes", "not run as root: who files belong to is not kept");
	endpoint->name = "content";
	endpoint->address = content_address(content);
	return 0;
}

int main(int argc, char **argv)
{
	static struct daemon_endpoint endpoint;
	struct err err;
	int status = options_start(&set, &program, &options, argc, argv);

	if (status != OPTIONS_GO_ON)
		return status;
	signals.on_stop = on_stop;
	log_setup(options.log_level, options.log_format);
	daemon_raise_files();
	uv_loop_init(&loop);
	uv_timer_init(&loop, &sweep);
	if (open_all(&endpoint, &err) || daemon_signals_start(&signals, &loop, &err) ||
	    daemon_ready(options.ready_file, &endpoint, 1, &err)) {
		log_error("volumes", "cannot start", LOG_ERR(&err));
		return 1;
	}
	uv_timer_start(&sweep, on_sweep, options.sweep_ms, options.sweep_ms);
	uv_run(&loop, UV_RUN_DEFAULT);
	content_close(content);
	mounts_close(mounts);
	volumes_close(volumes);
	uv_loop_close(&loop);
	curl_global_cleanup();
	log_flush();
	return 0;
}

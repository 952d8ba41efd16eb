/* flotilla-agent: one per host; keeps warm microVMs, gives them to sandboxes, meters them. */
#include "common/base/check.h"
#include "common/io/daemon.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"

#include <sodium.h>
#include <stdlib.h>
#include <uv.h>

static const struct option_spec rows[] = {
#define OPTION(...) OPTION_ROW(struct agent_options, __VA_ARGS__)
#include "node-agent/shell/options.def"
#undef OPTION
};

static const struct options_program program = {
	.name = "agent",
	.summary = "runs sandboxes in microVMs on this host",
	.rows = rows,
	.rows_n = ARRAY_N(rows),
	.size = sizeof(struct agent_options),
};

static void on_stop(struct daemon_signals *signals)
{
	log_info("agent", "stopping; microVMs live on");
	agent_close(signals->data);
	daemon_signals_stop(signals);
}

static void on_reload(struct daemon_signals *signals)
{
	agent_look(signals->data);
}

/* Not before it is usable: whoever waits for us wants sandboxes. */
static void on_ready(void *arg)
{
	const struct agent_options *options = arg;
	struct err err;

	if (daemon_ready(options->ready_file, NULL, 0, &err)) {
		log_error("agent", "cannot say that it is ready", LOG_ERR(&err));
		daemon_notify("READY=1");
	}
}

static int run(const struct agent_options *options, struct err *err)
{
	static struct agent agent;
	struct daemon_signals signals = {
		.data = &agent, .on_stop = on_stop, .on_reload = on_reload};
	struct agent_callbacks callbacks = {.on_ready = on_ready, .arg = (void *)options};
	uv_loop_t loop;

	daemon_raise_files();
	uv_loop_init(&loop);
	if (agent_open(&agent, &loop, options, &callbacks, err) ||
	    daemon_signals_start(&signals, &loop, err))
		return -1;
	uv_run(&loop, UV_RUN_DEFAULT);
	agent_free(&agent);
	uv_loop_close(&loop);
	return 0;
}

int main(int argc, char **argv)
{
	static struct options_set set;
	static struct agent_options options;
	int status = options_start(&set, &program, &options, argc, argv);
	struct err err;

	if (status != OPTIONS_GO_ON)
		return status;
	log_setup(options.log_level, options.log_format);
	CHECK(sodium_init() >= 0);
	if (run(&options, &err)) {
		log_error("agent", "cannot run", LOG_ERR(&err));
		log_flush();
		return 1;
	}
	log_flush();
	return 0;
}

#include "node-agent/shell/builds.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "node-agent/shell/builds_process.h"
#include "node-agent/shell/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BUILDS_TICK_MS = 100,
	BUILDS_IDLE_MS = 1000,   /* between two questions of an agent that is idle, */
	BUILDS_NEWS_MS = 200,    /* of one that has lines to tell, */
	BUILDS_ALIVE_MS = 2000,  /* and of one that has none */
	BUILDS_ANSWER_MS = 5000, /* a question is lost then */
};

static struct mono builds_since(const struct builds *builds, int64_t ms)
{
	return mono_add_ms(builds->asked_at, ms);
}

/* ---- the end of one ---- */

static void forget_lines(struct builds *builds)
{
	for (uint32_t i = 0; i < builds->lines_n; i++)
		free(builds->lines[i]);
	free(builds->lines);
	builds->lines = NULL;
	builds->lines_n = builds->told_n = 0;
	builds->lines_bytes = builds->partial_n = 0;
}

static void builds_forget(struct builds *builds)
{
	if (builds->fd >= 0)
		close(builds->fd);
	builds->fd = -1;
	if (builds->dir[0])
		vm_store_remove_tree(builds->dir);
	forget_lines(builds);
	builds->dir[0] = 0;
	builds->state = BUILDS_IDLE;
	builds->is_unwanted = false;
	builds->ready = false;
	builds->reason[0] = builds->step[0] = 0;
	memset(&builds->job, 0, sizeof(builds->job));
}

void builds_end(struct builds *builds, const char *reason)
{
	if (reason && !builds->reason[0])
		snprintf(builds->reason, sizeof(builds->reason), "%s", reason);
	if (builds->reason[0])
		builds->ready = false;
	builds->state = BUILDS_ENDED;
	log_info("builds", builds->ready ? "built" : "failed", LOG_TEXT("build", builds->job.build),
		 LOG_TEXT("reason", builds->reason));
	if (builds->is_unwanted)
		builds_forget(builds);
	else if (builds->ready)
		agent_look(builds->agent);
}

/* ---- its files ---- */

static const char *file_name(const struct builds *builds)
{
	return builds->file_at == 0 ? "spec" : builds->files[builds->file_at - 1];
}

static int file_open(struct builds *builds, struct err *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s%s", builds->dir, builds->file_at ? "context/" : "",
		     file_name(builds)) >= PATH_MAX)
		return err_set(err, "a path is too long");
	builds->offset = 0;
	builds->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return builds->fd < 0 ? err_errno(err, errno, "open %s", path) : 0;
}

static bool hash_is_good(const char *hash)
{
	return hash && strlen(hash) == 64 && strspn(hash, "0123456789abcdef") == 64;
}

/* Which files the spec names; each once.  What else is in it the builder judges. */
static int take_spec(struct builds *builds, struct err *err)
{
	char path[PATH_MAX], *text;
	json_t *spec, *step;
	size_t n, i, j;

	if (snprintf(path, sizeof(path), "%s/spec", builds->dir) >= PATH_MAX)
		return err_set(err, "a path is too long");
	if (file_read(path, WIRE_MESSAGE_MAX, &text, &n, err))
		return -1;
	spec = json_loadb(text, n, 0, NULL);
	free(text);
	builds->files_n = 0;
	json_array_foreach(json_object_get(spec, "steps"), i, step)
	{
		const char *hash = json_string_value(json_object_get(step, "filesHash"));

		if (!hash_is_good(hash) || builds->files_n == BUILDS_FILES_MAX)
			continue;
		for (j = 0; j < builds->files_n; j++)
			if (strcmp(builds->files[j], hash) == 0)
				break;
		if (j == builds->files_n)
			memcpy(builds->files[builds->files_n++], hash, 65);
	}
	json_decref(spec);
	return 0;
}

/* The builder's words of the network that sandboxes of this host have, if they have any. */
static int write_network(const struct builds *builds, struct err *err)
{
	const char *host = builds->agent->egress;
	char path[PATH_MAX];

	if (!host[0])
		return 0;
	if (snprintf(path, sizeof(path), "%s/network", builds->dir) >= PATH_MAX)
		return err_set(err, "a path is too long");
	return file_write_atomic(path, host, strlen(host), 0600, err);
}

static int file_done(struct builds *builds, struct err *err)
{
	close(builds->fd);
	builds->fd = -1;
	if (builds->file_at == 0 && take_spec(builds, err))
		return -1;
	if (builds->file_at++ < builds->files_n)
		return file_open(builds, err);
	builds->state = BUILDS_RUNNING;
	builds_process_start(builds);
	return 0;
}

static int file_take(struct builds *builds, const struct wire_build_tell *tell, struct err *err)
{
	const uint8_t *at = tell->data.data;
	size_t left = tell->data.n;

	if (tell->missing)
		return err_set(err, "a file that it copies is not at the scheduler any more");
	while (left > 0) {
		ssize_t n = pwrite(builds->fd, at, left, (off_t)builds->offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, errno, "cannot keep a file of the build");
		at += n;
		left -= (size_t)n;
		builds->offset += (uint64_t)n;
	}
	if (builds->offset >= tell->size)
		return file_done(builds, err);
	return tell->data.n ? 0 : err_set(err, "a file of the build ended too early");
}

/* ---- what is told ---- */

static void builds_begin(struct builds *builds, const struct wire_build_tell *tell)
{
	char path[PATH_MAX];
	struct err err;

	builds->job = *tell;
	builds->job.data = (struct wire_bytes){0};
	log_info("builds", "begins", LOG_TEXT("build", tell->build));
	builds->state = BUILDS_FETCHING;
	builds->file_at = 0;
	snprintf(builds->dir, sizeof(builds->dir), "%s/builds/%s",
		 builds->agent->options->state_dir, tell->build);
	vm_store_remove_tree(builds->dir);
	if (snprintf(path, sizeof(path), "%s/context", builds->dir) >= PATH_MAX ||
	    file_make_dirs(path, 0700, &err) || write_network(builds, &err) ||
	    file_open(builds, &err))
		builds_end(builds, "this node cannot keep its files");
}

static void builds_drop(struct builds *builds, const char *name)
{
	if (!template_name_is_builds(name))
		return; /* an operator's are the operator's to remove */
	log_info("builds", "a template that nobody can start is removed",
		 LOG_TEXT("template", name));
	snprintf(builds->job.drop, sizeof(builds->job.drop), "%s", name);
	builds->state = BUILDS_DROPPING;
	builds_process_start(builds);
}

static void builds_cancel(struct builds *builds)
{
	if (builds->is_unwanted)
		return;
	log_info("builds", "nobody wants it any more", LOG_TEXT("build", builds->job.build));
	builds->is_unwanted = true;
	if (builds->state == BUILDS_RUNNING)
		builds_process_kill(builds, SIGTERM);
	else
		builds_forget(builds);
}

static void builds_take(struct builds *builds, const struct wire_build_tell *tell)
{
	struct err err;

	if (tell->standby) {
		builds->turn++;
		return;
	}
	if (builds->state == BUILDS_IDLE) {
		if (template_name_is_builds(tell->build))
			builds_begin(builds, tell);
		else if (tell->drop[0])
			builds_drop(builds, tell->drop);
		return;
	}
	if (builds->state == BUILDS_DROPPING || strcmp(tell->build, builds->job.build) != 0)
		return;
	if (tell->unwanted) {
		builds_cancel(builds);
		return;
	}
	if (tell->lines_n <= builds->lines_n)
		builds->told_n = tell->lines_n;
	if (builds->state == BUILDS_FETCHING && file_take(builds, tell, &err))
		builds_end(builds, err.text);
	else if (builds->state == BUILDS_ENDED && tell->settled)
		builds_forget(builds);
}

/* ---- asking ---- */

/* As many lines as fit, from the first that was not told. */
static void add_lines(const struct builds *builds, struct wire_build_ask *ask, uint8_t *bytes)
{
	size_t n = 0;

	ask->first_line = builds->told_n;
	for (uint32_t i = builds->told_n; i < builds->lines_n; i++) {
		size_t line_n = strlen(builds->lines[i]);

		if (n + line_n + 1 > WIRE_BUILD_LINES_MAX)
			break;
		memcpy(bytes + n, builds->lines[i], line_n);
		bytes[n + line_n] = '\n';
		n += line_n + 1;
	}
	ask->lines = (struct wire_bytes){bytes, n};
}

static void builds_ask(struct builds *builds)
{
	static uint8_t bytes[WIRE_BUILD_LINES_MAX];
	struct wire_build_ask ask = {0};

	if (builds->state != BUILDS_IDLE) {
		memcpy(ask.build, builds->job.build, sizeof(ask.build));
		add_lines(builds, &ask, bytes);
	}
	if (builds->state == BUILDS_FETCHING) {
		snprintf(ask.file, sizeof(ask.file), "%s", file_name(builds));
		ask.offset = builds->offset;
	}
	if (builds->state == BUILDS_ENDED) {
		ask.ended = true;
		ask.ready = builds->ready;
		memcpy(ask.reason, builds->reason, sizeof(ask.reason));
		memcpy(ask.step, builds->step, sizeof(ask.step));
	}
	builds->asked_at = host_mono();
	builds->is_asking =
		links_build_ask(&builds->agent->links, builds->turn % builds->agent->links.n, &ask);
	if (!builds->is_asking)
		builds->turn++;
}

static int64_t builds_pause_ms(const struct builds *builds)
{
	switch (builds->state) {
	case BUILDS_IDLE:
		return BUILDS_IDLE_MS;
	case BUILDS_FETCHING:
		return 0;
	case BUILDS_RUNNING:
		return builds->told_n < builds->lines_n ? BUILDS_NEWS_MS : BUILDS_ALIVE_MS;
	case BUILDS_ENDED:
		return BUILDS_NEWS_MS;
	case BUILDS_DROPPING:
		break;
	}
	return INT32_MAX;
}

static void builds_on_timer(uv_timer_t *timer)
{
	struct builds *builds = timer->data;
	struct agent *agent = builds->agent;
	struct mono now = host_mono();

	if (builds->kill_at.ns && now.ns >= builds->kill_at.ns)
		builds_process_kill(builds, SIGKILL);
	if (builds->is_asking) {
		if (now.ns < builds_since(builds, BUILDS_ANSWER_MS).ns)
			return;
		builds->is_asking = false;
		builds->turn++;
	}
	/* A new one is not begun by who cannot journal, or goes. */
	if (!agent->has_links || agent->is_leaving || agent->links.n == 0 ||
	    (builds->state == BUILDS_IDLE && (!agent->is_loaded || agent->trouble.text[0])))
		return;
	if (now.ns >= builds_since(builds, builds_pause_ms(builds)).ns)
		builds_ask(builds);
}

void builds_on_tell(struct builds *builds, const struct wire_build_tell *tell)
{
	if (!builds->is_asking || builds->is_closing)
		return; /* of a question that was given up */
	builds->is_asking = false;
	builds_take(builds, tell);
	/* What is fetched comes piece by piece, and each piece is asked for at once. */
	if (builds->state == BUILDS_FETCHING)
		uv_timer_start(&builds->timer, builds_on_timer, 0, BUILDS_TICK_MS);
}

/* ---- life ---- */

void builds_open(struct builds *builds, struct agent *agent)
{
	*builds = (struct builds){.agent = agent, .fd = -1};
	uv_timer_init(agent->loop, &builds->timer);
	builds->timer.data = builds;
	if (agent->options->builds)
		uv_timer_start(&builds->timer, builds_on_timer, BUILDS_TICK_MS, BUILDS_TICK_MS);
}

void builds_close(struct builds *builds)
{
	builds->is_closing = true;
	if (builds->open_handles_n)
		builds_process_kill(builds, SIGKILL);
	builds_process_close(builds);
	uv_close((uv_handle_t *)&builds->timer, NULL);
	builds_forget(builds);
}

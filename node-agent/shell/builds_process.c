#include "node-agent/shell/builds_process.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "node-agent/shell/host.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESS_KILL_MS = 5000, PROCESS_NICE = 10 };

/* ---- what it says ---- */

static void keep_line(struct builds *builds, const char *line)
{
	size_t n = strlen(line);

	if (builds->lines_n >= BUILDS_LINES_MAX || builds->lines_bytes + n > BUILDS_BYTES_MAX)
		return;
	if (builds->lines_n % 256 == 0) {
		builds->lines =
			realloc(builds->lines, (builds->lines_n + 256) * sizeof(*builds->lines));
		CHECK(builds->lines);
	}
	builds->lines[builds->lines_n] = strdup(line);
	CHECK(builds->lines[builds->lines_n]);
	builds->lines_n++;
	builds->lines_bytes += n;
}

static void copy_text(const json_t *object, const char *name, char *out, size_t out_n)
{
	const char *text = json_string_value(json_object_get(object, name));

	snprintf(out, out_n, "%s", text ? text : "");
}

/* The last line is how it ended. */
static bool take_result(struct builds *builds, const json_t *line)
{
	const json_t *result = json_object_get(line, "result"), *reason;
	const char *status = json_string_value(json_object_get(result, "status"));

	if (!result)
		return false;
	builds->ready = status && strcmp(status, "ready") == 0;
	reason = json_object_get(result, "reason");
	if (reason) {
		copy_text(reason, "message", builds->reason, sizeof(builds->reason));
		copy_text(reason, "step", builds->step, sizeof(builds->step));
	}
	return true;
}

static void take_line(struct builds *builds)
{
	json_t *line;

	builds->partial[builds->partial_n] = 0;
	line = json_loadb(builds->partial, builds->partial_n, 0, NULL);
	if (json_is_object(line) && !take_result(builds, line)) {
		char *text = json_dumps(line, JSON_COMPACT);

		CHECK(text);
		keep_line(builds, text);
		free(text);
	}
	json_decref(line);
	builds->partial_n = 0;
}

static void on_allocate(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	static char bytes[16 * 1024];

	(void)handle;
	(void)size;
	*buffer = uv_buf_init(bytes, sizeof(bytes));
}

static void process_over(uv_handle_t *handle);

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct builds *builds = stream->data;

	for (ssize_t i = 0; i < n; i++) {
		if (buffer->base[i] == '\n')
			take_line(builds);
		else if (builds->partial_n < sizeof(builds->partial) - 1)
			builds->partial[builds->partial_n++] = buffer->base[i];
	}
	if (n < 0 && !uv_is_closing((uv_handle_t *)stream))
		uv_close((uv_handle_t *)stream, process_over);
}

/* ---- its end ---- */

/* Both that it ended and all that it said. */
static void process_over(uv_handle_t *handle)
{
	struct builds *builds = handle->data;

	if (--builds->open_handles_n || builds->is_closing)
		return;
	builds->kill_at.ns = 0;
	if (builds->state == BUILDS_DROPPING) {
		builds->state = BUILDS_IDLE;
		agent_look(builds->agent);
	} else {
		builds_end(builds, builds->ready ? NULL : "the builder ended before it was done");
	}
}

static void on_exit_(uv_process_t *process, int64_t status, int signal)
{
	struct builds *builds = process->data;

	log_debug("builds", "the builder ended", LOG_INT("status", status),
		  LOG_INT("signal", signal));
	uv_close((uv_handle_t *)&builds->process, process_over);
}

/* ---- its start ---- */

static void program(const struct builds *builds, char out[PATH_MAX])
{
	const char *bin_dir = builds->agent->options->bin_dir;
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	CHECK(n > 0);
	self[n] = 0;
	*strrchr(self, '/') = 0;
	snprintf(out, PATH_MAX, "%.*s/flotilla-template", PATH_MAX - 32,
		 bin_dir[0] ? bin_dir : self);
}

void builds_process_start(struct builds *builds)
{
	const struct agent_options *options = builds->agent->options;
	char path[PATH_MAX], spec[PATH_MAX + 16], context[PATH_MAX + 16];
	char network[PATH_MAX + 16] = "";
	char vcpus[16], mem[16], disk[16], image[32], store[PATH_MAX];
	char *allow = options->registry_allow[0] ? (char *)options->registry_allow : NULL;
	char *drop[] = {path, "rm", builds->job.drop, "--template-dir", store, NULL};
	char *build[] = {path,
			 "build",
			 builds->job.build,
			 "--template-dir",
			 store,
			 "--spec",
			 spec,
			 "--context",
			 context,
			 "--progress",
			 "json",
			 "--scope",
			 builds->job.scope,
			 "--accel",
			 (char *)options->accel,
			 "--vcpus",
			 vcpus,
			 "--mem-mib",
			 mem,
			 "--disk-mib",
			 disk,
			 "--image-size",
			 image,
			 "--ecr-endpoint",
			 (char *)options->ecr_endpoint,
			 "--network",
			 network,
			 allow ? "--registry-allow" : NULL,
			 allow,
			 NULL};
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_IGNORE},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&builds->out},
		{.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
	};
	uv_process_options_t spawn = {.exit_cb = on_exit_,
				      .file = path,
				      .args = builds->state == BUILDS_DROPPING ? drop : build,
				      .stdio = stdio,
				      .stdio_count = 3};
	int status;

	program(builds, path);
	snprintf(store, sizeof(store), "%s", options->template_dir);
	snprintf(spec, sizeof(spec), "%s/spec", builds->dir);
	snprintf(context, sizeof(context), "%s/context", builds->dir);
	if (builds->agent->egress[0])
		snprintf(network, sizeof(network), "%s/network", builds->dir);
	snprintf(vcpus, sizeof(vcpus), "%u", builds->job.vcpus);
	snprintf(mem, sizeof(mem), "%u", builds->job.mem_mib);
	snprintf(disk, sizeof(disk), "%u", builds->job.disk_mib);
	snprintf(image, sizeof(image), "%lluB", (unsigned long long)options->image_bytes);
	uv_pipe_init(builds->agent->loop, &builds->out, 0);
	builds->out.data = builds->process.data = builds;
	status = uv_spawn(builds->agent->loop, &builds->process, &spawn);
	builds->process.data = builds;
	builds->open_handles_n = 2;
	if (status) {
		/* Both are to be closed all the same. */
		builds->reason[0] = 0;
		uv_close((uv_handle_t *)&builds->process, process_over);
		uv_close((uv_handle_t *)&builds->out, process_over);
		log_error("builds", "cannot start the builder", LOG_TEXT("program", path),
			  LOG_TEXT("why", uv_strerror(status)));
		return;
	}
	uv_os_setpriority(builds->process.pid, PROCESS_NICE);
	uv_read_start((uv_stream_t *)&builds->out, on_allocate, on_read);
}

void builds_process_kill(struct builds *builds, int signal)
{
	if (builds->open_handles_n && uv_is_active((uv_handle_t *)&builds->process))
		uv_process_kill(&builds->process, signal);
	builds->kill_at = mono_add_ms(host_mono(), PROCESS_KILL_MS);
}

void builds_process_close(struct builds *builds)
{
	if (!builds->open_handles_n)
		return;
	if (!uv_is_closing((uv_handle_t *)&builds->process))
		uv_close((uv_handle_t *)&builds->process, process_over);
	if (!uv_is_closing((uv_handle_t *)&builds->out))
		uv_close((uv_handle_t *)&builds->out, process_over);
}

#include "node-agent/shell/carries.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "proto/reasons.h"

#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MAX_ = 512, ORDER_MAX = 2 * PATH_MAX + 8 * 1024, HANDLES = 3, CPU_MAX = 48 };

struct carry_job {
	struct carries *carries;
	struct carry_job *next;
	uint64_t number;
	char template_[TEMPLATE_NAME_MAX];
	bool sends;
	bool is_saved;  /* not a template */
	uint64_t bytes; /* that it takes on disk, once it is installed */
	bool is_over;   /* the core was told its end, or is not to be */
	uv_process_t process;
	uv_pipe_t in, out;
	uint32_t handles_n;
	char line[LINE_MAX_];
	size_t line_n;
	char read_buffer[LINE_MAX_];
	char order[ORDER_MAX]; /* what is written to it */
	uv_write_t write;
};

/* ---- what it tells ---- */

static struct carry_job *job_find(const struct carries *carries, uint64_t number)
{
	struct carry_job *job = carries->first;

	while (job && (job->number != number || job->is_over))
		job = job->next;
	return job;
}

static void job_step(struct carry_job *job, struct node_event *event)
{
	event->carry.number = job->number;
	agent_step(job->carries->agent, event);
}

static void job_end(struct carry_job *job, enum refusal refusal, const char *why)
{
	struct node_event event = {.kind = NODE_EVENT_CARRY_ENDED};

	if (job->is_over)
		return;
	job->is_over = true;
	event.carry.refusal = refusal;
	event.carry.bytes = job->bytes;
	if (refusal == REFUSAL_NONE)
		log_info("carry", job->sends ? "nobody fetches it any more" : "copied to here",
			 LOG_TEXT("template", job->template_));
	else
		log_warn("carry", "a copy came to nothing", LOG_TEXT("template", job->template_),
			 LOG_TEXT("refusal", refusal_info(refusal)->name), LOG_TEXT("why", why));
	job_step(job, &event);
}

static bool read_digest(const char *text, uint8_t out[NODE_DIGEST_N])
{
	size_t n;

	return sodium_hex2bin(out, NODE_DIGEST_N, text, 2 * NODE_DIGEST_N, NULL, &n, NULL) == 0 &&
	       n == NODE_DIGEST_N;
}

static enum refusal read_refusal(const char *name)
{
	for (int i = REFUSAL_TRANSFER_NO_SOURCE; i <= REFUSAL_TRANSFER_BUSY; i++)
		if (!strcmp(refusal_info((enum refusal)i)->name, name))
			return (enum refusal)i;
	return REFUSAL_TRANSFER_LOST;
}

static void job_on_line(struct carry_job *job, const char *line)
{
	char digest[2 * NODE_DIGEST_N + 1], name[64];
	struct node_event event = {0};
	int used = 0;

	if (job->is_over)
		return;
	if (sscanf(line, "progress %" SCNu64, &event.carry.bytes) == 1) {
		event.kind = NODE_EVENT_CARRY_PROGRESS;
		job_step(job, &event);
	} else if (sscanf(line, "offered %" SCNu64 " %64s %63s", &event.carry.bytes, digest,
			  event.carry.id) == 3 &&
		   read_digest(digest, event.carry.digest)) {
		event.kind = NODE_EVENT_CARRY_OFFERED;
		log_info("carry", job->is_saved ? "offers what is saved" : "offers a template",
			 LOG_TEXT("template", job->template_),
			 LOG_UINT("bytes", event.carry.bytes));
		job_step(job, &event);
	} else if (sscanf(line, "arrived %64s %63s", digest, event.carry.id) == 2 &&
		   read_digest(digest, event.carry.digest)) {
		event.kind = NODE_EVENT_CARRY_ARRIVED;
		job_step(job, &event);
	} else if (sscanf(line, "installed %" SCNu64, &job->bytes) == 1) {
		if (!job->is_saved)
			agent_look(job->carries->agent);
		job_end(job, REFUSAL_NONE, "");
	} else if (sscanf(line, "failed %63s %n", name, &used) == 1) {
		job_end(job, read_refusal(name), line + used);
	}
}

static void job_on_bytes(struct carry_job *job, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != '\n') {
			/* What is too long is cut: it is for people. */
			if (job->line_n < sizeof(job->line) - 1)
				job->line[job->line_n++] = bytes[i];
			continue;
		}
		job->line[job->line_n] = 0;
		job->line_n = 0;
		job_on_line(job, job->line);
	}
}

/* ---- its life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct carry_job *job = handle->data;
	struct carry_job **at = &job->carries->first;

	if (--job->handles_n)
		return;
	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	sodium_memzero(job->order, sizeof(job->order));
	free(job);
}

static void job_close(struct carry_job *job)
{
	uv_handle_t *handles[HANDLES] = {(uv_handle_t *)&job->process, (uv_handle_t *)&job->in,
					 (uv_handle_t *)&job->out};

	for (size_t i = 0; i < HANDLES; i++)
		if (!uv_is_closing(handles[i]))
			uv_close(handles[i], on_handle_closed);
}

/* All that it said is read before its end counts. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct carry_job *job = stream->data;

	if (n > 0) {
		job_on_bytes(job, buffer->base, (size_t)n);
		return;
	}
	if (n == 0)
		return;
	/* A sender that ends without a word has nobody left to send to. */
	job_end(job, job->sends ? REFUSAL_NONE : REFUSAL_TRANSFER_LOST, "its process ended");
	uv_read_stop(stream);
	if (!uv_is_active((uv_handle_t *)&job->process))
		job_close(job);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct carry_job *job = handle->data;

	(void)suggested_n;
	*out_buffer = uv_buf_init(job->read_buffer, sizeof(job->read_buffer));
}

static void on_child_exit(uv_process_t *process, int64_t status, int signal)
{
	struct carry_job *job = process->data;

	(void)status;
	(void)signal;
	if (!uv_is_active((uv_handle_t *)&job->out))
		job_close(job);
}

static void on_written(uv_write_t *write, int status)
{
	(void)write;
	(void)status; /* it is dead, which its end tells */
}

static void job_write(struct carry_job *job, const char *text)
{
	uv_buf_t buffer = uv_buf_init((char *)text, (unsigned)strlen(text));

	(void)uv_write(&job->write, (uv_stream_t *)&job->in, &buffer, 1, on_written);
}

static struct carry_job *job_make(struct carries *carries, const struct node_effect *effect,
				  bool sends)
{
	struct carry_job *job = calloc(1, sizeof(*job));
	uv_loop_t *loop = carries->agent->loop;

	CHECK(job);
	job->carries = carries;
	job->number = effect->carry.number;
	job->sends = sends;
	job->is_saved = effect->carry.folder != 0;
	memcpy(job->template_, effect->carry.template_, sizeof(job->template_));
	job->next = carries->first;
	carries->first = job;
	uv_pipe_init(loop, &job->in, 0);
	uv_pipe_init(loop, &job->out, 0);
	job->process.data = job->in.data = job->out.data = job;
	job->handles_n = HANDLES;
	return job;
}

static void job_start(struct carry_job *job)
{
	char *argv[] = {job->carries->program, job->sends ? "send" : "fetch", NULL};
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
		 .data.stream = (uv_stream_t *)&job->in},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&job->out},
		{.flags = UV_INHERIT_FD, .data.fd = 2},
	};
	uv_process_options_t options = {.file = job->carries->program,
					.args = argv,
					.exit_cb = on_child_exit,
					.stdio = stdio,
					.stdio_count = 3};
	int status = uv_spawn(job->carries->agent->loop, &job->process, &options);

	if (status) {
		job_end(job, job->sends ? REFUSAL_TRANSFER_NO_SOURCE : REFUSAL_TRANSFER_LOST,
			uv_strerror(status));
		job_close(job);
		return;
	}
	uv_read_start((uv_stream_t *)&job->out, on_allocate, on_read);
	job_write(job, job->order);
}

/* The line of an order that says which folder it is about; none: a template. */
static const char *saved_line(const struct carries *carries, const struct node_effect *effect,
			      bool sends, char out[PATH_MAX + 16])
{
	char dir[PATH_MAX];

	out[0] = 0;
	if (!effect->carry.folder)
		return out;
	vm_dir(&carries->agent->vms, effect->carry.folder, dir);
	snprintf(out, PATH_MAX + 16, "saved %s%s\n", dir, sends ? "/" VM_DIR_SAVED : "");
	return out;
}

static const char *hex(const uint8_t *bytes, size_t n, char *out, size_t out_n)
{
	return sodium_bin2hex(out, out_n, bytes, n);
}

void carries_send(struct carries *carries, const struct node_effect *effect,
		  const struct payload *payload)
{
	struct carry_job *job = job_make(carries, effect, true);
	struct wire_bytes ingress = payload ? payload_ingress(payload) : (struct wire_bytes){0};
	char ticket[2 * sizeof(payload->ticket) + 1], said[2 * WIRE_INGRESS_MAX + 1];
	char saved[PATH_MAX + 16];

	CHECK(payload);
	snprintf(job->order, sizeof(job->order),
		 "store %s\nname %s\n%s%s%s%stransfer %s\ngateway %s\nticket %s\ningress %s\n\n",
		 carries->agent->options->template_dir, effect->carry.template_,
		 saved_line(carries, effect, true, saved), job->is_saved ? "" : "id ",
		 effect->carry.id, job->is_saved ? "" : "\n", payload->sandbox.text,
		 payload->gateway,
		 hex(payload->ticket, sizeof(payload->ticket), ticket, sizeof(ticket)),
		 hex(ingress.data, ingress.n, said, sizeof(said)));
	job_start(job);
}

void carries_fetch(struct carries *carries, const struct node_effect *effect,
		   const struct payload *payload)
{
	struct carry_job *job = job_make(carries, effect, false);
	char digest[2 * NODE_DIGEST_N + 1], saved[PATH_MAX + 16];

	CHECK(payload);
	snprintf(job->order, sizeof(job->order),
		 "store %s\nname %s\n%sid %s\ntransfer %s\nurl %s\ntoken %s\ndigest %s\n\n",
		 carries->agent->options->template_dir, effect->carry.template_,
		 saved_line(carries, effect, false, saved), effect->carry.id, payload->sandbox.text,
		 payload->url, payload->token,
		 hex(effect->carry.digest, NODE_DIGEST_N, digest, sizeof(digest)));
	job_start(job);
}

void carries_install(struct carries *carries, uint64_t number)
{
	struct carry_job *job = job_find(carries, number);

	if (job)
		job_write(job, "install\n");
}

static void job_kill(struct carry_job *job)
{
	job->is_over = true;
	if (uv_is_active((uv_handle_t *)&job->process))
		uv_process_kill(&job->process, SIGKILL);
}

void carries_drop(struct carries *carries, uint64_t number)
{
	struct carry_job *job = job_find(carries, number);

	if (job)
		job_kill(job);
}

void carries_drop_all(struct carries *carries)
{
	for (struct carry_job *job = carries->first; job; job = job->next)
		job_kill(job);
}

void carries_close(struct carries *carries)
{
	carries_drop_all(carries);
	for (struct carry_job *job = carries->first; job; job = job->next)
		job_close(job);
}

/* ---- what this host is ---- */

void carries_open(struct carries *carries, struct agent *agent)
{
	const char *slash = strrchr(agent->vms.shim, '/');

	memset(carries, 0, sizeof(*carries));
	carries->agent = agent;
	if (!agent->options->templates_copy)
		return;
	snprintf(carries->program, sizeof(carries->program), "%.*s/flotilla-carry",
		 (int)(slash - agent->vms.shim) > PATH_MAX - 32 ? 0
								: (int)(slash - agent->vms.shim),
		 agent->vms.shim);
	if (access(carries->program, X_OK) == 0)
		return;
	log_warn("carry", "no such program: templates are not copied to and from here",
		 LOG_TEXT("program", carries->program));
	carries->program[0] = 0;
}

/* The processor's model, under KVM a part of what a snapshot was made for. */
static void cpu_model(char out[CPU_MAX])
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	out[0] = 0;
	while (file && !out[0] && fgets(line, sizeof(line), file))
		if (!strncmp(line, "model name", 10) && strchr(line, ':'))
			snprintf(out, CPU_MAX, "%.*s", CPU_MAX - 1, strchr(line, ':') + 2);
	out[strcspn(out, "\n")] = 0;
	if (file)
		fclose(file);
}

void carries_platform(const struct carries *carries, char *out_text, size_t out_n)
{
	const struct templates *templates = &carries->agent->templates;
	/* Without a template it was not proved yet; whoever turns out wrong says so then. */
	bool kvm = templates->kvm_is_known ? templates->kvm_works
					   : templates->wish != VM_ACCEL_WISH_TCG &&
						     access("/dev/kvm", R_OK | W_OK) == 0;
	char cpu[CPU_MAX] = "";

	out_text[0] = 0;
	if (!carries->program[0])
		return;
	if (kvm)
		cpu_model(cpu);
	snprintf(out_text, out_n, "%s %.40s flotilla %s %s", kvm ? "kvm" : "tcg", templates->qemu,
		 FLOTILLA_VERSION, cpu);
}

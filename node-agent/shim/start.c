/*
 * From a folder to a machine that is ready.  A clone is restored, run once so that its code is warm
 * (the emulator has translated it, the guest has its pages), and paused.  A template is booted,
 * warmed further, and its device state saved beside its RAM, which is in its file already.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/io/address.h"
#include "common/io/log.h"
#include "node-agent/shim/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* ---- warming ---- */

enum warm_step { STEP_HEALTH, STEP_INIT, STEP_EXEC, STEP_RECIPE, STEP_SYNC, STEP_END };

/* Twice: what is set up on first use is not what a request finds later. */
static const enum warm_step health_steps[] = {STEP_INIT, STEP_INIT, STEP_HEALTH, STEP_END};
static const enum warm_step exec_steps[] = {STEP_INIT, STEP_EXEC, STEP_INIT, STEP_HEALTH, STEP_END};
static const enum warm_step template_steps[] = {STEP_HEALTH, STEP_INIT, STEP_RECIPE, STEP_EXEC,
						STEP_EXEC,   STEP_SYNC, STEP_HEALTH, STEP_END};

/* What a recipe wants in every clone's page cache, if it says so. */
static const char recipe_command[] =
	"[ ! -x /usr/lib/flotilla/warm ] || /usr/lib/flotilla/warm >/dev/null 2>&1";

/* Every field that a claim may have is gone through, and leaves nothing behind. */
static const char init_document[] = "{\"envVars\":{},\"accessToken\":\"\"}";

static enum warm_step next_step(const struct shim *shim)
{
	if (shim->config.purpose == VM_PURPOSE_TEMPLATE)
		return template_steps[shim->warm_step];
	return shim->config.warmth == VM_WARMTH_EXEC ? exec_steps[shim->warm_step]
						     : health_steps[shim->warm_step];
}

static char *step_request(enum warm_step step, size_t *out_n)
{
	switch (step) {
	case STEP_HEALTH:
		return shim_request_health(out_n);
	case STEP_INIT:
		return shim_request_init(init_document, sizeof(init_document) - 1, "sandbox", false,
					 NULL, NULL, NULL, out_n);
	case STEP_EXEC:
		return shim_request_exec("true", out_n);
	case STEP_RECIPE:
		return shim_request_exec(recipe_command, out_n);
	case STEP_SYNC:
		return shim_request_exec("sync", out_n);
	case STEP_END:
		break;
	}
	return NULL;
}

static void after_warming(struct shim *shim);

static void warm_on(struct shim *shim);

static void on_step_answer(void *arg, int status)
{
	struct shim *shim = arg;
	char detail[SHIM_DETAIL_MAX];

	if (status == 200 || status == 204) {
		shim->warm_step++;
		warm_on(shim);
		return;
	}
	snprintf(detail, sizeof(detail), "the guest answered %d to request %zu of its warming",
		 status, shim->warm_step + 1);
	shim_end(shim, CAUSE_VM_FAULT, detail);
}

static void warm_on(struct shim *shim)
{
	enum warm_step step = next_step(shim);
	char *request;
	size_t n;

	if (shim->is_ending)
		return;
	if (step == STEP_END) {
		after_warming(shim);
		return;
	}
	request = step_request(step, &n);
	channel_ask(&shim->channel, request, n, CHANNEL_WHOLE, on_step_answer, shim);
	free(request);
}

/* A clone that was not to be warmed says HELLO only when it runs for its sandbox. */
void shim_channel_ready(struct shim *shim)
{
	log_info("shim", "the guest is there");
	if (shim->status.state != WIRE_SHIM_WARMING)
		return;
	/* Booted on its saved files: a sandbox waits for it. */
	if (shim_is_resumed(shim))
		after_warming(shim);
	else
		warm_on(shim);
}

/* ---- QEMU's part ---- */

/* For commands whose refusal is the end of it. */
static bool is_refused(struct shim *shim, const struct err *err)
{
	if (err)
		shim_end(shim, CAUSE_VM_FAULT, err->text);
	return err != NULL;
}

static void on_ok(void *arg, const struct qmp_message *answer, const struct err *err)
{
	(void)answer;
	is_refused(arg, err);
}

static void be_ready(struct shim *shim)
{
	uv_timer_stop(&shim->watchdog);
	qmp_hold(&shim->qmp, "cont"); /* for the claim */
	shim_set_state(shim, WIRE_SHIM_READY);
}

static void on_paused(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct shim *shim = arg;
	struct err fault;

	(void)answer;
	if (is_refused(shim, err) || shim->is_ending)
		return;
	if (shim->config.purpose == VM_PURPOSE_CLONE) {
		be_ready(shim);
		return;
	}
	if (qmp_send_fd(&shim->qmp, "getfd", "{\"fdname\":\"state\"}", shim->state_fd, on_ok, shim,
			&fault))
		shim_end(shim, CAUSE_VM_FAULT, fault.text);
	else
		qmp_send(&shim->qmp, "migrate", "{\"uri\":\"fd:state\"}", on_ok, shim);
}

static void after_warming(struct shim *shim)
{
	qmp_send(&shim->qmp, "stop", NULL, on_paused, shim);
}

static void on_migrated(struct shim *shim)
{
	if (shim->config.purpose == VM_PURPOSE_TEMPLATE) {
		shim_end(shim, CAUSE_NONE, "the snapshot is taken");
		return;
	}
	if (shim->config.warmth == VM_WARMTH_NONE || shim_is_resumed(shim)) {
		be_ready(shim);
		return;
	}
	shim_set_state(shim, WIRE_SHIM_WARMING);
	qmp_send(&shim->qmp, "cont", NULL, on_ok, shim);
}

static void on_migration_failed(void *arg, const struct qmp_message *answer, const struct err *err)
{
	char detail[SHIM_DETAIL_MAX];

	snprintf(detail, sizeof(detail), "QEMU could not load or save the snapshot: %.80s",
		 err ? err->text : answer->text);
	shim_end(arg, CAUSE_VM_FAULT, detail);
}

void shim_qmp_event(struct shim *shim, const struct qmp_message *event)
{
	switch (event->event) {
	case QMP_EVENT_SHUTDOWN:
		shim->was_shut_down = true;
		snprintf(shim->shutdown_reason, sizeof(shim->shutdown_reason), "%s", event->reason);
		return;
	case QMP_EVENT_MIGRATION:
		if (strcmp(event->status, "completed") == 0)
			on_migrated(shim);
		else if (strcmp(event->status, "failed") == 0)
			qmp_send(&shim->qmp, "query-migrate", NULL, on_migration_failed, shim);
		return;
	case QMP_EVENT_GUEST_PANICKED:
		shim_end(shim, CAUSE_GUEST_FAULT, "the guest panicked");
		return;
	case QMP_EVENT_RESUME:
	case QMP_EVENT_STOP:
	case QMP_EVENT_UNKNOWN:
		return;
	}
}

static void on_qmp_event(void *arg, const struct qmp_message *event)
{
	shim_qmp_event(arg, event);
}

/* QEMU ends and its exit follows; or it has gone mad, and is made to. */
static void on_qmp_closed(void *arg, const struct err *why)
{
	struct shim *shim = arg;

	log_info("shim", "QMP closed", LOG_ERR(why));
	if (!shim->was_shut_down)
		emulator_kill(&shim->emulator);
}

static void on_start_too_long(uv_timer_t *timer)
{
	shim_end(timer->data, CAUSE_VM_FAULT, "it did not get ready in time");
}

static void load_state(struct shim *shim)
{
	char arguments[64];

	snprintf(arguments, sizeof(arguments), "{\"uri\":\"fd:%d\"}", EMULATOR_STATE_FD);
	qmp_send(&shim->qmp, "migrate-incoming", arguments, on_ok, shim);
}

/* It answers, so its memory is mapped. */
static void on_machine_there(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct shim *shim = arg;

	(void)answer;
	if (!is_refused(shim, err) && !shim->is_ending)
		shim_resume_load(shim, load_state);
}

static void first_commands(struct shim *shim)
{
	bool is_difference = shim_is_resumed(shim) && shim->resumed.has_memory;

	/* RAM is in its file: it is neither saved nor loaded. */
	qmp_send(&shim->qmp, "migrate-set-capabilities",
		 "{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"
		 "{\"capability\":\"events\",\"state\":true}]}",
		 is_difference ? on_machine_there : on_ok, shim);
	if (is_difference)
		return;
	if (shim->config.purpose == VM_PURPOSE_CLONE && !shim_is_resumed(shim)) {
		load_state(shim);
		return;
	}
	qmp_send(&shim->qmp, "set_link", "{\"name\":\"" VM_NETWORK_CARD "\",\"up\":false}", on_ok,
		 shim);
	shim_set_state(shim, WIRE_SHIM_WARMING);
	qmp_send(&shim->qmp, "cont", NULL, on_ok, shim);
}

/* ---- the gateway's part ---- */

static void on_relay_bound(void *arg)
{
	(void)arg;
	log_info("shim", "bound to the gateway");
}

static void on_relay_refused(void *arg)
{
	(void)arg;
	log_warn("shim", "the gateway refused the ticket");
}

static void on_guest_output(void *arg)
{
	struct shim *shim = arg;

	channel_flush(&shim->channel);
}

static void on_relay_room(void *arg)
{
	struct shim *shim = arg;

	channel_resume(&shim->channel);
}

static int open_relay(struct shim *shim, struct err *err)
{
	const struct relay_config config = {
		.loop = &shim->loop,
		.guest = shim->channel.mux,
		.streams_max = CHANNEL_STREAMS_MAX,
		.callbacks = {on_relay_bound, on_relay_refused, on_guest_output, on_relay_room,
			      shim},
	};

	if (relay_open(&shim->relay, &config, err))
		return -1;
	shim->has_relay = true;
	shim->channel.relay = &shim->relay;
	shim_dial(shim, shim->config.gateway);
	return 0;
}

void shim_dial(struct shim *shim, const char *gateway)
{
	struct sockaddr_storage to;
	struct address address;

	if (!gateway[0])
		return;
	if (!address_parse(gateway, &address) || !address_to_sockaddr(&address, &to))
		log_error("shim", "not a numeric address of a gateway",
			  LOG_TEXT("gateway", gateway));
	else
		relay_dial(&shim->relay, (const struct sockaddr *)&to);
}

/* ---- all together ---- */

static int copy_overlay(const char *from, const char *to, struct err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int result = -1;
	ssize_t n = 1;

	if (in < 0 || out < 0) {
		err_errno(err, errno, "%s", in < 0 ? from : to);
		goto done;
	}
	/* Not copy_file_range: folder and store may be on different filesystems. */
	while (n > 0)
		n = sendfile(out, in, NULL, 1 << 24);
	result = n < 0 ? err_errno(err, errno, "%s", to) : 0;
done:
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return result;
}

static void on_guest_ready(void *arg)
{
	shim_channel_ready(arg);
}

static void on_guest_fault(void *arg, const char *problem)
{
	char detail[SHIM_DETAIL_MAX];

	snprintf(detail, sizeof(detail), "the guest broke the protocol: %.90s", problem);
	shim_end(arg, CAUSE_GUEST_FAULT, detail);
}

int shim_keep_template(const struct shim *shim, enum vm_keep why, struct err *err)
{
	char store[PATH_MAX], id[VM_ARTEFACT_ID_MAX];

	if (vm_store_of(shim->template_.dir, store, id, err))
		return -1;
	return vm_store_keep(store, why, id, shim->config.vm.text, shim->dir, err);
}

/* So that an agent can prove that they are dead when we are. */
static int note_processes(const struct shim *shim, struct err *err)
{
	struct identity self = {0}, qemu = {0};

	identity_of(getpid(), &self);
	identity_of(shim->emulator.pid, &qemu);
	return identity_write(shim->dir, &self, &qemu, err);
}

static int start_emulator(struct shim *shim, struct err *err)
{
	bool is_clone = shim->config.purpose == VM_PURPOSE_CLONE;
	const struct qmp_callbacks callbacks = {on_qmp_event, on_qmp_closed, shim};
	static char overlay[PATH_MAX];
	struct vm_launch launch = {
		.name = shim->config.vm.text,
		.shape = shim->template_.shape,
		.accel = shim->template_.accel,
		.kernel = shim->files.kernel,
		.initrd = shim->files.initrd,
		.rootfs = shim->files.rootfs,
		.disk = shim->files.disk,
		.mem = shim->files.mem,
		.overlay = is_clone ? overlay : NULL,
		.is_cold = shim_is_resumed(shim) && !shim->resumed.has_memory,
		.is_difference = shim_is_resumed(shim) && shim->resumed.has_memory,
	};

	if (snprintf(overlay, sizeof(overlay), "%s/%s", shim->dir, VM_FILE_OVERLAY) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", shim->dir);
	if (is_clone && !shim_is_resumed(shim) && copy_overlay(shim->files.overlay, overlay, err))
		return -1;
	shim->state_fd = open(
		shim->files.state,
		is_clone ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (shim->state_fd < 0)
		return err_errno(err, errno, "%s", shim->files.state);
	if (emulator_start(&shim->emulator, &shim->loop, &launch, shim->dir, shim->state_fd, err))
		return -1;
	if (is_clone && note_processes(shim, err))
		return -1;
	return qmp_open(&shim->qmp, &shim->loop, shim->emulator.qmp_fd, &callbacks, err) ||
			       channel_attach(&shim->channel, &shim->loop, shim->emulator.mux_fd,
					      err)
		       ? -1
		       : 0;
}

static void start_resumed(struct shim *shim)
{
	struct err err;

	if (start_emulator(shim, &err))
		shim_end(shim, CAUSE_VM_FAULT, err.text);
	else
		first_commands(shim);
}

/* A store that cannot be written in serves clones as well; they cannot be saved then. */
static void keep_while_running(const struct shim *shim)
{
	struct err err;

	if (shim_keep_template(shim, VM_KEEP_RUNNING, &err))
		log_warn("shim", "its template may be removed under it", LOG_ERR(&err));
}

int shim_start(struct shim *shim, struct err *err)
{
	const struct channel_callbacks callbacks = {on_guest_ready, on_guest_fault, shim};
	bool is_clone = shim->config.purpose == VM_PURPOSE_CLONE;

	if (vm_template_read(shim->config.template_dir, &shim->template_, err) ||
	    vm_template_check(&shim->template_, NULL, err) ||
	    vm_template_files(&shim->template_, &shim->files, err) || shim_resume_open(shim, err) ||
	    channel_open(&shim->channel, &callbacks, err) || (is_clone && open_relay(shim, err)))
		return -1;
	if (is_clone)
		keep_while_running(shim);
	uv_timer_start(
		&shim->watchdog, on_start_too_long,
		is_clone && !shim_is_resumed(shim) ? SHIM_START_LIMIT_MS : SHIM_BOOT_LIMIT_MS, 0);
	if (shim_is_resumed(shim)) {
		shim_resume_prepare(shim, start_resumed);
		return 0;
	}
	if (start_emulator(shim, err))
		return -1;
	first_commands(shim);
	return 0;
}

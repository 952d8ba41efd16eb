/* See rig.h. */
#include "tests/vm/rig.h"

#include "common/base/check.h"
#include "node-agent/vm/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/gate.h"

enum { WAIT_LIMIT_MS = 90 * 1000, WAKE_MS = 50 };

static const char *store_dir(void)
{
	const char *dir = getenv("FLOTILLA_TEST_TEMPLATE_DIR");

	return dir ? dir : FLOTILLA_BUILD_TEMPLATES;
}

void rig_build(const char *name, const char *guest)
{
	rig_build_sized(name, guest, 256);
}

void rig_build_sized(const char *name, const char *guest, unsigned mem_mib)
{
	/* One store serves plain and sanitized builds: the template is named by what is in it. */
	char bin[] = "/tmp/flotilla-rig-bin.XXXXXX", to[PATH_MAX], flag_bin[PATH_MAX + 16];
	char flag_store[PATH_MAX + 32], flag_name[128], flag_mem[32];
	char *argv[] = {FLOTILLA_BIN "/flotilla-template",
			"build",
			"base",
			flag_store,
			flag_bin,
			flag_name,
			flag_mem,
			"--disk-mib=1024",
			"--accel=tcg",
			NULL};
	struct err err;

	CHECK(mkdtemp(bin));
	snprintf(to, sizeof(to), "%s/flotilla-guest", bin);
	CHECK(symlink(guest, to) == 0);
	snprintf(to, sizeof(to), "%s/flotilla-shim", bin);
	CHECK(symlink(FLOTILLA_BIN "/flotilla-shim", to) == 0);
	snprintf(flag_store, sizeof(flag_store), "--template-dir=%s", store_dir());
	snprintf(flag_bin, sizeof(flag_bin), "--bin-dir=%s", bin);
	snprintf(flag_name, sizeof(flag_name), "--name=%s", name);
	snprintf(flag_mem, sizeof(flag_mem), "--mem-mib=%u", mem_mib);
	if (process_run(argv, 0, NULL, 0, &err)) {
		fprintf(stderr, "rig: %s\n", err.text);
		abort();
	}
	vm_store_remove_tree(bin);
}

/* ---- waiting ---- */

static void on_limit(uv_timer_t *timer)
{
	struct rig *rig = timer->data;

	rig->is_late = uv_now(&rig->loop) >= rig->late_at;
}

void rig_wait_begin(struct rig *rig)
{
	rig->is_late = false;
	uv_update_time(&rig->loop);
	rig->late_at = uv_now(&rig->loop) + WAIT_LIMIT_MS;
	/* A turn of the loop sleeps after its timers have made the condition true: wake it. */
	uv_timer_start(&rig->limit, on_limit, WAKE_MS, WAKE_MS);
}

static void show_file(const char *dir, const char *name)
{
	char path[PATH_MAX + 32], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "  %s: %s", name, line);
	if (file)
		fclose(file);
}

void rig_wait_end(struct rig *rig, bool is_true, const char *condition)
{
	uv_timer_stop(&rig->limit);
	if (is_true)
		return;
	fprintf(stderr, "rig: did not become true: %s\n", condition);
	for (size_t i = 0; i < rig->clones_n; i++) {
		show_file(rig->clones[i].dir, VM_FILE_LOG);
		show_file(rig->clones[i].dir, VM_FILE_KERNEL);
	}
	abort();
}

/* ---- clones ---- */

static void on_status(void *arg, const struct wire_shim_status *status)
{
	struct rig_clone *clone = arg;

	clone->status = *status;
	clone->has_status = true;
}

static void on_claimed(void *arg, const struct wire_shim_claimed *claimed)
{
	struct rig_clone *clone = arg;

	clone->claimed = *claimed;
	clone->is_claimed = true;
}

static void on_saved(void *arg, const struct wire_shim_saved *saved)
{
	struct rig_clone *clone = arg;

	clone->saved = *saved;
	clone->is_saved = true;
}

static void on_ended(void *arg, const struct wire_shim_status *end)
{
	struct rig_clone *clone = arg;

	CHECK(!clone->has_ended && !clone->is_gone);
	clone->end = *end;
	clone->has_ended = true;
}

static void on_gone(void *arg, const char *why)
{
	struct rig_clone *clone = arg;

	(void)why;
	CHECK(!clone->has_ended && !clone->is_gone);
	clone->is_gone = true;
}

static struct shim_client_callbacks callbacks_of(struct rig_clone *clone)
{
	return (struct shim_client_callbacks){.on_status = on_status,
					      .on_claimed = on_claimed,
					      .on_ended = on_ended,
					      .on_gone = on_gone,
					      .on_saved = on_saved,
					      .arg = clone};
}

static struct id random_id(const char *prefix)
{
	uint8_t bytes[ID_RANDOM_BYTES];
	FILE *file = fopen("/dev/urandom", "re");

	CHECK(file && fread(bytes, 1, sizeof(bytes), file) == sizeof(bytes));
	fclose(file);
	return id_make(prefix, bytes);
}

struct rig_clone *rig_clone_start(struct rig *rig)
{
	return rig_clone_resume(rig, "");
}

struct rig_clone *rig_clone_resume(struct rig *rig, const char *saved_dir)
{
	struct rig_clone *clone = &rig->clones[rig->clones_n++];
	struct vm_config config = {.purpose = VM_PURPOSE_CLONE, .warmth = rig->warmth};
	struct shim_client_callbacks callbacks = callbacks_of(clone);
	struct err err;

	CHECK(rig->clones_n <= RIG_CLONES_MAX);
	clone->rig = rig;
	config.vm = random_id("vm_");
	snprintf(clone->dir, sizeof(clone->dir), "%.3000s/%s", rig->dir, config.vm.text);
	snprintf(config.template_dir, sizeof(config.template_dir), "%s", rig->template_.dir);
	snprintf(config.gateway, sizeof(config.gateway), "%s", rig->gateway);
	snprintf(config.resume, sizeof(config.resume), "%s", saved_dir);
	if (shim_client_start(&rig->loop, rig->shim, clone->dir, &config, &callbacks,
			      &clone->client, &err)) {
		fprintf(stderr, "rig: %s\n", err.text);
		abort();
	}
	return clone;
}

void rig_clone_leave(struct rig_clone *clone)
{
	shim_client_close(clone->client);
	clone->client = NULL;
	clone->has_status = clone->is_claimed = clone->has_ended = clone->is_gone = false;
}

void rig_clone_adopt(struct rig_clone *clone)
{
	struct shim_client_callbacks callbacks = callbacks_of(clone);

	CHECK(shim_client_adopt(&clone->rig->loop, clone->dir, &callbacks, &clone->client, NULL) ==
	      0);
}

static int64_t mono_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void rig_clone_claim(struct rig_clone *clone, int64_t ttl_ms)
{
	static const char init[] = "{\"envVars\":{\"A\":\"b\"}}";
	struct wire_shim_claim claim = {.attempt = 7, .incarnation = 1};

	clone->sandbox = random_id("i");
	claim.sandbox = clone->sandbox;
	claim.end_mono_ns = mono_ns() + (ttl_ms + 60 * 1000) * 1000000LL;
	claim.ttl_ms = (uint64_t)ttl_ms;
	claim.on_limit = clone->rig->on_limit;
	claim.init = (struct wire_bytes){(const uint8_t *)init, sizeof(init) - 1};
	claim.claim = (struct wire_bytes){(const uint8_t *)"memory", 6};
	shim_client_claim(clone->client, &claim);
}

void rig_clone_request(struct rig_clone *clone, const char *method, const char *path,
		       const char *body)
{
	char text[1024];
	int n;

	clone->is_answered = false;
	clone->answer_n = 0;
	n = snprintf(
		text, sizeof(text),
		"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		method, path, strlen(body), body);
	CHECK(n > 0 && (size_t)n < sizeof(text));
	rig_wait(clone->rig, clone->gate != NULL);
	gate_request(clone->gate, text, (size_t)n);
}

bool rig_clone_answer_is(const struct rig_clone *clone, const char *status, const char *body)
{
	const char *at = strstr(clone->answer, "\r\n\r\n");

	return clone->is_answered && strncmp(clone->answer + 9, status, 3) == 0 && at &&
	       strcmp(at + 4, body) == 0;
}

/* ---- life ---- */

static void find_template(struct rig *rig, const char *name)
{
	bool is_found;
	struct err err;

	if (vm_store_find(store_dir(), name, &rig->template_, &is_found, &err) || !is_found) {
		fprintf(stderr, "rig: no template %s in %s\n", name, store_dir());
		abort();
	}
}

void rig_open(struct rig *rig, const char *template_name, const char *bin_dir)
{
	static char shim[PATH_MAX];

	/* As agents do: a shim may end while it is being spoken to. */
	signal(SIGPIPE, SIG_IGN);
	memset(rig, 0, sizeof(*rig));
	find_template(rig, template_name);
	snprintf(rig->dir, sizeof(rig->dir), "%s/flotilla-rig.XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	CHECK(mkdtemp(rig->dir));
	snprintf(shim, sizeof(shim), "%s/flotilla-shim", bin_dir);
	rig->shim = shim;
	CHECK(uv_loop_init(&rig->loop) == 0);
	uv_timer_init(&rig->loop, &rig->limit);
	rig->limit.data = rig;
	gate_listen(rig);
}

static bool all_over(const struct rig *rig)
{
	for (size_t i = 0; i < rig->clones_n; i++)
		if (!rig->clones[i].has_ended && !rig->clones[i].is_gone)
			return false;
	return true;
}

static void count_handle(uv_handle_t *handle, void *arg)
{
	(void)handle;
	++*(size_t *)arg;
}

static size_t handles_n(struct rig *rig)
{
	size_t n = 0;

	uv_walk(&rig->loop, count_handle, &n);
	return n;
}

void rig_close(struct rig *rig)
{
	for (size_t i = 0; i < rig->clones_n; i++) {
		if (!rig->clones[i].client)
			rig_clone_adopt(&rig->clones[i]);
		shim_client_kill(rig->clones[i].client, CAUSE_REQUEST);
	}
	/* An adopted one takes orders only when it is connected. */
	while (!all_over(rig)) {
		rig_wait_begin(rig);
		uv_run(&rig->loop, UV_RUN_ONCE);
		for (size_t i = 0; i < rig->clones_n; i++)
			shim_client_kill(rig->clones[i].client, CAUSE_REQUEST);
	}
	for (size_t i = 0; i < rig->clones_n; i++) {
		shim_client_close(rig->clones[i].client);
		shim_dir_remove(rig->clones[i].dir);
		if (rig->clones[i].gate)
			gate_close(rig->clones[i].gate);
	}
	uv_close((uv_handle_t *)&rig->listener, NULL);
	/* Shims that have ended are reaped by the loop, which their handles do not keep alive. */
	rig_wait(rig, handles_n(rig) == 1);
	uv_close((uv_handle_t *)&rig->limit, NULL);
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	CHECK(uv_loop_close(&rig->loop) == 0);
	vm_store_remove_tree(rig->dir);
}

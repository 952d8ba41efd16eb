#include "scheduler/shell/builds/builds.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "scheduler/shell/builds/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUILDS_UNKNOWN_MS = 60000, BUILDS_LOOK_MS = 500, BUILDS_SWEEP_LOOKS = 1200 };

struct entry {
	struct entry *next;
	struct builds *builds;
	struct store_build row;
	struct id tenant;
	char base[TEMPLATE_NAME_MAX]; /* that a node must have; empty: any will do */
	bool has_spec;
	struct id node;    /* that has it; empty: none */
	bool is_heard;     /* the node knows that it has it */
	struct mono since; /* queued, or heard of last */
	json_t *lines;
	size_t lines_bytes;
	struct mono ended_at; /* built, and not known to the core since */
	bool is_deciding, is_over;
};

struct builds {
	struct builds_options options;
	struct build_files files;
	struct entry *entries; /* the oldest first */
	uv_timer_t *timer;     /* freed by its close callback */
	unsigned looks_n;
	uint8_t data[WIRE_BUILD_DATA_MAX];
};

/* ---- the list ---- */

static struct entry *entry_find(struct builds *builds, const char *build)
{
	struct entry *entry = builds->entries;

	while (entry && strcmp(entry->row.id, build) != 0)
		entry = entry->next;
	return entry;
}

static struct entry *entry_add(struct builds *builds, const struct store_build *row,
			       const struct id *tenant)
{
	struct entry *entry = calloc(1, sizeof(*entry)), **at = &builds->entries;

	CHECK(entry);
	entry->builds = builds;
	entry->row = *row;
	entry->tenant = *tenant;
	entry->since = engine_mono();
	entry->lines = json_array();
	while (*at)
		at = &(*at)->next;
	*at = entry;
	return entry;
}

static void entry_remove(struct builds *builds, struct entry *entry)
{
	struct entry **at = &builds->entries;

	CHECK(!entry->is_deciding);
	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	json_decref(entry->lines);
	free(entry);
}

static void entry_forget_spec(struct builds *builds, struct entry *entry)
{
	char path[PATH_MAX];

	build_files_spec_path(&builds->files, entry->row.id, path);
	unlink(path);
	entry->has_spec = false;
}

/* The oldest of those that are over, when there are too many. */
static void forget_oldest(struct builds *builds)
{
	struct entry *oldest = NULL;
	unsigned over_n = 0;

	for (struct entry *at = builds->entries; at; at = at->next) {
		if (!at->is_over || at->is_deciding)
			continue;
		oldest = oldest ? oldest : at;
		over_n++;
	}
	if (over_n > BUILDS_KEPT_MAX)
		entry_remove(builds, oldest);
}

static bool builds_lead(const struct builds *builds)
{
	return engine_is_available(builds->options.engine) &&
	       (!builds->options.leads || builds->options.leads(builds->options.data));
}

/* ---- how one ends ---- */

static void on_decided(void *data, enum refusal refusal)
{
	struct entry *entry = data;

	entry->is_deciding = false;
	entry->is_over = refusal == REFUSAL_NONE;
	if (!entry->is_over)
		return; /* it is tried again */
	log_info("builds", store_build_status_name(entry->row.status),
		 LOG_TEXT("build", entry->row.id), LOG_TEXT("tenant", entry->tenant.text),
		 LOG_TEXT("reason", entry->row.reason));
	entry_forget_spec(entry->builds, entry);
	forget_oldest(entry->builds);
}

/* One line of text, whatever it was. */
static void take_text(char *out, size_t out_n, const char *text)
{
	json_t *judged = json_string(text);

	snprintf(out, out_n, "%s", judged ? text : "the reason is not UTF-8");
	json_decref(judged);
	/* What was cut may end within a character. */
	for (judged = json_string(out); !judged && out[0]; judged = json_string(out))
		out[strlen(out) - 1] = 0;
	json_decref(judged);
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
}

static void entry_decide(struct entry *entry, enum store_build_status status, const char *reason,
			 const char *step)
{
	struct store_op op = {.kind = STORE_OP_BUILD};

	if (entry->is_deciding || entry->is_over)
		return;
	entry->is_deciding = true;
	entry->row.status = status;
	entry->row.finished_at = engine_wall().ns;
	take_text(entry->row.reason, sizeof(entry->row.reason), reason);
	take_text(entry->row.step, sizeof(entry->row.step), step);
	op.build = entry->row;
	decisions_make(entry->builds->options.decisions, &op, on_decided, entry);
}

static void entry_fail(struct entry *entry, const char *reason)
{
	entry_decide(entry, STORE_BUILD_ERROR, reason, "");
}

/* ---- files ---- */

bool builds_hash_is_good(const char *hash)
{
	return hash && strlen(hash) == BUILDS_HASH_N &&
	       strspn(hash, "0123456789abcdef") == BUILDS_HASH_N;
}

bool builds_has_file(struct builds *builds, const struct id *tenant, const char *hash)
{
	char path[PATH_MAX];

	build_files_path(&builds->files, tenant, hash, path);
	return builds_hash_is_good(hash) && utimensat(AT_FDCWD, path, NULL, 0) == 0;
}

int builds_file_begin(struct builds *builds, const struct id *tenant, uint64_t *out_room,
		      struct err *err)
{
	uint64_t used = build_files_used(&builds->files, tenant);

	*out_room = used < builds->options.space_max ? builds->options.space_max - used : 0;
	return build_files_create(&builds->files, tenant, err);
}

int builds_file_end(struct builds *builds, const struct id *tenant, const char *hash, int fd,
		    struct err *err)
{
	struct stat status;

	/* Others may have come meanwhile. */
	if (fstat(fd, &status) ||
	    build_files_used(&builds->files, tenant) + (uint64_t)status.st_size >
		    builds->options.space_max)
		return err_set(err, "the tenant has no room for more files");
	return build_files_name(&builds->files, tenant, hash, fd, err);
}

int builds_spec_write(struct builds *builds, const char *build, const json_t *spec, struct err *err)
{
	char path[PATH_MAX], *text = json_dumps(spec, JSON_COMPACT);
	int result;

	CHECK(text);
	build_files_spec_path(&builds->files, build, path);
	result = file_write_atomic(path, text, strlen(text), 0600, err);
	free(text);
	return result;
}

/* What it is upon is in its spec; of an image the builder knows more. */
static void entry_read_base(struct builds *builds, struct entry *entry)
{
	char path[PATH_MAX];
	const char *base;
	json_t *spec;

	build_files_spec_path(&builds->files, entry->row.id, path);
	spec = json_load_file(path, 0, NULL);
	entry->has_spec = spec != NULL;
	base = json_string_value(json_object_get(spec, "fromTemplate"));
	snprintf(entry->base, sizeof(entry->base), "%s", base ? base : "");
	json_decref(spec);
}

static void builds_queue(struct builds *builds, const struct store_build *row,
			 const struct id *tenant)
{
	if (!entry_find(builds, row->id))
		entry_read_base(builds, entry_add(builds, row, tenant));
}

static void take_file(struct builds *builds, const struct entry *entry, const char *name,
		      uint64_t offset, struct wire_build_tell *tell)
{
	char path[PATH_MAX];
	struct err err;
	size_t n = 0;
	int got;

	if (strcmp(name, "spec") == 0) {
		build_files_spec_path(&builds->files, entry->row.id, path);
	} else if (builds_has_file(builds, &entry->tenant, name)) {
		build_files_path(&builds->files, &entry->tenant, name, path);
	} else {
		tell->missing = true;
		return;
	}
	got = build_files_read(path, offset, builds->data, sizeof(builds->data), &n, &tell->size,
			       &err);
	if (got < 0)
		log_error("builds", "cannot read a file", LOG_ERR(&err));
	tell->missing = got != 1;
	tell->data = (struct wire_bytes){builds->data, n};
}

/* ---- lines ---- */

/* As they are told to tenants: what is not as it should be is left out, but counts. */
static json_t *line_judge(const json_t *line)
{
	const char *names[] = {"timestamp", "level", "message", "step"};
	json_t *out = json_object();

	for (size_t i = 0; i < ARRAY_N(names); i++) {
		const json_t *value = json_object_get(line, names[i]);

		json_object_set_new(
			out, names[i],
			json_string(json_is_string(value) ? json_string_value(value) : ""));
	}
	return out;
}

static void take_lines(struct entry *entry, const struct wire_build_ask *ask)
{
	const char *at = (const char *)ask->lines.data, *end = at + ask->lines.n;

	if (ask->first_line != json_array_size(entry->lines))
		return; /* told before, or after some that were lost: what is wanted is said */
	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t n = (size_t)((stop ? stop : end) - at);
		json_t *line;

		if (json_array_size(entry->lines) >= BUILDS_LINES_MAX ||
		    entry->lines_bytes + n > BUILDS_LINES_BYTES)
			return;
		line = json_loadb(at, n, 0, NULL);
		json_array_append_new(entry->lines, line_judge(line));
		json_decref(line);
		entry->lines_bytes += n;
		at += n + (stop != NULL);
	}
}

json_t *builds_lines(struct builds *builds, const char *build, size_t from, size_t limit)
{
	struct entry *entry = entry_find(builds, build);
	json_t *rows = json_array();

	for (size_t i = from; entry && i < json_array_size(entry->lines) && i - from < limit; i++)
		json_array_append(rows, json_array_get(entry->lines, i));
	return rows;
}

/* ---- a node asks ---- */

static bool node_can(struct builds *builds, const struct id *node, const struct entry *entry)
{
	struct core_node_view view;

	if (!core_node_find(engine_core(builds->options.engine), node, &view) || view.row.cordoned)
		return false;
	for (uint32_t i = 0; i < view.template_n; i++)
		if (strcmp(view.templates[i].template_->name, entry->base) == 0)
			return true;
	return !entry->base[0];
}

static void tell_job(const struct entry *entry, struct wire_build_tell *tell)
{
	snprintf(tell->build, sizeof(tell->build), "%s", entry->row.id);
	snprintf(tell->scope, sizeof(tell->scope), "%s", entry->tenant.text);
	tell->vcpus = (uint32_t)entry->row.vcpus;
	tell->mem_mib = (uint32_t)entry->row.mem_mib;
	tell->disk_mib = (uint32_t)entry->row.disk_mib;
}

/* A template of it that nothing leads to, and that no build is to be upon. */
static void tell_drop(struct builds *builds, const struct id *node, struct wire_build_tell *tell)
{
	struct store *store = engine_store(builds->options.engine);
	struct core_node_view view;
	struct err err;

	if (!core_node_find(engine_core(builds->options.engine), node, &view))
		return;
	for (uint32_t i = 0; i < view.template_n; i++) {
		const char *name = view.templates[i].template_->name;
		bool is_base = false;
		int64_t is_wanted;

		for (const struct entry *at = builds->entries; at; at = at->next)
			is_base |= !at->is_over && strcmp(at->base, name) == 0;
		if (is_base || !template_name_is_builds(name) ||
		    sqlite_get_int(store_reader(store), STORE_READ_BUILD_IS_WANTED,
				   SQL(SQL_TEXT(name)), 0, &is_wanted, &err) ||
		    is_wanted)
			continue;
		snprintf(tell->drop, sizeof(tell->drop), "%s", name);
		return;
	}
}

static void take_idle(struct builds *builds, const struct id *node, struct wire_build_tell *tell)
{
	struct entry *chosen = NULL;

	for (struct entry *at = builds->entries; at; at = at->next) {
		if (at->is_over || at->is_deciding)
			continue;
		if (id_equal(&at->node, node) && at->is_heard) {
			entry_fail(at, "the node's agent was restarted while it was built");
			continue;
		}
		if (!chosen &&
		    (id_equal(&at->node, node) ||
		     (id_is_empty(&at->node) && at->has_spec && node_can(builds, node, at))))
			chosen = at;
	}
	if (!chosen) {
		tell_drop(builds, node, tell);
		return;
	}
	chosen->node = *node;
	chosen->since = engine_mono();
	tell_job(chosen, tell);
}

/* A build that nobody here knows may be one that a leader before gave out. */
static struct entry *entry_adopt(struct builds *builds, const char *build, bool *out_is_settled)
{
	struct store *store = engine_store(builds->options.engine);
	struct store_own_template own;
	struct store_build row;
	struct err err;

	if (store_build_find(store, build, &row, &err) != 1 || row.gone)
		return NULL;
	*out_is_settled = row.status == STORE_BUILD_READY;
	if (row.status != STORE_BUILD_BUILDING ||
	    store_own_template_find(store, row.template_.text, &own, &err) != 1)
		return NULL;
	return entry_add(builds, &row, &own.tenant);
}

static bool entry_is_gone(struct builds *builds, const struct entry *entry)
{
	struct store_build row;
	struct err err;

	return store_build_find(engine_store(builds->options.engine), entry->row.id, &row, &err) ==
		       1 &&
	       row.gone;
}

static void take_end(struct builds *builds, struct entry *entry, const struct wire_build_ask *ask)
{
	const struct core_template *made;

	if (entry->is_over || entry->is_deciding)
		return;
	if (!ask->ready) {
		entry_decide(entry, STORE_BUILD_ERROR, ask->reason, ask->step);
		return;
	}
	/* Who hears that it is ready may start it at once. */
	made = core_template_find(engine_core(builds->options.engine), entry->row.id);
	if (!made && !entry->ended_at.ns)
		entry->ended_at = engine_mono();
	if (!made && engine_mono().ns > mono_add_ms(entry->ended_at, BUILDS_UNKNOWN_MS).ns)
		entry_fail(entry, "the fleet cannot take one more template (--limits-templates)");
	if (!made)
		return;
	entry->row.vcpus = made->vcpus;
	entry->row.mem_mib = made->mem_mib;
	entry->row.disk_mib = made->disk_mib;
	entry_decide(entry, STORE_BUILD_READY, "", "");
}

void builds_take(struct builds *builds, const struct id *node, const struct wire_build_ask *ask,
		 struct wire_build_tell *tell)
{
	struct entry *entry;

	if (!builds_lead(builds)) {
		tell->standby = true;
		return;
	}
	if (!ask->build[0]) {
		take_idle(builds, node, tell);
		return;
	}
	snprintf(tell->build, sizeof(tell->build), "%s", ask->build);
	entry = entry_find(builds, ask->build);
	if (!entry)
		entry = entry_adopt(builds, ask->build, &tell->settled);
	if (entry && id_is_empty(&entry->node))
		entry->node = *node;
	if (!entry || !id_equal(&entry->node, node) || entry_is_gone(builds, entry) ||
	    (entry->is_over && !ask->ended)) {
		tell->unwanted = !tell->settled;
		return;
	}
	entry->is_heard = true;
	entry->since = engine_mono();
	take_lines(entry, ask);
	tell->lines_n = (uint32_t)json_array_size(entry->lines);
	if (ask->file[0])
		take_file(builds, entry, ask->file, ask->offset, tell);
	if (ask->ended)
		take_end(builds, entry, ask);
	tell->settled = entry->is_over;
}

/* ---- looking after them ---- */

static bool is_older(const struct entry *entry, int64_t seconds)
{
	return engine_mono().ns > mono_add_ms(entry->since, seconds * 1000).ns;
}

static void entry_look(struct builds *builds, struct entry *entry)
{
	if (entry->is_over || entry->is_deciding)
		return;
	if (entry->row.status == STORE_BUILD_ERROR || entry->row.status == STORE_BUILD_READY)
		entry_decide(entry, (enum store_build_status)entry->row.status, entry->row.reason,
			     entry->row.step); /* it could not be decided before */
	else if (entry_is_gone(builds, entry))
		entry->is_over = true;
	else if (!id_is_empty(&entry->node) && is_older(entry, BUILDS_SILENT_S))
		entry_fail(entry, "the node that was at it is not heard of any more");
	else if (id_is_empty(&entry->node) && !entry->has_spec && is_older(entry, BUILDS_SILENT_S))
		entry_fail(entry, "the scheduler that it was given to is not the leader any more");
	else if (id_is_empty(&entry->node) && is_older(entry, BUILDS_QUEUE_S))
		entry_fail(entry, "no node that has what it is upon had time for it");
}

/* Of the store: what nobody has begun, and what was under way when we began. */
static void look_at_row(struct builds *builds, const struct store_build *row)
{
	struct store_own_template own;
	struct entry *entry;
	struct err err;

	if (row->kind != STORE_BUILD_TEMPLATE || entry_find(builds, row->id) ||
	    store_own_template_find(engine_store(builds->options.engine), row->template_.text, &own,
				    &err) != 1)
		return;
	if (row->status == STORE_BUILD_BUILDING) {
		builds_queue(builds, row, &own.tenant);
	} else if (engine_wall().ns - row->created_at > BUILDS_WAIT_S * NS_PER_S) {
		entry = entry_add(builds, row, &own.tenant);
		entry_fail(entry, "nothing to build came in an hour");
	}
}

static void look_at_store(struct builds *builds)
{
	struct store *store = engine_store(builds->options.engine);
	struct sqlite *reader = store_reader(store);
	struct store_build *rows = NULL;
	size_t n = 0, room = 0;
	struct err err;

	if (sqlite_bind(reader, STORE_READ_BUILDS_OPEN, SQL_NONE, &err))
		return;
	while (sqlite_next(reader, STORE_READ_BUILDS_OPEN, &err) == 1) {
		if (n == room) {
			room = room * 2 + 16;
			rows = realloc(rows, room * sizeof(*rows));
			CHECK(rows);
		}
		store_build_row(store, STORE_READ_BUILDS_OPEN, &rows[n++]);
	}
	for (size_t i = 0; i < n; i++)
		look_at_row(builds, &rows[i]);
	free(rows);
}

/* Who does not lead any more has nothing to say of them; who does later begins anew. */
static void forget_all(struct builds *builds)
{
	struct entry *next;

	for (struct entry *at = builds->entries; at; at = next) {
		next = at->next;
		if (!at->is_deciding)
			entry_remove(builds, at);
	}
}

static void on_look(uv_timer_t *timer)
{
	struct builds *builds = timer->data;

	if (builds->looks_n++ % BUILDS_SWEEP_LOOKS == 0)
		build_files_sweep(&builds->files, builds->options.keep_ms);
	if (!builds_lead(builds)) {
		if (builds->options.leads)
			forget_all(builds);
		return;
	}
	look_at_store(builds);
	for (struct entry *at = builds->entries; at; at = at->next)
		entry_look(builds, at);
}

/* ---- open and close ---- */

int builds_open(struct builds **out_builds, uv_loop_t *loop, const struct builds_options *options,
		struct err *err)
{
	struct builds *builds = calloc(1, sizeof(*builds));

	CHECK(builds);
	builds->options = *options;
	if (build_files_open(&builds->files, options->state_dir, err)) {
		free(builds);
		return -1;
	}
	builds->timer = calloc(1, sizeof(*builds->timer));
	CHECK(builds->timer);
	builds->timer->data = builds;
	uv_timer_init(loop, builds->timer);
	uv_timer_start(builds->timer, on_look, BUILDS_LOOK_MS, BUILDS_LOOK_MS);
	*out_builds = builds;
	return 0;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

void builds_close(struct builds *builds)
{
	struct entry *next;

	if (!builds)
		return;
	uv_close((uv_handle_t *)builds->timer, free_handle);
	for (struct entry *at = builds->entries; at; at = next) {
		next = at->next;
		json_decref(at->lines);
		free(at);
	}
	free(builds);
}

/* See spec.h. */
#include "node-agent/template/spec.h"

#include "common/base/check.h"

#include <string.h>

static const struct {
	const char *text;
	size_t least, most;
} kinds[] = {
#define STEP(kind, least, most) {#kind, least, most},
#include "node-agent/template/step_kinds.def"
#undef STEP
};

const char *step_kind_text(enum step_kind kind)
{
	return kinds[kind].text;
}

const char *build_step_arg(const struct build_step *step, size_t number)
{
	return json_string_value(json_array_get(step->args, number));
}

static bool is_text(const json_t *value)
{
	return json_is_string(value) && json_string_length(value) <= SPEC_ARG_MAX &&
	       strlen(json_string_value(value)) == json_string_length(value);
}

/* Absent, null and empty leave *out NULL. */
static int read_text(const json_t *root, const char *name, const char **out, struct err *err)
{
	const json_t *value = json_object_get(root, name);

	*out = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!is_text(value))
		return err_set(err, "%s: a string of at most %d bytes is wanted", name,
			       SPEC_ARG_MAX);
	if (json_string_length(value) > 0)
		*out = json_string_value(value);
	return 0;
}

static int read_flag(const json_t *root, const char *name, bool *out, struct err *err)
{
	const json_t *value = json_object_get(root, name);

	*out = json_is_true(value);
	if (value && !json_is_null(value) && !json_is_boolean(value))
		return err_set(err, "%s: true or false is wanted", name);
	return 0;
}

static bool is_made_of(const char *text, const char *letters, size_t most)
{
	size_t n = strlen(text);

	return n <= most && strspn(text, letters) == n;
}

#define USER_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

static bool is_user(const char *name)
{
	return name[0] && name[0] != '-' && is_made_of(name, USER_LETTERS, SPEC_USER_MAX - 1);
}

/* "user" or "user:group". */
static bool is_owner(const char *name)
{
	return name[0] != '-' && is_made_of(name, USER_LETTERS ":", 2 * SPEC_USER_MAX);
}

static bool has_parent_part(const char *path)
{
	for (const char *at = path; at; at = strchr(at, '/')) {
		at += at[0] == '/';
		if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || !at[2]))
			return true;
	}
	return false;
}

static int check_copy(const struct build_step *step, struct err *err)
{
	const char *source = build_step_arg(step, 0), *owner = build_step_arg(step, 2);
	const char *mode = build_step_arg(step, 3);

	if (!source[0] || source[0] == '/' || has_parent_part(source))
		return err_set(err, "COPY: the source must be a path inside the build's files");
	if (!build_step_arg(step, 1)[0])
		return err_set(err, "COPY: the destination is missing");
	if (owner && !is_owner(owner))
		return err_set(err, "COPY: the owner is no user's name");
	if (mode && !is_made_of(mode, "01234567", 5))
		return err_set(err, "COPY: the mode is not octal");
	if (!step->files_hash)
		return err_set(err, "COPY: filesHash is missing");
	return 0;
}

bool build_spec_is_variable(const char *name)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	return name[0] && !(name[0] >= '0' && name[0] <= '9') && is_made_of(name, letters, 255);
}

static int check_env(const struct build_step *step, struct err *err)
{
	if (json_array_size(step->args) % 2)
		return err_set(err, "ENV: names and values by turns are wanted");
	for (size_t i = 0; i < json_array_size(step->args); i += 2) {
		const char *name = build_step_arg(step, i);

		if (!build_spec_is_variable(name))
			return err_set(err, "ENV: `%.60s` is no variable's name", name);
	}
	return 0;
}

static int check_args(const struct build_step *step, struct err *err)
{
	const char *user = build_step_arg(step, 1);

	switch (step->kind) {
	case STEP_COPY:
		return check_copy(step, err);
	case STEP_ENV:
		return check_env(step, err);
	case STEP_RUN:
		if (!build_step_arg(step, 0)[0])
			return err_set(err, "RUN: the command is empty");
		return user && user[0] && !is_user(user)
			       ? err_set(err, "RUN: `%.60s` is no user's name", user)
			       : 0;
	case STEP_WORKDIR:
		return build_step_arg(step, 0)[0] ? 0 : err_set(err, "WORKDIR: the path is empty");
	case STEP_USER:
		return is_user(build_step_arg(step, 0)) ? 0 : err_set(err, "USER: no user's name");
	}
	return 0;
}

static int read_args(const json_t *value, struct build_step *step, struct err *err)
{
	const char *kind = kinds[step->kind].text;
	const json_t *arg;
	size_t i;

	step->args = json_object_get(value, "args");
	if (!json_is_array(step->args))
		return err_set(err, "%s: args: an array of strings is wanted", kind);
	if (json_array_size(step->args) < kinds[step->kind].least ||
	    json_array_size(step->args) > kinds[step->kind].most)
		return err_set(err, "%s: %zu arguments: %zu to %zu are possible", kind,
			       json_array_size(step->args), kinds[step->kind].least,
			       kinds[step->kind].most);
	json_array_foreach(step->args, i, arg) if (!is_text(arg)) return err_set(
		err, "%s: args[%zu]: a string of at most %d bytes is wanted", kind, i,
		SPEC_ARG_MAX);
	return 0;
}

static int read_step(const json_t *value, struct build_step *step, struct err *err)
{
	const char *type = json_string_value(json_object_get(value, "type"));
	const char *hash;
	size_t kind = 0;

	while (kind < ARRAY_N(kinds) && (!type || strcmp(kinds[kind].text, type) != 0))
		kind++;
	if (kind == ARRAY_N(kinds))
		return err_set(err, "type `%.40s`: COPY, ENV, RUN, WORKDIR or USER is wanted",
			       type ? type : "");
	step->kind = (enum step_kind)kind;
	if (read_args(value, step, err) || read_flag(value, "force", &step->force, err) ||
	    read_text(value, "filesHash", &hash, err))
		return -1;
	/* It becomes a file's name. */
	if (hash && (strlen(hash) != SPEC_FILES_HASH_N ||
		     !is_made_of(hash, "0123456789abcdef", SPEC_FILES_HASH_N)))
		return err_set(err, "filesHash: %d hex digits are wanted", SPEC_FILES_HASH_N);
	step->files_hash = step->kind == STEP_COPY ? hash : NULL;
	return check_args(step, err);
}

struct registry_kind {
	const char *type, *user, *password, *region;
};

/* NULL: there is no such kind. */
static const struct registry_kind *registry_kind(const json_t *value)
{
	static const struct registry_kind registries[] = {
#define REGISTRY(type, user, password, region) {type, user, password, region},
#include "proto/registries.def"
#undef REGISTRY
	};
	const char *type = json_string_value(json_object_get(value, "type"));

	for (size_t i = 0; type && i < sizeof(registries) / sizeof(registries[0]); i++)
		if (strcmp(type, registries[i].type) == 0)
			return &registries[i];
	return NULL;
}

static int read_credential(const json_t *value, const char *name, const char **out, struct err *err)
{
	*out = NULL;
	if (!name[0])
		return 0;
	if (read_text(value, name, out, err))
		return -1;
	return *out ? 0 : err_set(err, "%s is missing", name);
}

static int read_registry(struct build_spec *spec, struct err *err)
{
	static const char region[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	const json_t *value = json_object_get(spec->document, "fromImageRegistry");
	const struct registry_kind *kind = registry_kind(value);

	if (!value || json_is_null(value))
		return 0;
	if (!spec->from_image)
		return err_set(err, "fromImageRegistry: fromImage is missing");
	if (!kind)
		return err_set(err, "fromImageRegistry: type: registry, gcp or aws is wanted");
	if (read_credential(value, kind->user, &spec->registry_user, err) ||
	    read_credential(value, kind->password, &spec->registry_password, err) ||
	    read_credential(value, kind->region, &spec->registry_region, err))
		return err_wrap(err, "fromImageRegistry");
	if (!spec->registry_user)
		spec->registry_user = "_json_key"; /* as Google's registries call it */
	if (strchr(spec->registry_user, ':'))
		return err_set(err, "fromImageRegistry: %s: a colon is not possible", kind->user);
	/* It becomes part of a host's name. */
	if (spec->registry_region && !is_made_of(spec->registry_region, region, 32))
		return err_set(err, "fromImageRegistry: %s: one like eu-central-1 is wanted",
			       kind->region);
	return 0;
}

static int read_root(struct build_spec *spec, struct err *err)
{
	const json_t *root = spec->document, *steps = json_object_get(root, "steps"), *step;
	size_t i;

	if (!json_is_object(root))
		return err_set(err, "an object is wanted");
	if (read_text(root, "fromImage", &spec->from_image, err) ||
	    read_text(root, "fromTemplate", &spec->from_template, err) ||
	    read_text(root, "startCmd", &spec->start_cmd, err) ||
	    read_text(root, "readyCmd", &spec->ready_cmd, err) ||
	    read_flag(root, "force", &spec->force, err))
		return -1;
	if (spec->from_image && spec->from_template)
		return err_set(err, "fromImage and fromTemplate exclude each other");
	if (read_registry(spec, err))
		return -1;
	if (!steps || json_is_null(steps))
		return 0;
	if (!json_is_array(steps) || json_array_size(steps) > SPEC_STEPS_MAX)
		return err_set(err, "steps: an array of at most %d is wanted", SPEC_STEPS_MAX);
	json_array_foreach(steps, i, step)
	{
		if (read_step(step, &spec->steps[i], err))
			return err_wrap(err, "step %zu", i + 1);
		spec->steps_n++;
	}
	return 0;
}

int build_spec_parse(const char *text, size_t text_n, struct build_spec *out_spec, struct err *err)
{
	json_error_t problem;

	memset(out_spec, 0, sizeof(*out_spec));
	if (text_n > SPEC_MAX)
		return err_set(err, "spec: longer than %d bytes", SPEC_MAX);
	out_spec->document = json_loadb(text, text_n, JSON_REJECT_DUPLICATES, &problem);
	if (!out_spec->document)
		return err_set(err, "spec: line %d: %s", problem.line, problem.text);
	if (read_root(out_spec, err)) {
		build_spec_free(out_spec);
		return err_wrap(err, "spec");
	}
	return 0;
}

void build_spec_free(struct build_spec *spec)
{
	json_decref(spec->document);
	memset(spec, 0, sizeof(*spec));
}

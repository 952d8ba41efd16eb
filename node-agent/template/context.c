/* See context.h. */
#include "node-agent/template/context.h"

#include "common/base/check.h"
#include "node-agent/guest/env.h"
#include "node-agent/template/artefact.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DESCRIBED_ARG_MAX = 200, VALUE_MAX = 64 * 1024 };

void build_context_free(struct build_context *context)
{
	json_decref(context->env);
	context->env = NULL;
}

json_t *build_context_json(const struct build_context *context)
{
	return json_pack("{s:s, s:s, s:O}", "user", context->user, "workdir", context->workdir,
			 "env", context->env);
}

int build_context_parse(const json_t *root, struct build_context *out, struct err *err)
{
	const char *user = json_string_value(json_object_get(root, "user"));
	const char *workdir = json_string_value(json_object_get(root, "workdir"));
	json_t *env = json_object_get(root, "env");

	if (!user || !workdir || !json_is_object(env) || strlen(user) >= sizeof(out->user) ||
	    strlen(workdir) >= sizeof(out->workdir))
		return err_set(err, "user, workdir or env is missing or wrong");
	strcpy(out->user, user);
	strcpy(out->workdir, workdir);
	out->env = json_deep_copy(env);
	return out->env ? 0 : err_errno(err, ENOMEM, "env");
}

void step_key(const struct build_step *step, const char *scope, const char *parent_id,
	      char out_key[VM_ARTEFACT_ID_MAX])
{
	struct artefact_hash hash;

	artefact_hash_begin(&hash);
	artefact_hash_text(&hash, scope);
	artefact_hash_text(&hash, parent_id);
	artefact_hash_text(&hash, step_kind_text(step->kind));
	artefact_hash_number(&hash, json_array_size(step->args));
	for (size_t i = 0; i < json_array_size(step->args); i++)
		artefact_hash_text(&hash, build_step_arg(step, i));
	artefact_hash_text(&hash, step->files_hash ? step->files_hash : "");
	artefact_hash_end(&hash, out_key);
}

void step_describe(const struct build_step *step, char *out, size_t out_n)
{
	size_t n = (size_t)snprintf(out, out_n, "%s", step_kind_text(step->kind));

	for (size_t i = 0; i < json_array_size(step->args) && n < out_n; i++)
		n += (size_t)snprintf(out + n, out_n - n, " %.*s", DESCRIBED_ARG_MAX,
				      build_step_arg(step, i));
	/* A command may have many lines; this is one. */
	for (char *at = out; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
}

/* ---- what is in force afterwards ---- */

/* What the guest would say to it: its own defaults are variables too. */
static const char *variable(const struct build_context *context, const char *name, char home[80])
{
	const char *value = json_string_value(json_object_get(context->env, name));

	snprintf(home, 80, strcmp(context->user, "root") ? "/home/%s" : "/%s", context->user);
	if (value)
		return value;
	if (strcmp(name, "PATH") == 0)
		return ENV_PATH_DEFAULT;
	if (strcmp(name, "HOME") == 0)
		return home;
	return strcmp(name, "USER") == 0 || strcmp(name, "LOGNAME") == 0 ? context->user : "";
}

static const char name_letters[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

/* $NAME and ${NAME}; \$ is a dollar. False: too long. */
static bool expand(const struct build_context *context, const char *value, char out[VALUE_MAX])
{
	char name[256], home[80];
	size_t n = 0;

	while (*value) {
		bool is_braced = value[0] == '$' && value[1] == '{';
		const char *from = value + 1 + is_braced, *piece = value;
		size_t name_n = strspn(from, name_letters), piece_n = 1;

		if (value[0] == '\\' && value[1] == '$') {
			piece = value + 1;
			value += 2;
		} else if (value[0] == '$' && name_n > 0 && name_n < sizeof(name) &&
			   (!is_braced || from[name_n] == '}')) {
			memcpy(name, from, name_n);
			name[name_n] = 0;
			piece = variable(context, name, home);
			piece_n = strlen(piece);
			value = from + name_n + is_braced;
		} else {
			value++;
		}
		if (n + piece_n >= VALUE_MAX)
			return false;
		memcpy(out + n, piece, piece_n);
		n += piece_n;
	}
	out[n] = 0;
	return true;
}

static int apply_env(const struct build_step *step, struct build_context *context, struct err *err)
{
	char *value = malloc(VALUE_MAX);
	int result = 0;

	CHECK(value);
	for (size_t i = 0; !result && i < json_array_size(step->args); i += 2) {
		if (!expand(context, build_step_arg(step, i + 1), value))
			result = err_set(err, "ENV %s: the value becomes too long",
					 build_step_arg(step, i));
		else
			json_object_set_new(context->env, build_step_arg(step, i),
					    json_string(value));
	}
	free(value);
	return result;
}

int build_context_path(const struct build_context *context, const char *path, char out[PATH_MAX],
		       struct err *err)
{
	int n = path[0] == '/' ? snprintf(out, PATH_MAX, "%s", path)
			       : snprintf(out, PATH_MAX, "%s/%s", context->workdir, path);

	return n < PATH_MAX ? 0 : err_set(err, "%.100s...: the path is too long", path);
}

int step_apply(const struct build_step *step, struct build_context *context, struct err *err)
{
	char path[PATH_MAX];

	switch (step->kind) {
	case STEP_ENV:
		return apply_env(step, context, err);
	case STEP_WORKDIR:
		if (build_context_path(context, build_step_arg(step, 0), path, err))
			return -1;
		strcpy(context->workdir, path);
		return 0;
	case STEP_USER:
		strcpy(context->user, build_step_arg(step, 0));
		return 0;
	case STEP_COPY:
	case STEP_RUN:
		break;
	}
	return 0;
}

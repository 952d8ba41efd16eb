/* See step.h. */
#include "node-agent/template/step.h"

#include "common/base/check.h"
#include "node-agent/template/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_IN_GUEST "/tmp/.flotilla-files"

/*
 * As COPY does it in a Dockerfile: a folder's content goes into the destination, one file becomes
 * the destination unless that ends in a slash or is a folder, several go into it.  All words come
 * as variables, so that none is ever read as shell.
 */
static const char copy_script[] =
	"set -euf; IFS=; shopt -s nullglob globstar dotglob\n"
	"work=$(mktemp -d /tmp/.flotilla-copy.XXXXXX)\n"
	"trap 'rm -rf -- \"$work\" " FILES_IN_GUEST "' EXIT\n"
	"tar -xf " FILES_IN_GUEST " -C \"$work\" --no-same-owner\n"
	"cd \"$work\"\n"
	"if [ -e \"$COPY_FROM\" ] || [ -L \"$COPY_FROM\" ]; then found=(\"$COPY_FROM\")\n"
	"else set +f; found=($COPY_FROM); set -f; fi\n"
	"[ ${#found[@]} -gt 0 ] || { echo \"COPY: there is no $COPY_FROM\" >&2; exit 1; }\n"
	"chown -R -- \"$COPY_OWNER\" .\n"
	"[ -z \"$COPY_MODE\" ] || chmod -R -- \"$COPY_MODE\" \"${found[@]}\"\n"
	"folder() { [ -d \"$1\" ] || { mkdir -p -- \"$1\"; chown -- \"$COPY_OWNER\" \"$1\"; }; }\n"
	"if [ ${#found[@]} -eq 1 ] && [ -d \"${found[0]}\" ] && [ ! -L \"${found[0]}\" ]; then\n"
	"  folder \"$COPY_TO\"; cp -a -- \"${found[0]}/.\" \"$COPY_TO/\"\n"
	"elif [ ${#found[@]} -eq 1 ] && [ \"${COPY_TO%/}\" = \"$COPY_TO\" ] && [ ! -d \"$COPY_TO\" "
	"]\n"
	"then folder \"$(dirname -- \"$COPY_TO\")\"; cp -a -- \"${found[0]}\" \"$COPY_TO\"\n"
	"else folder \"$COPY_TO\"; cp -a -- \"${found[@]}\" \"$COPY_TO/\"; fi\n";

static const char workdir_script[] = "[ -d \"$NEW_DIR\" ] || { mkdir -p -- \"$NEW_DIR\" && chown "
				     "-- \"$NEW_OWNER\" \"$NEW_DIR\"; }";

/* ---- carrying out ---- */

void step_show_line(void *arg, bool is_error, const char *line)
{
	(void)arg;
	progress_say(is_error ? PROGRESS_WARN : PROGRESS_INFO, "%s", line);
}

int step_command(struct workshop *workshop, const struct workshop_command *command,
		 int *out_exit_code, struct err *err)
{
	struct output *output = calloc(1, sizeof(*output));
	int result;

	CHECK(output);
	output->on_line = step_show_line;
	result = workshop_run(workshop, command, output, err);
	if (!result && output->exit_code) {
		*out_exit_code = output->exit_code;
		result = output->exit_code < 0 ? err_set(err, "the command was ended by a signal")
					       : err_set(err, "the command failed: exit status %d",
							 output->exit_code);
	}
	free(output);
	return result;
}

/* "user:" is the user and its group. */
static void owner_of(const struct build_context *context, const char *asked, char out[160])
{
	const char *name = asked && asked[0] ? asked : context->user;

	snprintf(out, 160, strchr(name, ':') ? "%s" : "%s:", name);
}

static int run_as_root(struct workshop *workshop, const char *script, json_t *env,
		       int *out_exit_code, struct err *err)
{
	const struct workshop_command command = {"root", "/", env, script};
	int result;

	CHECK(env);
	result = step_command(workshop, &command, out_exit_code, err);
	json_decref(env);
	return result;
}

static int copy(struct workshop *workshop, const struct build_step *step,
		const struct build_context *context, const char *files_dir, int *out_exit_code,
		struct err *err)
{
	const char *to = build_step_arg(step, 1), *mode = build_step_arg(step, 3);
	char archive[PATH_MAX], path[PATH_MAX], owner[160];

	if (!files_dir)
		return err_set(err, "COPY: there is no folder with the build's files");
	if (snprintf(archive, sizeof(archive), "%s/%s", files_dir, step->files_hash) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", files_dir);
	if (build_context_path(context, to, path, err) ||
	    workshop_upload(workshop, archive, FILES_IN_GUEST, err))
		return err_wrap(err, "COPY");
	owner_of(context, build_step_arg(step, 2), owner);
	return run_as_root(workshop, copy_script,
			   json_pack("{s:s, s:s, s:s, s:s}", "COPY_FROM", build_step_arg(step, 0),
				     "COPY_TO", path, "COPY_OWNER", owner, "COPY_MODE",
				     mode ? mode : ""),
			   out_exit_code, err);
}

static int run(struct workshop *workshop, const struct build_step *step,
	       const struct build_context *context, int *out_exit_code, struct err *err)
{
	const char *user = build_step_arg(step, 1);
	const struct workshop_command command = {
		.user = user && user[0] ? user : context->user,
		.cwd = context->workdir,
		.env = context->env,
		.line = build_step_arg(step, 0),
	};

	return step_command(workshop, &command, out_exit_code, err);
}

int step_carry_out(struct workshop *workshop, const struct build_step *step,
		   const struct build_context *context, const char *files_dir, int *out_exit_code,
		   struct err *err)
{
	char path[PATH_MAX], owner[160];

	*out_exit_code = 0;
	switch (step->kind) {
	case STEP_COPY:
		return copy(workshop, step, context, files_dir, out_exit_code, err);
	case STEP_RUN:
		return run(workshop, step, context, out_exit_code, err);
	case STEP_WORKDIR:
		if (build_context_path(context, build_step_arg(step, 0), path, err))
			return -1;
		owner_of(context, NULL, owner);
		return run_as_root(workshop, workdir_script,
				   json_pack("{s:s, s:s}", "NEW_DIR", path, "NEW_OWNER", owner),
				   out_exit_code, err);
	case STEP_USER: {
		/* The guest refuses a user that is not there. */
		const struct workshop_command command = {build_step_arg(step, 0), "/", NULL,
							 "true"};

		return step_command(workshop, &command, out_exit_code, err);
	}
	case STEP_ENV:
		break;
	}
	return 0;
}

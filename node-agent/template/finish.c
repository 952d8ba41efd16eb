/* See finish.h. */
#include "node-agent/template/finish.h"

#include "common/base/check.h"
#include "node-agent/template/progress.h"
#include "node-agent/template/step.h"
#include "node-agent/template/workshop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	READY_TRY_MS = 2000, /* between two tries, as E2B does */
	READY_LIMIT_MS = 5 * 60 * 1000,
};

/* E2B's defaults: what is started gets 20 s; what is not started is there. */
static const char ready_after_start[] = "sleep 20";

/* What a recipe wants in every clone's page cache, if it says so. */
static const char warm_command[] =
	"[ ! -x /usr/lib/flotilla/warm ] || /usr/lib/flotilla/warm >/dev/null 2>&1; true";

struct finish {
	struct workshop workshop;
	const struct build_record *record;
	struct guest_call start; /* the start command, which does not end */
	struct output start_output;
	int *out_exit_code;
};

/* Over in the middle of waiting is a fault unless it ended well, as what starts a daemon does. */
static int look_at_start(struct finish *finish, struct err *err)
{
	const struct output *output = &finish->start_output;

	if (output->is_refused)
		return err_set(err, "the start command: %s", output->problem);
	if (!output->has_ended || output->exit_code == 0)
		return 0;
	*finish->out_exit_code = output->exit_code;
	return err_set(err, "the start command ended: exit status %d", output->exit_code);
}

static int try_ready(struct finish *finish, const struct workshop_command *command, bool *out_ready,
		     struct err *err)
{
	struct output *output = calloc(1, sizeof(*output));
	int result;

	CHECK(output);
	output->on_line = step_show_line;
	result = workshop_run(&finish->workshop, command, output, err);
	*out_ready = !result && output->exit_code == 0;
	free(output);
	return result;
}

static int wait_ready(struct finish *finish, const struct workshop_command *command,
		      struct err *err)
{
	static const bool never;
	bool is_ready;

	for (int waited_ms = 0; waited_ms < READY_LIMIT_MS; waited_ms += READY_TRY_MS) {
		if (try_ready(finish, command, &is_ready, err) || look_at_start(finish, err))
			return -1;
		if (is_ready)
			return 0;
		if (workshop_wait(&finish->workshop, &never, READY_TRY_MS, true, err))
			return -1;
	}
	return err_set(err, "the ready command did not succeed in %d s", READY_LIMIT_MS / 1000);
}

static int start(struct finish *finish, struct err *err)
{
	const struct build_record *record = finish->record;
	const struct build_context *context = &record->context;
	struct workshop_command command = {context->user, context->workdir, context->env,
					   record->start_cmd};

	if (record->start_cmd) {
		progress_say(PROGRESS_INFO, "START %.200s", record->start_cmd);
		finish->start_output.on_line = step_show_line;
		if (workshop_start(&finish->workshop, &finish->start, &command,
				   &finish->start_output, err))
			return -1;
	}
	command.line = record->ready_cmd;
	if (!command.line && record->start_cmd)
		command.line = ready_after_start;
	if (!command.line)
		return 0;
	progress_say(PROGRESS_INFO, "READY %.200s", command.line);
	return wait_ready(finish, &command, err);
}

/* In every clone from its first moment; a claim's own variables come over them. */
static int set_defaults(struct finish *finish, struct err *err)
{
	const struct build_context *context = &finish->record->context;
	json_t *document = json_pack("{s:O, s:s, s:s, s:s, s:s}", "envVars", context->env,
				     "defaultUser", context->user, "defaultWorkdir",
				     context->workdir, "accessToken", "", "hostname", "sandbox");
	int result;

	CHECK(document);
	result = workshop_init(&finish->workshop, document, err);
	json_decref(document);
	return result;
}

static int warm(struct finish *finish, struct err *err)
{
	static const char *const lines[] = {warm_command, "true", "true", "sync"};
	const char *user = finish->record->context.user;
	int exit_code;

	for (size_t i = 0; i < ARRAY_N(lines); i++) {
		const struct workshop_command command = {user, "/", NULL, lines[i]};

		if (step_command(&finish->workshop, &command, &exit_code, err))
			return err_wrap(err, "warming");
	}
	return workshop_health(&finish->workshop, err);
}

static int carry_out(struct finish *finish, struct err *err)
{
	if (workshop_health(&finish->workshop, err) || set_defaults(finish, err) ||
	    start(finish, err) || warm(finish, err))
		return -1;
	/* It goes on in every clone; nobody hears it any more. */
	guest_call_end(&finish->start);
	progress_say(PROGRESS_INFO, "taking the snapshot");
	return workshop_save(&finish->workshop, err);
}

int finish_template(struct vm_launch *launch, const char *dir, const char *state_path,
		    const struct build_record *record, int64_t limit_ms, int *out_exit_code,
		    struct err *err)
{
	struct finish *finish = calloc(1, sizeof(*finish));
	int result;

	CHECK(finish);
	finish->record = record;
	finish->out_exit_code = out_exit_code;
	result = workshop_open(&finish->workshop, launch, dir, state_path, limit_ms, err) ||
				 carry_out(finish, err)
			 ? -1
			 : 0;
	guest_call_end(&finish->start);
	output_finish(&finish->start_output);
	workshop_close(&finish->workshop);
	free(finish);
	return result;
}

/* One step of a build, carried out in a microVM. */
#ifndef FLOTILLA_TEMPLATE_STEP_H
#define FLOTILLA_TEMPLATE_STEP_H

#include "node-agent/template/layer.h"
#include "node-agent/template/workshop.h"

/*
 * context: before the step.  files_dir: see build.h.  Fault: it failed; *out_exit_code is then its
 * command's, or 0 when that was not the reason.
 */
int step_carry_out(struct workshop *workshop, const struct build_step *step,
		   const struct build_context *context, const char *files_dir, int *out_exit_code,
		   struct err *err);

/* A command whose output becomes progress; fault as above. */
int step_command(struct workshop *workshop, const struct workshop_command *command,
		 int *out_exit_code, struct err *err);

/* For output's on_line. */
void step_show_line(void *arg, bool is_error, const char *line);

#endif

/*
 * What is in force while a template is built, changed by its steps one after the other, and in the
 * end for its sandboxes.  Pure.
 */
#ifndef FLOTILLA_TEMPLATE_CONTEXT_H
#define FLOTILLA_TEMPLATE_CONTEXT_H

#include "node-agent/template/spec.h"
#include "node-agent/vm/store.h"

#include <limits.h>

struct build_context {
	char user[SPEC_USER_MAX];
	char workdir[PATH_MAX];
	json_t *env; /* object of strings; owned */
};

void build_context_free(struct build_context *context);
json_t *build_context_json(const struct build_context *context); /* {user, workdir, env} */
int build_context_parse(const json_t *root, struct build_context *out, struct err *err);

/* A line for people: "RUN make". */
void step_describe(const struct build_step *step, char *out, size_t out_n);

/* What the step changes of what is in force.  Pure.  Fault: too long. */
int step_apply(const struct build_step *step, struct build_context *context, struct err *err);

/* The path as seen from the working directory. */
int build_context_path(const struct build_context *context, const char *path, char out[PATH_MAX],
		       struct err *err);

/* A hash of the step, of the id of the layer that it comes upon, and of whose it is: what is copied
 * is known by a hash that its owner says, so nobody may be given what another calls the same. */
void step_key(const struct build_step *step, const char *scope, const char *parent_id,
	      char out_key[VM_ARTEFACT_ID_MAX]);

#endif

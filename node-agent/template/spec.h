/*
 * What a template is to be, in the words of E2B's build API (the body of
 * POST /v2/templates/{id}/builds/{id}, as its SDK serialises it):
 *
 *   {fromImage? + fromImageRegistry? | fromTemplate?, startCmd?, readyCmd?, force?, steps: [{type,
 * args, force?, filesHash?}]}
 *
 * The arguments of each kind of step are in step_kinds.def.  Comes from tenants: everything is
 * bounded and checked here, so that what follows need not.  Pure.
 */
#ifndef FLOTILLA_TEMPLATE_SPEC_H
#define FLOTILLA_TEMPLATE_SPEC_H

#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	SPEC_MAX = 1024 * 1024, /* bytes of the document */
	SPEC_STEPS_MAX = 200,
	SPEC_ARGS_MAX = 256,
	SPEC_ARG_MAX = 32 * 1024,
	SPEC_FILES_HASH_N = 64, /* hex digits of a SHA-256 */
	SPEC_USER_MAX = 64,
};

enum step_kind {
#define STEP(kind, least, most) STEP_##kind,
#include "node-agent/template/step_kinds.def"
#undef STEP
};

const char *step_kind_text(enum step_kind kind);

/* Texts are borrowed from the document. */
struct build_step {
	enum step_kind kind;
	json_t *args;           /* strings, without NUL, as many as the kind takes */
	bool force;             /* carried out though the cache has it */
	const char *files_hash; /* of COPY alone */
};

struct build_spec {
	json_t *document;
	const char *from_image; /* at most one of the two; NULL: not given */
	const char *from_template;
	const char *registry_user; /* of from_image's registry; NULL: nobody in particular */
	const char *registry_password;
	const char *registry_region; /* of Amazon, whose access key they are; NULL: not there */
	const char *start_cmd;       /* NULL: none */
	const char *ready_cmd;
	bool force; /* of all steps */
	struct build_step steps[SPEC_STEPS_MAX];
	size_t steps_n;
};

/* A fault says which step is wrong, counted from 1, and in what. */
int build_spec_parse(const char *text, size_t text_n, struct build_spec *out_spec, struct err *err);
void build_spec_free(struct build_spec *spec);

/* Fit for the environment. */
bool build_spec_is_variable(const char *name);

/* NULL: the step has no such argument. */
const char *build_step_arg(const struct build_step *step, size_t number);

#endif

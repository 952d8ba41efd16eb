/* What a template is to be: what is taken has its promises, and its steps can be applied. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/template/context.h"
#include "node-agent/template/image_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct build_step *step, struct build_context *context)
{
	char key[VM_ARTEFACT_ID_MAX], text[300];

	for (size_t i = 0; i < json_array_size(step->args); i++)
		CHECK(build_step_arg(step, i) && strlen(build_step_arg(step, i)) <= SPEC_ARG_MAX);
	if (step->kind == STEP_COPY)
		CHECK(strlen(step->files_hash) == SPEC_FILES_HASH_N &&
		      !strchr(step->files_hash, '/'));
	step_describe(step, text, sizeof(text));
	CHECK(!strchr(text, '\n'));
	step_key(step, "", "parent", key);
	CHECK(strlen(key) == VM_ARTEFACT_ID_MAX - 1);
	step_apply(step, context, NULL);
	CHECK(context->user[0] && context->workdir[0] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct build_context context = {.user = "user", .workdir = "/home/user"};
	char reference[IMAGE_REFERENCE_MAX];
	static struct build_spec spec;

	if (build_spec_parse((const char *)data, size, &spec, NULL))
		return 0;
	CHECK(!spec.from_image || !spec.from_template);
	CHECK(!spec.registry_user == !spec.registry_password);
	if (spec.from_image && image_reference_parse(spec.from_image, reference, NULL) == 0)
		CHECK(strlen(reference) < sizeof(reference) && strchr(reference, '/') &&
		      !image_reference_is_allowed(reference, "") &&
		      image_reference_is_allowed(reference, reference));
	context.env = json_object();
	for (size_t i = 0; i < spec.steps_n; i++)
		look_at(&spec.steps[i], &context);
	build_context_free(&context);
	build_spec_free(&spec);
	return 0;
}

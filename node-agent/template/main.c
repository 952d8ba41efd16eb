/* flotilla-template: builds, lists and removes the templates of a host. */
#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/options.h"
#include "node-agent/egress/policy.h"
#include "node-agent/template/build.h"
#include "node-agent/template/progress.h"
#include "node-agent/vm/store.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEMPLATES_MAX = 256, EXIT_FAULT = 1, EXIT_USAGE = 2, EXIT_NOT_FOUND = 4 };

struct template_options {
#define OPTION OPTION_MEMBER
#include "node-agent/template/options.def"
#undef OPTION
};

static const struct option_spec rows[] = {
#define OPTION(...) OPTION_ROW(struct template_options, __VA_ARGS__)
#include "node-agent/template/options.def"
#undef OPTION
};

static const struct options_program program = {
	.name = "template",
	.summary = "builds the templates that microVMs are cloned from\n\n"
		   "  build RECIPE   make a template, or see that it is there\n"
		   "  build NAME --spec FILE   make one upon another, by steps\n"
		   "  import NAME --from FILE|DIR   make one of an image, or of a root "
		   "filesystem\n"
		   "  import NAME --image REFERENCE   make one of an image of a registry\n"
		   "  ls             list templates\n"
		   "  rm NAME        give a template up",
	.operands = "COMMAND [RECIPE|NAME]",
	.rows = rows,
	.rows_n = ARRAY_N(rows),
	.size = sizeof(struct template_options),
};

static int fault(const struct err *err)
{
	fprintf(stderr, "flotilla-template: %s\n", err->text);
	return EXIT_FAULT;
}

/* The folder that this program is in. */
static void own_dir(char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

	CHECK(n > 0);
	out[n] = 0;
	*strrchr(out, '/') = 0;
}

static int find_files(const struct template_options *options, const char *recipe,
		      char paths[5][PATH_MAX], struct build_request *request, struct err *err)
{
	const char *recipes = options->recipe_dir;
	char bin[PATH_MAX];
	bool is_whole;

	own_dir(bin);
	if (options->bin_dir[0])
		snprintf(bin, sizeof(bin), "%s", options->bin_dir);
	if (!recipes[0])
		recipes = access("/usr/share/flotilla/templates", F_OK)
				  ? FLOTILLA_SOURCE_RECIPES
				  : "/usr/share/flotilla/templates";
	is_whole = snprintf(paths[0], PATH_MAX, "%s/%s", recipes, recipe) < PATH_MAX &&
		   snprintf(paths[1], PATH_MAX, "%s/build-rootfs", recipes) < PATH_MAX &&
		   snprintf(paths[2], PATH_MAX, "%s/flotilla-guest", bin) < PATH_MAX &&
		   snprintf(paths[3], PATH_MAX, "%s/flotilla-shim", bin) < PATH_MAX &&
		   snprintf(paths[4], PATH_MAX, "%s/unpack-image", recipes) < PATH_MAX;
	if (!is_whole)
		return err_set(err, "a path is too long");
	for (size_t i = 0; i < 5; i++)
		if (access(paths[i], F_OK))
			return err_set(err, "%s is not there", paths[i]);
	request->recipe_dir = paths[0];
	request->builder = paths[1];
	request->guest = paths[2];
	request->shim = paths[3];
	request->unpacker = paths[4];
	return 0;
}

/* The answer to whoever builds: for a program, the last line. */
static int tell_result(const struct vm_template *template_, int exit_code, const struct err *fault_)
{
	json_t *reason;

	if (!fault_) {
		progress_result(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "status", "ready",
					  "name", template_->name, "id", template_->id, "rootfs",
					  template_->rootfs_id, "vcpus",
					  (json_int_t)template_->shape.vcpus, "memMiB",
					  (json_int_t)template_->shape.mem_mib, "diskMiB",
					  (json_int_t)template_->shape.disk_mib));
		if (!progress_is_json())
			printf("%s %s\n", template_->name, template_->id);
		return 0;
	}
	progress_say(PROGRESS_ERROR, "%s", fault_->text);
	reason = json_pack("{s:s, s:s}", "message", fault_->text, "step", progress_step());
	if (exit_code)
		json_object_set_new(reason, "exitCode", json_integer(exit_code));
	progress_result(json_pack("{s:s, s:o}", "status", "error", "reason", reason));
	return EXIT_FAULT;
}

static int read_spec(const char *path, struct build_spec *out, struct err *err)
{
	size_t text_n;
	char *text;
	int result;

	if (file_read(path, SPEC_MAX, &text, &text_n, err))
		return -1;
	result = build_spec_parse(text, text_n, out, err);
	free(text);
	return result;
}

static int read_network(const char *path, char out_text[EGRESS_HOST_TEXT_MAX], struct err *err)
{
	struct egress_host host;
	char *text;
	size_t n;

	if (file_read(path, EGRESS_HOST_TEXT_MAX - 1, &text, &n, err))
		return -1;
	snprintf(out_text, EGRESS_HOST_TEXT_MAX, "%.*s", (int)strcspn(text, "\r\n"), text);
	free(text);
	return egress_host_parse(out_text, &host, err);
}

/* A recipe may have a spec of its own, for what it starts. */
static int choose_spec(const struct template_options *options, bool is_import,
		       struct build_request *request, struct build_spec *spec, struct err *err)
{
	char path[PATH_MAX];

	if (is_import)
		request->recipe_dir = NULL;
	if (is_import && !options->spec[0])
		return 0;
	if (options->spec[0]) {
		request->recipe_dir = NULL;
		snprintf(path, sizeof(path), "%s", options->spec);
	} else if (snprintf(path, sizeof(path), "%s/spec.json", request->recipe_dir) >= PATH_MAX ||
		   access(path, F_OK)) {
		return 0;
	}
	if (read_spec(path, spec, err))
		return -1;
	request->spec = spec;
	return 0;
}

/* is_import: of an image, not of a recipe; with a spec its steps come after that. */
static int build(const struct template_options *options, const char *name, bool is_import)
{
	struct build_request request = {
		.store_dir = options->template_dir,
		.name = options->name[0] ? options->name : name,
		.shape = {options->vcpus, options->mem_mib, options->disk_mib},
		.is_fresh = options->fresh,
		.files_dir = options->files[0] ? options->files : NULL,
		.scope = options->scope,
		.limit_ms = (int64_t)options->limit_ms,
		.cache_age_s = (int64_t)options->cache_age_ms / 1000,
		.cache_bytes = options->cache_bytes,
		.image =
			{
				.from = is_import && options->from[0] ? options->from : NULL,
				.reference = is_import && options->image[0] ? options->image : NULL,
				.allowed = options->registry_allow,
				.auth_file =
					options->registry_auth[0] ? options->registry_auth : NULL,
				.ecr_endpoint = options->ecr_endpoint,
				.bytes_max = options->image_bytes,
			},
	};
	static char paths[5][PATH_MAX];
	static struct vm_template template_;
	static struct build_spec spec;
	static char network[EGRESS_HOST_TEXT_MAX];
	int exit_code = 0, result;
	struct err err;

	CHECK(vm_accel_wish_parse(options->accel, &request.accel));
	if (options->network[0] && read_network(options->network, network, &err)) {
		fprintf(stderr, "flotilla-template: --network: %s\n", err.text);
		return EXIT_USAGE;
	}
	request.network = options->network[0] ? network : NULL;
	if (strcmp(options->progress, "json") == 0)
		progress_use_json();
	if (!template_name_is_valid(name)) {
		fprintf(stderr, "flotilla-template: `%s` is no %s's name\n", name,
			options->spec[0] || is_import ? "template" : "recipe");
		return EXIT_USAGE;
	}
	result = find_files(options, options->spec[0] || is_import ? "." : name, paths, &request,
			    &err) ||
		 choose_spec(options, is_import, &request, &spec, &err) ||
		 build_template(&request, &template_, &exit_code, &err);
	build_spec_free(&spec);
	return tell_result(&template_, exit_code, result ? &err : NULL);
}

static int import(const struct template_options *options, const char *name)
{
	if (!options->from[0] == !options->image[0]) {
		fprintf(stderr, "flotilla-template: import: --from or --image is wanted, one of "
				"the two\n");
		return EXIT_USAGE;
	}
	return build(options, name, true);
}

static void print_table(const struct vm_template *templates, size_t n)
{
	printf("%-20s %-12s %5s %9s %10s %-5s %s\n", "NAME", "ID", "VCPUS", "MEM(MiB)", "DISK(MiB)",
	       "ACCEL", "QEMU");
	for (size_t i = 0; i < n; i++)
		printf("%-20s %-12.12s %5u %9u %10u %-5s %s\n", templates[i].name, templates[i].id,
		       templates[i].shape.vcpus, templates[i].shape.mem_mib,
		       templates[i].shape.disk_mib, vm_accel_text(templates[i].accel),
		       templates[i].qemu);
}

static void print_json(const struct vm_template *templates, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s}", "name",
						templates[i].name, "id", templates[i].id, "vcpus",
						(json_int_t)templates[i].shape.vcpus, "memMiB",
						(json_int_t)templates[i].shape.mem_mib, "diskMiB",
						(json_int_t)templates[i].shape.disk_mib, "accel",
						vm_accel_text(templates[i].accel), "qemu",
						templates[i].qemu));
	json_dumpf(list, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(list);
}

static int list(const struct template_options *options)
{
	struct vm_template *templates = calloc(TEMPLATES_MAX, sizeof(*templates));
	struct err err;
	size_t n;

	CHECK(templates);
	if (vm_store_list(options->template_dir, templates, TEMPLATES_MAX, &n, &err)) {
		free(templates);
		return fault(&err);
	}
	if (strcmp(options->output, "json") == 0)
		print_json(templates, n);
	else
		print_table(templates, n);
	free(templates);
	return 0;
}

static int remove_template(const struct template_options *options, const char *name)
{
	bool is_found;
	struct err err;

	if (vm_store_remove(options->template_dir, name, &is_found, &err))
		return fault(&err);
	if (is_found)
		return 0;
	fprintf(stderr, "flotilla-template: there is no template `%s`\n", name);
	return EXIT_NOT_FOUND;
}

int main(int argc, char **argv)
{
	static struct template_options options;
	static struct options_set set;
	const char *command;
	int status;

	/* -o is what the other commands call it. */
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "-o") == 0)
			argv[i] = "--output";
	status = options_start(&set, &program, &options, argc, argv);
	if (status != OPTIONS_GO_ON)
		return status;
	CHECK(sodium_init() >= 0);
	command = set.operands_n > 0 ? set.operand[0] : "";
	if (strcmp(command, "build") == 0 && set.operands_n == 2)
		return build(&options, set.operand[1], false);
	if (strcmp(command, "import") == 0 && set.operands_n == 2)
		return import(&options, set.operand[1]);
	if (strcmp(command, "ls") == 0 && set.operands_n == 1)
		return list(&options);
	if (strcmp(command, "rm") == 0 && set.operands_n == 2)
		return remove_template(&options, set.operand[1]);
	fprintf(stderr, "flotilla-template: build RECIPE, build NAME --spec FILE, import NAME, ls, "
			"or rm NAME (--help tells more)\n");
	return EXIT_USAGE;
}

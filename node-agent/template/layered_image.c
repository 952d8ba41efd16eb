/* The layer that an image becomes: unpacked in a microVM of the template `base`, of which nothing
 * but the kernel is in what follows. */
#include "node-agent/template/layered_internal.h"
#include "node-agent/template/progress.h"

#include "common/base/check.h"
#include "node-agent/guest/boot.h"
#include "node-agent/template/artefact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNPACKER_IN_GUEST "/dev/shm/unpack-image"

/* The disk's own file system, of which only a part is seen as the root, is mounted a second time.
 */
static const char unpack_script[] =
	"set -eu; mkdir -p /run/disk; mount /dev/vdb /run/disk\n"
	"python3 " UNPACKER_IN_GUEST " /dev/vdc \"$ARCHIVE_SIZE\" /run/disk/" BOOT_WHOLE_FOLDER
	" || exit $?\n"
	"fstrim /run/disk >&2 || true; umount /run/disk";

struct unpacking {
	char last[OUTPUT_LINE_MAX]; /* what it said last: when it fails, why */
};

static void on_unpack_line(void *arg, bool is_error, const char *line)
{
	struct unpacking *unpacking = arg;

	if (!is_error)
		return;
	snprintf(unpacking->last, sizeof(unpacking->last), "%s", line);
	progress_say(PROGRESS_INFO, "%s", line);
}

/* {"env": {...}}, of a machine that an image had for itself: nothing in it is believed. */
static int take_env(struct layered *build, const struct output *output, struct err *err)
{
	json_t *root = json_loadb(output->kept, output->kept_n, JSON_REJECT_DUPLICATES, NULL);
	json_t *env = json_object_get(root, "env"), *value;
	const char *name;

	if (!json_is_object(env)) {
		json_decref(root);
		return err_set(err, "what it says of its environment is too long, or no JSON");
	}
	json_object_foreach(env, name, value)
	{
		if (build_spec_is_variable(name) && json_is_string(value))
			json_object_set(build->record.context.env, name, value);
		else
			progress_say(PROGRESS_WARN, "`%.60s` is no variable's name: left out",
				     name);
	}
	json_decref(root);
	return 0;
}

static int unpack(struct layered *build, struct err *err)
{
	struct unpacking unpacking = {""};
	struct output *output = calloc(1, sizeof(*output));
	struct workshop_command command = {"root", "/", NULL, unpack_script};
	json_t *env = json_object();
	char size[32];
	int result;

	CHECK(output && env);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)build->image->size);
	json_object_set_new(env, "ARCHIVE_SIZE", json_string(size));
	command.env = env;
	output->on_line = on_unpack_line;
	output->arg = &unpacking;
	output->is_kept = true;
	result = workshop_upload(build->workshop, build->request->unpacker, UNPACKER_IN_GUEST,
				 err) ||
				 workshop_run(build->workshop, &command, output, err)
			 ? -1
			 : 0;
	if (!result && output->exit_code)
		result = err_set(err, "the image cannot be unpacked: %.300s", unpacking.last);
	if (!result)
		result = take_env(build, output, err);
	json_decref(env);
	free(output);
	return result;
}

static void image_key(const struct layered *build, char out_key[VM_ARTEFACT_ID_MAX])
{
	struct artefact_hash hash;

	artefact_hash_begin(&hash);
	artefact_hash_text(&hash, build->record.layer);
	artefact_hash_text(&hash, build->image->id);
	artefact_hash_end(&hash, out_key);
}

/* Its bytes say what the layer will be, whoever has them. */
int layered_take_image(struct layered *build, struct err *err)
{
	const struct build_request *request = build->request;
	char key[VM_ARTEFACT_ID_MAX];
	bool is_found = false;

	if (!build->image)
		return 0;
	image_key(build, key);
	if (!(request->spec && request->spec->force) &&
	    layered_take_cached(build, key, &is_found, err))
		return -1;
	progress_say(PROGRESS_INFO, "%sunpacking the image", is_found ? "CACHED " : "");
	if (!is_found) {
		if (layer_begin(request->store_dir, build->record.layer,
				build->template_->shape.disk_mib, build->layer_dir, err) ||
		    layered_workshop_begin(build, err) || unpack(build, err) ||
		    layered_seal_layer(build, key, true, err))
			return -1;
		/* What comes next runs in it, not beside it. */
		layered_workshop_end(build);
	}
	build->image = NULL;
	return 0;
}

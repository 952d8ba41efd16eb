/*
 * The environment that a sandbox was given at its first claim.  Its guest has it in memory; a guest
 * that boots anew on the saved disk has to be given it again, and the scheduler does not keep it.
 * So it lies in what is saved, which whoever can read the saved memory could read there too.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENVS_MAX = CHANNEL_REQUEST_MAX };

void shim_envs_take(struct shim *shim, const char *document, size_t document_n)
{
	json_t *root = document_n ? json_loadb(document, document_n, 0, NULL) : NULL;
	const json_t *envs = json_object_get(root, "envVars");

	/* A claim that resumes brings none, and what was read then holds; one that begins from a
	 * snapshot may add to it. */
	if (json_object_size(envs)) {
		json_t *all = shim->envs ? json_loads(shim->envs, 0, NULL) : NULL;

		if (!json_is_object(all)) {
			json_decref(all);
			all = json_object();
		}
		json_object_update(all, (json_t *)envs);
		free(shim->envs);
		shim->envs = json_dumps(all, JSON_COMPACT);
		CHECK(shim->envs);
		json_decref(all);
	}
	json_decref(root);
}

static int path_of(const char *dir, char out[PATH_MAX], struct err *err)
{
	if (snprintf(out, PATH_MAX, "%s/" VM_SAVED_ENVS, dir) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	return 0;
}

int shim_envs_read(struct shim *shim, const char *dir, struct err *err)
{
	char path[PATH_MAX];
	size_t n;

	if (path_of(dir, path, err))
		return -1;
	if (access(path, F_OK) && errno == ENOENT)
		return 0;
	return file_read(path, ENVS_MAX, &shim->envs, &n, err);
}

int shim_envs_write(const struct shim *shim, const char *dir, struct err *err)
{
	char path[PATH_MAX];

	if (!shim->envs)
		return 0;
	if (path_of(dir, path, err))
		return -1;
	return file_write_atomic(path, shim->envs, strlen(shim->envs), 0600, err);
}

/*
 * Going on from what was saved, in a new microVM: the template's memory with the saved pages put
 * over it, then the devices' state.  Where only the files were kept the same machine boots anew on
 * the saved disk.  The saved folder is only read, so that it can be gone on from again, several
 * times at once even; therefore the disk is copied: blocks are shared where the file system can,
 * and nothing is chained that would have to be taken apart again.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

bool shim_is_resumed(const struct shim *shim)
{
	return shim->config.resume[0] != 0;
}

static void path_of(const struct shim *shim, const char *name, char out[PATH_MAX])
{
	/* Checked by shim_resume_open. */
	CHECK(snprintf(out, PATH_MAX, "%s/%s", shim->config.resume, name) < PATH_MAX);
}

int shim_resume_open(struct shim *shim, struct err *err)
{
	char path[PATH_MAX];

	if (!shim_is_resumed(shim))
		return 0;
	if (strlen(shim->config.resume) + 64 >= PATH_MAX)
		return err_set(err, "%s: the path is too long", shim->config.resume);
	if (vm_saved_read(shim->config.resume, &shim->resumed, err) ||
	    vm_saved_check(&shim->resumed, &shim->template_, err) ||
	    shim_envs_read(shim, shim->config.resume, err))
		return -1;
	if (shim->config.resumes_cold)
		shim->resumed.has_memory = false;
	if (shim->resumed.has_memory) {
		path_of(shim, VM_SAVED_DEVICE, path);
		memcpy(shim->files.state, path, sizeof(path));
	}
	return 0;
}

static int prepare(struct shim *shim, struct err *err)
{
	char from[PATH_MAX], to[PATH_MAX];

	path_of(shim, VM_SAVED_DISK, from);
	if (snprintf(to, sizeof(to), "%s/%s", shim->dir, VM_FILE_OVERLAY) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", shim->dir);
	if (vm_saved_copy_disk(from, to, err))
		return -1;
	if (!shim->resumed.has_memory)
		return 0;
	return vm_saved_check_device(shim->config.resume, &shim->resumed, err);
}

static int load(struct shim *shim, struct err *err)
{
	char path[PATH_MAX];

	path_of(shim, VM_SAVED_MEMORY, path);
	return vm_memory_restore(shim->emulator.pid, shim->files.mem, path, &shim->resumed.memory,
				 &shim->work.cancel, err);
}

static void on_done(struct shim *shim, int result, const struct err *err)
{
	if (shim->is_ending)
		return;
	if (result)
		shim_end(shim, CAUSE_VM_FAULT, err->text);
	else
		shim->resume_next(shim);
}

void shim_resume_prepare(struct shim *shim, void (*next)(struct shim *shim))
{
	shim->resume_next = next;
	shim_work_start(shim, prepare, on_done);
}

void shim_resume_load(struct shim *shim, void (*next)(struct shim *shim))
{
	shim->resume_next = next;
	shim_work_start(shim, load, on_done);
}

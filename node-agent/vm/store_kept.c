/* What keeps templates in the store though no name leads to them. See store.h. */
#include "node-agent/vm/store.h"

#include "node-agent/vm/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {[VM_KEEP_RUNNING] = "running", [VM_KEEP_SAVED] = "saved"};

enum { ID_N = VM_ARTEFACT_ID_MAX - 1, NAME_MAX_ = 100 };

static bool is_artefact_id(const char *id)
{
	return strspn(id, "0123456789abcdef") == ID_N;
}

static int link_path(char out[PATH_MAX], const char *store_dir, enum vm_keep why,
		     const char *template_id, const char *name, struct err *err)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				"0123456789_-");

	if (!is_artefact_id(template_id) || template_id[ID_N])
		return err_set(err, "`%.60s` is not a template's id", template_id);
	if (n == 0 || n > NAME_MAX_ || name[n])
		return err_set(err, "`%.60s`: 1 to %d of A-Z a-z 0-9 _ - are possible", name,
			       (int)NAME_MAX_);
	if (snprintf(out, PATH_MAX, "%s/%s/%s.%s", store_dir, folders[why], template_id, name) >=
	    PATH_MAX)
		return err_set(err, "%s: the path is too long", store_dir);
	return 0;
}

/* Whole, with its root filesystem. */
static int check_there(const char *store_dir, const char *template_id, struct err *err)
{
	struct vm_template template_;
	struct vm_template_files files;
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s/snapshot/%s", store_dir, template_id) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", store_dir);
	if (vm_template_read(dir, &template_, NULL) || vm_template_files(&template_, &files, err) ||
	    access(files.rootfs, R_OK))
		return err_set(err, "template %.12s is no longer in the store", template_id);
	return 0;
}

static int sync_dir(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd >= 0 && fsync(fd) == 0 ? 0 : err_errno(err, errno, "%s", path);

	if (fd >= 0)
		close(fd);
	return result;
}

int vm_store_keep(const char *store_dir, enum vm_keep why, const char *template_id,
		  const char *name, const char *dir, struct err *err)
{
	char folder[PATH_MAX], path[PATH_MAX];

	if (link_path(path, store_dir, why, template_id, name, err))
		return -1;
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (mkdir(folder, 0755) && errno != EEXIST)
		return err_errno(err, errno, "%s", folder);
	/* Whoever sweeps takes an artefact away first and looks for links after that; we make the
	 * link first and look for the artefact after that: one of us sees the other. */
	if (vm_store_link(dir, path, err))
		return -1;
	if (check_there(store_dir, template_id, err) ||
	    (why == VM_KEEP_SAVED && sync_dir(folder, err))) {
		unlink(path);
		return -1;
	}
	return 0;
}

void vm_store_release(const char *store_dir, enum vm_keep why, const char *template_id,
		      const char *name)
{
	char path[PATH_MAX];

	if (link_path(path, store_dir, why, template_id, name, NULL) == 0)
		unlink(path);
}

int vm_store_of(const char *template_dir, char out_store_dir[PATH_MAX],
		char out_id[VM_ARTEFACT_ID_MAX], struct err *err)
{
	size_t n = strlen(template_dir), tail_n = strlen("/snapshot/") + ID_N;
	const char *id = template_dir + n - ID_N;

	if (n <= tail_n || n >= PATH_MAX || !is_artefact_id(id) ||
	    strncmp(template_dir + n - tail_n, "/snapshot/", tail_n - ID_N) != 0)
		return err_set(err, "%s is in no store", template_dir);
	snprintf(out_store_dir, PATH_MAX, "%.*s", (int)(n - tail_n), template_dir);
	snprintf(out_id, VM_ARTEFACT_ID_MAX, "%s", id);
	return 0;
}

/*
 * Whether what the link leads to still counts.  A microVM's folder that is not there is gone.  A
 * saved state that is not there may be on a disk that is not there: only when the folder around it
 * is, it is gone.
 */
static bool still_counts(const char *path, enum vm_keep why)
{
	char target[PATH_MAX];
	struct stat stat_;
	char *slash;
	ssize_t n;

	if (stat(path, &stat_) == 0)
		return true;
	if (why == VM_KEEP_RUNNING)
		return false;
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = 0;
	slash = strrchr(target, '/');
	if (slash)
		*slash = 0;
	return stat(target, &stat_) != 0;
}

int vm_store_each_kept(const char *store_dir,
		       int (*on_id)(void *arg, const char *template_id, struct err *err), void *arg,
		       struct err *err)
{
	for (int why = VM_KEEP_RUNNING; why <= VM_KEEP_SAVED; why++) {
		char folder[PATH_MAX], path[PATH_MAX], id[VM_ARTEFACT_ID_MAX];
		struct dirent *entry;
		int result = 0;
		DIR *dir;

		if (snprintf(folder, sizeof(folder), "%s/%s", store_dir, folders[why]) >= PATH_MAX)
			return err_set(err, "%s: the path is too long", store_dir);
		dir = opendir(folder);
		if (!dir && errno != ENOENT)
			return err_errno(err, errno, "%s", folder);
		while (dir && result == 0 && (entry = readdir(dir))) {
			if (!is_artefact_id(entry->d_name) || entry->d_name[ID_N] != '.' ||
			    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >=
				    PATH_MAX)
				continue;
			snprintf(id, sizeof(id), "%.*s", ID_N, entry->d_name);
			if (still_counts(path, (enum vm_keep)why))
				result = on_id(arg, id, err);
			else
				unlink(path);
		}
		if (dir)
			closedir(dir);
		if (result)
			return -1;
	}
	return 0;
}

static int look_for(void *arg, const char *template_id, struct err *err)
{
	return strcmp(arg, template_id) == 0 ? err_set(err, "it is kept") : 0;
}

bool vm_store_is_kept(const char *store_dir, const char *template_id)
{
	char id[VM_ARTEFACT_ID_MAX];

	snprintf(id, sizeof(id), "%s", template_id);
	return vm_store_each_kept(store_dir, look_for, id, NULL) != 0;
}

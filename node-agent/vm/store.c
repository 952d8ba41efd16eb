/* Names, artefacts and the lock around them. See store.h. */
#include "node-agent/vm/store.h"

#include "common/io/file.h"
#include "node-agent/vm/process.h"
#include "node-agent/vm/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TEMPLATES_MAX = 256, USED_MAX = 2 * TEMPLATES_MAX };

static int path_join(char out[PATH_MAX], const char *dir, const char *middle, const char *name,
		     struct err *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s/%s", dir, middle, name) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	return 0;
}

int vm_template_files(const struct vm_template *template_, struct vm_template_files *out_files,
		      struct err *err)
{
	const struct {
		char *path;
		const char *name;
	} own[] = {
		{out_files->initrd, "initrd"},         {out_files->disk, "disk.img"},
		{out_files->overlay, "overlay.qcow2"}, {out_files->mem, "mem"},
		{out_files->state, "state"},
	};
	char rootfs[PATH_MAX];

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (path_join(own[i].path, template_->dir, ".", own[i].name, err))
			return -1;
	if (path_join(rootfs, template_->dir, "../../rootfs", template_->rootfs_id, err) ||
	    path_join(out_files->kernel, rootfs, ".", "vmlinux", err) ||
	    path_join(out_files->rootfs, rootfs, ".", "rootfs.img", err))
		return -1;
	return 0;
}

/* name/<name> leads to a snapshot; a dangling link is as good as none. */
int vm_store_find(const char *store_dir, const char *name, struct vm_template *out_template,
		  bool *out_found, struct err *err)
{
	char link[PATH_MAX], dir[PATH_MAX];

	if (!template_name_is_valid(name))
		return err_set(err, "template name `%.64s`: 1 to 63 of a-z 0-9 - _", name);
	if (path_join(link, store_dir, "name", name, err))
		return -1;
	*out_found = realpath(link, dir) != NULL;
	if (!*out_found)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(err, errno, "%s", link);
	if (vm_template_read(dir, out_template, err))
		return -1;
	/* Two names may lead to equal snapshots; it is known by the one it was asked for. */
	snprintf(out_template->name, sizeof(out_template->name), "%s", name);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct vm_template *)a)->name, ((const struct vm_template *)b)->name);
}

int vm_store_list(const char *store_dir, struct vm_template *out_templates, size_t max,
		  size_t *out_n, struct err *err)
{
	char path[PATH_MAX];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	*out_n = 0;
	if (path_join(path, store_dir, "name", ".", err))
		return -1;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", path);
	while (n < max && (entry = readdir(dir))) {
		bool is_found;

		if (template_name_is_valid(entry->d_name) &&
		    !vm_store_find(store_dir, entry->d_name, &out_templates[n], &is_found, NULL) &&
		    is_found)
			n++;
	}
	closedir(dir);
	qsort(out_templates, n, sizeof(*out_templates), by_name);
	*out_n = n;
	return 0;
}

int vm_store_lock(const char *store_dir, int *out_fd, struct err *err)
{
	static const char *const folders[] = {"rootfs", "recipe", "snapshot", "name", "tmp"};
	char path[PATH_MAX];
	int fd;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (path_join(path, store_dir, ".", folders[i], err) ||
		    file_make_dirs(path, 0755, err))
			return -1;
	if (path_join(path, store_dir, ".", "lock", err))
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		fprintf(stderr, "flotilla-template: waiting for another build to end\n");
		while (flock(fd, LOCK_EX))
			if (errno != EINTR) {
				err_errno(err, errno, "%s", path);
				close(fd);
				return -1;
			}
	}
	*out_fd = fd;
	return 0;
}

int vm_store_link(const char *target, const char *path, struct err *err)
{
	char beside[PATH_MAX];

	if (snprintf(beside, sizeof(beside), "%s.new", path) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", path);
	unlink(beside);
	if (symlink(target, beside))
		return err_errno(err, errno, "%s", beside);
	if (rename(beside, path))
		return err_errno(err, errno, "%s", path);
	return 0;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
	(void)stat;
	(void)kind;
	(void)ftw;
	remove(path);
	return 0;
}

void vm_store_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct used_ids {
	char snapshot[USED_MAX][VM_ARTEFACT_ID_MAX];
	char rootfs[USED_MAX][VM_ARTEFACT_ID_MAX];
	size_t n;
	const char *store_dir;
};

static bool is_used(const char ids[][VM_ARTEFACT_ID_MAX], size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

static int add_kept(void *arg, const char *template_id, struct err *err)
{
	struct used_ids *used = arg;
	struct vm_template template_;
	char dir[PATH_MAX];

	if (is_used(used->snapshot, used->n, template_id))
		return 0;
	if (used->n == USED_MAX)
		return err_set(err, "%s: more than %d templates are in use", used->store_dir,
			       USED_MAX);
	if (path_join(dir, used->store_dir, "snapshot", template_id, err))
		return -1;
	if (vm_template_read(dir, &template_, NULL))
		return 0; /* there is nothing to be kept */
	memcpy(used->snapshot[used->n], template_id, VM_ARTEFACT_ID_MAX);
	memcpy(used->rootfs[used->n++], template_.rootfs_id, VM_ARTEFACT_ID_MAX);
	return 0;
}

/* What names lead to, and what is kept. */
static int find_used(const char *store_dir, struct used_ids *used, struct err *err)
{
	struct vm_template *templates = calloc(TEMPLATES_MAX, sizeof(*templates));
	int result = -1;

	used->store_dir = store_dir;
	if (!templates)
		return err_errno(err, ENOMEM, "template store");
	if (vm_store_list(store_dir, templates, TEMPLATES_MAX, &used->n, err) == 0) {
		for (size_t i = 0; i < used->n; i++) {
			memcpy(used->snapshot[i], templates[i].id, VM_ARTEFACT_ID_MAX);
			memcpy(used->rootfs[i], templates[i].rootfs_id, VM_ARTEFACT_ID_MAX);
		}
		result = vm_store_each_kept(store_dir, add_kept, used, err);
	}
	free(templates);
	return result;
}

static bool is_older(const char *path, int age_s)
{
	struct stat stat;

	return age_s == 0 ||
	       (!lstat(path, &stat) && stat.st_mtim.tv_sec < time(NULL) - (time_t)age_s);
}

enum artefact_kind { OF_SNAPSHOTS, OF_ROOTFS };

static bool is_of_use(const struct used_ids *used, enum artefact_kind kind, const char *id)
{
	return is_used(kind == OF_SNAPSHOTS ? used->snapshot : used->rootfs, used->n, id);
}

/* Somebody may begin to keep it at this very moment (vm_store_keep): it is taken away first, and
 * put back if that is so. */
static void sweep_one(const char *store_dir, enum artefact_kind kind, const char *id,
		      const char *victim)
{
	struct used_ids *now = calloc(1, sizeof(*now));
	char away[PATH_MAX];

	if (now && path_join(away, store_dir, "tmp", id, NULL) == 0 && rename(victim, away) == 0) {
		bool is_kept = kind == OF_SNAPSHOTS ? vm_store_is_kept(store_dir, id)
						    : find_used(store_dir, now, NULL) ||
							      is_of_use(now, kind, id);

		if (!is_kept || rename(away, victim))
			vm_store_remove_tree(away);
	}
	free(now);
}

static void sweep(const char *store_dir, enum artefact_kind kind, const struct used_ids *used,
		  int age_s)
{
	const char *folder = kind == OF_SNAPSHOTS ? "snapshot" : "rootfs";
	char path[PATH_MAX], victim[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	if (path_join(path, store_dir, folder, ".", NULL) || !(dir = opendir(path)))
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !is_of_use(used, kind, entry->d_name) &&
		    !path_join(victim, store_dir, folder, entry->d_name, NULL) &&
		    is_older(victim, age_s))
			sweep_one(store_dir, kind, entry->d_name, victim);
	closedir(dir);
}

int vm_store_sweep(const char *store_dir, int age_s, struct err *err)
{
	struct used_ids *used = calloc(1, sizeof(*used));
	int result = -1;

	if (!used)
		return err_errno(err, ENOMEM, "template store");
	if (find_used(store_dir, used, err) == 0) {
		/* Links of recipes to what is gone dangle, which is as good as none. */
		sweep(store_dir, OF_SNAPSHOTS, used, age_s);
		sweep(store_dir, OF_ROOTFS, used, age_s);
		result = 0;
	}
	free(used);
	return result;
}

int vm_store_remove(const char *store_dir, const char *name, bool *out_found, struct err *err)
{
	char link[PATH_MAX];
	int lock, result;

	if (!template_name_is_valid(name))
		return err_set(err, "template name `%.64s`: 1 to 63 of a-z 0-9 - _", name);
	if (path_join(link, store_dir, "name", name, err) || vm_store_lock(store_dir, &lock, err))
		return -1;
	*out_found = unlink(link) == 0;
	result = *out_found || errno == ENOENT ? vm_store_sweep(store_dir, 0, err)
					       : err_errno(err, errno, "%s", link);
	close(lock);
	return result;
}

int vm_qemu_version(char out_version[VM_QEMU_VERSION_MAX], struct err *err)
{
	char *argv[] = {"qemu-system-x86_64", "--version", NULL};
	char text[256];
	char *end;

	if (process_run(argv, 10000, text, sizeof(text), err))
		return -1;
	end = strchr(text, '\n');
	if (end)
		*end = 0;
	/* "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u16)" */
	if (strncmp(text, "QEMU emulator version ", 22) != 0)
		return err_set(err, "qemu-system-x86_64 --version said `%.60s`", text);
	snprintf(out_version, VM_QEMU_VERSION_MAX, "%.63s", text + 22);
	return 0;
}

/*
 * What arrived goes into the store as a build does: whole folders by rename, under the lock, the
 * root filesystem before the snapshot and the name last.  Whoever dies in the middle leaves folders
 * that nothing leads to.
 */
#include "node-agent/carry/carry.h"

#include "common/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FORGET_S = 24 * 3600 };

/* Copies that nobody went on with. */
static void forget_old(const char *dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	struct stat stat_;
	DIR *opened = opendir(dir);

	while (opened && (entry = readdir(opened)))
		if (entry->d_name[0] != '.' &&
		    snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) < PATH_MAX &&
		    lstat(path, &stat_) == 0 && stat_.st_mtim.tv_sec < time(NULL) - FORGET_S)
			vm_store_remove_tree(path);
	if (opened)
		closedir(opened);
}

int install_folder(const struct carry_order *order, char out_dir[PATH_MAX], int *out_lock,
		   struct err *err)
{
	char text[2 * LISTING_DIGEST_N + 1];

	/* What is saved stays on the disk that it is for. */
	const char *base = order->saved[0] ? order->saved : order->store;
	size_t base_n = order->saved[0] ? (size_t)(strrchr(base, '/') - base) : strlen(base);

	sodium_bin2hex(text, sizeof(text), order->digest, sizeof(order->digest));
	if (snprintf(out_dir, PATH_MAX, "%.*s/fetch", (int)base_n, base) >= PATH_MAX - 80)
		return err_set(err, "%s: the path is too long", base);
	forget_old(out_dir);
	snprintf(out_dir + strlen(out_dir), PATH_MAX - strlen(out_dir), "/%s", text);
	if (file_make_dirs(out_dir, 0700, err))
		return -1;
	/* Two agents of a host may share a store: one copies, the other waits and finds it there.
	 */
	*out_lock = open(out_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*out_lock < 0 || flock(*out_lock, LOCK_EX) || utimensat(AT_FDCWD, out_dir, NULL, 0))
		return err_errno(err, errno, "%s", out_dir);
	return 0;
}

static bool has_folder(const struct carry_order *order, const char *folder, const char *id)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s/%s", order->store, folder, id) < PATH_MAX &&
	       access(path, F_OK) == 0;
}

bool install_has(const struct carry_order *order, const struct listing_file *file)
{
	char id[LISTING_ID_N + 1];

	if (listing_is_saved(file))
		return false;
	listing_folder_id(file, id);
	return has_folder(order, listing_is_snapshot(file) ? "snapshot" : "rootfs", id);
}

/* The manifest of what arrived must say what the order says, and this host must be able to use it.
 */
static int check(const struct carry_order *order, const struct listing *listing, const char *dir,
		 struct err *err)
{
	char path[PATH_MAX], qemu[VM_QEMU_VERSION_MAX], id[LISTING_ID_N + 1];
	struct vm_template template_;
	bool has_rootfs;

	if (snprintf(path, sizeof(path), "%s/snapshot/%s",
		     has_folder(order, "snapshot", order->id) ? order->store : dir,
		     order->id) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	if (vm_template_read(path, &template_, err) || vm_qemu_version(qemu, err) ||
	    vm_template_check(&template_, qemu, err))
		return -1;
	if (strcmp(template_.id, order->id) != 0)
		return err_set(err, "its manifest names another template");
	has_rootfs = has_folder(order, "rootfs", template_.rootfs_id);
	for (size_t i = 0; i < listing->files_n && !has_rootfs; i++) {
		listing_folder_id(&listing->files[i], id);
		has_rootfs = !listing_is_snapshot(&listing->files[i]) &&
			     !strcmp(id, template_.rootfs_id);
	}
	return has_rootfs ? 0 : err_set(err, "its root filesystem is missing");
}

static int move(const struct carry_order *order, const char *dir, const char *folder,
		const char *id, struct err *err)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (has_folder(order, folder, id))
		return 0;
	if (snprintf(from, sizeof(from), "%s/%s/%s", dir, folder, id) >= PATH_MAX ||
	    snprintf(to, sizeof(to), "%s/%s/%s", order->store, folder, id) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	return rename(from, to) ? err_errno(err, errno, "%s", to) : 0;
}

/* A name that leads to something that can be used here is its operator's. */
static int name_it(const struct carry_order *order, struct err *err)
{
	char link[PATH_MAX], target[PATH_MAX], qemu[VM_QEMU_VERSION_MAX];
	struct vm_template there;
	bool is_found = false;

	if (vm_store_find(order->store, order->name, &there, &is_found, NULL) == 0 && is_found &&
	    strcmp(there.id, order->id) != 0 && vm_qemu_version(qemu, NULL) == 0 &&
	    vm_template_check(&there, qemu, NULL) == 0)
		return err_set(err, "a template of that name is here already");
	if (snprintf(link, sizeof(link), "%s/name/%s", order->store, order->name) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", order->store);
	snprintf(target, sizeof(target), "../snapshot/%s", order->id);
	return vm_store_link(target, link, err);
}

enum refusal install(const struct carry_order *order, const struct listing *listing,
		     const char *dir, struct err *err)
{
	enum refusal refusal = REFUSAL_TRANSFER_NO_SPACE;
	char id[LISTING_ID_N + 1];
	int lock, store = open(order->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (check(order, listing, dir, err))
		return REFUSAL_TRANSFER_UNUSABLE;
	if (store < 0 || vm_store_lock(order->store, &lock, err))
		return refusal;
	for (size_t i = 0; i < listing->files_n; i++) {
		listing_folder_id(&listing->files[i], id);
		if (!listing_is_snapshot(&listing->files[i]) && move(order, dir, "rootfs", id, err))
			goto done;
	}
	if (move(order, dir, "snapshot", order->id, err))
		goto done;
	if (name_it(order, err)) {
		refusal = REFUSAL_TRANSFER_UNUSABLE;
		goto done;
	}
	if (syncfs(store)) {
		err_errno(err, errno, "%s", order->store);
		goto done;
	}
	vm_store_remove_tree(dir);
	refusal = REFUSAL_NONE;
done:
	close(store);
	close(lock);
	return refusal;
}

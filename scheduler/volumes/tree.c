/* See tree.h. */
#include "scheduler/volumes/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FOLDER_MODE = 0755, FILE_MODE = 0644, ROOT_MODE = 0777, OPEN_TRIES_MAX = 32 };

/* Within the volume, whatever its links say. */
static int open_in(const struct tree *tree, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};

	/* A rename elsewhere may make the kernel doubt a ".."; hostile ones make it doubt for long.
	 */
	for (int tries = 0;; tries++) {
		int fd = (int)syscall(SYS_openat2, tree->root, path, &how, sizeof(how));

		if (fd >= 0 || errno != EAGAIN || tries == OPEN_TRIES_MAX)
			return fd;
	}
}

bool tree_path(const char *text, char out[PATH_MAX])
{
	size_t used = 0;

	while (*text) {
		size_t n = strcspn(text, "/");

		if (n == 2 && text[0] == '.' && text[1] == '.') {
			while (used && out[--used] != '/')
				;
		} else if (n && !(n == 1 && text[0] == '.')) {
			if (n > NAME_MAX || used + n + 2 > PATH_MAX)
				return false;
			out[used++] = '/';
			memcpy(out + used, text, n);
			used += n;
		}
		text += n + (text[n] == '/');
	}
	if (!used)
		out[used++] = '/';
	out[used] = 0;
	return true;
}

/* The folder that a path's last component is in; EINVAL for "/" itself. */
static int open_parent(const struct tree *tree, const char *path, int *out_fd,
		       const char **out_name)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];

	if (!slash[1])
		return EINVAL;
	snprintf(parent, sizeof(parent), "/%.*s", (int)(slash - path), path);
	*out_fd = open_in(tree, parent, O_PATH | O_DIRECTORY);
	*out_name = slash + 1;
	return *out_fd < 0 ? errno : 0;
}

/* ---- room ---- */

struct tree_open_file {
	struct tree_open_file *next;
	dev_t dev;
	ino_t ino;
	unsigned n;
};

static struct tree_open_file *const *find_open(const struct tree *tree, const struct stat *status)
{
	struct tree_open_file *const *at = &tree->open_files[status->st_ino % TREE_OPEN_SLOTS];

	while (*at && ((*at)->ino != status->st_ino || (*at)->dev != status->st_dev))
		at = &(*at)->next;
	return at;
}

int tree_hold(struct tree *tree, int fd)
{
	struct tree_open_file **at, *file;
	struct stat status;
	int number = fstat(fd, &status) ? errno : 0;

	if (number)
		return number;
	at = (struct tree_open_file **)find_open(tree, &status);
	if (!*at) {
		file = calloc(1, sizeof(*file));
		if (file) {
			file->dev = status.st_dev;
			file->ino = status.st_ino;
		}
		*at = file;
	}
	if (*at)
		(*at)->n++;
	return *at ? 0 : ENOMEM;
}

void tree_let_go(struct tree *tree, int fd)
{
	struct tree_open_file **at, *file;
	struct stat status;

	if (fstat(fd, &status))
		return;
	at = (struct tree_open_file **)find_open(tree, &status);
	file = *at;
	if (file && --file->n == 0) {
		*at = file->next;
		free(file);
		if (!status.st_nlink)
			tree_refund(tree, (uint64_t)status.st_size);
	}
}

uint64_t tree_worth(const struct tree *tree, const struct stat *status)
{
	bool is_last = status->st_nlink <= 1 && !*find_open(tree, status);

	return TREE_ENTRY_BYTES +
	       (S_ISREG(status->st_mode) && is_last ? (uint64_t)status->st_size : 0);
}

int tree_charge(struct tree *tree, uint64_t bytes)
{
	struct statvfs disk;

	if (!bytes)
		return 0;
	if (bytes > tree->used_max || tree->used > tree->used_max - bytes)
		return ENOSPC;
	if (fstatvfs(tree->root, &disk) || disk.f_bavail * disk.f_frsize < tree->reserve ||
	    disk.f_bavail * disk.f_frsize - tree->reserve < bytes)
		return ENOSPC;
	tree->used += bytes;
	return 0;
}

void tree_refund(struct tree *tree, uint64_t bytes)
{
	tree->used -= bytes < tree->used ? bytes : tree->used;
}

/* A file with several names counts for each of them a part. */
static void count(struct tree *tree, int folder, unsigned depth)
{
	DIR *open_folder = fdopendir(folder);
	struct dirent *entry;
	struct stat status;

	if (!open_folder) {
		close(folder);
		return;
	}
	while ((entry = readdir(open_folder))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    fstatat(dirfd(open_folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
			continue;
		tree->used += TREE_ENTRY_BYTES;
		if (S_ISREG(status.st_mode))
			tree->used += (uint64_t)status.st_size / status.st_nlink;
		if (S_ISDIR(status.st_mode) && depth < TREE_DEPTH_MAX) {
			int below = openat(dirfd(open_folder), entry->d_name,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (below >= 0)
				count(tree, below, depth + 1);
		}
	}
	closedir(open_folder);
}

/* ---- removing ---- */

/* Folders that lie deeper than we can go are put into `deep` as "deep-0", "deep-1", and removed
 * from there. */
struct removal {
	struct tree *tree; /* NULL: nobody counts */
	int deep;
	unsigned deep_n;
};

static int remove_at(struct removal *removal, int parent, const char *name, unsigned depth);

static int empty(struct removal *removal, int folder, unsigned depth)
{
	DIR *open_folder = fdopendir(folder);
	struct dirent *entry;
	int number = 0;

	if (!open_folder) {
		number = errno;
		close(folder);
		return number;
	}
	while (!number && (errno = 0, entry = readdir(open_folder))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			number = remove_at(removal, dirfd(open_folder), entry->d_name, depth);
	}
	closedir(open_folder);
	return number;
}

/* What others removed meanwhile is removed. */
static int remove_at(struct removal *removal, int parent, const char *name, unsigned depth)
{
	struct stat status;
	char deep[32];
	int below, number = 0;

	if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : errno;
	if (S_ISDIR(status.st_mode) && depth > TREE_DEPTH_MAX) {
		snprintf(deep, sizeof(deep), "deep-%u", removal->deep_n++);
		return renameat(parent, name, removal->deep, deep) ? errno : 0;
	}
	if (S_ISDIR(status.st_mode)) {
		below = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0)
			return errno;
		number = empty(removal, below, depth + 1);
	}
	if (!number && unlinkat(parent, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0))
		number = errno;
	if (!number && removal->tree)
		tree_refund(removal->tree, tree_worth(removal->tree, &status));
	return number;
}

static int remove_all(struct removal *removal, int parent, const char *name)
{
	int number = remove_at(removal, parent, name, 0);
	char deep[32];

	for (unsigned i = 0; !number && i < removal->deep_n; i++) {
		snprintf(deep, sizeof(deep), "deep-%u", i);
		number = remove_at(removal, removal->deep, deep, 0);
	}
	return number;
}

int tree_remove(struct tree *tree, const char *path)
{
	struct removal removal = {.tree = tree, .deep = tree->incoming};
	const char *name;
	struct stat status;
	int parent, number = open_parent(tree, path, &parent, &name);

	if (number)
		return number;
	pthread_mutex_lock(&tree->lock);
	number = fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW)
			 ? errno
			 : remove_all(&removal, parent, name);
	pthread_mutex_unlock(&tree->lock);
	close(parent);
	return number;
}

int tree_destroy(const char *dir)
{
	int outer = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), number = 0;
	struct removal removal = {.deep = outer};

	if (outer < 0)
		return errno == ENOENT ? 0 : errno;
	if (!(number = remove_all(&removal, outer, "tree")))
		number = remove_all(&removal, outer, "incoming");
	close(outer);
	return number || !rmdir(dir) ? number : errno;
}

/* ---- open and close ---- */

static int open_folder_at(int parent, const char *name, mode_t mode, int *out_fd)
{
	bool is_new = !mkdirat(parent, name, 0700);

	if (!is_new && errno != EEXIST)
		return errno;
	*out_fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*out_fd < 0)
		return errno;
	if (is_new && fchmod(*out_fd, mode)) {
		close(*out_fd);
		return errno;
	}
	return is_new ? -1 : 0;
}

int tree_open(struct tree *tree, const char *dir, uint64_t reserve)
{
	int outer, again, number = open_folder_at(AT_FDCWD, dir, 0700, &outer);

	if (number > 0)
		return number;
	*tree = (struct tree){.reserve = reserve, .keeps_owners = geteuid() == 0};
	number = open_folder_at(outer, "tree", ROOT_MODE, &tree->root);
	if (number < 0 && tree->keeps_owners && fchown(tree->root, TREE_OWNER, TREE_OWNER))
		number = errno;
	if (number > 0) {
		close(outer);
		return number;
	}
	/* What was on its way when we ended comes again, or not. */
	remove_all(&(struct removal){.deep = outer}, outer, "incoming");
	number = open_folder_at(outer, "incoming", 0700, &tree->incoming);
	close(outer);
	if (number > 0) {
		close(tree->root);
		return number;
	}
	pthread_mutex_init(&tree->lock, NULL);
	again = open_in(tree, "/", O_RDONLY | O_DIRECTORY);
	if (again >= 0)
		count(tree, again, 0);
	return 0;
}

void tree_close(struct tree *tree)
{
	close(tree->root);
	close(tree->incoming);
	pthread_mutex_destroy(&tree->lock);
}

/* ---- looking ---- */

static int read_entry(int fd, struct tree_entry *out)
{
	ssize_t n = 0;

	if (fstatat(fd, "", &out->status, AT_EMPTY_PATH))
		return errno;
	if (S_ISLNK(out->status.st_mode))
		n = readlinkat(fd, "", out->target, sizeof(out->target) - 1);
	out->target[n > 0 ? n : 0] = 0;
	return 0;
}

int tree_stat(struct tree *tree, const char *path, struct tree_entry *out)
{
	int number, fd = open_in(tree, path, O_PATH | O_NOFOLLOW);

	if (fd < 0)
		return errno;
	number = read_entry(fd, out);
	close(fd);
	return number;
}

struct walk {
	tree_visit_fn *visit;
	void *data;
	struct tree_entry entry;
	char path[PATH_MAX];
};

static int walk(struct walk *at, int folder, size_t path_n, unsigned depth);

static int walk_entry(struct walk *at, int folder, const char *name, size_t path_n, unsigned depth)
{
	size_t name_n = strlen(name);
	int number, below, fd;

	if (path_n + 1 + name_n >= PATH_MAX)
		return ENAMETOOLONG;
	at->path[path_n] = '/';
	memcpy(at->path + path_n + 1, name, name_n + 1);
	fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : errno;
	number = read_entry(fd, &at->entry);
	close(fd);
	if (number || (number = at->visit(at->data, at->path, &at->entry)) || depth <= 1 ||
	    !S_ISDIR(at->entry.status.st_mode))
		return number;
	below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
	return walk(at, below, path_n + 1 + name_n, depth - 1);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int walk(struct walk *at, int folder, size_t path_n, unsigned depth)
{
	struct dirent **entries;
	int number = 0, n = scandirat(folder, ".", &entries, NULL, by_name);

	if (n < 0) {
		number = errno;
		close(folder);
		return number;
	}
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;

		if (!number && strcmp(name, ".") && strcmp(name, ".."))
			number = walk_entry(at, folder, name, path_n, depth);
		free(entries[i]);
	}
	free(entries);
	close(folder);
	return number;
}

int tree_list(struct tree *tree, const char *path, unsigned depth, tree_visit_fn *visit, void *data)
{
	struct walk *at;
	int number, fd = open_in(tree, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return errno;
	at = malloc(sizeof(*at));
	if (!at) {
		close(fd);
		return ENOMEM;
	}
	at->visit = visit;
	at->data = data;
	snprintf(at->path, sizeof(at->path), "%s", strcmp(path, "/") ? path : "");
	number = walk(at, fd, strlen(at->path), depth < TREE_DEPTH_MAX ? depth : TREE_DEPTH_MAX);
	free(at);
	return number;
}

int tree_read(struct tree *tree, const char *path, int *out_fd, uint64_t *out_size)
{
	/* Without waiting: it may be a pipe that nobody writes into. */
	int fd = open_in(tree, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (fd < 0)
		return errno;
	if (fstat(fd, &status) || !S_ISREG(status.st_mode)) {
		close(fd);
		return S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
	}
	*out_fd = fd;
	*out_size = (uint64_t)status.st_size;
	return 0;
}

/* ---- changing ---- */

/* is_new: what is not said gets its default. fd: O_PATH is not enough for this. */
static int set_attributes(const struct tree *tree, int parent, const char *name,
			  const struct tree_attributes *attributes, bool is_new, mode_t mode)
{
	uid_t uid = attributes->uid >= 0 ? (uid_t)attributes->uid : (uid_t)-1;
	gid_t gid = attributes->gid >= 0 ? (gid_t)attributes->gid : (gid_t)-1;

	if (is_new && attributes->uid < 0)
		uid = TREE_OWNER;
	if (is_new && attributes->gid < 0)
		gid = TREE_OWNER;
	if (tree->keeps_owners && fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW))
		return errno;
	if (attributes->mode < 0 && !is_new)
		return 0;
	if (attributes->mode >= 0)
		mode = (mode_t)attributes->mode & 07777;
	return fchmodat(parent, name, mode, 0) ? errno : 0;
}

/* The lock is held. */
static int make_folder_at(struct tree *tree, int parent, const char *name,
			  const struct tree_attributes *attributes)
{
	int number = tree_charge(tree, TREE_ENTRY_BYTES);

	if (number)
		return number;
	if (mkdirat(parent, name, 0700)) {
		number = errno;
		tree_refund(tree, TREE_ENTRY_BYTES);
		return number;
	}
	return set_attributes(tree, parent, name, attributes, true, FOLDER_MODE);
}

/* Each folder on the way to the last component. The lock is held. */
static int make_parents(struct tree *tree, const char *path)
{
	static const struct tree_attributes plain = {-1, -1, -1};
	char part[PATH_MAX];
	const char *name;
	int parent, number;

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		number = open_parent(tree, part, &parent, &name);
		if (!number) {
			number = make_folder_at(tree, parent, name, &plain);
			close(parent);
		}
		if (number && number != EEXIST)
			return number;
		*slash = '/';
	}
	return 0;
}

int tree_make_folder(struct tree *tree, const char *path, const struct tree_attributes *attributes,
		     bool is_forced)
{
	struct tree_entry entry;
	const char *name;
	int parent, number = 0;

	if (!strcmp(path, "/"))
		return is_forced ? 0 : EEXIST;
	pthread_mutex_lock(&tree->lock);
	if (is_forced)
		number = make_parents(tree, path);
	if (!number)
		number = open_parent(tree, path, &parent, &name);
	if (!number) {
		number = make_folder_at(tree, parent, name, attributes);
		close(parent);
	}
	pthread_mutex_unlock(&tree->lock);
	if (number == EEXIST && is_forced && !tree_stat(tree, path, &entry) &&
	    S_ISDIR(entry.status.st_mode))
		return 0;
	return number;
}

int tree_set(struct tree *tree, const char *path, const struct tree_attributes *attributes)
{
	struct tree_entry entry;
	const char *name;
	int parent, number;

	if (!strcmp(path, "/")) {
		if (tree->keeps_owners &&
		    fchown(tree->root, (uid_t)attributes->uid, (gid_t)attributes->gid))
			return errno;
		return attributes->mode >= 0 && fchmod(tree->root, (mode_t)attributes->mode & 07777)
			       ? errno
			       : 0;
	}
	number = open_parent(tree, path, &parent, &name);
	if (number)
		return number;
	/* Under the lock nobody puts a link there that the mode would be another file's. */
	pthread_mutex_lock(&tree->lock);
	number = fstatat(parent, name, &entry.status, AT_SYMLINK_NOFOLLOW) ? errno : 0;
	if (!number && S_ISLNK(entry.status.st_mode) && attributes->mode >= 0)
		number = EOPNOTSUPP;
	if (!number)
		number = set_attributes(tree, parent, name, attributes, false, 0);
	pthread_mutex_unlock(&tree->lock);
	close(parent);
	return number;
}

/* ---- uploads ---- */

int tree_upload_begin(struct tree *tree, struct tree_upload *out)
{
	uint8_t random[12];
	int number;

	*out = (struct tree_upload){.tree = tree};
	randombytes_buf(random, sizeof(random));
	sodium_bin2hex(out->name, sizeof(out->name), random, sizeof(random));
	pthread_mutex_lock(&tree->lock);
	number = tree_charge(tree, TREE_ENTRY_BYTES);
	pthread_mutex_unlock(&tree->lock);
	if (number) {
		out->tree = NULL;
		return number;
	}
	out->fd = openat(tree->incoming, out->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out->fd >= 0)
		return 0;
	number = errno;
	pthread_mutex_lock(&tree->lock);
	tree_refund(tree, TREE_ENTRY_BYTES);
	pthread_mutex_unlock(&tree->lock);
	out->tree = NULL;
	return number;
}

int tree_upload_write(struct tree_upload *upload, const void *bytes, size_t n)
{
	struct tree *tree = upload->tree;
	const char *at = bytes;
	int number;

	pthread_mutex_lock(&tree->lock);
	number = tree_charge(tree, n);
	pthread_mutex_unlock(&tree->lock);
	if (number)
		return number;
	upload->size += n;
	while (n) {
		ssize_t written_n = write(upload->fd, at, n);

		if (written_n < 0 && errno == EINTR)
			continue;
		if (written_n < 0)
			return errno;
		at += written_n;
		n -= (size_t)written_n;
	}
	return 0;
}

/* The lock is held. What it replaces gives its room back. */
static int put(struct tree_upload *upload, int parent, const char *name, bool may_replace)
{
	struct tree *tree = upload->tree;
	struct stat old;
	bool is_there = !fstatat(parent, name, &old, AT_SYMLINK_NOFOLLOW);

	if (is_there && S_ISDIR(old.st_mode))
		return EISDIR;
	if (is_there && !may_replace)
		return EEXIST;
	if (renameat(tree->incoming, upload->name, parent, name))
		return errno;
	if (is_there)
		tree_refund(tree, tree_worth(tree, &old));
	return 0;
}

int tree_upload_end(struct tree_upload *upload, const char *path,
		    const struct tree_attributes *attributes, bool makes_folders, bool may_replace)
{
	struct tree *tree = upload->tree;
	struct tree_attributes as_before = *attributes;
	struct tree_entry entry;
	const char *name;
	int parent = -1, number = 0;

	/* A file that is overwritten stays whose it was, and as open as it was. */
	if (!tree_stat(tree, path, &entry) && S_ISREG(entry.status.st_mode)) {
		if (as_before.uid < 0)
			as_before.uid = entry.status.st_uid;
		if (as_before.gid < 0)
			as_before.gid = entry.status.st_gid;
		if (as_before.mode < 0)
			as_before.mode = entry.status.st_mode & 07777;
	}
	number = set_attributes(tree, tree->incoming, upload->name, &as_before, true, FILE_MODE);
	pthread_mutex_lock(&tree->lock);
	if (!number && makes_folders)
		number = make_parents(tree, path);
	if (!number)
		number = open_parent(tree, path, &parent, &name);
	if (!number) {
		number = put(upload, parent, name, may_replace);
		close(parent);
	}
	pthread_mutex_unlock(&tree->lock);
	if (number) {
		tree_upload_drop(upload);
		return number;
	}
	close(upload->fd);
	upload->tree = NULL;
	return 0;
}

void tree_upload_drop(struct tree_upload *upload)
{
	struct tree *tree = upload->tree;

	if (!tree)
		return;
	close(upload->fd);
	unlinkat(tree->incoming, upload->name, 0);
	pthread_mutex_lock(&tree->lock);
	tree_refund(tree, TREE_ENTRY_BYTES + upload->size);
	pthread_mutex_unlock(&tree->lock);
	upload->tree = NULL;
}

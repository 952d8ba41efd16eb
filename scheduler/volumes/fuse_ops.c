/* Operations on names and on what is known of files. */
#include "scheduler/volumes/fuse_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PROC_PATH_MAX = 40 };

/* A descriptor's own path, for what takes no descriptor of this kind. */
static void proc_path(int fd, char out[PROC_PATH_MAX])
{
	snprintf(out, PROC_PATH_MAX, "/proc/self/fd/%d", fd);
}

void op_attributes(const struct stat *status, struct fuse_attr *out)
{
	*out = (struct fuse_attr){
		.ino = status->st_ino,
		.size = (uint64_t)status->st_size,
		.blocks = (uint64_t)status->st_blocks,
		.atime = (uint64_t)status->st_atim.tv_sec,
		.mtime = (uint64_t)status->st_mtim.tv_sec,
		.ctime = (uint64_t)status->st_ctim.tv_sec,
		.atimensec = (uint32_t)status->st_atim.tv_nsec,
		.mtimensec = (uint32_t)status->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)status->st_ctim.tv_nsec,
		.mode = status->st_mode,
		.nlink = (uint32_t)status->st_nlink,
		.uid = status->st_uid,
		.gid = status->st_gid,
		.blksize = 4096,
	};
}

static int answer_attributes(struct ask *ask, int fd)
{
	struct fuse_attr_out *out;
	struct stat status;

	if (fstatat(fd, "", &status, AT_EMPTY_PATH))
		return errno;
	out = ask_answer(ask, sizeof(*out));
	out->attr_valid = FUSE_TIMEOUT_S;
	op_attributes(&status, &out->attr);
	return 0;
}

int op_enter(struct ask *ask, int folder, const char *name, struct fuse_entry_out *out)
{
	int number, fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	if (fd < 0)
		return errno;
	number = node_know(ask->session, fd, &out->nodeid, &status);
	if (number)
		return number;
	out->entry_valid = out->attr_valid = FUSE_TIMEOUT_S;
	op_attributes(&status, &out->attr);
	return 0;
}

int op_made(struct ask *ask, int folder, const char *name, struct fuse_entry_out *out)
{
	const struct tree *tree = ask->session->tree;
	gid_t gid = ask->in->gid;
	struct stat above;

	/* As any file system has it: below a folder with this bit all is of the folder's group. */
	if (!fstatat(folder, "", &above, AT_EMPTY_PATH) && (above.st_mode & S_ISGID))
		gid = above.st_gid;
	if (tree->keeps_owners && fchownat(folder, name, ask->in->uid, gid, AT_SYMLINK_NOFOLLOW))
		return errno;
	return op_enter(ask, folder, name, out);
}

int op_lookup(struct ask *ask)
{
	const char *name = ask_name(ask);
	struct fuse_entry_out out = {0};
	int folder, number;
	bool owned;

	if (!name)
		return errno;
	folder = node_open(ask->session, ask->in->nodeid, &owned);
	if (folder < 0)
		return errno;
	number = op_enter(ask, folder, name, &out);
	node_shut(folder, owned);
	if (!number)
		memcpy(ask_answer(ask, sizeof(out)), &out, sizeof(out));
	return number;
}

int op_getattr(struct ask *ask)
{
	const struct fuse_getattr_in *in = ASK_TAKE(ask, struct fuse_getattr_in);
	const struct handle *handle = NULL;
	int fd, number;
	bool owned = false;

	if (!in)
		return EBADMSG;
	if (in->getattr_flags & FUSE_GETATTR_FH)
		handle = handle_find(ask->session, in->fh);
	fd = handle ? handle->fd : node_open(ask->session, ask->in->nodeid, &owned);
	if (fd < 0)
		return errno;
	number = answer_attributes(ask, fd);
	node_shut(fd, owned);
	return number;
}

/* ---- changing what is known of a file ---- */

static int set_size(struct ask *ask, const struct fuse_setattr_in *in, int fd)
{
	const struct handle *handle =
		in->valid & FATTR_FH ? handle_find(ask->session, in->fh) : NULL;
	char path[PROC_PATH_MAX];
	struct stat status;
	int number, open_fd;

	if (handle && !handle->folder)
		return io_resize(ask->session->tree, handle->fd, in->size);
	if (fstatat(fd, "", &status, AT_EMPTY_PATH))
		return errno;
	if (!S_ISREG(status.st_mode))
		return EINVAL;
	proc_path(fd, path);
	open_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (open_fd < 0)
		return errno;
	number = io_resize(ask->session->tree, open_fd, in->size);
	close(open_fd);
	return number;
}

static struct timespec time_of(const struct fuse_setattr_in *in, uint32_t set, uint32_t now,
			       uint64_t s, uint32_t ns)
{
	if (in->valid & now)
		return (struct timespec){0, UTIME_NOW};
	if (!(in->valid & set) || ns >= 1000000000)
		return (struct timespec){0, UTIME_OMIT};
	return (struct timespec){(time_t)s, (long)ns};
}

static int set_times(const struct fuse_setattr_in *in, const char *path)
{
	struct timespec times[2] = {
		time_of(in, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_of(in, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	return utimensat(AT_FDCWD, path, times, 0) ? errno : 0;
}

static int set_all(struct ask *ask, const struct fuse_setattr_in *in, int fd)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	char path[PROC_PATH_MAX];
	struct stat status;
	int number = 0;

	proc_path(fd, path);
	if (fstatat(fd, "", &status, AT_EMPTY_PATH))
		return errno;
	if (in->valid & (FATTR_UID | FATTR_GID) && ask->session->tree->keeps_owners &&
	    fchownat(fd, "", uid, gid, AT_EMPTY_PATH))
		return errno;
	if (in->valid & FATTR_MODE &&
	    (S_ISLNK(status.st_mode) ? (errno = EOPNOTSUPP, -1) : chmod(path, in->mode & 07777)))
		return errno;
	if (in->valid & FATTR_SIZE)
		number = set_size(ask, in, fd);
	/* A symlink's times would be its target's by this path. */
	if (!number && !S_ISLNK(status.st_mode) &&
	    in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW))
		number = set_times(in, path);
	return number;
}

int op_setattr(struct ask *ask)
{
	const struct fuse_setattr_in *in = ASK_TAKE(ask, struct fuse_setattr_in);
	int fd, number;
	bool owned;

	if (!in)
		return EBADMSG;
	fd = node_open(ask->session, ask->in->nodeid, &owned);
	if (fd < 0)
		return errno;
	pthread_mutex_lock(&ask->session->tree->lock);
	number = set_all(ask, in, fd);
	pthread_mutex_unlock(&ask->session->tree->lock);
	if (!number)
		number = answer_attributes(ask, fd);
	node_shut(fd, owned);
	return number;
}

int op_readlink(struct ask *ask)
{
	char target[PATH_MAX];
	bool owned;
	int fd = node_open(ask->session, ask->in->nodeid, &owned), number = 0;
	ssize_t n;

	if (fd < 0)
		return errno;
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		number = errno;
	else
		memcpy(ask_answer(ask, (size_t)n), target, (size_t)n);
	node_shut(fd, owned);
	return number;
}

/* ---- making ---- */

/* Makes one entry, and takes its room; the lock is held. */
typedef int make_fn(int folder, const char *name, const void *how);

static int make(struct ask *ask, const char *name, make_fn *make_it, const void *how)
{
	struct tree *tree = ask->session->tree;
	struct fuse_entry_out out = {0};
	int folder, number;
	bool owned;

	if (!name)
		return errno;
	folder = node_open(ask->session, ask->in->nodeid, &owned);
	if (folder < 0)
		return errno;
	pthread_mutex_lock(&tree->lock);
	number = tree_charge(tree, TREE_ENTRY_BYTES);
	if (!number && make_it(folder, name, how)) {
		number = errno;
		tree_refund(tree, TREE_ENTRY_BYTES);
	}
	if (!number)
		number = op_made(ask, folder, name, &out);
	pthread_mutex_unlock(&tree->lock);
	node_shut(folder, owned);
	if (!number)
		memcpy(ask_answer(ask, sizeof(out)), &out, sizeof(out));
	return number;
}

static int make_symlink(int folder, const char *name, const void *how)
{
	return symlinkat(how, folder, name);
}

int op_symlink(struct ask *ask)
{
	const char *name = ask_name(ask), *target = name ? ask_text(ask) : NULL;

	return target ? make(ask, name, make_symlink, target) : EINVAL;
}

static int make_node(int folder, const char *name, const void *how)
{
	const struct fuse_mknod_in *in = how;

	return mknodat(folder, name, in->mode, 0) || fchmodat(folder, name, in->mode & 07777, 0)
		       ? -1
		       : 0;
}

/* Devices would be the server's own. */
int op_mknod(struct ask *ask)
{
	const struct fuse_mknod_in *in = ASK_TAKE(ask, struct fuse_mknod_in);

	if (!in)
		return EBADMSG;
	if (!S_ISREG(in->mode) && !S_ISFIFO(in->mode) && !S_ISSOCK(in->mode))
		return EPERM;
	return make(ask, ask_name(ask), make_node, in);
}

static int make_folder(int folder, const char *name, const void *how)
{
	const struct fuse_mkdir_in *in = how;
	mode_t mode = in->mode & 07777;
	struct stat above;

	if (!fstatat(folder, "", &above, AT_EMPTY_PATH) && (above.st_mode & S_ISGID))
		mode |= S_ISGID;
	return mkdirat(folder, name, 0700) || fchmodat(folder, name, mode, 0) ? -1 : 0;
}

int op_mkdir(struct ask *ask)
{
	const struct fuse_mkdir_in *in = ASK_TAKE(ask, struct fuse_mkdir_in);

	return in ? make(ask, ask_name(ask), make_folder, in) : EBADMSG;
}

struct link_from {
	int fd;
};

static int make_link(int folder, const char *name, const void *how)
{
	const struct link_from *from = how;
	char path[PROC_PATH_MAX];

	proc_path(from->fd, path);
	return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW);
}

int op_link(struct ask *ask)
{
	const struct fuse_link_in *in = ASK_TAKE(ask, struct fuse_link_in);
	const char *name = in ? ask_name(ask) : NULL;
	struct tree *tree = ask->session->tree;
	struct fuse_entry_out out = {0};
	struct link_from from;
	int folder, number;
	bool owned, from_owned;

	if (!in)
		return EBADMSG;
	if (!name)
		return errno;
	from.fd = node_open(ask->session, in->oldnodeid, &from_owned);
	if (from.fd < 0)
		return errno;
	folder = node_open(ask->session, ask->in->nodeid, &owned);
	number = folder < 0 ? errno : 0;
	pthread_mutex_lock(&tree->lock);
	if (!number)
		number = tree_charge(tree, TREE_ENTRY_BYTES);
	if (!number && make_link(folder, name, &from)) {
		number = errno;
		tree_refund(tree, TREE_ENTRY_BYTES);
	}
	if (!number)
		number = op_enter(ask, folder, name, &out);
	pthread_mutex_unlock(&tree->lock);
	node_shut(folder, owned);
	node_shut(from.fd, from_owned);
	if (!number)
		memcpy(ask_answer(ask, sizeof(out)), &out, sizeof(out));
	return number;
}

/* ---- removing, renaming ---- */

static int remove_entry(struct ask *ask, int flags)
{
	struct tree *tree = ask->session->tree;
	const char *name = ask_name(ask);
	struct stat status;
	int folder, number = 0;
	uint64_t worth = 0;
	bool owned;

	if (!name)
		return errno;
	folder = node_open(ask->session, ask->in->nodeid, &owned);
	if (folder < 0)
		return errno;
	pthread_mutex_lock(&tree->lock);
	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW))
		number = errno;
	else
		worth = tree_worth(tree, &status);
	if (!number && unlinkat(folder, name, flags))
		number = errno;
	if (!number)
		tree_refund(tree, worth);
	pthread_mutex_unlock(&tree->lock);
	node_shut(folder, owned);
	return number;
}

int op_unlink(struct ask *ask)
{
	return remove_entry(ask, 0);
}

int op_rmdir(struct ask *ask)
{
	return remove_entry(ask, AT_REMOVEDIR);
}

/* The lock is held. What is replaced gives its room back. */
static int move(struct tree *tree, int from, const char *old_name, int to, const char *new_name,
		uint32_t flags)
{
	struct stat moved, replaced;
	uint64_t worth = 0;

	if (!(flags & RENAME_EXCHANGE) && !fstatat(from, old_name, &moved, AT_SYMLINK_NOFOLLOW) &&
	    !fstatat(to, new_name, &replaced, AT_SYMLINK_NOFOLLOW) &&
	    (moved.st_ino != replaced.st_ino || moved.st_dev != replaced.st_dev))
		worth = tree_worth(tree, &replaced);
	if (syscall(SYS_renameat2, from, old_name, to, new_name, flags))
		return errno;
	tree_refund(tree, worth);
	return 0;
}

static int rename_entry(struct ask *ask, uint64_t new_folder, uint32_t flags)
{
	struct tree *tree = ask->session->tree;
	const char *old_name = ask_name(ask), *new_name = old_name ? ask_name(ask) : NULL;
	int from, to, number;
	bool from_owned, to_owned;

	if (!new_name)
		return errno;
	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return EINVAL;
	from = node_open(ask->session, ask->in->nodeid, &from_owned);
	if (from < 0)
		return errno;
	to = node_open(ask->session, new_folder, &to_owned);
	number = to < 0 ? errno : 0;
	pthread_mutex_lock(&tree->lock);
	if (!number)
		number = move(tree, from, old_name, to, new_name, flags);
	pthread_mutex_unlock(&tree->lock);
	node_shut(from, from_owned);
	node_shut(to, to_owned);
	return number;
}

int op_rename(struct ask *ask)
{
	const struct fuse_rename_in *in = ASK_TAKE(ask, struct fuse_rename_in);

	return in ? rename_entry(ask, in->newdir, 0) : EBADMSG;
}

int op_rename2(struct ask *ask)
{
	const struct fuse_rename2_in *in = ASK_TAKE(ask, struct fuse_rename2_in);

	return in ? rename_entry(ask, in->newdir, in->flags) : EBADMSG;
}

/* ---- the whole ---- */

int op_statfs(struct ask *ask)
{
	struct tree *tree = ask->session->tree;
	struct fuse_statfs_out *out;
	struct statvfs disk;
	uint64_t used, left, free_bytes;

	if (fstatvfs(tree->root, &disk))
		return errno;
	pthread_mutex_lock(&tree->lock);
	used = tree->used;
	left = tree->used_max > used ? tree->used_max - used : 0;
	pthread_mutex_unlock(&tree->lock);
	free_bytes = disk.f_bavail * disk.f_frsize;
	free_bytes = free_bytes > tree->reserve ? free_bytes - tree->reserve : 0;
	left = left < free_bytes ? left : free_bytes;
	out = ask_answer(ask, sizeof(*out));
	out->st = (struct fuse_kstatfs){
		.blocks = (used + left) / TREE_ENTRY_BYTES,
		.bfree = left / TREE_ENTRY_BYTES,
		.bavail = left / TREE_ENTRY_BYTES,
		.files = (used + left) / TREE_ENTRY_BYTES,
		.ffree = left / TREE_ENTRY_BYTES,
		.bsize = TREE_ENTRY_BYTES,
		.frsize = TREE_ENTRY_BYTES,
		.namelen = NAME_MAX,
	};
	return 0;
}

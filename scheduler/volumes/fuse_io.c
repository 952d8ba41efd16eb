/* What a sandbox has open: files and folders. */
#include "scheduler/volumes/fuse_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_FLAGS = O_ACCMODE | O_APPEND | O_TRUNC | O_DSYNC | O_SYNC };

/* ---- handles ---- */

struct handle *handle_find(struct fuse_session *session, uint64_t id)
{
	for (size_t i = 0; id && i < FUSE_HANDLES_MAX; i++)
		if (session->handles[i].id == id)
			return &session->handles[i];
	return NULL;
}

/* NULL: it has too many. */
static struct handle *handle_new(struct fuse_session *session)
{
	for (size_t i = 0; i < FUSE_HANDLES_MAX; i++)
		if (!session->handles[i].id)
			return &session->handles[i];
	return NULL;
}

static void handle_close(struct fuse_session *session, struct handle *handle)
{
	struct tree *tree = session->tree;

	if (handle->folder) {
		closedir(handle->folder);
	} else {
		pthread_mutex_lock(&tree->lock);
		tree_let_go(tree, handle->fd);
		pthread_mutex_unlock(&tree->lock);
		close(handle->fd);
	}
	*handle = (struct handle){0};
}

void handles_close(struct fuse_session *session)
{
	for (size_t i = 0; i < FUSE_HANDLES_MAX; i++)
		if (session->handles[i].id)
			handle_close(session, &session->handles[i]);
}

static struct handle *handle_of(struct ask *ask, uint64_t id, bool is_folder)
{
	struct handle *handle = handle_find(ask->session, id);

	return handle && !handle->folder == !is_folder ? handle : NULL;
}

/* ---- sizes: the lock is held ---- */

int io_resize(struct tree *tree, int fd, uint64_t size)
{
	struct stat status;
	uint64_t old;
	int number = 0;

	if (fstat(fd, &status))
		return errno;
	old = (uint64_t)status.st_size;
	if (size > INT64_MAX)
		return EFBIG;
	if (size > old)
		number = tree_charge(tree, size - old);
	if (number)
		return number;
	if (ftruncate(fd, (off_t)size)) {
		number = errno;
		if (size > old)
			tree_refund(tree, size - old);
		return number;
	}
	if (size < old)
		tree_refund(tree, old - size);
	return 0;
}

/* ---- files ---- */

/* Takes the descriptor over. The lock is held. */
static int give_handle(struct ask *ask, int fd, bool truncates, struct fuse_open_out *out)
{
	struct handle *handle = handle_new(ask->session);
	int number = handle ? tree_hold(ask->session->tree, fd) : EMFILE;

	if (!number && truncates && (number = io_resize(ask->session->tree, fd, 0)))
		tree_let_go(ask->session->tree, fd);
	if (number) {
		close(fd);
		return number;
	}
	*handle = (struct handle){.id = ask->session->next_id++, .fd = fd};
	out->fh = handle->id;
	return 0;
}

/* Not by the kernel's truncation, which would forget what it frees. */
static int open_node(int node, uint32_t flags)
{
	char path[40];
	struct stat status;

	if (fstatat(node, "", &status, AT_EMPTY_PATH))
		return -1;
	if (!S_ISREG(status.st_mode)) {
		errno = S_ISDIR(status.st_mode) ? EISDIR : ENXIO;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", node);
	return open(path, (int)((flags & OPEN_FLAGS & ~(uint32_t)O_TRUNC)) | O_CLOEXEC | O_NOCTTY);
}

int op_open(struct ask *ask)
{
	const struct fuse_open_in *in = ASK_TAKE(ask, struct fuse_open_in);
	struct tree *tree = ask->session->tree;
	struct fuse_open_out out = {0};
	int node, fd, number;
	bool owned;

	if (!in)
		return EBADMSG;
	node = node_open(ask->session, ask->in->nodeid, &owned);
	if (node < 0)
		return errno;
	pthread_mutex_lock(&tree->lock);
	fd = open_node(node, in->flags);
	number = fd < 0 ? errno
			: give_handle(ask, fd,
				      in->flags & O_TRUNC && (in->flags & O_ACCMODE) != O_RDONLY,
				      &out);
	pthread_mutex_unlock(&tree->lock);
	node_shut(node, owned);
	if (!number)
		memcpy(ask_answer(ask, sizeof(out)), &out, sizeof(out));
	return number;
}

/* The lock is held. */
static int create_at(struct ask *ask, const struct fuse_create_in *in, int folder, const char *name,
		     struct fuse_entry_out *entry, struct fuse_open_out *out)
{
	struct tree *tree = ask->session->tree;
	int number, fd, flags = (int)(in->flags & OPEN_FLAGS & ~(uint32_t)O_TRUNC) | O_CLOEXEC;

	number = tree_charge(tree, TREE_ENTRY_BYTES);
	if (number)
		return number;
	fd = openat(folder, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0) {
		number = errno;
		tree_refund(tree, TREE_ENTRY_BYTES);
		return number;
	}
	number = op_made(ask, folder, name, entry);
	/* Behind the owner, who takes such bits away. */
	if (!number && fchmod(fd, in->mode & 07777))
		number = errno;
	if (number) {
		close(fd);
		return number;
	}
	entry->attr.mode = S_IFREG | (in->mode & 07777);
	return give_handle(ask, fd, false, out);
}

static int open_existing(struct ask *ask, const struct fuse_create_in *in, int folder,
			 const char *name, struct fuse_entry_out *entry, struct fuse_open_out *out)
{
	int number, fd, node = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (node < 0)
		return errno;
	fd = open_node(node, in->flags);
	number = fd < 0 ? errno : 0;
	close(node);
	if (number)
		return number;
	number = op_enter(ask, folder, name, entry);
	if (number) {
		close(fd);
		return number;
	}
	return give_handle(ask, fd, in->flags & O_TRUNC && (in->flags & O_ACCMODE) != O_RDONLY,
			   out);
}

int op_create(struct ask *ask)
{
	const struct fuse_create_in *in = ASK_TAKE(ask, struct fuse_create_in);
	const char *name = in ? ask_name(ask) : NULL;
	struct tree *tree = ask->session->tree;
	struct fuse_entry_out entry = {0};
	struct fuse_open_out out = {0};
	int folder, number;
	bool owned;

	if (!in)
		return EBADMSG;
	if (!name)
		return errno;
	folder = node_open(ask->session, ask->in->nodeid, &owned);
	if (folder < 0)
		return errno;
	pthread_mutex_lock(&tree->lock);
	number = create_at(ask, in, folder, name, &entry, &out);
	/* Another sandbox was faster: what is there is opened, unless that was not wanted. */
	if (number == EEXIST && !(in->flags & O_EXCL))
		number = open_existing(ask, in, folder, name, &entry, &out);
	if (number && entry.nodeid)
		node_forget(ask->session, entry.nodeid, 1); /* the kernel never hears of it */
	pthread_mutex_unlock(&tree->lock);
	node_shut(folder, owned);
	if (number)
		return number;
	memcpy(ask_answer(ask, sizeof(entry)), &entry, sizeof(entry));
	memcpy(ask_answer(ask, sizeof(out)), &out, sizeof(out));
	return 0;
}

int op_read(struct ask *ask)
{
	const struct fuse_read_in *in = ASK_TAKE(ask, struct fuse_read_in);
	const struct handle *handle = in ? handle_of(ask, in->fh, false) : NULL;
	size_t n;
	ssize_t got_n;

	if (!in)
		return EBADMSG;
	if (!handle)
		return EBADF;
	n = in->size < FUSE_DATA_MAX ? in->size : FUSE_DATA_MAX;
	if (in->offset > INT64_MAX)
		return EINVAL;
	got_n = pread(handle->fd, ask->out, n, (off_t)in->offset);
	if (got_n < 0)
		return errno;
	ask->out_n = (size_t)got_n;
	return 0;
}

/* The lock is held. */
static int write_at(struct tree *tree, int fd, const uint8_t *bytes, size_t n, uint64_t at,
		    uint32_t *out_n)
{
	bool appends = fcntl(fd, F_GETFL) & O_APPEND;
	struct stat status;
	uint64_t size, end, grows, grown;
	ssize_t written_n;
	int number;

	if (fstat(fd, &status))
		return errno;
	size = (uint64_t)status.st_size;
	if (appends)
		at = size;
	if (at > INT64_MAX - n)
		return EFBIG;
	end = at + n;
	grows = end > size ? end - size : 0;
	number = tree_charge(tree, grows);
	if (number)
		return number;
	written_n = pwrite(fd, bytes, n, (off_t)at);
	if (written_n < 0) {
		number = errno;
		tree_refund(tree, grows);
		return number;
	}
	grown = at + (uint64_t)written_n > size ? at + (uint64_t)written_n - size : 0;
	tree_refund(tree, grows - grown);
	*out_n = (uint32_t)written_n;
	return 0;
}

int op_write(struct ask *ask)
{
	const struct fuse_write_in *in = ASK_TAKE(ask, struct fuse_write_in);
	const struct handle *handle = in ? handle_of(ask, in->fh, false) : NULL;
	struct tree *tree = ask->session->tree;
	struct fuse_write_out out = {0};
	const uint8_t *bytes = in ? ask_take(ask, in->size) : NULL;
	int number;

	if (!in || !bytes || in->size > FUSE_DATA_MAX)
		return EBADMSG;
	if (!handle)
		return EBADF;
	pthread_mutex_lock(&tree->lock);
	number = write_at(tree, handle->fd, bytes, in->size, in->offset, &out.size);
	pthread_mutex_unlock(&tree->lock);
	if (!number)
		memcpy(ask_answer(ask, sizeof(out)), &out, sizeof(out));
	return number;
}

/* Each write was carried out before it was answered. */
int op_flush(struct ask *ask)
{
	return ASK_TAKE(ask, struct fuse_flush_in) ? 0 : EBADMSG;
}

int op_release(struct ask *ask)
{
	const struct fuse_release_in *in = ASK_TAKE(ask, struct fuse_release_in);
	struct handle *handle = in ? handle_of(ask, in->fh, false) : NULL;

	if (!in)
		return EBADMSG;
	if (handle)
		handle_close(ask->session, handle);
	return 0;
}

static int sync_handle(struct ask *ask, bool is_folder)
{
	const struct fuse_fsync_in *in = ASK_TAKE(ask, struct fuse_fsync_in);
	const struct handle *handle = in ? handle_of(ask, in->fh, is_folder) : NULL;

	if (!in)
		return EBADMSG;
	if (!handle)
		return EBADF;
	return (in->fsync_flags & 1 ? fdatasync(handle->fd) : fsync(handle->fd)) ? errno : 0;
}

int op_fsync(struct ask *ask)
{
	return sync_handle(ask, false);
}

/* ---- folders ---- */

int op_opendir(struct ask *ask)
{
	struct handle *handle = handle_new(ask->session);
	struct fuse_open_out *out;
	bool owned;
	int node, fd;
	DIR *folder;

	if (!handle)
		return EMFILE;
	node = node_open(ask->session, ask->in->nodeid, &owned);
	if (node < 0)
		return errno;
	fd = openat(node, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	node_shut(node, owned);
	if (fd < 0)
		return errno;
	folder = fdopendir(fd);
	if (!folder) {
		close(fd);
		return ENOMEM;
	}
	*handle = (struct handle){.id = ask->session->next_id++, .fd = fd, .folder = folder};
	out = ask_answer(ask, sizeof(*out));
	out->fh = handle->id;
	return 0;
}

/* False: it does not fit any more. */
static bool add_entry(struct ask *ask, const struct dirent *entry, size_t room)
{
	size_t name_n = strlen(entry->d_name);
	size_t n = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name_n);
	struct fuse_dirent *out;

	if (ask->out_n + n > room)
		return false;
	out = ask_answer(ask, n);
	out->ino = entry->d_ino;
	out->off = (uint64_t)entry->d_off;
	out->namelen = (uint32_t)name_n;
	out->type = entry->d_type;
	memcpy(out->name, entry->d_name, name_n);
	return true;
}

int op_readdir(struct ask *ask)
{
	const struct fuse_read_in *in = ASK_TAKE(ask, struct fuse_read_in);
	struct handle *handle = in ? handle_of(ask, in->fh, true) : NULL;
	const struct dirent *entry;
	size_t room;

	if (!in)
		return EBADMSG;
	if (!handle)
		return EBADF;
	room = in->size < FUSE_DATA_MAX ? in->size : FUSE_DATA_MAX;
	if (in->offset == 0)
		rewinddir(handle->folder);
	else if ((off_t)in->offset != handle->at)
		seekdir(handle->folder, (long)in->offset);
	handle->at = (off_t)in->offset;
	while ((errno = 0, entry = readdir(handle->folder))) {
		if (!add_entry(ask, entry, room)) {
			seekdir(handle->folder, handle->at);
			break;
		}
		handle->at = entry->d_off;
	}
	return ask->out_n ? 0 : errno;
}

int op_releasedir(struct ask *ask)
{
	const struct fuse_release_in *in = ASK_TAKE(ask, struct fuse_release_in);
	struct handle *handle = in ? handle_of(ask, in->fh, true) : NULL;

	if (!in)
		return EBADMSG;
	if (handle)
		handle_close(ask->session, handle);
	return 0;
}

int op_fsyncdir(struct ask *ask)
{
	return sync_handle(ask, true);
}

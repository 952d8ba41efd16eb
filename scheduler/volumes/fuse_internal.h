/* What the session's files share: fuse.c reads requests and answers, fuse_nodes.c knows files,
 * fuse_ops.c looks and changes names, fuse_io.c has what is open. */
#ifndef FLOTILLA_VOLUMES_FUSE_INTERNAL_H
#define FLOTILLA_VOLUMES_FUSE_INTERNAL_H

#include <dirent.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <unistd.h>

#include "scheduler/volumes/fuse.h"

enum {
	NODE_SLOTS = 1 << 14,
	NODE_HANDLE_MAX =
		40, /* of what file systems call a file by; a longer one costs a descriptor */
	KEPT_ANSWERS = 128,    /* more than a guest asks at a time */
	KEPT_ANSWER_MAX = 256, /* longer ones are only read, and can be read again */
	FUSE_TIMEOUT_S = 1,    /* for so long the kernel believes what it was told */
};

struct node {
	uint64_t id;
	dev_t dev;
	ino_t ino;
	uint64_t lookups; /* that the kernel was told of it */
	struct node *next_by_id, *next_by_file;
	int fd; /* O_PATH, where there is no handle; else -1 */
	int handle_type;
	unsigned handle_n;
	uint8_t handle[NODE_HANDLE_MAX];
};

struct handle {
	uint64_t id; /* 0: free */
	int fd;
	DIR *folder; /* of a folder; it owns fd */
	off_t at;    /* where the folder's reading stands */
};

struct kept_answer {
	uint64_t unique; /* 0: none */
	uint32_t n;
	uint8_t bytes[KEPT_ANSWER_MAX];
};

struct fuse_session {
	struct tree *tree;
	struct node *by_id[NODE_SLOTS], *by_file[NODE_SLOTS];
	uint32_t nodes_n;
	uint64_t next_id; /* of nodes and handles: never again, whoever restarts */
	struct handle handles[FUSE_HANDLES_MAX];
	struct kept_answer kept[KEPT_ANSWERS];
	uint32_t kept_at;
};

/* One request: the header was checked; the rest is read from the front. */
struct ask {
	struct fuse_session *session;
	const struct fuse_in_header *in;
	const uint8_t *at;
	size_t left;
	uint8_t *out; /* room for what follows the answer's header */
	size_t out_n;
};

/* fuse.c: the next bytes, or NULL: there are not so many. */
const void *ask_take(struct ask *ask, size_t n);
#define ASK_TAKE(ask, type) ((const type *)ask_take((ask), sizeof(type)))
/* A name within a folder, or NULL and errno: it cannot be one. */
const char *ask_name(struct ask *ask);
const char *ask_text(struct ask *ask);
void *ask_answer(struct ask *ask, size_t n); /* zeroed */

/* fuse_nodes.c */
/* O_PATH descriptor of a node: to be closed by node_shut. -1: errno. */
int node_open(struct fuse_session *session, uint64_t id, bool *out_owned);
static inline void node_shut(int fd, bool owned)
{
	if (owned)
		close(fd);
}
/* Counts a lookup of what fd (O_PATH) is; takes fd over. 0 or errno. */
int node_know(struct fuse_session *session, int fd, uint64_t *out_id, struct stat *out_status);
void node_forget(struct fuse_session *session, uint64_t id, uint64_t n);
void nodes_clear(struct fuse_session *session);

/* Each: 0 or errno; EBADMSG: malformed. */
int op_lookup(struct ask *ask);
int op_getattr(struct ask *ask);
int op_setattr(struct ask *ask);
int op_readlink(struct ask *ask);
int op_symlink(struct ask *ask);
int op_mknod(struct ask *ask);
int op_mkdir(struct ask *ask);
int op_unlink(struct ask *ask);
int op_rmdir(struct ask *ask);
int op_rename(struct ask *ask);
int op_rename2(struct ask *ask);
int op_link(struct ask *ask);
int op_statfs(struct ask *ask);
/* fuse_ops.c, for fuse_io.c too: what was made as `name` in the folder becomes the caller's, and is
 * told as an entry. */
int op_made(struct ask *ask, int folder, const char *name, struct fuse_entry_out *out);
/* What is there under a name, as the kernel gets to know it. */
int op_enter(struct ask *ask, int folder, const char *name, struct fuse_entry_out *out);
void op_attributes(const struct stat *status, struct fuse_attr *out);

int op_open(struct ask *ask);
int op_create(struct ask *ask);
int op_read(struct ask *ask);
int op_write(struct ask *ask);
int op_flush(struct ask *ask);
int op_release(struct ask *ask);
int op_fsync(struct ask *ask);
int op_opendir(struct ask *ask);
int op_readdir(struct ask *ask);
int op_releasedir(struct ask *ask);
int op_fsyncdir(struct ask *ask);
struct handle *handle_find(struct fuse_session *session, uint64_t id); /* NULL: not there */
void handles_close(struct fuse_session *session);
/* To another size; fd: open for writing. */
int io_resize(struct tree *tree, int fd, uint64_t size);

#endif

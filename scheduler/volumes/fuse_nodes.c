/* Files that a sandbox's kernel knows.  Each is kept by the file system's own handle for it, which
 * costs no descriptor and finds the file whatever it is called by now. */
#include "scheduler/volumes/fuse_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct node **slot_by_id(struct fuse_session *session, uint64_t id)
{
	struct node **at = &session->by_id[id % NODE_SLOTS];

	while (*at && (*at)->id != id)
		at = &(*at)->next_by_id;
	return at;
}

static struct node **slot_by_file(struct fuse_session *session, dev_t dev, ino_t ino)
{
	struct node **at = &session->by_file[(ino ^ dev) % NODE_SLOTS];

	while (*at && ((*at)->ino != ino || (*at)->dev != dev))
		at = &(*at)->next_by_file;
	return at;
}

int node_open(struct fuse_session *session, uint64_t id, bool *out_owned)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + NODE_HANDLE_MAX];
	} to;
	const struct node *node;
	int fd;

	*out_owned = false;
	if (id == FUSE_ROOT_ID)
		return session->tree->root;
	node = *slot_by_id(session, id);
	if (!node) {
		errno = ESTALE;
		return -1;
	}
	if (node->fd >= 0)
		return node->fd;
	to.handle.handle_bytes = node->handle_n;
	to.handle.handle_type = node->handle_type;
	memcpy(to.handle.f_handle, node->handle, node->handle_n);
	fd = open_by_handle_at(session->tree->root, &to.handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	*out_owned = fd >= 0;
	return fd;
}

/* False: the descriptor has to be kept. */
static bool take_handle(struct node *node, int fd)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + NODE_HANDLE_MAX];
	} from;
	int mount_id, again;

	from.handle.handle_bytes = NODE_HANDLE_MAX;
	if (name_to_handle_at(fd, "", &from.handle, &mount_id, AT_EMPTY_PATH))
		return false;
	/* Without the right to it, or where the file system only pretends, this fails. */
	again = open_by_handle_at(fd, &from.handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (again < 0)
		return false;
	close(again);
	node->handle_type = from.handle.handle_type;
	node->handle_n = from.handle.handle_bytes;
	memcpy(node->handle, from.handle.f_handle, node->handle_n);
	return true;
}

static struct node *add(struct fuse_session *session, int fd, const struct stat *status)
{
	struct node *node = session->nodes_n < FUSE_NODES_MAX ? calloc(1, sizeof(*node)) : NULL;
	struct node **at;

	if (!node)
		return NULL;
	node->id = session->next_id++;
	node->dev = status->st_dev;
	node->ino = status->st_ino;
	node->fd = take_handle(node, fd) ? -1 : fd;
	at = slot_by_id(session, node->id);
	*at = node;
	at = slot_by_file(session, node->dev, node->ino);
	*at = node;
	session->nodes_n++;
	return node;
}

int node_know(struct fuse_session *session, int fd, uint64_t *out_id, struct stat *out_status)
{
	struct node *node;
	int number = 0;

	if (fstatat(fd, "", out_status, AT_EMPTY_PATH)) {
		number = errno;
		close(fd);
		return number;
	}
	node = *slot_by_file(session, out_status->st_dev, out_status->st_ino);
	if (!node)
		node = add(session, fd, out_status);
	if (!node)
		number = ENFILE;
	if (!node || node->fd != fd)
		close(fd);
	if (number)
		return number;
	node->lookups++;
	*out_id = node->id;
	return 0;
}

static void drop(struct fuse_session *session, struct node *node)
{
	*slot_by_file(session, node->dev, node->ino) = node->next_by_file;
	*slot_by_id(session, node->id) = node->next_by_id;
	if (node->fd >= 0)
		close(node->fd);
	free(node);
	session->nodes_n--;
}

void node_forget(struct fuse_session *session, uint64_t id, uint64_t n)
{
	struct node *node = *slot_by_id(session, id);

	if (!node)
		return;
	node->lookups -= n < node->lookups ? n : node->lookups;
	if (!node->lookups)
		drop(session, node);
}

void nodes_clear(struct fuse_session *session)
{
	for (size_t i = 0; i < NODE_SLOTS; i++)
		while (session->by_id[i])
			drop(session, session->by_id[i]);
}

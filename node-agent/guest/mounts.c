/* See mounts.h. */
#include "node-agent/guest/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/ids.h"
#include "common/http/head.h"
#include "common/http/target.h"
#include "common/mux/mount.h"

/* A request of the kernel's that was not answered yet. */
struct asked {
	uint64_t unique;
	bool is_silent; /* nobody will answer it: it is over when it is sent */
	size_t n;
	uint8_t *bytes;
};

struct link;

struct mount {
	char path[MOUNT_PATH_MAX];
	struct id volume;
	struct channel *channel;
	enum { MOUNT_MAKING, MOUNT_MADE, MOUNT_UNMADE } state; /* UNMADE: by somebody here */
	int fd;                                                /* of /dev/fuse */
	int number;                                            /* why it could not be made */
	const char *problem;
	bool is_new; /* nobody was told yet that it is made */
	uv_work_t work;
	uv_poll_t poll;
	uv_timer_t patience;
	bool is_polling, is_failing;
	struct link *link; /* NULL: nobody is at the other end */
	struct asked asked[MOUNT_ASKED_MAX];
	size_t asked_n, sent_n; /* how many, and how many of them were sent whole */
	size_t sending_n;       /* bytes of the next one */
	size_t answer_n;
	_Alignas(8) uint8_t answer[MOUNT_MESSAGE_MAX];
	_Alignas(8) uint8_t request[MOUNT_MESSAGE_MAX];
};

/* A stream that somebody opened to us. */
struct link {
	struct channel_user user;
	struct channel *channel;
	uint32_t id;
	struct mount *mount; /* NULL: its head is not whole */
	size_t head_n, scanned_n;
	char head[MOUNTS_HEAD_MAX];
	size_t said_n, said_at; /* our answer's head */
	char said[512];
	bool ends; /* behind that */
};

static struct mount *mounts[MOUNTS_MAX];

static void link_flush(struct link *link);
static void mount_poll(struct mount *mount);

/* ---- answers to the kernel ---- */

static void fail_one(struct mount *mount, uint64_t unique)
{
	struct fuse_out_header answer = {.len = sizeof(answer), .error = -EIO, .unique = unique};

	(void)!write(mount->fd, &answer, sizeof(answer));
}

static void asked_remove(struct mount *mount, size_t at)
{
	free(mount->asked[at].bytes);
	memmove(&mount->asked[at], &mount->asked[at + 1],
		(mount->asked_n - at - 1) * sizeof(mount->asked[0]));
	mount->asked_n--;
	if (at < mount->sent_n)
		mount->sent_n--;
	else if (at == mount->sent_n)
		mount->sending_n = 0;
}

static void fail_all(struct mount *mount)
{
	while (mount->asked_n) {
		if (!mount->asked[0].is_silent)
			fail_one(mount, mount->asked[0].unique);
		asked_remove(mount, 0);
	}
}

static void on_patience_over(uv_timer_t *timer)
{
	struct mount *mount = timer->data;

	mount->is_failing = true;
	fail_all(mount);
	mount_poll(mount);
}

/* Whole, and as long as it says. */
static void take_answer(struct mount *mount)
{
	struct fuse_out_header answer;

	memcpy(&answer, mount->answer, sizeof(answer));
	for (size_t i = 0; i < mount->sent_n; i++) {
		if (mount->asked[i].unique != answer.unique || mount->asked[i].is_silent)
			continue;
		/* What the kernel does not take would leave somebody waiting. */
		if (write(mount->fd, mount->answer, answer.len) < 0 && errno == EINVAL)
			fail_one(mount, answer.unique);
		asked_remove(mount, i);
		mount_poll(mount);
		return;
	}
}

/* ---- the stream ---- */

static void link_free(struct link *link)
{
	channel_user_remove(link->channel, link->id, &link->user);
	if (link->mount && link->mount->link == link)
		link->mount->link = NULL;
	free(link);
}

/* The mount waits for another. */
static void link_lose(struct link *link, bool reset)
{
	struct mount *mount = link->mount && link->mount->link == link ? link->mount : NULL;

	if (reset)
		mux_reset(link->channel->mux, link->id, MUX_REASON_GONE);
	link_free(link);
	if (!mount || mount->state != MOUNT_MADE)
		return;
	for (size_t i = mount->asked_n; i-- > 0;)
		if (mount->asked[i].is_silent)
			asked_remove(mount, i);
	uv_timer_start(&mount->patience, on_patience_over, MOUNTS_WAIT_MS, 0);
	mount_poll(mount);
}

static bool link_write(struct link *link, const void *bytes, size_t n, size_t *at)
{
	*at += mux_write(link->channel->mux, link->id, (const uint8_t *)bytes + *at, n - *at);
	return *at == n;
}

/* What was not sent yet, as far as there is room; on_writable goes on. */
static void link_flush(struct link *link)
{
	struct mount *mount = link->mount;

	if (!link_write(link, link->said, link->said_n, &link->said_at))
		return;
	if (link->ends) {
		mux_end(link->channel->mux, link->id);
		link_free(link);
		return;
	}
	if (!mount || mount->link != link || mount->state != MOUNT_MADE || !link->said_n)
		return;
	while (mount->sent_n < mount->asked_n) {
		struct asked *next = &mount->asked[mount->sent_n];

		if (!link_write(link, next->bytes, next->n, &mount->sending_n))
			return;
		mount->sending_n = 0;
		mount->sent_n++;
		if (next->is_silent)
			asked_remove(mount, mount->sent_n - 1);
	}
	mount_poll(mount);
}

static void link_refuse(struct link *link, const char *problem)
{
	if (link->mount && link->mount->link == link)
		link->mount->link = NULL;
	link->mount = NULL;
	link->said_n = (size_t)snprintf(link->said, sizeof(link->said),
					"HTTP/1.1 409 Conflict\r\n" MOUNT_STATE_FIELD
					": " MOUNT_STATE_REFUSED "\r\nContent-Length: %zu\r\n"
					"Connection: close\r\n\r\n%s",
					strlen(problem), problem);
	link->ends = true;
	link_flush(link);
}

/* From now on it is the mount's; what is not answered is asked again. */
static void link_agree(struct link *link)
{
	struct mount *mount = link->mount;

	link->said_n = (size_t)snprintf(
		link->said, sizeof(link->said),
		"HTTP/1.1 101 Switching Protocols\r\n"
		"Connection: Upgrade\r\nUpgrade: flotilla-fuse\r\n" MOUNT_STATE_FIELD
		": %s\r\n\r\n",
		mount->is_new ? MOUNT_STATE_NEW : MOUNT_STATE_KNOWN);
	mount->is_new = false;
	mount->is_failing = false;
	mount->sent_n = mount->sending_n = mount->answer_n = 0;
	uv_timer_stop(&mount->patience);
	link_flush(link);
}

/* ---- requests of the kernel ---- */

static void take_request(struct mount *mount, size_t n)
{
	struct fuse_in_header in;
	struct asked *next = &mount->asked[mount->asked_n];
	bool is_silent;

	memcpy(&in, mount->request, sizeof(in));
	if (in.opcode == FUSE_INTERRUPT) /* nobody there could */
		return;
	is_silent = in.opcode == FUSE_FORGET || in.opcode == FUSE_BATCH_FORGET;
	if (is_silent && !mount->link)
		return;
	if (mount->is_failing || !(next->bytes = malloc(n))) {
		if (!is_silent)
			fail_one(mount, in.unique);
		return;
	}
	memcpy(next->bytes, mount->request, n);
	next->n = n;
	next->unique = in.unique;
	next->is_silent = is_silent;
	mount->asked_n++;
}

/* Somebody here has unmounted it; it stays so. */
static void unmake(struct mount *mount)
{
	struct link *link = mount->link;

	mount->state = MOUNT_UNMADE;
	while (mount->asked_n)
		asked_remove(mount, 0);
	uv_timer_stop(&mount->patience);
	uv_poll_stop(&mount->poll);
	mount->is_polling = false;
	close(mount->fd);
	if (link)
		link_lose(link, true);
}

static void on_fuse(uv_poll_t *poll, int status, int events)
{
	struct mount *mount = poll->data;

	(void)status;
	(void)events;
	while (mount->asked_n < MOUNT_ASKED_MAX) {
		ssize_t n = read(mount->fd, mount->request, sizeof(mount->request));

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && (errno == EINTR || errno == ENOENT)) /* who asked has left */
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header)) {
			unmake(mount);
			return;
		}
		take_request(mount, (size_t)n);
	}
	if (mount->link)
		link_flush(mount->link);
	else
		mount_poll(mount);
}

/* As long as there is room for more. */
static void mount_poll(struct mount *mount)
{
	bool wanted = mount->state == MOUNT_MADE && mount->asked_n < MOUNT_ASKED_MAX;

	if (wanted == mount->is_polling)
		return;
	mount->is_polling = wanted;
	if (wanted)
		uv_poll_start(&mount->poll, UV_READABLE, on_fuse);
	else
		uv_poll_stop(&mount->poll);
}

/* ---- mounting ---- */

static int folders_make(const char *path)
{
	char part[MOUNT_PATH_MAX];
	struct stat status;

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(part, 0755) && errno != EEXIST)
			return errno;
		*slash = '/';
	}
	if (mkdir(part, 0755) && errno != EEXIST)
		return errno;
	if (stat(part, &status))
		return errno;
	return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
}

/* On a thread: the path may lead through another volume. */
static void on_work(uv_work_t *work)
{
	struct mount *at = work->data;
	char options[160];

	at->problem = "the folder cannot be made";
	at->number = folders_make(at->path);
	if (at->number)
		return;
	at->problem = "FUSE is not there";
	at->fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (at->fd < 0) {
		at->number = errno;
		return;
	}
	at->problem = "it cannot be mounted";
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,"
		 "max_read=%d",
		 at->fd, MOUNT_DATA_MAX);
	if (!mount("flotilla-volume", at->path, "fuse", MS_NOSUID | MS_NODEV, options))
		return;
	at->number = errno;
	close(at->fd);
}

static void mount_forget(struct mount *mount)
{
	for (size_t i = 0; i < MOUNTS_MAX; i++)
		if (mounts[i] == mount)
			mounts[i] = NULL;
}

static void on_handle_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_made(uv_work_t *work, int status)
{
	struct mount *mount = work->data;
	struct link *link = mount->link;
	char problem[128];

	(void)status;
	if (mount->number) {
		snprintf(problem, sizeof(problem), "%s: %s", mount->problem,
			 strerror(mount->number));
		if (link)
			link_refuse(link, problem);
		mount_forget(mount);
		uv_close((uv_handle_t *)&mount->patience, on_handle_closed);
		return;
	}
	mount->state = MOUNT_MADE;
	mount->is_new = true;
	uv_poll_init(mount->channel->loop, &mount->poll, mount->fd);
	mount->poll.data = mount;
	mount_poll(mount);
	if (link)
		link_agree(link);
	else
		uv_timer_start(&mount->patience, on_patience_over, MOUNTS_WAIT_MS, 0);
}

static struct mount *mount_find(const char *path)
{
	for (size_t i = 0; i < MOUNTS_MAX; i++)
		if (mounts[i] && !strcmp(mounts[i]->path, path))
			return mounts[i];
	return NULL;
}

static struct mount *mount_begin(struct channel *channel, const struct id *volume, const char *path)
{
	struct mount *mount;
	size_t at = 0;

	while (at < MOUNTS_MAX && mounts[at])
		at++;
	if (at == MOUNTS_MAX || !(mount = calloc(1, sizeof(*mount))))
		return NULL;
	mounts[at] = mount;
	mount->channel = channel;
	mount->volume = *volume;
	snprintf(mount->path, sizeof(mount->path), "%s", path);
	mount->work.data = mount->patience.data = mount;
	uv_timer_init(channel->loop, &mount->patience);
	CHECK(!uv_queue_work(channel->loop, &mount->work, on_work, on_made));
	return mount;
}

/* ---- who asks ---- */

/* NULL: what is asked, or what is wrong with it. */
static const char *link_read(struct link *link, struct id *out_volume, char path[MOUNT_PATH_MAX])
{
	struct http_text target_path, query;
	char volume[ID_MAX];
	struct http_head head;
	size_t head_n;

	link->scanned_n = 0;
	if (http_request_parse(link->head, link->head_n, &link->scanned_n, &head, &head_n) !=
		    HTTP_OK ||
	    head_n != link->head_n || !head.upgrade)
		return "an upgrade is wanted";
	http_target_split(head.target, &target_path, &query);
	if (http_query_get(query, "volume", volume, sizeof(volume)) != HTTP_QUERY_FOUND ||
	    !id_parse(volume, strlen(volume), out_volume))
		return "volume: an id is wanted";
	if (http_query_get(query, "path", path, MOUNT_PATH_MAX) != HTTP_QUERY_FOUND ||
	    path[0] != '/' || !path[1])
		return "path: an absolute path is wanted";
	return NULL;
}

/* In the channel's own thread. */
static void link_begin(void *arg)
{
	struct link *link = arg;
	char path[MOUNT_PATH_MAX];
	struct mount *mount;
	struct id volume;
	const char *problem = link_read(link, &volume, path);

	if (problem) {
		link_refuse(link, problem);
		return;
	}
	mount = mount_find(path);
	if (mount && !id_equal(&mount->volume, &volume)) {
		link_refuse(link, "another volume is mounted there");
		return;
	}
	if (mount && mount->state == MOUNT_UNMADE) {
		link_refuse(link, "it was unmounted in the sandbox");
		return;
	}
	if (mount && mount->link)
		link_lose(mount->link, true);
	if (!mount && !(mount = mount_begin(link->channel, &volume, path))) {
		link_refuse(link, "too many volumes are mounted");
		return;
	}
	link->mount = mount;
	mount->link = link;
	if (mount->state == MOUNT_MADE)
		link_agree(link);
}

static void take_head(struct link *link, const char *bytes, size_t n)
{
	struct http_head head;
	size_t head_n;

	if (n > sizeof(link->head) - link->head_n) {
		link_lose(link, true);
		return;
	}
	memcpy(link->head + link->head_n, bytes, n);
	link->head_n += n;
	switch (http_request_parse(link->head, link->head_n, &link->scanned_n, &head, &head_n)) {
	case HTTP_MORE:
		return;
	case HTTP_OK:
		if (!channel_detach(link->channel, &link->user, link_begin, link))
			return;
		break;
	default:
		break;
	}
	link_lose(link, true);
}

static void take_answers(struct link *link, const char *bytes, size_t n)
{
	struct mount *mount = link->mount;

	while (n) {
		size_t wanted_n = sizeof(struct fuse_out_header), part_n;
		uint32_t length;

		memcpy(&length, mount->answer, sizeof(length));
		if (mount->answer_n >= wanted_n)
			wanted_n = length;
		part_n = wanted_n - mount->answer_n < n ? wanted_n - mount->answer_n : n;
		memcpy(mount->answer + mount->answer_n, bytes, part_n);
		mount->answer_n += part_n;
		bytes += part_n;
		n -= part_n;
		if (mount->answer_n < sizeof(struct fuse_out_header))
			continue;
		memcpy(&length, mount->answer, sizeof(length));
		if (length < sizeof(struct fuse_out_header) || length > sizeof(mount->answer)) {
			link_lose(link, true);
			return;
		}
		if (mount->answer_n < length)
			continue;
		mount->answer_n = 0;
		take_answer(mount);
	}
}

static void on_data(void *user, const char *bytes, size_t n)
{
	struct link *link = user;

	mux_consumed(link->channel->mux, link->id, n);
	if (link->mount && link->mount->state == MOUNT_MADE && link->mount->link == link)
		take_answers(link, bytes, n);
	else if (!link->mount && !link->ends)
		take_head(link, bytes, n);
	else if (!link->ends)
		link_lose(link, true);
}

static void on_end(void *user)
{
	link_lose(user, true);
}

static void on_writable(void *user)
{
	link_flush(user);
}

static void on_gone(void *user)
{
	link_lose(user, false);
}

void mounts_accept(struct channel *channel, uint32_t stream)
{
	static const struct stream_events events = {on_data, on_end, on_writable, on_gone};
	struct link *link = calloc(1, sizeof(*link));

	if (!link) {
		mux_reset(channel->mux, stream, MUX_REASON_LIMIT);
		return;
	}
	link->channel = channel;
	link->id = stream;
	link->user = (struct channel_user){.events = &events, .user = link};
	channel_user_add(channel, stream, &link->user);
	mux_accept(channel->mux, stream);
}

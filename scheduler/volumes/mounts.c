/* See mounts.h. */
#include "scheduler/volumes/mount_link.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "scheduler/volumes/fuse.h"

enum {
	MOUNT_RETRY_MIN_MS = 50,
	MOUNT_RETRY_MAX_MS = 1000,
	MOUNT_ASK_EVERY_MS = 5000, /* whether there still is the sandbox */
	MOUNT_FILE_MAX = 1024,
	MOUNT_STACK = 256 * 1024,
};

enum mount_state {
	MOUNT_TRYING,
	MOUNT_THERE,
	MOUNT_REFUSED, /* by the guest: it is not tried again */
	MOUNT_OVER,    /* there is no such sandbox, or no such volume, any more */
};

struct mount {
	struct mounts *mounts;
	struct mount *next;
	struct id sandbox, volume_id;
	char path[MOUNT_PATH_MAX];
	unsigned number; /* names its file */
	pthread_t thread;
	bool is_joinable; /* the thread is at its end */
	int poke;         /* eventfd: try again now */
	/* under the lock of all */
	enum mount_state state;
	uint64_t reached_n; /* how often it was */
	unsigned waiters_n;
	char problem[MOUNT_PROBLEM_MAX];
	/* the thread's */
	struct volume *volume;
	struct fuse_session *session;
};

struct mounts {
	struct mounts_options options;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct mount *list;
	unsigned n, next_number;
	int stop; /* eventfd */
};

bool mount_path_is_good(const char *path)
{
	char clean[PATH_MAX];
	size_t n = strlen(path);

	if (n < 2 || n >= MOUNT_PATH_MAX || path[0] != '/' || !tree_path(path, clean) ||
	    strcmp(path, clean) != 0)
		return false;
	for (; *path; path++)
		if ((unsigned char)*path < ' ' || *path == 0x7f)
			return false;
	return true;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the small files ---- */

static void file_of(const struct mount *mount, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%u", mount->mounts->options.dir, mount->number);
}

static void remember(const struct mount *mount)
{
	char path[PATH_MAX], text[MOUNT_FILE_MAX];
	struct err err;
	int n = snprintf(text, sizeof(text), "%s %s %s\n", mount->sandbox.text,
			 mount->volume_id.text, mount->path);

	file_of(mount, path);
	if (file_write_atomic(path, text, (size_t)n, 0600, &err))
		log_warn("volumes", "a mount will not be known after a restart", LOG_ERR(&err));
}

static void forget(const struct mount *mount)
{
	char path[PATH_MAX];

	file_of(mount, path);
	unlink(path);
}

/* ---- one mount's thread ---- */

static void set_state(struct mount *mount, enum mount_state state)
{
	struct mounts *mounts = mount->mounts;

	pthread_mutex_lock(&mounts->lock);
	mount->state = state;
	if (state == MOUNT_THERE)
		mount->reached_n++;
	pthread_cond_broadcast(&mounts->changed);
	pthread_mutex_unlock(&mounts->lock);
}

/* Until the connection breaks. */
static void serve(struct mount *mount, int fd)
{
	int stop = mount->mounts->stop;
	/* Aligned, as the messages' own structures want it. */
	uint8_t *request = malloc(FUSE_REQUEST_MAX), *answer = malloc(FUSE_ANSWER_MAX);
	enum { HEAD_N = 40 };

	while (request && answer && mount_link_read(fd, stop, request, HEAD_N)) {
		size_t n = fuse_request_length(request, HEAD_N);
		ssize_t answer_n;

		if (n < HEAD_N || !mount_link_read(fd, stop, request + HEAD_N, n - HEAD_N))
			break;
		answer_n = fuse_session_serve(mount->session, request, n, answer);
		if (answer_n < 0) {
			log_warn("volumes", "a sandbox's kernel asks what nobody can read",
				 LOG_TEXT("sandbox", mount->sandbox.text));
			break;
		}
		if (answer_n && !mount_link_write(fd, stop, answer, (size_t)answer_n))
			break;
	}
	free(request);
	free(answer);
}

/* False: there is nothing to be mounted any more. */
static bool open_volume(struct mount *mount)
{
	int status;

	if (mount->session)
		return true;
	status = volumes_get(mount->mounts->options.volumes, &mount->volume_id, &mount->volume);
	if (status == 200)
		mount->session = fuse_session_open(&mount->volume->tree);
	return mount->session || (status != 404 && status != 410);
}

static bool sandbox_is_gone(struct mount *mount, uint64_t *asked_ms)
{
	const struct mounts_options *options = &mount->mounts->options;

	if (now_ms() - *asked_ms < MOUNT_ASK_EVERY_MS)
		return false;
	*asked_ms = now_ms();
	return grant_ask_sandbox(&options->api_backend, options->key, &mount->sandbox) == 404;
}

/* False: to stop. */
static bool pause_for(const struct mount *mount, int ms)
{
	struct pollfd fds[2] = {{.fd = mount->mounts->stop, .events = POLLIN},
				{.fd = mount->poke, .events = POLLIN}};
	uint64_t pokes;

	(void)poll(fds, 2, ms);
	if (fds[1].revents)
		(void)!read(mount->poke, &pokes, sizeof(pokes));
	return !fds[0].revents;
}

static enum mount_state run(struct mount *mount)
{
	uint64_t asked_ms = now_ms();
	int retry_ms = MOUNT_RETRY_MIN_MS;
	int fd = -1;

	do {
		enum mount_link_answer answer = MOUNT_LINK_AWAY;

		if (!open_volume(mount))
			return MOUNT_OVER;
		if (mount->session)
			answer = mount_link_open(&mount->mounts->options, &mount->sandbox,
						 &mount->volume_id, mount->path,
						 mount->mounts->stop, &fd, mount->problem);
		if (answer == MOUNT_LINK_REFUSED)
			return MOUNT_REFUSED;
		if (answer == MOUNT_LINK_NEW)
			fuse_session_restart(mount->session);
		if (answer != MOUNT_LINK_AWAY) {
			set_state(mount, MOUNT_THERE);
			serve(mount, fd);
			close(fd);
			set_state(mount, MOUNT_TRYING);
			retry_ms = MOUNT_RETRY_MIN_MS;
			asked_ms = now_ms();
			continue;
		}
		if (sandbox_is_gone(mount, &asked_ms))
			return MOUNT_OVER;
		retry_ms = retry_ms < MOUNT_RETRY_MAX_MS / 2 ? 2 * retry_ms : MOUNT_RETRY_MAX_MS;
	} while (pause_for(mount, retry_ms));
	return MOUNT_TRYING; /* we stop */
}

static void *on_thread(void *arg)
{
	struct mount *mount = arg;
	struct mounts *mounts = mount->mounts;
	enum mount_state state = run(mount);

	fuse_session_close(mount->session);
	mount->session = NULL;
	if (mount->volume)
		volumes_put(mounts->options.volumes, mount->volume);
	if (state != MOUNT_TRYING)
		forget(mount);
	pthread_mutex_lock(&mounts->lock);
	mount->state = state;
	mount->is_joinable = true;
	pthread_cond_broadcast(&mounts->changed);
	pthread_mutex_unlock(&mounts->lock);
	return NULL;
}

/* ---- all of them: the lock is held ---- */

static void free_mount(struct mount *mount)
{
	pthread_join(mount->thread, NULL);
	close(mount->poke);
	free(mount);
}

/* Those whose end everybody has seen. */
static void reap(struct mounts *mounts)
{
	struct mount **at = &mounts->list;

	while (*at) {
		struct mount *mount = *at;

		if (!mount->is_joinable || mount->waiters_n) {
			at = &mount->next;
			continue;
		}
		*at = mount->next;
		mounts->n--;
		free_mount(mount);
	}
}

static struct mount *add(struct mounts *mounts, const struct id *sandbox, const struct id *volume,
			 const char *path, unsigned number)
{
	struct mount *mount;
	pthread_attr_t attributes;
	bool is_started;

	if (mounts->n >= mounts->options.max)
		return NULL;
	mount = calloc(1, sizeof(*mount));
	CHECK(mount);
	mount->mounts = mounts;
	mount->sandbox = *sandbox;
	mount->volume_id = *volume;
	mount->number = number;
	snprintf(mount->path, sizeof(mount->path), "%s", path);
	mount->poke = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	remember(mount);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, MOUNT_STACK);
	is_started =
		mount->poke >= 0 && !pthread_create(&mount->thread, &attributes, on_thread, mount);
	pthread_attr_destroy(&attributes);
	if (!is_started) {
		forget(mount);
		if (mount->poke >= 0)
			close(mount->poke);
		free(mount);
		return NULL;
	}
	mount->next = mounts->list;
	mounts->list = mount;
	mounts->n++;
	return mount;
}

static struct mount *find(struct mounts *mounts, const struct id *sandbox, const char *path)
{
	struct mount *at = mounts->list;

	while (at &&
	       (at->is_joinable || !id_equal(&at->sandbox, sandbox) || strcmp(at->path, path) != 0))
		at = at->next;
	return at;
}

static int verdict(const struct mount *mount, char out_problem[MOUNT_PROBLEM_MAX])
{
	snprintf(out_problem, MOUNT_PROBLEM_MAX, "%s", mount->problem);
	switch (mount->state) {
	case MOUNT_THERE:
		return 200;
	case MOUNT_REFUSED:
		return 409;
	case MOUNT_OVER:
		snprintf(out_problem, MOUNT_PROBLEM_MAX, "the sandbox or the volume is not there");
		return 404;
	case MOUNT_TRYING:
		break;
	}
	snprintf(out_problem, MOUNT_PROBLEM_MAX, "the sandbox cannot be reached");
	return 504;
}

int mounts_ensure(struct mounts *mounts, const struct id *sandbox, const struct id *volume,
		  const char *path, char out_problem[MOUNT_PROBLEM_MAX])
{
	struct timespec until;
	struct mount *mount;
	int status, late = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += MOUNT_WAIT_MS / 1000;
	pthread_mutex_lock(&mounts->lock);
	reap(mounts);
	mount = find(mounts, sandbox, path);
	if (mount && !id_equal(&mount->volume_id, volume)) {
		pthread_mutex_unlock(&mounts->lock);
		snprintf(out_problem, MOUNT_PROBLEM_MAX, "another volume is mounted there");
		return 409;
	}
	if (mount)
		(void)!write(mount->poke, &(uint64_t){1}, sizeof(uint64_t));
	else
		mount = add(mounts, sandbox, volume, path, mounts->next_number++);
	if (!mount) {
		pthread_mutex_unlock(&mounts->lock);
		snprintf(out_problem, MOUNT_PROBLEM_MAX, "too many volumes are mounted");
		return 503;
	}
	mount->waiters_n++;
	while (mount->state == MOUNT_TRYING && !late)
		late = pthread_cond_timedwait(&mounts->changed, &mounts->lock, &until);
	mount->waiters_n--;
	status = verdict(mount, out_problem);
	pthread_mutex_unlock(&mounts->lock);
	return status;
}

/* ---- open and close ---- */

/* Of a file that cannot be read nothing is known. */
static void load_one(struct mounts *mounts, const char *name)
{
	char path[PATH_MAX], sandbox[64], volume[64], *text, *line, *end;
	struct id sandbox_id, volume_id;
	unsigned number;
	int used_n = 0;
	size_t n;

	number = (unsigned)strtoul(name, &end, 10);
	snprintf(path, sizeof(path), "%s/%s", mounts->options.dir, name);
	if (*end || file_read(path, MOUNT_FILE_MAX, &text, &n, NULL))
		return;
	line = text;
	line[strcspn(line, "\n")] = 0;
	if (sscanf(line, "%63s %63s %n", sandbox, volume, &used_n) == 2 && used_n &&
	    id_parse(sandbox, strlen(sandbox), &sandbox_id) &&
	    id_parse(volume, strlen(volume), &volume_id) && mount_path_is_good(line + used_n))
		add(mounts, &sandbox_id, &volume_id, line + used_n, number);
	if (number >= mounts->next_number)
		mounts->next_number = number + 1;
	free(text);
}

int mounts_open(struct mounts **out, const struct mounts_options *options, struct err *err)
{
	struct mounts *mounts;
	struct dirent *entry;
	DIR *folder;

	if (file_make_dirs(options->dir, 0700, err))
		return -1;
	mounts = calloc(1, sizeof(*mounts));
	CHECK(mounts);
	mounts->options = *options;
	mounts->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(mounts->stop >= 0);
	pthread_mutex_init(&mounts->lock, NULL);
	pthread_cond_init(&mounts->changed, NULL);
	folder = opendir(options->dir);
	pthread_mutex_lock(&mounts->lock);
	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			load_one(mounts, entry->d_name);
	pthread_mutex_unlock(&mounts->lock);
	if (folder)
		closedir(folder);
	*out = mounts;
	return 0;
}

void mounts_close(struct mounts *mounts)
{
	if (!mounts)
		return;
	(void)!write(mounts->stop, &(uint64_t){1}, sizeof(uint64_t));
	while (mounts->list) {
		struct mount *mount = mounts->list;

		mounts->list = mount->next;
		free_mount(mount);
	}
	close(mounts->stop);
	pthread_cond_destroy(&mounts->changed);
	pthread_mutex_destroy(&mounts->lock);
	free(mounts);
}

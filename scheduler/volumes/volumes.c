/* See volumes.h. */
#include "scheduler/volumes/volumes.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/log.h"

struct volumes {
	struct volumes_options options;
	pthread_mutex_t lock; /* over the list, and what is private in each */
	struct volume *list;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void path_of(const struct volumes *volumes, const struct id *id, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", volumes->options.dir, id->text);
}

static bool is_here(const struct volumes *volumes, const struct id *id)
{
	char path[PATH_MAX];

	path_of(volumes, id, path);
	return !access(path, F_OK);
}

int volumes_open(struct volumes **out, const struct volumes_options *options, struct err *err)
{
	struct volumes *volumes;

	if (strlen(options->dir) + ID_MAX + 2 > PATH_MAX)
		return err_set(err, "the state folder's path is too long");
	if (file_make_dirs(options->dir, 0700, err))
		return -1;
	volumes = calloc(1, sizeof(*volumes));
	CHECK(volumes);
	volumes->options = *options;
	pthread_mutex_init(&volumes->lock, NULL);
	*out = volumes;
	return 0;
}

static void free_volume(struct volume *volume)
{
	tree_close(&volume->tree);
	free(volume);
}

void volumes_close(struct volumes *volumes)
{
	if (!volumes)
		return;
	while (volumes->list) {
		struct volume *volume = volumes->list;

		volumes->list = volume->next;
		CHECK(!volume->users_n);
		free_volume(volume);
	}
	pthread_mutex_destroy(&volumes->lock);
	free(volumes);
}

static struct volume *find(struct volumes *volumes, const struct id *id)
{
	struct volume *at = volumes->list;

	while (at && !id_equal(&at->id, id))
		at = at->next;
	return at;
}

/* The lock is held; counting a large volume holds up the others' opening, once. */
static struct volume *open_volume(struct volumes *volumes, const struct id *id)
{
	struct volume *volume = calloc(1, sizeof(*volume));
	char path[PATH_MAX];
	int number;

	CHECK(volume);
	path_of(volumes, id, path);
	volume->id = *id;
	number = tree_open(&volume->tree, path, volumes->options.reserve);
	if (number) {
		log_error("volumes", "a volume cannot be opened", LOG_TEXT("volume", id->text),
			  LOG_TEXT("why", strerror(number)));
		free(volume);
		return NULL;
	}
	volume->next = volumes->list;
	volumes->list = volume;
	return volume;
}

/* The lock is held.  Who uses it still has its descriptors, and writes into nothing. */
static void forget(struct volumes *volumes, struct volume *volume)
{
	struct volume **at = &volumes->list;

	while (*at != volume)
		at = &(*at)->next;
	*at = volume->next;
	volume->is_deleted = true;
	pthread_mutex_lock(&volume->tree.lock);
	volume->tree.used_max = 0;
	pthread_mutex_unlock(&volume->tree.lock);
	if (!volume->users_n)
		free_volume(volume);
}

/* The name goes at once, the files when there is time for it. */
static void destroy(struct volumes *volumes, const struct id *id)
{
	char path[PATH_MAX], doomed[PATH_MAX + 16];

	path_of(volumes, id, path);
	snprintf(doomed, sizeof(doomed), "%s.deleted", path);
	if (rename(path, doomed) && errno != ENOENT)
		log_error("volumes", "a deleted volume stays", LOG_TEXT("volume", id->text),
			  LOG_TEXT("why", strerror(errno)));
	else
		log_info("volumes", "deleted", LOG_TEXT("volume", id->text));
}

/* What was said of it just now. The lock is held. */
static int take_grant(struct volumes *volumes, const struct id *id, int said, uint64_t bytes_max,
		      struct volume **out)
{
	struct volume *volume = find(volumes, id);

	*out = NULL;
	if (said == 410) {
		if (volume)
			forget(volumes, volume);
		if (is_here(volumes, id))
			destroy(volumes, id);
		return 410;
	}
	/* A scheduler that was put back from an old copy may not know it: then the files stay. */
	if (said == 404)
		return 404;
	if (said != 200 && !volume && !is_here(volumes, id))
		return 503;
	if (!volume && !(volume = open_volume(volumes, id)))
		return 500;
	if (said == 200) {
		pthread_mutex_lock(&volume->tree.lock);
		volume->tree.used_max = bytes_max;
		pthread_mutex_unlock(&volume->tree.lock);
		volume->asked_ms = now_ms();
	}
	*out = volume;
	return 200;
}

int volumes_get(struct volumes *volumes, const struct id *id, struct volume **out)
{
	uint64_t bytes_max = 0;
	struct volume *volume;
	int status = 200, said;

	pthread_mutex_lock(&volumes->lock);
	volume = find(volumes, id);
	if (!volume || !volume->asked_ms || now_ms() - volume->asked_ms > VOLUME_GRANT_MS) {
		pthread_mutex_unlock(&volumes->lock);
		said = grant_ask(&volumes->options.api_backend, volumes->options.key, id,
				 &bytes_max);
		pthread_mutex_lock(&volumes->lock);
		status = take_grant(volumes, id, said, bytes_max, &volume);
	}
	if (status == 200) {
		volume->users_n++;
		*out = volume;
	}
	pthread_mutex_unlock(&volumes->lock);
	return status;
}

void volumes_put(struct volumes *volumes, struct volume *volume)
{
	pthread_mutex_lock(&volumes->lock);
	if (--volume->users_n == 0 && volume->is_deleted)
		free_volume(volume);
	pthread_mutex_unlock(&volumes->lock);
}

/* ---- what was deleted ---- */

static void sweep_one(struct volumes *volumes, const char *name)
{
	size_t n = strlen(name);
	char path[PATH_MAX + 16];
	struct volume *volume;
	uint64_t bytes_max;
	struct id id;
	int said, number;

	if (n > 8 && !strcmp(name + n - 8, ".deleted")) {
		snprintf(path, sizeof(path), "%s/%s", volumes->options.dir, name);
		number = tree_destroy(path);
		if (number)
			log_error("volumes", "a deleted volume's files stay",
				  LOG_TEXT("volume", name), LOG_TEXT("why", strerror(number)));
		return;
	}
	if (!id_parse(name, n, &id) || strncmp(name, "vol_", 4) != 0)
		return;
	said = grant_ask(&volumes->options.api_backend, volumes->options.key, &id, &bytes_max);
	if (said != 410)
		return;
	pthread_mutex_lock(&volumes->lock);
	take_grant(volumes, &id, said, 0, &volume);
	pthread_mutex_unlock(&volumes->lock);
}

void volumes_sweep(struct volumes *volumes)
{
	DIR *folder = opendir(volumes->options.dir);
	struct dirent *entry;

	if (!folder)
		return;
	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			sweep_one(volumes, entry->d_name);
	closedir(folder);
}

/* What is in a folder: see listing.h. */
#include "node-agent/guest/listing.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node-agent/guest/entry.h"

/* The names in a folder, in order: offsets into one block. */
struct names {
	char *bytes;
	size_t bytes_n, bytes_max;
	char **list;
	size_t list_n;
};

struct walk {
	struct listing *listing;
	struct entry_owners owners;
	char *path;     /* of the folder that is read, room for PATH_MAX */
	size_t names_n; /* bytes of names held, of all folders from the first to this one */
};

/* Room for so many bytes more; false when there is none. */
static bool grow(char **bytes, size_t *bytes_max, size_t wanted, size_t limit)
{
	size_t max = *bytes_max ? *bytes_max : 4096;
	char *grown;

	if (wanted <= *bytes_max)
		return true;
	while (max < wanted)
		max *= 2;
	max = max < limit ? max : limit;
	if (wanted > limit || !(grown = realloc(*bytes, max))) {
		errno = E2BIG;
		return false;
	}
	*bytes = grown;
	*bytes_max = max;
	return true;
}

static bool text_add(struct listing *listing, const char *text, size_t text_n)
{
	if (!grow(&listing->text, &listing->text_max, listing->text_n + text_n, LISTING_TEXT_MAX))
		return false;
	memcpy(listing->text + listing->text_n, text, text_n);
	listing->text_n += text_n;
	return true;
}

/* -- One folder's names -------------------------------------------------------------------------
 */

static void names_free(struct names *names)
{
	free(names->bytes);
	free(names->list);
}

static bool names_gather(struct names *names, DIR *folder, size_t limit)
{
	struct dirent *entry;

	while ((entry = readdir(folder))) {
		size_t n = strlen(entry->d_name) + 1;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!grow(&names->bytes, &names->bytes_max, names->bytes_n + n, limit))
			return false;
		memcpy(names->bytes + names->bytes_n, entry->d_name, n);
		names->bytes_n += n;
		names->list_n++;
	}
	return true;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool names_sort(struct names *names)
{
	char *at = names->bytes;

	names->list = calloc(names->list_n + 1, sizeof(*names->list));
	if (!names->list) {
		errno = E2BIG;
		return false;
	}
	for (size_t i = 0; i < names->list_n; i++, at += strlen(at) + 1)
		names->list[i] = at;
	qsort(names->list, names->list_n, sizeof(*names->list), by_bytes);
	return true;
}

/* 0, or -1 with errno; the names are the caller's to free either way. */
static int names_read(struct names *names, const char *path, size_t limit)
{
	DIR *folder = opendir(path);
	int number;
	bool done;

	*names = (struct names){0};
	if (!folder)
		return -1;
	done = names_gather(names, folder, limit) && names_sort(names);
	number = errno;
	closedir(folder);
	errno = number;
	return done ? 0 : -1;
}

/* -- The walk -----------------------------------------------------------------------------------
 */

static int walk_folder(struct walk *walk, unsigned depth);

static bool entry_add(struct walk *walk)
{
	struct listing *listing = walk->listing;
	json_t *entry = entry_read(walk->path, &walk->owners);
	char *text = entry ? json_dumps(entry, JSON_COMPACT) : NULL;
	bool added = true;

	json_decref(entry);
	/* One that has vanished meanwhile, or whose name cannot be told, is left out. */
	if (text)
		added = (listing->text[listing->text_n - 1] == '[' || text_add(listing, ",", 1)) &&
			text_add(listing, text, strlen(text));
	free(text);
	return added;
}

/* The entry at walk->path and what is in it; -1 ends the walk. */
static int walk_entry(struct walk *walk, unsigned depth)
{
	struct stat status;

	if (atomic_load_explicit(walk->listing->is_abandoned, memory_order_relaxed)) {
		errno = ECANCELED;
		return -1;
	}
	if (!entry_add(walk))
		return -1;
	if (depth < 2 || lstat(walk->path, &status) || !S_ISDIR(status.st_mode))
		return 0;
	/* A folder inside that cannot be read is just empty. */
	return walk_folder(walk, depth - 1) && (errno == E2BIG || errno == ECANCELED) ? -1 : 0;
}

static int walk_folder(struct walk *walk, unsigned depth)
{
	size_t path_n = strlen(walk->path), room = PATH_MAX - path_n;
	struct names names;
	int result = names_read(&names, walk->path, LISTING_NAMES_MAX - walk->names_n);
	int number = errno;

	walk->names_n += names.bytes_n;
	for (size_t i = 0; !result && i < names.list_n; i++) {
		int n = snprintf(walk->path + path_n, room, "%s%s", path_n > 1 ? "/" : "",
				 names.list[i]);

		if ((size_t)n < room && walk_entry(walk, depth)) {
			result = -1;
			number = errno;
		}
	}
	walk->path[path_n] = 0;
	walk->names_n -= names.bytes_n;
	names_free(&names);
	errno = number;
	return result;
}

int listing_read(struct listing *listing, char path[PATH_MAX], unsigned depth)
{
	static const char head[] = "{\"entries\":[", tail[] = "]}";
	struct walk walk = {.listing = listing, .path = path};

	if (depth > LISTING_DEPTH_MAX)
		depth = LISTING_DEPTH_MAX;
	return text_add(listing, head, sizeof(head) - 1) && !walk_folder(&walk, depth) &&
			       text_add(listing, tail, sizeof(tail) - 1)
		       ? 0
		       : -1;
}

void listing_close(struct listing *listing)
{
	free(listing->text);
	listing->text = NULL;
}

/* The bounds of the cache of layers. See layer.h. */
#include "node-agent/template/build_record.h"
#include "node-agent/template/layer.h"

#include "common/base/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LAYERS_MAX = 4096, TEMPLATES_MAX = 256 };

struct entry {
	char id[VM_ARTEFACT_ID_MAX];
	char parent[VM_ARTEFACT_ID_MAX];
	unsigned depth;
	int64_t used_s; /* when, last */
	uint64_t bytes;
	bool is_pinned;
};

struct entries {
	struct entry items[LAYERS_MAX];
	size_t n;
	uint64_t bytes;
};

static struct entry *find(struct entries *entries, const char *id)
{
	for (size_t i = 0; i < entries->n; i++)
		if (strcmp(entries->items[i].id, id) == 0)
			return &entries->items[i];
	return NULL;
}

static void remove_layer(const char *store_dir, const char *id)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/layer/%s", store_dir, id) < PATH_MAX)
		vm_store_remove_tree(path);
}

/* What cannot be read is of no use to anybody. */
static bool look(const char *store_dir, const char *id, struct entry *out)
{
	char path[PATH_MAX], image[PATH_MAX];
	struct stat dir_stat, image_stat;
	struct layer layer;

	if (snprintf(path, sizeof(path), "%s/layer/%s", store_dir, id) >= PATH_MAX ||
	    layer_read(store_dir, id, &layer, NULL))
		return false;
	build_context_free(&layer.context);
	if (layer_image(store_dir, id, image, NULL) || stat(path, &dir_stat) ||
	    stat(image, &image_stat))
		return false;
	*out = (struct entry){.depth = layer.depth,
			      .used_s = dir_stat.st_mtim.tv_sec,
			      .bytes = (uint64_t)image_stat.st_blocks * 512};
	strcpy(out->id, layer.id);
	strcpy(out->parent, layer.parent);
	return true;
}

static void look_all(const char *store_dir, struct entries *entries)
{
	char path[PATH_MAX];
	struct dirent *item;
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/layer", store_dir) >= PATH_MAX ||
	    !(dir = opendir(path)))
		return;
	while ((item = readdir(dir))) {
		struct entry *entry = &entries->items[entries->n];

		if (item->d_name[0] == '.' || entries->n == LAYERS_MAX)
			continue;
		if (!look(store_dir, item->d_name, entry)) {
			remove_layer(store_dir, item->d_name);
			continue;
		}
		entries->bytes += entry->bytes;
		entries->n++;
	}
	closedir(dir);
}

static void pin_templates(const char *store_dir, struct entries *entries)
{
	struct vm_template *templates = calloc(TEMPLATES_MAX, sizeof(*templates));
	size_t n;

	CHECK(templates);
	if (vm_store_list(store_dir, templates, TEMPLATES_MAX, &n, NULL))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		struct build_record record;
		struct entry *entry;

		if (build_record_read(templates[i].dir, &record, NULL))
			continue;
		for (entry = find(entries, record.layer); entry;
		     entry = entry->parent[0] ? find(entries, entry->parent) : NULL)
			entry->is_pinned = true;
		build_record_free(&record);
	}
	free(templates);
}

/* The least recently used first; of equals the one that lies upon the other. */
static int by_use(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->used_s != y->used_s)
		return x->used_s < y->used_s ? -1 : 1;
	return (x->depth < y->depth) - (x->depth > y->depth);
}

/* Keys that lead nowhere any more. */
static void sweep_keys(const char *store_dir)
{
	char path[PATH_MAX], link[PATH_MAX];
	struct dirent *item;
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/step", store_dir) >= PATH_MAX ||
	    !(dir = opendir(path)))
		return;
	while ((item = readdir(dir)))
		if (item->d_name[0] != '.' &&
		    snprintf(link, sizeof(link), "%s/%s", path, item->d_name) < PATH_MAX &&
		    access(link, F_OK))
			unlink(link);
	closedir(dir);
}

void layer_sweep(const char *store_dir, int64_t age_s, uint64_t bytes_max)
{
	struct entries *entries = calloc(1, sizeof(*entries));

	CHECK(entries);
	look_all(store_dir, entries);
	pin_templates(store_dir, entries);
	qsort(entries->items, entries->n, sizeof(entries->items[0]), by_use);
	for (size_t i = 0; i < entries->n; i++) {
		const struct entry *entry = &entries->items[i];

		if (entry->is_pinned ||
		    (entry->used_s >= time(NULL) - age_s && entries->bytes <= bytes_max))
			continue;
		remove_layer(store_dir, entry->id);
		entries->bytes -= entry->bytes;
	}
	free(entries);
	sweep_keys(store_dir);
}

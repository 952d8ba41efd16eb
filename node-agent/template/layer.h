/*
 * The layers of templates: what each step of a build wrote, kept so that the same step upon the
 * same layers need not be carried out again.
 *
 *   layer/<id>/        layer.qcow2, over its parent's, and manifest.json: parent, and what is in
 *                      force after it (user, working directory, environment)
 *   step/<key>         -> ../layer/<id>: what a step made of a parent; key: hash of the parent's
 *                      id and all of the step
 *
 * A step that is forced makes a layer with an id of its own, and the key leads there from then on:
 * what lies over the old one stays what it was.  The lock of the store must be held.
 */
#ifndef FLOTILLA_TEMPLATE_LAYER_H
#define FLOTILLA_TEMPLATE_LAYER_H

#include "node-agent/template/context.h"
#include "node-agent/vm/store.h"

struct layer {
	char id[VM_ARTEFACT_ID_MAX];
	char parent[VM_ARTEFACT_ID_MAX]; /* empty: it is a blank disk */
	unsigned depth;
	bool is_whole; /* the root is on it, and on those below: see BOOT_WHOLE_MARK */
	struct build_context context;
};

/* A sandbox's disk, raw: an ext4 that is all holes but for its tables. */
int layer_ext4_make(const char *path, uint32_t disk_mib, struct err *err);

/* The blank disk under all layers of a root filesystem; made when it is not there. */
int layer_root(const char *store_dir, const char *rootfs_id, uint32_t disk_mib,
	       struct layer *out_layer, struct err *err);

int layer_read(const char *store_dir, const char *id, struct layer *out_layer, struct err *err);

/* What the key leads to, and from now on the most recently used. *out_found: it is there. */
int layer_find(const char *store_dir, const char *key, struct layer *out_layer, bool *out_found,
	       struct err *err);

/* A folder with a layer.qcow2 over the parent's, in which nothing is yet. */
int layer_begin(const char *store_dir, const char *parent_id, uint32_t disk_mib,
		char out_dir[PATH_MAX], struct err *err);

/* A new id: known before the layer is whole, because the next one names it. */
void layer_id_make(char out_id[VM_ARTEFACT_ID_MAX]);

/* Into its place; nobody writes to it any more.  layer: all of it is given. */
int layer_commit(const char *store_dir, const char *dir, const char *key, const struct layer *layer,
		 struct err *err);

/* A layer with this id, of a template's disk that came here without its layers: nothing lies below
 * it. */
int layer_from_disk(const char *store_dir, const char *disk, const struct layer *layer,
		    struct err *err);

int layer_image(const char *store_dir, const char *id, char out_path[PATH_MAX], struct err *err);

/*
 * Removes, the least recently used first, what was not used for so long and what is too much
 * altogether; and what a builder that died has left.  What a template lies upon stays.
 */
void layer_sweep(const char *store_dir, int64_t age_s, uint64_t bytes_max);

#endif

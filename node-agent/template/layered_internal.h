/* What layered.c and layered_image.c share. */
#ifndef FLOTILLA_TEMPLATE_LAYERED_INTERNAL_H
#define FLOTILLA_TEMPLATE_LAYERED_INTERNAL_H

#include "node-agent/template/build_internal.h"
#include "node-agent/template/build_record.h"
#include "node-agent/template/workshop.h"

struct layered {
	const struct build_request *request;
	const struct image *image; /* NULL: none, or what is in it is a layer already */
	struct vm_template *template_;
	struct build_record
		record; /* of the template: its topmost layer so far, and what is in force */
	unsigned depth; /* of that layer */
	int64_t end_ms;
	struct workshop *workshop; /* NULL: nothing had to be carried out yet */
	char work_dir[PATH_MAX];   /* of the workshop: initrd, RAM, log */
	char layer_dir[PATH_MAX];  /* of the layer that is being written; empty: none */
	unsigned disks_n;          /* how many nodes of QEMU's have been the disk */
	int *out_exit_code;
};

/* A machine booted from what there is, which writes to the layer that was begun. */
int layered_workshop_begin(struct layered *build, struct err *err);
void layered_workshop_end(struct layered *build);

/* The layer that was written becomes the topmost one; is_last: the machine is not needed any more.
 */
int layered_seal_layer(struct layered *build, const char *key, bool is_last, struct err *err);

int layered_take_cached(struct layered *build, const char *key, bool *out_found, struct err *err);

/* The first layer, if the build is upon an image. */
int layered_take_image(struct layered *build, struct err *err);

#endif

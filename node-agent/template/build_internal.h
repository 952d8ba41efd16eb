/* What build.c and layered.c share. */
#ifndef FLOTILLA_TEMPLATE_BUILD_INTERNAL_H
#define FLOTILLA_TEMPLATE_BUILD_INTERNAL_H

#include "node-agent/template/build.h"

/* Paths here are made of the store's path and short names: one function, one complaint. */
int build_path(char out[PATH_MAX], struct err *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Everything in it is on disk before its name is: a crash leaves a whole artefact or none. */
int build_move_into_place(const char *from, const char *to, struct err *err);

/* In the store's tmp/: removed by the next builder when left behind. */
int build_temporary_dir(const char *store_dir, char out[PATH_MAX], struct err *err);

/* Fills in what a snapshot's name is made of.  content: what is in it beside the root filesystem;
 * NULL: nothing. */
int build_describe(const struct build_request *request, const char *content,
		   struct vm_template *out, struct err *err);

/* is_whole: see struct layer. */
int build_initrd(const struct build_request *request, const struct vm_template *template_,
		 bool is_whole, const char *path, struct err *err);

/* An empty qcow2 as large as the disk. */
int build_overlay(const struct vm_template *template_, const char *path, struct err *err);

/* The end of a microVM's log, when something did not come about: that is where the reason is. */
void build_show_log(const char *vm_dir, const char *name);

/* The name leads to the template's snapshot, which is in the store. */
int build_set_name(const struct build_request *request, struct vm_template *template_,
		   struct err *err);

/* ---- base.c ---- */

/* The id of the recipe's root filesystem, which is in the store afterwards. */
int base_from_recipe(const struct build_request *request, char out_id[VM_ARTEFACT_ID_MAX],
		     struct err *err);

/* Of the template that the spec is upon: root filesystem, size of the disk, dir.  *out_is_image: it
 * is upon an image instead, and the template gives the kernel, and the machine that unpacks it. */
int base_from_template(const struct build_request *request, struct vm_template *out,
		       bool *out_is_image, struct err *err);

/* ---- layered.c ---- */

struct image;

/* template_: root filesystem, shape and accelerator are known.  base_dir: of the snapshot it is
 * built upon; NULL: a root filesystem alone, or an image, if there is one. */
int layered_build(const struct build_request *request, const char *base_dir,
		  const struct image *image, struct vm_template *template_, int *out_exit_code,
		  struct err *err);

#endif

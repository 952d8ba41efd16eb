/*
 * Builds a template: from a recipe, whose root filesystem is installed from packages (unless the
 * same recipe was built before), or upon a template that is there; with a spec its steps are
 * carried out in a microVM (unless the cache has them), and its start command runs when the
 * snapshot is taken.  For flotilla-template, which takes from a tenth of a second to minutes for
 * it, and tells by progress.h what it does.
 */
#ifndef FLOTILLA_TEMPLATE_BUILD_H
#define FLOTILLA_TEMPLATE_BUILD_H

#include "node-agent/template/image.h"
#include "node-agent/template/spec.h"
#include "node-agent/vm/accel.h"
#include "node-agent/vm/store.h"

#include <stdint.h>

struct build_request {
	const char *store_dir;
	const char *name;
	const char *recipe_dir; /* holds `packages`; NULL: upon the template that the spec names */
	struct image_request image; /* upon an image of the operator's, or what the spec may name */
	const char *unpacker;       /* the program unpack-image, for inside */
	const char *builder;        /* the program build-rootfs */
	const char *guest;          /* flotilla-guest, static */
	const char *shim;           /* flotilla-shim */
	struct vm_shape shape;      /* vcpus 0: what suits the accelerator */
	enum vm_accel_wish accel;
	bool is_fresh; /* install the packages anew, though the recipe did not change */
	const struct build_spec *spec; /* NULL: nothing but the recipe */
	const char *files_dir;         /* what COPY copies, named by filesHash; NULL: nothing */
	const char *scope;             /* layers are taken from builds of the same one alone */
	const char *network;  /* settings of one for the steps (egress_host_parse); NULL: none */
	int64_t limit_ms;     /* for all that the spec lets run */
	int64_t cache_age_s;  /* of layers that are not used */
	uint64_t cache_bytes; /* of all layers */
};

/* *out_exit_code: that of the step's command, when that is why there is a fault; else 0. */
int build_template(const struct build_request *request, struct vm_template *out_template,
		   int *out_exit_code, struct err *err);

#endif

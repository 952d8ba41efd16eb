/*
 * Builds a template: root filesystem from a recipe (unless the same recipe was built before),
 * machine booted, warmed and snapshotted by a shim (unless the same snapshot is there), name set.
 * For flotilla-template; takes up to a minute and says on standard error what it does.
 */
#ifndef FLOTILLA_VM_BUILD_H
#define FLOTILLA_VM_BUILD_H

#include "node-agent/vm/accel.h"
#include "node-agent/vm/store.h"

struct build_request {
	const char *store_dir;
	const char *name;
	const char *recipe_dir; /* holds `packages` */
	const char *builder;    /* the program build-rootfs */
	const char *guest;      /* flotilla-guest, static */
	const char *shim;       /* flotilla-shim */
	struct vm_shape shape;  /* vcpus 0: what suits the accelerator */
	enum vm_accel_wish accel;
	bool is_fresh; /* install the packages anew, though the recipe did not change */
};

int build_template(const struct build_request *request, struct vm_template *out_template,
		   struct err *err);

#endif

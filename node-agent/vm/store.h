/*
 * The templates of a host: a folder shared by all its agents and by flotilla-template.  Artefacts
 * are named by what is in them and never change, so that a copy on another host is the same or is
 * noticed; names point at artefacts.
 *
 *   lock                 held (flock) while building or removing
 *   rootfs/<id>/         rootfs.img vmlinux modules.cpio manifest.json; id: hash of the three
 *   recipe/<hash>        -> ../rootfs/<id>: what a recipe made, so that it need not be made again
 *   snapshot/<id>/       mem state disk.img overlay.qcow2 initrd manifest.json; id: hash of the
 *                        rootfs's id, the guest program, the machine and the emulator
 *   name/<name>          -> ../snapshot/<id>
 *   running/<id>.<vm>    -> a microVM's folder: snapshot <id> stays while that is there
 *   saved/<id>.<name>    -> a saved state's folder (see saved.h), or one around it: the same
 *   layer/ step/         what templates are built from step by step (node-agent/template/layer.h)
 *   fetch/<digest>/      copies from other hosts under way (node-agent/carry), for a day
 *   tmp/                 builds under way, removed by the next builder when left behind
 *   accel.json           whether KVM works, as proved in one boot of the host
 *
 * Everything comes into place by rename: who reads needs no lock.
 */
#ifndef FLOTILLA_VM_STORE_H
#define FLOTILLA_VM_STORE_H

#include "common/base/err.h"
#include "common/base/ids.h"
#include "node-agent/vm/machine.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VM_ARTEFACT_ID_MAX = 41, /* 40 hex digits and NUL */
	VM_QEMU_VERSION_MAX = 64,
};

/* A snapshot that microVMs can be cloned from. */
struct vm_template {
	char name[TEMPLATE_NAME_MAX];
	char id[VM_ARTEFACT_ID_MAX];
	char rootfs_id[VM_ARTEFACT_ID_MAX];
	char guest_hash[VM_ARTEFACT_ID_MAX]; /* of flotilla-guest inside */
	struct vm_shape shape;
	enum vm_accel accel;
	char machine[VM_FINGERPRINT_MAX]; /* the command line it belongs to */
	char qemu[VM_QEMU_VERSION_MAX];   /* which QEMU made it, and alone can load it */
	int64_t created_wall_ns;
	char dir[PATH_MAX]; /* absolute */
};

/* The files of a template that a machine is started from. */
struct vm_template_files {
	char kernel[PATH_MAX];
	char initrd[PATH_MAX];
	char rootfs[PATH_MAX];
	char disk[PATH_MAX];
	char overlay[PATH_MAX]; /* empty: each clone begins with a copy of it */
	char mem[PATH_MAX];
	char state[PATH_MAX];
};

/* From the manifest in a snapshot's folder. */
int vm_template_read(const char *dir, struct vm_template *out_template, struct err *err);
int vm_template_write(const struct vm_template *template_, struct err *err);

/* Fault, with what to do about it: this program, or this QEMU (as vm_qemu_version tells; NULL: not
 * looked at), cannot load it. */
int vm_template_check(const struct vm_template *template_, const char *qemu, struct err *err);
int vm_template_files(const struct vm_template *template_, struct vm_template_files *out_files,
		      struct err *err);

/* The template of that name. Not there: *out_found is false. */
int vm_store_find(const char *store_dir, const char *name, struct vm_template *out_template,
		  bool *out_found, struct err *err);

/* All of them, by name; what cannot be read is left out. A store that is not there is empty. */
int vm_store_list(const char *store_dir, struct vm_template *out_templates, size_t max,
		  size_t *out_n, struct err *err);

/* Gives the name up and removes snapshots and root filesystems that nothing leads to any more; what
 * is kept goes at a later sweep.  Not there: *out_found is false. */
int vm_store_remove(const char *store_dir, const char *name, bool *out_found, struct err *err);

enum vm_keep { VM_KEEP_RUNNING, VM_KEEP_SAVED };

/*
 * Keeps a template's snapshot and root filesystem in the store for as long as `dir`, absolute, is
 * there: the folder of a microVM, or of a saved state, for which it is durable.  Who moves a saved
 * state keeps it for its new place (another name) before, and releases the old one after.  A saved
 * state whose disk is not there counts as there.  name: 1 to 100 of A-Z a-z 0-9 _ -; what is kept
 * under that name already is replaced.  Fault: also when the template is not in the store any more.
 */
int vm_store_keep(const char *store_dir, enum vm_keep why, const char *template_id,
		  const char *name, const char *dir, struct err *err);
void vm_store_release(const char *store_dir, enum vm_keep why, const char *template_id,
		      const char *name);

/* Which store a snapshot's folder is in: STORE/snapshot/<id>. */
int vm_store_of(const char *template_dir, char out_store_dir[PATH_MAX],
		char out_id[VM_ARTEFACT_ID_MAX], struct err *err);

/* Removes what neither a name leads to nor is kept, and is older than this.  The lock must be held.
 */
int vm_store_sweep(const char *store_dir, int age_s, struct err *err);

/* Makes the store's folders and holds its lock until the descriptor is closed; waits for it. */
int vm_store_lock(const char *store_dir, int *out_fd, struct err *err);

/* A symbolic link that comes into place whole, over what was there. */
int vm_store_link(const char *target, const char *path, struct err *err);

/* As `rm -rf`; best effort. */
void vm_store_remove_tree(const char *path);

/* The version that `qemu-system-x86_64 --version` tells. */
int vm_qemu_version(char out_version[VM_QEMU_VERSION_MAX], struct err *err);

#endif

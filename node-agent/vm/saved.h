/*
 * What is kept of a sandbox that was saved: its difference from the template that it was cloned
 * from.  A pause, a snapshot and the source of a fork are the same folder:
 *
 *   manifest.json   what it is and what it belongs to; written last, so that a folder without one
 *                   is nothing
 *   disk.qcow2      what was written over the template's disk
 *   memory          the pages that differ from the template's (see saved_memory.h)
 *   device          the devices' state, as QEMU wrote it
 *   envs            a pause's, of a sandbox that was given any: its environment, as JSON
 *
 * memory and device are missing where only the files were kept.  The folder never changes once it
 * is in place, and everything in it is durable by then; it names no path, so that it can be moved.
 * Usable with the very template, machine and QEMU that it was made with.
 *
 * Memory and device carry checksums, which are verified before a machine runs on them.  The disk
 * does not: it may be huge, is not read at a pause, and has a file system's own checks inside.
 */
#ifndef FLOTILLA_VM_SAVED_H
#define FLOTILLA_VM_SAVED_H

#include "common/base/err.h"
#include "common/base/ids.h"
#include "node-agent/vm/saved_memory.h"
#include "node-agent/vm/store.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define VM_SAVED_MANIFEST "manifest.json"
#define VM_SAVED_DISK     "disk.qcow2"
#define VM_SAVED_MEMORY   "memory"
#define VM_SAVED_DEVICE   "device"
#define VM_SAVED_ENVS     "envs"

struct vm_saved {
	struct id vm;  /* the microVM that it was */
	uint64_t save; /* the agent's number for it; 0: it was paused at its time limit */
	char template_id[VM_ARTEFACT_ID_MAX];
	char machine[VM_FINGERPRINT_MAX];
	char qemu[VM_QEMU_VERSION_MAX];
	struct vm_shape shape;
	enum vm_accel accel;
	bool has_memory;
	struct vm_memory_figures memory;
	uint64_t device_bytes;
	uint64_t device_sum;
	uint64_t disk_bytes;     /* the file's length */
	uint64_t bytes;          /* what all of it takes on disk */
	int64_t stopped_mono_ns; /* CLOCK_BOOTTIME: it ran until then; of the host that saved it */
	int64_t stopped_wall_ns; /* the same on the wall clock */
};

/* What a saved state takes over from the template that its machine runs on. */
void vm_saved_describe(struct vm_saved *saved, const struct vm_template *template_);

/*
 * Makes the folder `dir`, in which all files are, durable and puts it in place as `final_dir`, its
 * manifest written; fills in the lengths and the device's sum.  Fault: there is no `final_dir`, and
 * what is in `dir` is the caller's to remove.
 */
int vm_saved_commit(struct vm_saved *saved, const char *dir, const char *final_dir,
		    struct err *err);

/* Fault: not there, not whole by the lengths of its files, or not understood. */
int vm_saved_read(const char *dir, struct vm_saved *out_saved, struct err *err);

/* Fault, naming what differs: it does not belong to this template, machine or QEMU. */
int vm_saved_check(const struct vm_saved *saved, const struct vm_template *template_,
		   struct err *err);

/* Its device state is what was written. */
int vm_saved_check_device(const char *dir, const struct vm_saved *saved, struct err *err);

/* Shares the blocks where the file system can; else copies what is not a hole.  `to` must not
 * exist, and is not there after a fault. */
int vm_saved_copy_disk(const char *from, const char *to, struct err *err);

#endif

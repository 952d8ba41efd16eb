/*
 * The machine that every microVM is, declared once: the template's first boot and each clone's
 * restore get their command line from here, so that they cannot differ in a device.  A snapshot
 * loads only into the very machine that wrote it, so every device that a sandbox may ever need is
 * in it from the start: two disks, a network card with its link down, the guest's channel, its
 * console, a source of entropy and a generation id.
 *
 * Pure.  Starting the process is the shim's business.
 */
#ifndef FLOTILLA_VM_MACHINE_H
#define FLOTILLA_VM_MACHINE_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a tenant sees of a machine; fixed by the template. */
struct vm_shape {
	uint32_t vcpus;
	uint32_t mem_mib;
	uint32_t disk_mib;
};

enum {
	VM_VCPUS_MAX = 64,
	VM_MEM_MIB_MIN = 128,
	VM_MEM_MIB_MAX = 512 * 1024,
	VM_DISK_MIB_MIN = 64,
	VM_DISK_MIB_MAX = 16 * 1024 * 1024,
};

enum vm_accel { VM_ACCEL_TCG, VM_ACCEL_KVM };

const char *vm_accel_text(enum vm_accel accel);
bool vm_accel_parse(const char *text, enum vm_accel *out_accel);

/* Fault, saying what, when a number is out of its range. */
int vm_shape_check(const struct vm_shape *shape, struct err *err);

/* The versioned machine type and the processor model. */
extern const char vm_machine_type[];
const char *vm_machine_cpu(enum vm_accel accel);

/* The network card's name, for QMP's set_link. */
#define VM_NETWORK_CARD "nic"

/* One start of the machine. Descriptors are those in the new process. */
struct vm_launch {
	const char *name; /* for process lists: the microVM's id */
	struct vm_shape shape;
	enum vm_accel accel;
	const char *kernel;
	const char *initrd;
	const char *rootfs; /* squashfs, read only */
	const char *disk;   /* raw ext4: written by the template's boot, read only to clones */
	const char *mem;    /* RAM's file: shared by the template's boot, private to clones */
	/* NULL: the template's first boot.  Otherwise a clone: an empty qcow2 of its own, put over
	 * the disk; it waits for its state (-incoming defer), unless it is_cold.  With disk NULL it
	 * boots from a qcow2 that says itself what it lies over: a layer of a template that is
	 * being built. */
	const char *overlay;
	const char *archive; /* read only, a third disk: what a builder unpacks; NULL: none */
	bool is_cold;        /* a clone that boots anew on its disk: waits for no state */
	bool is_difference;  /* a clone whose state QEMU saved without its RAM */
	int qmp_fd;          /* each a connected stream socket */
	int mux_fd;          /* the guest's channel, port flotilla.mux */
	int console_fd;      /* port flotilla.console */
	int kernel_fd;       /* the kernel's own words, serial line */
};

enum { VM_ARGV_MAX = 96, VM_ARGV_TEXT_MAX = 16 * 1024 };

struct vm_argv {
	char *words[VM_ARGV_MAX]; /* the program first, NULL behind the last; into text */
	char text[VM_ARGV_TEXT_MAX];
	size_t words_n;
	size_t text_n;
};

/* Fault: a path with a comma, which QEMU would take apart, or too long. */
int vm_argv_build(const struct vm_launch *launch, struct vm_argv *out_argv, struct err *err);

enum { VM_FINGERPRINT_MAX = 17 };

/* Of the command line, paths aside: snapshots of another one cannot be loaded. */
int vm_machine_fingerprint(const struct vm_shape *shape, enum vm_accel accel,
			   char out_text[VM_FINGERPRINT_MAX], struct err *err);

#endif

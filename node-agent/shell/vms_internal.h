/* The node's microVMs, between their two files: vms.c carries orders out, vms_hear.c hears shims.
 */
#ifndef FLOTILLA_NODE_VMS_INTERNAL_H
#define FLOTILLA_NODE_VMS_INTERNAL_H

#include "node-agent/shell/vms.h"

enum { VM_CLAIM_BLOB_MAX = 32768 };

struct vm {
	struct vms *vms;
	struct vm *next;
	uint64_t number;
	struct shim_client *client; /* NULL once its end was told */
	uint64_t attempt;           /* of the claim that it was given; 0: none */
	bool adopting;              /* found at the start, and not told yet */
	bool metering;              /* the core waits for VM_METERED */
	bool is_ending;             /* told to end: no lease is for it any more */
	enum wire_shim_state told;  /* WARMING, READY: what the core heard last; 0: nothing */
	/* What the core knows of how it runs; see struct node_sandbox. */
	struct mono resumed;
	int64_t frozen_ns;
	/* The snapshot that the core waits for: its number, and the folder that it becomes. */
	uint64_t snapshot, into;
	int64_t end_ns; /* adopted while its shim hung: the limit that it must have; else 0 */
};

void vm_tell(struct vm *vm, enum node_event_kind kind);
void vms_remove(struct vms *vms, struct vm *vm);
struct shim_client_callbacks vm_callbacks(struct vm *vm);

#endif

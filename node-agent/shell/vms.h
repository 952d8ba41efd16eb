/*
 * The node's microVMs by their numbers: carries the core's VM_* effects to the shims and brings
 * what the shims say back as events.
 */
#ifndef FLOTILLA_NODE_VMS_H
#define FLOTILLA_NODE_VMS_H

#include "node-agent/core/core.h"
#include "node-agent/shell/payloads.h"
#include "node-agent/shim/client.h"

#include <limits.h>
#include <stdbool.h>

struct agent;
struct vm;

struct vms {
	struct agent *agent;
	struct vm *first;
	char shim[PATH_MAX]; /* the program */
	char dir[PATH_MAX];  /* holds a folder for each microVM */
	uint32_t adopting_n; /* folders found at the start that have not spoken yet */
	char gateway[129];   /* as last ordered: clones dial it ahead of their claim */
};

/* The folder of this number, be it there or not. */
void vm_dir(const struct vms *vms, uint64_t number, char out_dir[PATH_MAX]);

int vms_open(struct vms *vms, struct agent *agent, struct err *err);

/* Looks after every folder that is there.  The core hears ADOPTED for each, then READY; all of it
 * comes from the loop, unless there is no folder. */
void vms_adopt(struct vms *vms);

void vms_start(struct vms *vms, const struct node_effect *effect);
void vms_claim(struct vms *vms, const struct node_effect *effect, const struct payload *payload);
void vms_network(struct vms *vms, const struct node_effect *effect, const struct payload *payload);
void vms_deadline(struct vms *vms, const struct node_effect *effect);
/* To every one that has a sandbox, was not told to end, and is of such an attempt or a later one.
 * 0: without end. */
void vms_lease(struct vms *vms, struct mono until, uint64_t attempts_from);
void vms_meter(struct vms *vms, uint64_t number);
void vms_save(struct vms *vms, const struct node_effect *effect);
void vms_kill(struct vms *vms, const struct node_effect *effect);
void vms_forget(struct vms *vms, uint64_t number);

/* Lets go of all of them: they live on. */
void vms_close(struct vms *vms);

#endif

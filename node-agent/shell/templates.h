/*
 * Which templates this node can restore: looks through the host's store now and then, and tells the
 * core what came, changed and went.  A snapshot counts only if the QEMU here made it and its
 * accelerator is one that this agent may use.
 */
#ifndef FLOTILLA_NODE_TEMPLATES_H
#define FLOTILLA_NODE_TEMPLATES_H

#include "node-agent/core/core.h"
#include "node-agent/vm/accel.h"
#include "node-agent/vm/store.h"

struct agent;

struct templates {
	struct vm_template items[NODE_TEMPLATES_MAX];
	size_t n;
	char qemu[VM_QEMU_VERSION_MAX];
	enum vm_accel_wish wish;
	bool kvm_is_known;
	bool kvm_works;
};

/* Finds out about QEMU here. */
int templates_open(struct templates *templates, const char *accel, struct err *err);

/* Steps TEMPLATE_SET and TEMPLATE_GONE for what differs from the last look. Faults are logged. */
void templates_look(struct templates *templates, struct agent *agent);

/* Forgets the last look: all will be told again. */
void templates_forget(struct templates *templates);

/* The snapshot of that content; NULL: it is not there any more. */
const struct vm_template *templates_find(const struct templates *templates, const char *id);

#endif

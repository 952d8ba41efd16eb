/* What the store's files share. */
#ifndef FLOTILLA_VM_STORE_INTERNAL_H
#define FLOTILLA_VM_STORE_INTERNAL_H

#include "node-agent/vm/store.h"

/* Calls on_id for each link that still counts; removes those that do not.  Stops at a fault. */
int vm_store_each_kept(const char *store_dir,
		       int (*on_id)(void *arg, const char *template_id, struct err *err), void *arg,
		       struct err *err);

/* Whether a link that counts leads to that snapshot; in doubt it does. */
bool vm_store_is_kept(const char *store_dir, const char *template_id);

#endif

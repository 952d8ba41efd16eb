/*
 * What arrived of a paused sandbox becomes the folder of a microVM that was paused here: first it
 * is held against the template that it goes on from, which must be in the store and be used here.
 */
#include "node-agent/carry/carry.h"

#include "node-agent/shim/client.h"
#include "node-agent/vm/saved.h"

#include <stdio.h>
#include <string.h>

static int check(const struct carry_order *order, const char *from, char out_template_dir[PATH_MAX],
		 uint64_t *out_bytes, struct err *err)
{
	char qemu[VM_QEMU_VERSION_MAX];
	struct vm_template template_;
	struct vm_saved saved;

	if (snprintf(out_template_dir, PATH_MAX, "%s/snapshot/%s", order->store, order->id) >=
	    PATH_MAX)
		return err_set(err, "%s: the path is too long", order->store);
	if (vm_template_read(out_template_dir, &template_, err) || vm_qemu_version(qemu, err) ||
	    vm_template_check(&template_, qemu, err) || vm_saved_read(from, &saved, err) ||
	    vm_saved_check(&saved, &template_, err))
		return -1;
	*out_bytes = saved.bytes;
	return 0;
}

enum refusal install_saved(const struct carry_order *order, const char *dir, uint64_t *out_bytes,
			   struct err *err)
{
	struct vm_config config = {.purpose = VM_PURPOSE_CLONE};
	const char *name = strrchr(order->saved, '/') + 1;
	char from[PATH_MAX];

	if (snprintf(from, sizeof(from), "%s/saved/%s", dir, order->id) >= PATH_MAX ||
	    !id_parse(name, strlen(name), &config.vm)) {
		err_set(err, "%s: not a folder of a microVM", order->saved);
		return REFUSAL_TRANSFER_UNUSABLE;
	}
	if (check(order, from, config.template_dir, out_bytes, err))
		return REFUSAL_TRANSFER_UNUSABLE;
	if (shim_dir_make_saved(from, &config, order->saved, err))
		return REFUSAL_TRANSFER_NO_SPACE;
	vm_store_remove_tree(dir);
	return REFUSAL_NONE;
}

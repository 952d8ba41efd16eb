/*
 * Whether this host's KVM really runs a guest.  /dev/kvm may open and answer and still be of no
 * use: under some nested hypervisors a kernel is emulated instruction by instruction, takes
 * minutes, and dies.  So nothing is believed but a guest that came up in time.
 */
#ifndef FLOTILLA_VM_ACCEL_H
#define FLOTILLA_VM_ACCEL_H

#include "common/base/err.h"
#include "node-agent/vm/machine.h"

#include <stdbool.h>

enum { VM_ACCEL_REASON_MAX = 256 };

enum vm_accel_wish { VM_ACCEL_WISH_AUTO, VM_ACCEL_WISH_KVM, VM_ACCEL_WISH_TCG };

bool vm_accel_wish_parse(const char *text, enum vm_accel_wish *out_wish); /* auto, kvm, tcg */

/*
 * auto: KVM if `kernel` (a template's vmlinux) boots under it within a few seconds, else software
 * emulation; the finding is kept in the store for this boot of the host.  out_reason: why, for
 * people.  Fault: kvm was asked for and does not work.
 */
int vm_accel_resolve(const char *store_dir, const char *kernel, enum vm_accel_wish wish,
		     enum vm_accel *out_accel, char out_reason[VM_ACCEL_REASON_MAX],
		     struct err *err);

#endif

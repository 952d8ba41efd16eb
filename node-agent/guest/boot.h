/*
 * From the kernel's hand to a running sandbox: what process 1 does before it serves.  The kernel
 * has started us as /init of an initramfs that holds little more than us, /modules.list and the
 * modules named in it.
 */
#ifndef FLOTILLA_GUEST_BOOT_H
#define FLOTILLA_GUEST_BOOT_H

#include "common/base/err.h"

/* A file of the initramfs: the root is this folder of the writable disk alone, which a builder of
 * templates has unpacked an image to.  Without it the root is the image on the first disk, under
 * what the writable one has. */
#define BOOT_WHOLE_MARK   "whole-root"
#define BOOT_WHOLE_FOLDER "image"

/* Console, kernel modules, disks, root, host name, loopback. */
int boot_system(struct err *err);

/* A line on the console, "flotilla-guest: …". */
void boot_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says why and powers the machine off; from any other process than the first, just exits. */
_Noreturn void boot_give_up(const char *why);

#endif

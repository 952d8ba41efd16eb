/* KVM is proved by a guest, not by its device. See accel.h. */
#include "node-agent/vm/accel.h"

#include "common/io/file.h"
#include "node-agent/vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A kernel is up in half a second where KVM works, and in minutes or never where it does not. */
enum { PROOF_LIMIT_MS = 5000, BOOT_ID_MAX = 40 };

bool vm_accel_wish_parse(const char *text, enum vm_accel_wish *out_wish)
{
	static const char *const words[] = {
		[VM_ACCEL_WISH_AUTO] = "auto",
		[VM_ACCEL_WISH_KVM] = "kvm",
		[VM_ACCEL_WISH_TCG] = "tcg",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], text) == 0) {
			*out_wish = (enum vm_accel_wish)i;
			return true;
		}
	return false;
}

/* In QEMU's own words where it had any. */
static void explain(char *said, const struct err *err, char reason[VM_ACCEL_REASON_MAX])
{
	char *words = strstr(said, "qemu-system-x86_64: ");

	if (words)
		words[strcspn(words, "\r\n")] = 0;
	snprintf(reason, VM_ACCEL_REASON_MAX, "KVM does not run a guest here: %.180s",
		 words ? words + strlen("qemu-system-x86_64: ") : err->text);
}

/*
 * The kernel without a root filesystem: it comes up, finds no root, panics, and -no-reboot ends the
 * process.  That it got there shows in what it said on its serial line.
 */
static bool kvm_runs_a_guest(const char *kernel, char reason[VM_ACCEL_REASON_MAX])
{
	char machine[64], said[16 * 1024];
	char *argv[] = {"sh",
			"-c",
			"exec \"$0\" \"$@\" 2>&1",
			"qemu-system-x86_64",
			"-nodefaults",
			"-no-user-config",
			"-no-reboot",
			"-display",
			"none",
			"-machine",
			machine,
			"-accel",
			"kvm",
			"-cpu",
			"host",
			"-m",
			"256M",
			"-chardev",
			"stdio,id=kernel,signal=off",
			"-device",
			"isa-serial,chardev=kernel",
			"-kernel",
			(char *)kernel,
			"-append",
			"console=ttyS0 panic=-1 reboot=t",
			NULL};
	struct err err;

	snprintf(machine, sizeof(machine), "%s,hpet=off,smm=off,usb=off,vmport=off",
		 vm_machine_type);
	if (process_run(argv, PROOF_LIMIT_MS, said, sizeof(said), &err)) {
		explain(said, &err, reason);
		return false;
	}
	if (!strstr(said, "Unable to mount root") && !strstr(said, "Kernel panic")) {
		snprintf(reason, VM_ACCEL_REASON_MAX,
			 "KVM does not run a guest here: its kernel did not come up");
		return false;
	}
	snprintf(reason, VM_ACCEL_REASON_MAX, "KVM ran a guest");
	return true;
}

static void read_boot_id(char out[BOOT_ID_MAX])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!file || !fgets(out, BOOT_ID_MAX, file))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	if (file)
		fclose(file);
}

static bool cache_read(const char *path, const char *boot_id, enum vm_accel *out_accel,
		       char reason[VM_ACCEL_REASON_MAX])
{
	const char *accel, *why, *boot;
	bool is_known = false;
	size_t text_n;
	json_t *root;
	char *text;

	if (file_read(path, 4096, &text, &text_n, NULL))
		return false;
	root = json_loadb(text, text_n, 0, NULL);
	free(text);
	boot = json_string_value(json_object_get(root, "boot_id"));
	accel = json_string_value(json_object_get(root, "accel"));
	why = json_string_value(json_object_get(root, "reason"));
	if (boot && accel && why && boot_id[0] && strcmp(boot, boot_id) == 0 &&
	    vm_accel_parse(accel, out_accel)) {
		snprintf(reason, VM_ACCEL_REASON_MAX, "%s", why);
		is_known = true;
	}
	json_decref(root);
	return is_known;
}

/* Best effort: without it the proof is made again. */
static void cache_write(const char *path, const char *boot_id, enum vm_accel accel,
			const char *reason)
{
	json_t *root = json_pack("{s:s, s:s, s:s}", "boot_id", boot_id, "accel",
				 vm_accel_text(accel), "reason", reason);
	char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

	json_decref(root);
	if (text)
		file_write_atomic(path, text, strlen(text), 0644, NULL);
	free(text);
}

int vm_accel_resolve(const char *store_dir, const char *kernel, enum vm_accel_wish wish,
		     enum vm_accel *out_accel, char out_reason[VM_ACCEL_REASON_MAX],
		     struct err *err)
{
	char cache[PATH_MAX], boot_id[BOOT_ID_MAX];

	*out_accel = VM_ACCEL_TCG;
	if (wish == VM_ACCEL_WISH_TCG) {
		snprintf(out_reason, VM_ACCEL_REASON_MAX, "asked for");
		return 0;
	}
	if (snprintf(cache, sizeof(cache), "%s/accel.json", store_dir) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", store_dir);
	read_boot_id(boot_id);
	if (access("/dev/kvm", R_OK | W_OK)) {
		snprintf(out_reason, VM_ACCEL_REASON_MAX, "/dev/kvm: %s", strerror(errno));
	} else if (!cache_read(cache, boot_id, out_accel, out_reason)) {
		if (kvm_runs_a_guest(kernel, out_reason))
			*out_accel = VM_ACCEL_KVM;
		cache_write(cache, boot_id, *out_accel, out_reason);
	}
	if (wish == VM_ACCEL_WISH_KVM && *out_accel != VM_ACCEL_KVM)
		return err_set(err, "KVM was asked for: %s", out_reason);
	return 0;
}

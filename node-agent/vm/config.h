/*
 * What a shim is told when it is started: config.json in its microVM's folder, written by the agent
 * (or by flotilla-template), read by the shim.  All else about the machine is in the template.
 *
 * A microVM's folder, RUN_DIR/vm/<id>/, is the agent's to make and to remove:
 *
 *   config.json    this
 *   ctl.sock       where the shim listens; nobody does once it has ended
 *   processes      which processes they are (see node-agent/shim/identity.h)
 *   shim.log       its words; kernel.log the guest kernel's last ones (both bounded)
 *   disk.qcow2     what the sandbox has written
 *   saved/         what a pause has kept (see node-agent/vm/saved.h), when it has ended by one
 *   snapshots/<n>/ what the snapshot of that number has kept
 *   end            a wire message, shim_status: written once, when the microVM has ended
 */
#ifndef FLOTILLA_VM_CONFIG_H
#define FLOTILLA_VM_CONFIG_H

#include "common/base/err.h"
#include "common/base/ids.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { VM_GATEWAY_MAX = 264 };

enum vm_warmth {
	VM_WARMTH_NONE,   /* ready as soon as it is restored: a claim waits for it */
	VM_WARMTH_HEALTH, /* the guest's HTTP server has answered once */
	VM_WARMTH_EXEC,   /* a process has been started too: 12 MiB more each, 60 ms less later */
};

enum vm_purpose {
	VM_PURPOSE_CLONE,    /* restore, warm, pause, wait to be claimed */
	VM_PURPOSE_TEMPLATE, /* boot, warm, save the snapshot, end */
};

struct vm_config {
	struct id vm;
	enum vm_purpose purpose;
	enum vm_warmth warmth;
	char template_dir[PATH_MAX];  /* of the snapshot: absolute */
	char gateway[VM_GATEWAY_MAX]; /* host:port to dial ahead, numeric; empty: none yet */
	/* A clone that goes on from what was saved: the folder, absolute, of the same template;
	 * only read, and needed until the first `ready`.  Empty: a fresh one. */
	char resume[PATH_MAX];
	bool resumes_cold; /* with it: the saved disk alone, in a machine that boots anew */
};

#define VM_FILE_CONFIG   "config.json"
#define VM_FILE_SOCKET   "ctl.sock"
#define VM_FILE_LOG      "shim.log"
#define VM_FILE_KERNEL   "kernel.log"
#define VM_FILE_OVERLAY  "disk.qcow2"
#define VM_FILE_END      "end"
#define VM_DIR_SAVED     "saved"
#define VM_DIR_SNAPSHOTS "snapshots"

/* Into DIR/config.json. Not synced: a microVM does not outlive its host's boot. */
int vm_config_write(const char *dir, const struct vm_config *config, struct err *err);
int vm_config_read(const char *dir, struct vm_config *out_config, struct err *err);

/* The text of config.json: for tests and fuzzers. out_text: to be freed. */
int vm_config_format(const struct vm_config *config, char **out_text, struct err *err);
int vm_config_parse(const char *text, size_t text_n, struct vm_config *out_config, struct err *err);

#endif

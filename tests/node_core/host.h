/*
 * A host around the node core: a journal that keeps what it is given, shims that do as they are
 * told only when the test says so, and a clock that only moves when asked.  After each step
 * everything is counted again (node_core_check).
 */
#ifndef FLOTILLA_TESTS_NODE_CORE_HOST_H
#define FLOTILLA_TESTS_NODE_CORE_HOST_H

#include "common/base/check.h"
#include "node-agent/core/core.h"

enum {
	HOST_RECORDS = 4096,
	HOST_ATTEMPTS = 4096,
	HOST_SANDBOXES = 64,
	HOST_LOG = 512,
	HOST_PAYLOADS = 64
};

struct host {
	struct node_limits limits;
	void *memory;
	struct node_core *core;
	struct mono now;
	struct wall wall;
	char boot_id[NODE_BOOT_ID_MAX];
	struct node_effects effects;      /* of the last step */
	struct node_effect log[HOST_LOG]; /* of all steps since host_forget_log */
	size_t log_n;

	void (*on_step)(void *arg); /* after each step, unless NULL */
	void *on_step_arg;

	/* what the shell keeps of claims */
	uint64_t payloads[HOST_PAYLOADS];
	size_t payloads_n;

	/* the journal */
	struct node_meta meta;
	struct wire_record records[HOST_RECORDS]; /* record seq is at seq - 1 */
	size_t records_n;
	uint64_t attempts[HOST_ATTEMPTS];
	size_t attempts_n;
	struct node_sandbox sandboxes[HOST_SANDBOXES];
	size_t sandboxes_n;
	struct node_saved saved[HOST_SANDBOXES];
	size_t saved_n;
};

/* Booted, without templates, not READY. Limits may be changed before host_boot. */
struct host *host_open(void);
void host_close(struct host *host);

/* Forgets all but the journal, and loads it. */
void host_boot(struct host *host);
void host_ready(struct host *host);

/* Booted, ready, and with the template "base" (1 vCPU, 256 MiB, 512 MiB). */
struct host *host_open_ready(void);

/* Steps; the event's now and wall are filled in. */
void host_step(struct host *host, struct node_event *event);

/* Time passes, with a TICK whenever one is due. */
void host_pass(struct host *host, int64_t ms);

void host_template(struct host *host, const char *name, const char *id, uint32_t vcpus,
		   uint32_t mem_mib);
/* A leader's answer to a poll sent now, which gives a lease without end; the given lease; no lease
 * that ends, but what was lost. */
void host_answer(struct host *host, uint64_t epoch);
void host_answer_lease(struct host *host, uint64_t epoch, uint64_t lease_ms, struct mono sent_at);
void host_answer_lost(struct host *host, uint64_t epoch, uint64_t lost_below);
void host_acked(struct host *host, uint64_t next_seq); /* by the first scheduler, which leads */
void host_acked_by(struct host *host, uint32_t replica, bool leader, uint64_t next_seq);

/* The agent dies and another one starts, up to what it finds: ADOPTED events of folders, the second
 * one of a shim that runs the attempt since resumed. */
void host_restart(struct host *host);
struct node_event host_found(uint64_t vm, enum wire_shim_state state);
struct node_event host_found_claimed(uint64_t vm, const struct wire_order *claim,
				     struct mono resumed);

/* Orders. A claim's payload has the number of its attempt; each is dropped exactly once, and not
 * before the record that its note is for. */
uint64_t host_keep_payload(struct host *host, uint64_t payload);
struct wire_order host_claim_order(uint64_t attempt);
void host_order(struct host *host, const struct wire_order *order);
void host_claim(struct host *host, uint64_t attempt);
void host_kill(struct host *host, uint64_t attempt);
void host_deadline(struct host *host, uint64_t attempt, uint64_t version, int64_t in_ms);
void host_pause(struct host *host, uint64_t attempt, uint64_t save);

/* A claim that resumes what another attempt saved. */
struct wire_order host_resume_order(uint64_t attempt, uint64_t resume);

/* What shims say. */
void host_vm(struct host *host, enum node_event_kind kind, uint64_t vm);
void host_vm_ready(struct host *host, uint64_t vm); /* WARMING, then READY */
void host_claimed(struct host *host, uint64_t vm, uint64_t attempt, bool ok);
void host_metered(struct host *host, uint64_t vm);
void host_ended(struct host *host, uint64_t vm, enum cause cause);

/* Its microVM ended by a pause with 40 MiB; or the pause came to nothing. */
void host_paused(struct host *host, uint64_t vm);
void host_runs_on(struct host *host, uint64_t vm, uint64_t save);

/* The same of one that was frozen: at the freeze if it is frozen now; resumed as if it had never
 * been. */
void host_metered_since(struct host *host, uint64_t vm, struct mono at, struct mono resumed);
void host_ended_since(struct host *host, uint64_t vm, enum cause cause, struct mono at,
		      struct mono resumed);

/* A sandbox that runs: claim, restore, resume. Returns its microVM. */
uint64_t host_run(struct host *host, uint64_t attempt);

/* Effects since host_forget_log: how many of a kind, and the newest (CHECKs that there is one). */
void host_forget_log(struct host *host);
size_t host_count(const struct host *host, enum node_effect_kind kind);
const struct node_effect *host_last(const struct host *host, enum node_effect_kind kind);
const struct wire_record *host_last_record(const struct host *host);

uint32_t host_vms(const struct host *host, enum node_vm_state state);
struct wire_poll host_poll(const struct host *host); /* what a report says */
/* What it says of that transfer, which is CHECKed; NULL: nothing. Good until the next call. */
const struct wire_transfer *host_transfer(const struct host *host, uint64_t number);
struct wire_room host_used(const struct host *host);

#endif

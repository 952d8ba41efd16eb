/*
 * One microVM's keeper: its life from restoring to ended, whoever else comes and goes.
 *
 *   life.c      the states, the claim, the time limit, the end and its record
 *   lease.c     until when it may run: freezing and thawing
 *   save.c      pausing it, and taking snapshots of it; save_write.c what is written then
 *   resume.c    going on from what was saved
 *   work.c      what takes long, beside the loop
 *   start.c     from the folder to a machine that is ready, or to a template's snapshot
 *   emulator.c  QEMU's process     channel.c  the guest's stream     relay.c  the gateway's
 *   control.c   the agent's connection
 *   observe.c   what the sandbox uses and says, now and then
 *   network.c   the keeper of its network, if it has one
 */
#ifndef FLOTILLA_SHIM_SHIM_H
#define FLOTILLA_SHIM_SHIM_H

#include "common/base/err.h"
#include "node-agent/shim/channel.h"
#include "node-agent/shim/control.h"
#include "node-agent/shim/emulator.h"
#include "node-agent/shim/network.h"
#include "node-agent/shim/observe.h"
#include "node-agent/vm/config.h"
#include "node-agent/vm/qmp.h"
#include "node-agent/vm/saved.h"
#include "node-agent/vm/store.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum {
	SHIM_CLAIM_MEMORY_MAX = 32768,
	SHIM_STATUS_REST_MAX = 4096, /* of an encoded status, but for that memory */
	SHIM_DETAIL_MAX = 129,
	SHIM_TOKEN_MAX = 256,
	SHIM_START_LIMIT_MS = 60 * 1000, /* from the process's start to ready; a loaded host */
	SHIM_BOOT_LIMIT_MS = 150 * 1000, /* the same for a template's first boot */
	SHIM_CLAIM_LIMIT_MS =
		4 * 1000,    /* from shim_claim to the guest's answer: another is tried in time */
	SHIM_CONTROL_FD = 3, /* ctl.sock, listening, from whoever started us */
};

/* See lease.c; meaningful once claimed. */
enum shim_freeze { SHIM_RUNS, SHIM_FREEZING, SHIM_FROZEN, SHIM_THAWING };

struct shim;

/* See save.c. */
enum shim_save_step {
	SHIM_SAVE_NONE,
	SHIM_SAVE_THAWING,
	SHIM_SAVE_SYNCING,
	SHIM_SAVE_QUIETING,
	SHIM_SAVE_STOPPING,
	SHIM_SAVE_DEVICE,
	SHIM_SAVE_WRITING,
};

struct shim_save {
	enum shim_save_step step;
	uint64_t number; /* of the order; 0: the time limit's own */
	enum wire_save_how how;
	bool is_at_limit;  /* if it fails, that is the end */
	bool is_limit_due; /* the limit was reached during a snapshot */
	uv_timer_t timer;
	struct vm_saved saved;
	struct wire_shim_saved last; /* the newest answer */
};

struct shim_work {
	uv_work_t request;
	int (*run)(struct shim *shim, struct err *err);
	void (*done)(struct shim *shim, int result, const struct err *err);
	bool is_busy;
	bool is_end_due; /* the machine is gone, and its end waits for this */
	atomic_bool cancel;
	int result;
	struct err err;
};

struct shim {
	uv_loop_t loop;
	const char *dir;
	struct vm_config config;
	struct vm_template template_;
	struct vm_template_files files;
	int state_fd;
	int exit_code;

	struct emulator emulator;
	bool is_emulated; /* QEMU was started */
	bool was_shut_down;
	char shutdown_reason[QMP_WORD_MAX];
	struct qmp qmp;
	struct channel channel;
	struct relay relay;
	bool has_relay;
	struct control control;
	bool has_control;
	uv_timer_t watchdog;     /* starting, claiming */
	uv_timer_t record_retry; /* the end record could not be written */
	uv_poll_t deadline;
	int deadline_fd;
	size_t warm_step;

	/* life */
	struct wire_shim_status status; /* what the agent is told; claim points into claim_memory */
	uint8_t claim_memory[SHIM_CLAIM_MEMORY_MAX];
	bool is_claim_sent; /* cont and /init are under way */
	bool is_resumed;
	bool is_initialised;
	bool is_networked;       /* the network is as the claim wants it */
	bool has_network;        /* and the guest has its address in it */
	bool has_authority;      /* and knows by which to believe its keeper */
	uint64_t network_change; /* the last that was ordered */
	int64_t claim_ttl_ms;
	enum wire_on_limit on_limit;
	char *envs;                 /* see envs.c; NULL: none */
	char token[SHIM_TOKEN_MAX]; /* what the guest wants to be asked with since its claim */
	enum shim_freeze freeze;
	int64_t freeze_mono_ns; /* when QEMU was last asked to stop */
	int64_t lease_mono_ns;  /* 0: none */
	uv_poll_t lease;
	int lease_fd;
	bool is_stop_wanted; /* it stands still while it is saved */
	struct shim_save save;
	struct shim_work work;
	struct vm_saved resumed; /* what it goes on from, if it does */
	void (*resume_next)(struct shim *shim);
	struct observer observer;
	struct network network;
	bool is_ending;
};

int64_t shim_mono_ns(void);

/* life.c */
int shim_life_open(struct shim *shim, struct err *err);
void shim_set_state(struct shim *shim, enum wire_shim_state state);
void shim_tell(struct shim *shim); /* the status, to the agent */

/* Ends the microVM for a cause; the first call counts.  detail: for people. */
void shim_end(struct shim *shim, enum cause cause, const char *detail);

/* QEMU is no more (or never was): the end is recorded and told. */
void shim_gone(struct shim *shim);

/* The claim that is under way is answered by a no, and the microVM ended. */
void shim_claim_failed(struct shim *shim, enum cause cause, const char *detail);

/* lease.c */
int shim_lease_open(struct shim *shim, struct err *err);
void shim_lease_close(struct shim *shim);
bool shim_lease_begin(struct shim *shim, int64_t lease_mono_ns); /* false: it is over already */
void shim_lease_move(struct shim *shim, int64_t lease_mono_ns);
void shim_lease_note_end(struct shim *shim); /* the end has begun */
void shim_lease_look(struct shim *shim);     /* whether it may run has changed */

/* save.c */
int shim_save_open(struct shim *shim, struct err *err);
void shim_save_close(struct shim *shim);
void shim_save_order(struct shim *shim, const struct wire_shim_save *order);
void shim_save_on_stopped(struct shim *shim);
void shim_save_on_thawed(struct shim *shim);
void shim_at_limit(struct shim *shim); /* the time limit is reached */
void shim_save_limit_moved(struct shim *shim);

/* save_write.c */
enum { SHIM_SAVE_PATH_ROOM = 64 };                /* what its paths have beyond the folder's */
bool shim_save_is_pause(const struct shim *shim); /* or a snapshot */
int shim_save_folder_make(const struct shim *shim, struct err *err);
void shim_save_folder_remove(const struct shim *shim);               /* what is half done */
int shim_save_device_open(const struct shim *shim, struct err *err); /* a new file's descriptor */
void shim_save_write(struct shim *shim);                             /* the rest of it */
void shim_save_on_written(struct shim *shim, int result, const struct err *err); /* in save.c */
void shim_save_forget(const struct shim *shim, int result);
bool shim_save_find_snapshot(const struct shim *shim, uint64_t number, struct vm_saved *out);

/* work.c: one at a time (a broken promise).  run: on a thread of its own, where of the shim it only
 * touches what is its business alone until done is called, on the loop. */
void shim_work_start(struct shim *shim, int (*run)(struct shim *shim, struct err *err),
		     void (*done)(struct shim *shim, int result, const struct err *err));
/* True: something is still being done in the folder; shim_gone comes again after it. */
bool shim_work_holds_up_end(struct shim *shim);

/* resume.c */
bool shim_is_resumed(const struct shim *shim);
int shim_resume_open(struct shim *shim, struct err *err);
/* The disk's copy, then `next` (which reports a fault by itself). */
void shim_resume_prepare(struct shim *shim, void (*next)(struct shim *shim));
/* QEMU is there and empty: memory, then its devices. */
void shim_resume_load(struct shim *shim, void (*next)(struct shim *shim));

/* observe.c: from the claim to the end */
void shim_observe_open(struct shim *shim);
void shim_observe_begin(struct shim *shim);
void shim_observe_close(struct shim *shim);

/* start.c */
/* So that its template stays in the store for as long as the microVM's folder is there. */
int shim_keep_template(const struct shim *shim, enum vm_keep why, struct err *err);
void shim_dial(struct shim *shim, const char *gateway); /* empty or not an address: nothing */
int shim_start(struct shim *shim, struct err *err);
void shim_qmp_event(struct shim *shim, const struct qmp_message *event);
void shim_channel_ready(struct shim *shim);

/* envs.c: from the agent's document at a claim; from and into what is saved, where it may be none.
 * The last from any thread. */
void shim_envs_take(struct shim *shim, const char *document, size_t document_n);
int shim_envs_read(struct shim *shim, const char *dir, struct err *err);
int shim_envs_write(const struct shim *shim, const char *dir, struct err *err);

/* request.c: what is said to the guest's HTTP server. To be freed. */
char *shim_request_health(size_t *out_n);
char *shim_request_sync(const char *token, size_t *out_n); /* token: "" for none */
char *shim_request_exec(const char *command, size_t *out_n);

/* document: the agent's, or empty.  Fresh entropy is added, clock, host name and environment (JSON;
 * NULL: none) where it does not say, and, for one that has a network, where that is and by which
 * authority (NULL: none) it is to believe its keeper.  out_token: the accessToken in it, or empty;
 * may be NULL.  NULL: it is not a JSON object, or too long. */
char *shim_request_init(const char *document, size_t document_n, const char *hostname,
			bool has_network, const char *authority, const char *envs,
			char out_token[OBSERVE_TOKEN_MAX], size_t *out_n);

/* The token that such a document gives the guest; "" for none, or one that no header can hold. */
void shim_request_token(const char *document, size_t document_n, char out[SHIM_TOKEN_MAX]);

#endif

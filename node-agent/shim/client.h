/*
 * The agent's side of a shim: starts one for a microVM, holds the control connection to it, tells
 * what happens.  The same calls serve a shim just started and one found after the agent came back.
 *
 * A microVM's folder (see node-agent/vm/config.h) is the handle that lasts: shim_client_adopt on a
 * folder tells everything there is to know about it, live or dead.
 *
 *   shim_client_start or shim_client_adopt
 *     on_status    first when connected, then at each change (restoring, warming, ready, claimed)
 *                  and in answer to shim_client_ask
 *     on_claimed   once after shim_client_claim
 *     on_saved     once after shim_client_save, unless the microVM ends first
 *     on_ended     the microVM is no more and this is its end record
 *                  (or, where its shim was lost, what was heard of it last, with shim_fault); or
 *     on_gone      it is no more and nobody saw its end: no shim, no record
 *   shim_client_close
 *
 * One of on_ended and on_gone comes exactly once, and last.  After it nothing writes in the folder
 * any more and it can be removed (shim_dir_remove).  All calls on the loop's thread; callbacks come
 * from the loop, never from within a call, and may call anything here.
 */
#ifndef FLOTILLA_SHIM_CLIENT_H
#define FLOTILLA_SHIM_CLIENT_H

#include "common/base/err.h"
#include "node-agent/vm/config.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <uv.h>

struct shim_client;

/* What is passed is borrowed for the call. */
struct shim_client_callbacks {
	void (*on_status)(void *arg, const struct wire_shim_status *status);
	void (*on_claimed)(void *arg, const struct wire_shim_claimed *claimed);
	void (*on_ended)(void *arg, const struct wire_shim_status *end);
	void (*on_gone)(void *arg, const char *why);
	void *arg;
	/* May be NULL. */
	void (*on_observed)(void *arg, const struct wire_observed *observed);
	/* May be NULL.  Its shim has left a question unanswered for too long (true; one that was
	 * found and does not speak, after 4 s), or has come back after that (false).  It lives, for
	 * it listens; something with a sandbox is not killed for it. */
	void (*on_hung)(void *arg, bool is_hung);
	/* May be NULL.  A pause that is ok is followed by on_ended with CAUSE_PAUSE. */
	void (*on_saved)(void *arg, const struct wire_shim_saved *saved);
	/* May be NULL. */
	void (*on_networked)(void *arg, const struct wire_shim_networked *networked);
};

/*
 * A new microVM: makes the folder (its parent must exist), writes config.json into it, and starts
 * the shim in a session of its own, so that it outlives this process.  program: the path of
 * flotilla-shim.  Fault: nothing runs and the folder is removed.
 */
int shim_client_start(uv_loop_t *loop, const char *program, const char *dir,
		      const struct vm_config *config, const struct shim_client_callbacks *callbacks,
		      struct shim_client **out_client, struct err *err);

/* A folder that was found. Whatever is in it, callbacks tell; a fault is only a lack of means. */
int shim_client_adopt(uv_loop_t *loop, const char *dir,
		      const struct shim_client_callbacks *callbacks,
		      struct shim_client **out_client, struct err *err);

/* Orders.  A claim is answered by on_claimed unless the microVM ends first.  The connection stands
 * from the start, and breaks only with the shim; should it be otherwise, orders given meanwhile are
 * dropped, and the on_status that comes with the next connection tells what the shim knows. */
void shim_client_claim(struct shim_client *client, const struct wire_shim_claim *claim);
void shim_client_deadline(struct shim_client *client, int64_t end_mono_ns);
/* What it may reach from now on; on_networked answers, unless the microVM ends first. */
void shim_client_network(struct shim_client *client, const struct wire_shim_network *network);
/* It freezes at that instant of CLOCK_BOOTTIME, and thaws when a later one comes; 0: never. The
 * shim keeps the latest; an earlier one changes nothing. on_status tells of both. */
void shim_client_lease(struct shim_client *client, int64_t lease_mono_ns);
/* A shim that does not see to it in time is killed, and its machine with it. */
void shim_client_kill(struct shim_client *client, enum cause cause);

/* A pause leaves what it kept in DIR/saved, and ends the microVM; a snapshot leaves it in
 * DIR/snapshots/<save>.  Both are the caller's from then on, and go with shim_dir_remove.  The same
 * save again is answered again, not done again. */
void shim_client_save(struct shim_client *client, uint64_t save, enum wire_save_how how);

/* The snapshot of that number, once it is saved, becomes the folder new_dir, beside dir, of a
 * microVM vm that is no more and left it as a pause would have: durable, and it keeps its template
 * in the store.  Fault: there is no new_dir, and maybe no snapshot any more. */
int shim_dir_keep_snapshot(const char *dir, uint64_t save, const struct id *vm, const char *new_dir,
			   struct err *err);

/* The same of what is saved in the folder `from`, wherever that comes from, of the template that
 * the configuration names: new_dir is beside from, on the same disk.  Fault: from may be gone. */
int shim_dir_make_saved(const char *from, const struct vm_config *config, const char *new_dir,
			struct err *err);

/* Asks for an on_status whose at_mono_ns vouches that the microVM still ran then. */
void shim_client_ask(struct shim_client *client);

/* Lets go of it; no callback follows.  The shim and its microVM live on. Frees the client. */
void shim_client_close(struct shim_client *client);

/* At the end of a loop: it no longer waits for the shims that it started.  They live on. */
void shim_client_let_go(uv_loop_t *loop);

/* Whether its processes were started in the present boot of the host. */
bool shim_dir_is_of_this_boot(const char *dir);

/* Removes the folder and what shims put into it; best effort, as what is left is found again.  A
 * saved state that is to outlive it is kept in the store (vm_store_keep) for its new place, and
 * moved there, before. */
void shim_dir_remove(const char *dir);

#endif

/*
 * Real microVMs for tests: a template built with the tests' own guest, clones held through the
 * agent's side of the shim, and a gateway that binds whatever dials it and makes requests of the
 * guest.  Everything runs on one loop; waiting is for something to become true, and fails the test
 * when it does not in a minute and a half.
 */
#ifndef FLOTILLA_TESTS_VM_RIG_H
#define FLOTILLA_TESTS_VM_RIG_H

#include "common/mux/mux.h"
#include "node-agent/shim/client.h"
#include "node-agent/vm/store.h"

#include <stdbool.h>
#include <uv.h>

enum { RIG_CLONES_MAX = 64, RIG_ANSWER_MAX = 2048 };

struct rig;
struct gate; /* one tunnel, at the gateway's end */

struct rig_clone {
	struct rig *rig;
	struct shim_client *client;
	struct id sandbox; /* once claimed */
	char dir[PATH_MAX];
	struct wire_shim_status status; /* the newest */
	struct wire_shim_status end;
	struct wire_shim_claimed claimed;
	struct wire_shim_saved saved;
	bool has_status, is_claimed, is_saved, has_ended, is_gone;
	struct gate *gate; /* once bound */
	/* of the last request */
	bool is_answered;
	size_t answer_n;
	char answer[RIG_ANSWER_MAX];
};

struct rig {
	uv_loop_t loop;
	uv_tcp_t listener;
	uv_timer_t limit;
	bool is_late;
	uint64_t late_at;
	char gateway[64];
	char dir[PATH_MAX];
	struct vm_template template_;
	enum vm_warmth warmth;
	enum wire_on_limit on_limit; /* of claims */
	const char *shim;            /* path of the program */
	struct rig_clone clones[RIG_CLONES_MAX];
	size_t clones_n;
};

/* Builds the template `name` (in FLOTILLA_TEST_TEMPLATE_DIR, else build/templates) unless it is
 * there.  guest: path of the program that is its process 1. */
void rig_build(const char *name, const char *guest);
void rig_build_sized(const char *name, const char *guest, unsigned mem_mib);

/* bin_dir: where flotilla-shim is. */
void rig_open(struct rig *rig, const char *template_name, const char *bin_dir);
void rig_close(struct rig *rig); /* ends what runs, removes the folder */

struct rig_clone *rig_clone_start(struct rig *rig);
/* One that goes on from what was saved in that folder. */
struct rig_clone *rig_clone_resume(struct rig *rig, const char *saved_dir);
/* Lets go of the clone's shim, as an agent that ends, and takes it up again. */
void rig_clone_leave(struct rig_clone *clone);
void rig_clone_adopt(struct rig_clone *clone);

void rig_clone_claim(struct rig_clone *clone, int64_t ttl_ms); /* sends it */

/* Makes a request through the gateway; the answer is in the clone when is_answered. */
void rig_clone_request(struct rig_clone *clone, const char *method, const char *path,
		       const char *body);
bool rig_clone_answer_is(const struct rig_clone *clone, const char *status, const char *body);

/* Runs the loop until the condition holds. */
#define rig_wait(rig, condition)                                                                   \
	do {                                                                                       \
		rig_wait_begin(rig);                                                               \
		while (!(condition) && !(rig)->is_late)                                            \
			uv_run(&(rig)->loop, UV_RUN_ONCE);                                         \
		rig_wait_end(rig, (condition), #condition);                                        \
	} while (0)
void rig_wait_begin(struct rig *rig);
void rig_wait_end(struct rig *rig, bool is_true, const char *condition);

#endif

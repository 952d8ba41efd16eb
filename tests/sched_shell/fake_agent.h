/*
 * A node without a hypervisor, in three parts: what it runs and its log (fake_agent_vms.c), its
 * schedulers (fake_agent_links.c), and its life (fake_agent.c).
 */
#ifndef FLOTILLA_TESTS_FAKE_AGENT_H
#define FLOTILLA_TESTS_FAKE_AGENT_H

#include "common/base/units.h"
#include "proto/wire.h"

#include <uv.h>

enum { FAKE_SCHEDULERS_MAX = 8 };

struct fake_options {
	const char *buses[FAKE_SCHEDULERS_MAX]; /* one for each scheduler */
	uint32_t buses_n;
	const char *token, *name, *template_, *truth, *inits, *egress;
	const char *spied;   /* a sandbox of another node that it speaks of as if it were its own */
	const char *trouble; /* why it can start nothing, as it says; NULL: nothing is wrong */
	uint32_t sandboxes, claim_ms, usage_ms;
	bool observe; /* says what each sandbox uses and says, once it has begun */
	bool refuse;
	bool keep; /* no pause succeeds */
	bool leaving;
};

extern struct fake_options options;

/* fake_agent_egress.c: what the order says of what the sandbox may reach, for --egress. */
void egress_write(const struct wire_order *order);

struct mono now_mono(void);
int64_t now_wall_ns(void);

/* ---- what it runs ---- */

void vms_open(void);
void vms_close(void);

/* A leader's answer to a poll that was sent then; 0: that is not known. */
void vms_take_answer(const struct wire_answer *answer, struct mono sent_at);

/* Begins and ends what is due by now. */
void vms_turn(void);

/* All that a poll says but its records and templates. */
void vms_fill_poll(struct wire_poll *poll);
uint32_t vms_running_n(void);
uint64_t vms_epoch(void); /* the highest of a leader's answer */

/* The log: records first_seq..vms_end_seq() - 1, good until the next one is written. */
uint64_t vms_end_seq(void);
const struct wire_record *vms_records(uint64_t first_seq);

/* A line for each that ever ran: "sandbox ran_ms ended epoch", the epoch being of its claim. */
void vms_write_truth(const char *path);

/* ---- its schedulers ---- */

int links_open(uv_loop_t *loop, struct err *err);
void links_close(void);

/* Sends what is due by now. */
void links_turn(void);

/* The log has grown. */
void links_tell_records(void);

/* To each scheduler with which there is a session. */
void links_tell_observed(const struct wire_observed *observed);

/* Something else of a poll has changed, and a leader waits for it. */
void links_tell_news(void);

#endif

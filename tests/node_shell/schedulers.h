/*
 * Schedulers that do as they are told, on the real bus and on the test's own loop: they enrol, open
 * sessions, park polls by the pump's rules, keep what they hear, and answer as leader or standby.
 */
#ifndef FLOTILLA_TESTS_NODE_SHELL_SCHEDULERS_H
#define FLOTILLA_TESTS_NODE_SHELL_SCHEDULERS_H

#include "common/io/bus.h"
#include "proto/envelope.h"
#include "proto/handshake.h"
#include "proto/pump.h"

#include <stdbool.h>
#include <uv.h>

enum { SCHEDULER_RECORDS_MAX = 512 };

struct scheduler {
	struct bus bus;
	struct identity self; /* the fleet's: all have the same */
	uv_timer_t turn;
	/* How it answers: */
	bool standby;
	uint64_t epoch, lease_ms, lost_below;
	struct wire_order order; /* given with each answer while its attempt is not 0 */
	/* What it heard: */
	uint32_t enrols_asked_n, sessions_n, polls_n;
	uint64_t observed_n, samples_n, lines_n, lost_n; /* of all observations */
	struct id observed;                              /* the sandbox of the last one */
	struct wire_poll poll;                           /* the last; without its lists */
	bool was_left;                                   /* a poll said goodbye */
	struct wire_record records[SCHEDULER_RECORDS_MAX];
	uint8_t note[WIRE_NOTE_MAX]; /* of the last record that had one */
	size_t note_n;
	uint64_t next_seq;
	void (*on_poll)(struct scheduler *scheduler, const struct wire_poll *poll);
	/* Private: */
	uint8_t node_key[IDENTITY_PUBLIC_N];
	struct envelope_peer peer;
	struct pump_server pump;
	struct wire_arena arena;
	uint8_t *plain, *out;
};

extern const char scheduler_node[]; /* the id that nodes get */

/* 127.0.0.1, a port that was free. */
void scheduler_open(struct scheduler *scheduler, uv_loop_t *loop);
void scheduler_url(const struct scheduler *scheduler, char out_url[64]);

/* Answers a parked poll now. */
void scheduler_wake(struct scheduler *scheduler);

void scheduler_close(struct scheduler *scheduler);
void scheduler_free(struct scheduler *scheduler); /* after the loop */

#endif

/*
 * One replica's side of etcd: who leads, and the fleet's decisions in and out.
 *
 * Everything is called on the loop's thread, callbacks from the loop and never from within a
 * function of this header.  From within a callback everything here may be called, ha_close too.
 *
 *	etcd is slow or cut off	a leader leads on until its own clock ends that; decisions are
 *				refused with STORE_UNAVAILABLE; nobody new leads
 *	etcd is full		a leader leads on, since keeping a lease needs no room; decisions
 *				are refused; nobody new leads until there is room
 *	it was restarted	the watch goes on where it was
 *	compacted		the decisions are read again as a whole
 *	wiped, set back		the fleet's key is gone, or the revision lower than what was
 *				applied: this replica follows, refuses to lead, and says so loudly
 *				until that is mended
 */
#ifndef FLOTILLA_HA_H
#define FLOTILLA_HA_H

#include "common/base/err.h"
#include "common/base/units.h"
#include "common/io/address.h"
#include "proto/reasons.h"
#include "scheduler/election/election.h"
#include "scheduler/shell/store/store.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { HA_NAME_MAX = 64, HA_FINGERPRINT_N = 32 };

struct ha; /* one replica's */

struct ha_peer {
	char name[HA_NAME_MAX]; /* [a-z0-9-_.], unique in the fleet */
	char api[ADDRESS_TEXT_MAX], bus[ADDRESS_TEXT_MAX];
};

struct ha_options {
	const char *endpoints; /* "http://a:2379,http://b:2379" */
	const char *ca_file;   /* for https; NULL: whom the system believes */
	struct ha_peer self;
	uint8_t fingerprint[HA_FINGERPRINT_N]; /* secrets_fingerprint */
	struct election_limits limits;         /* ha_limits_default */
	/* The last `revision` of on_decisions that is durable here; 0: none. */
	uint64_t applied_revision;
};

struct ha_callbacks {
	void *data;

	/* Leader now; every decision made before was applied. 1..INT32_MAX-1, greater than that of
	 * any leader before. */
	void (*on_lead)(void *data, uint64_t epoch);

	/* Led, and does not any more: drop everything. Whatever ha_decide has under way is
	 * refused with NO_LEADER, after this. */
	void (*on_follow)(void *data);

	/* Who leads, as far as is known; NULL: nobody is known to. Also of oneself. Only when it
	 * changed. */
	void (*on_leader)(void *data, const struct ha_peer *leader);

	/*
	 * Decisions in their order, to be written in one transaction together with `revision`, and
	 * answered by ha_applied when durable.  One call is under way at a time; ops are borrowed
	 * until that answer.  whole: all there are, maybe none, in an order in which none needs a
	 * later one (at the first start, after a compaction); what is not among them was never
	 * decided, or is a token that expired.  A decision may come again, and says the same.  The
	 * revision is not a number to count with: it says where this replica is, in which etcd.
	 */
	void (*on_decisions)(void *data, const struct store_op *ops, size_t n, uint64_t revision,
			     bool whole);
};

/* ttl 2 s (etcd's shortest), of which a leader uses all but the margin. */
struct election_limits ha_limits_default(void);

/*
 * Before the loop runs: blocks for at most a few seconds on the fleet's key.  A fleet that was
 * never initialised, or that has other secrets, is a fault.  An etcd that does not answer is none.
 */
int ha_check(const struct ha_options *options, struct err *err);

/* Does not block. What ha_check would refuse is refused by following, loudly, until it is mended;
 * so is etcd's silence. */
int ha_open(struct ha **out, uv_loop_t *loop, const struct ha_options *options,
	    const struct ha_callbacks *callbacks, struct err *err);

/* Answers on_decisions. false: could not be written; the same ops are given again after a pause,
 * and until they are written this replica does not lead. May be called from within on_decisions. */
void ha_applied(struct ha *ha, bool durable);

/*
 * Writes one decision (STORE_OP_TENANT KEY NODE TOKEN NODE_SET PLAN PRICE; op is copied), fenced
 * by the leader key with its own create revision.  Decisions are written one after the other.
 *   NONE               it is in etcd, and applied here durably
 *   STORE_UNAVAILABLE  refused, or unknown for too long: it may yet come as a decision
 *   NO_LEADER          this replica does not lead (any more); it may have been written as the last
 * on_decided is called exactly once, unless ha_close comes first.
 */
typedef void (*ha_decided_cb)(void *data, enum refusal refusal);
void ha_decide(struct ha *ha, const struct store_op *op, ha_decided_cb on_decided, void *data);

/* By this replica's own clock (CLOCK_BOOTTIME): asked before anything is promised in the leader's
 * name. True only between on_lead and on_follow. */
bool ha_leads(const struct ha *ha, struct mono now);

/* NULL: nobody is known to lead. Borrowed until the loop runs on. */
const struct ha_peer *ha_leader(const struct ha *ha);

/* false: this replica cannot lead now (its store fails): on_follow is called if it led, the lease
 * is given back, and it does not campaign until it is told true. */
void ha_set_fit(struct ha *ha, bool is_fit);

/* For good: on_follow is called (from the loop) if it led, and the lease is given back, so that
 * another leads at once. Decisions still come in. */
void ha_resign(struct ha *ha);

/* No callback is called any more; what the loop still needs is freed by it later, at most the
 * answer_ms that a lease takes to be given back after ha_resign. Without that it is left to end by
 * itself. NULL is fine. */
void ha_close(struct ha *ha);

#endif

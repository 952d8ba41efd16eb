/*
 * Decisions out: one after the other, each a transaction that holds only while our leader key is
 * there, unchanged.  When it is not known what became of one, the leader key is written again: once
 * that is answered, the transaction was either carried out before, which its key tells, or never
 * will be.
 */
#include "scheduler/ha/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "scheduler/ha/codec.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DECIDE_PATIENCE_MS = 5000 };

struct decision {
	struct list link;
	char key[CODEC_KEY_MAX];
	char *value;
	int64_t expires_at; /* wall: a token's; 0: never */
	int64_t lease;      /* that ends it; 0: none yet */
	bool is_in_doubt;   /* it may have been carried out */
	struct mono until;
	int64_t revision; /* that it was written at */
	enum refusal refusal;
	ha_decided_cb on_decided;
	void *data;
};

static struct decision *decide_first(const struct list *head)
{
	struct list *link = list_first(head);

	return link ? LIST_OBJECT(link, struct decision, link) : NULL;
}

static void decide_free(struct decision *decision)
{
	list_remove(&decision->link);
	free(decision->value);
	free(decision);
}

static void decide_move(struct decision *decision, struct list *to)
{
	list_remove(&decision->link);
	list_append(to, &decision->link);
}

static void decide_refuse(struct ha *ha, struct decision *decision, enum refusal refusal)
{
	decision->refusal = refusal;
	decide_move(decision, &ha->decide.answered);
	ha_poke(ha);
}

static void decide_take_as_written(struct ha *ha, struct decision *decision, int64_t revision)
{
	decision->revision = revision;
	decision->is_in_doubt = false;
	decide_move(decision, &ha->decide.written);
	ha_poke(ha);
}

/* Tried again until its patience ends; what is in doubt stays so for those behind it. */
static void decide_wait(struct ha *ha, struct decision *decision)
{
	if (decision && ha_now().ns >= decision->until.ns)
		decide_refuse(ha, decision, REFUSAL_STORE_UNAVAILABLE);
	ha_set_timer(ha, HA_TIMER_SETTLE, HA_PAUSE_MS);
}

/* True: the answer is of a time when we led and do not any more, or lead anew. */
static bool decide_is_over(struct ha *ha)
{
	ha->decide.is_asking = false;
	if (ha->is_closed)
		return true;
	if (ha->decide.asked_fence == ha->campaign.fence)
		return false;
	decide_carry_on(ha);
	return true;
}

/* ---- the transaction ---- */

static void decide_on_written(void *data, const struct etcd_answer *answer)
{
	struct ha *ha = data;
	struct decision *decision = decide_first(&ha->decide.waiting);

	if (decide_is_over(ha) || !decision)
		return;
	switch (answer->outcome) {
	case ETCD_ANSWERED:
		if (answer->succeeded) {
			decide_take_as_written(ha, decision, answer->revision);
		} else if (answer->kvs_n && answer->kvs[0].create_revision == ha->campaign.fence) {
			/* Ours, and written since: by a question that was thought lost. */
			ha->decide.fence_mod = answer->kvs[0].mod_revision;
		} else {
			log_warn("ha", "a decision came too late: another leads, or nobody");
			decide_refuse(ha, decision, REFUSAL_NO_LEADER);
		}
		break;
	case ETCD_REFUSED:
	case ETCD_UNSENT:
		log_error("ha", "a decision cannot be written", LOG_TEXT("key", decision->key),
			  LOG_ERR(&answer->err));
		decide_refuse(ha, decision, REFUSAL_STORE_UNAVAILABLE);
		break;
	case ETCD_UNKNOWN:
		log_warn("ha", "nobody knows whether a decision was written: finding out",
			 LOG_TEXT("key", decision->key), LOG_ERR(&answer->err));
		decision->is_in_doubt = ha->decide.is_in_doubt = true;
		break;
	}
	decide_carry_on(ha);
}

static void decide_write(struct ha *ha, const struct decision *decision)
{
	struct etcd_compare compares[] = {
		{HA_KEY_LEADER, ETCD_TARGET_CREATE, ha->campaign.fence},
		{HA_KEY_LEADER, ETCD_TARGET_MOD, ha->decide.fence_mod},
	};
	struct etcd_op put = {.kind = ETCD_OP_PUT,
			      .key = decision->key,
			      .value = decision->value,
			      .value_n = strlen(decision->value),
			      .lease = decision->lease};
	struct etcd_op read = {.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_LEADER}};
	struct etcd_txn txn = {.compares = compares,
			       .compares_n = ARRAY_N(compares),
			       .success = &put,
			       .success_n = 1,
			       .failure = &read,
			       .failure_n = 1};

	etcd_txn(ha->etcd_slow, &txn, decide_on_written, ha);
}

/* ---- finding out ---- */

static void decide_on_settled(void *data, const struct etcd_answer *answer)
{
	struct ha *ha = data;
	struct decision *decision = decide_first(&ha->decide.waiting);

	if (decide_is_over(ha))
		return;
	if (answer->outcome != ETCD_ANSWERED) {
		decide_wait(ha, decision);
		return;
	}
	if (!answer->succeeded) {
		if (decision)
			decide_refuse(ha, decision, REFUSAL_NO_LEADER);
		decide_carry_on(ha);
		return;
	}
	ha->decide.fence_mod = answer->revision;
	ha->decide.is_in_doubt = false;
	if (decision && decision->is_in_doubt) {
		const struct etcd_kv *kv = answer->kvs_n ? &answer->kvs[0] : NULL;

		decision->is_in_doubt = false;
		/* The same value by whoever wrote it is the same decision. */
		if (kv && strcmp(kv->key, decision->key) == 0 &&
		    kv->value_n == strlen(decision->value) &&
		    memcmp(kv->value, decision->value, kv->value_n) == 0)
			decide_take_as_written(ha, decision, kv->mod_revision);
	}
	decide_carry_on(ha);
}

static void decide_settle(struct ha *ha, const struct decision *decision)
{
	struct etcd_compare compare = {HA_KEY_LEADER, ETCD_TARGET_CREATE, ha->campaign.fence};
	struct etcd_op ops[] = {
		{.kind = ETCD_OP_PUT,
		 .key = HA_KEY_LEADER,
		 .value = ha->self_json,
		 .value_n = strlen(ha->self_json),
		 .lease = ha->campaign.election.lease},
		{.kind = ETCD_OP_RANGE, .range = {.key = decision->key}},
	};
	struct etcd_txn txn = {
		.compares = &compare, .compares_n = 1, .success = ops, .success_n = ARRAY_N(ops)};

	etcd_txn(ha->etcd_slow, &txn, decide_on_settled, ha);
}

/* ---- tokens end by themselves ---- */

static void decide_on_lease(void *data, const struct etcd_answer *answer)
{
	struct ha *ha = data;
	struct decision *decision = decide_first(&ha->decide.waiting);

	if (decide_is_over(ha) || !decision)
		return;
	if (answer->outcome == ETCD_ANSWERED)
		decision->lease = answer->lease;
	else /* a lease that was granted all the same ends by itself */
		decide_refuse(ha, decision, REFUSAL_STORE_UNAVAILABLE);
	decide_carry_on(ha);
}

static void decide_lease(struct ha *ha, const struct decision *decision)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	int64_t left_ms = (decision->expires_at - now.tv_sec * NS_PER_S - now.tv_nsec) / NS_PER_MS;
	if (left_ms < 1000)
		left_ms = 1000;
	etcd_grant(ha->etcd_slow, left_ms < UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX,
		   decide_on_lease, ha);
}

/* ---- the contract ---- */

void decide_carry_on(struct ha *ha)
{
	struct decision *decision = decide_first(&ha->decide.waiting);

	if (!decision || ha->decide.is_asking)
		return;
	if (!ha->told_epoch || !campaign_leads(ha, ha_now())) {
		decide_refuse_all(ha, REFUSAL_NO_LEADER);
		return;
	}
	ha_stop_timer(ha, HA_TIMER_SETTLE);
	ha->decide.is_asking = true;
	ha->decide.asked_fence = ha->campaign.fence;
	if (ha->decide.is_in_doubt)
		decide_settle(ha, decision);
	else if (decision->expires_at && !decision->lease)
		decide_lease(ha, decision);
	else
		decide_write(ha, decision);
}

void ha_decide(struct ha *ha, const struct store_op *op, ha_decided_cb on_decided, void *data)
{
	struct decision *decision = calloc(1, sizeof(*decision));
	struct err err;

	CHECK(decision && !ha->is_closed);
	decision->on_decided = on_decided;
	decision->data = data;
	decision->until = mono_add_ms(ha_now(), DECIDE_PATIENCE_MS);
	if (op->kind == STORE_OP_TOKEN)
		decision->expires_at = op->token.expires_at;
	list_append(&ha->decide.waiting, &decision->link);
	if (codec_encode(op, decision->key, &decision->value, &err)) {
		log_error("ha", "a decision cannot be written", LOG_ERR(&err));
		decide_refuse(ha, decision, REFUSAL_STORE_UNAVAILABLE);
		return;
	}
	decide_carry_on(ha);
}

void decide_refuse_all(struct ha *ha, enum refusal refusal)
{
	struct decision *decision;

	while ((decision = decide_first(&ha->decide.written)))
		decide_refuse(ha, decision, refusal);
	while ((decision = decide_first(&ha->decide.waiting)))
		decide_refuse(ha, decision, refusal);
}

bool decide_answer(struct ha *ha)
{
	struct decision *decision = decide_first(&ha->decide.answered);

	if (!decision) {
		decision = decide_first(&ha->decide.written);
		if (!decision ||
		    fleet_revision(&ha->mirror.fleet, ha->mirror.applied) < decision->revision)
			return false;
		decision->refusal = REFUSAL_NONE;
	}
	ha_decided_cb on_decided = decision->on_decided;
	void *data = decision->data;
	enum refusal refusal = decision->refusal;
	decide_free(decision);
	if (on_decided)
		on_decided(data, refusal);
	return true;
}

void decide_open(struct ha *ha)
{
	list_init(&ha->decide.waiting);
	list_init(&ha->decide.written);
	list_init(&ha->decide.answered);
}

void decide_close(struct ha *ha)
{
	struct decision *decision;

	while ((decision = decide_first(&ha->decide.waiting)) ||
	       (decision = decide_first(&ha->decide.written)) ||
	       (decision = decide_first(&ha->decide.answered)))
		decide_free(decision);
}

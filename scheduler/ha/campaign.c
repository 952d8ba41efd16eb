/*
 * Carries out what scheduler/election wants of etcd, and feeds it what comes back.  It is the
 * election that decides; what keeps it from being asked at all is in ha_consider.
 */
#include "scheduler/ha/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct campaign_request {
	struct list link;
	struct ha *ha;
	uint64_t round;
	enum election_effect_kind kind;
	uint32_t number;
	int64_t lease;
	struct mono asked_at;
};

static void campaign_step(struct ha *ha, const struct election_event *event);

static struct campaign_request *campaign_request(struct ha *ha,
						 const struct election_effect *effect)
{
	struct campaign_request *request = calloc(1, sizeof(*request));

	CHECK(request);
	request->ha = ha;
	request->round = ha->campaign.round;
	request->kind = effect->kind;
	request->number = effect->request;
	request->lease = effect->lease;
	request->asked_at = ha_now();
	list_append(&ha->campaign.requests, &request->link);
	return request;
}

static void campaign_free(struct campaign_request *request)
{
	list_remove(&request->link);
	free(request);
}

/* ---- answers ---- */

static void campaign_on_replica(void *data, const struct etcd_answer *answer)
{
	struct ha *ha = data;

	if (answer->outcome != ETCD_ANSWERED)
		ha->campaign.replica_lease = 0; /* again, with the next keep-alive */
}

/* Under the same lease, so that it goes when this replica does. */
static void campaign_register(struct ha *ha)
{
	char key[sizeof(HA_KEY_REPLICA) + HA_NAME_MAX];
	int64_t lease = ha->campaign.election.lease;

	if (!lease || ha->campaign.replica_lease == lease)
		return;
	ha->campaign.replica_lease = lease;
	snprintf(key, sizeof(key), HA_KEY_REPLICA "%s", ha->options.self.name);
	struct etcd_op put = {.kind = ETCD_OP_PUT,
			      .key = key,
			      .value = ha->self_json,
			      .value_n = strlen(ha->self_json),
			      .lease = lease};
	struct etcd_txn txn = {.success = &put, .success_n = 1};
	etcd_txn(ha->etcd_slow, &txn, campaign_on_replica, ha);
}

static void campaign_tell_of(struct ha *ha, const struct etcd_kv *kv, int64_t revision)
{
	struct ha_peer peer;
	struct err err;

	if (revision <= ha->campaign.key_revision)
		return; /* news of the past */
	ha->campaign.key_revision = revision;
	if (kv && fleet_peer_decode(kv, &peer, &err)) {
		log_error("ha", "the leader cannot be read", LOG_ERR(&err));
		kv = NULL;
	}
	ha_set_leader(ha, kv ? &peer : NULL);
}

static void campaign_read_key(struct ha *ha, const struct campaign_request *request,
			      const struct etcd_answer *answer, struct election_event *event)
{
	const struct etcd_kv *kv = answer->kvs_n ? &answer->kvs[0] : NULL;

	event->kind = ELECTION_KEY;
	event->exists = true;
	if (request->kind == ELECTION_CAMPAIGN && answer->succeeded) {
		event->lease = request->lease;
		event->revision = (uint64_t)answer->revision;
		if (answer->revision > ha->campaign.key_revision) {
			ha->campaign.key_revision = answer->revision;
			ha_set_leader(ha, &ha->options.self);
		}
		return;
	}
	event->exists = kv != NULL;
	event->lease = kv ? kv->lease : 0;
	event->revision = (uint64_t)(kv ? kv->create_revision : answer->revision);
	campaign_tell_of(ha, kv, answer->revision);
}

static void campaign_on_answer(void *data, const struct etcd_answer *answer)
{
	struct campaign_request *request = data;
	struct ha *ha = request->ha;
	struct election_event event = {
		.kind = ELECTION_FAILED,
		.now = ha_now(),
		.request = request->number,
		.asked_at = request->asked_at,
		.lease = answer->lease,
		.ttl_ms = answer->ttl_ms,
	};

	if (answer->outcome != ETCD_ANSWERED)
		log_warn("ha", "etcd does not do what the election wants", LOG_ERR(&answer->err));
	else if (request->kind == ELECTION_GRANT)
		event.kind = ELECTION_GRANTED;
	else if (request->kind == ELECTION_KEEP)
		event.kind = ELECTION_KEPT;
	else if (request->round == ha->campaign.round)
		campaign_read_key(ha, request, answer, &event);
	bool is_ours = request->round == ha->campaign.round && ha->campaign.runs;
	/* A lease that nobody wants any more would only keep others waiting if it got the key: it
	 * did not, and ends by itself. */
	campaign_free(request);
	if (!is_ours)
		return;
	campaign_step(ha, &event);
	campaign_register(ha);
}

static void campaign_on_revoked(void *data, const struct etcd_answer *answer)
{
	struct campaign_request *request = data;
	struct ha *ha = request->ha;

	if (answer->outcome != ETCD_ANSWERED && answer->code != ETCD_CODE_NOT_FOUND)
		log_warn("ha", "a lease was not given back: it ends by itself",
			 LOG_ERR(&answer->err));
	campaign_free(request);
	ha->campaign.revokes_n--;
	ha_poke(ha); /* a closed one waits for this */
}

/* ---- what the election wants ---- */

static void campaign_write_key(struct ha *ha, const struct election_effect *effect)
{
	struct etcd_compare absent = {
		.key = HA_KEY_LEADER, .target = ETCD_TARGET_CREATE, .value = 0};
	struct etcd_op put = {.kind = ETCD_OP_PUT,
			      .key = HA_KEY_LEADER,
			      .value = ha->self_json,
			      .value_n = strlen(ha->self_json),
			      .lease = effect->lease};
	struct etcd_op read = {.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_LEADER}};
	struct etcd_txn txn = {.compares = &absent,
			       .compares_n = 1,
			       .success = &put,
			       .success_n = 1,
			       .failure = &read,
			       .failure_n = 1};

	etcd_txn(ha->etcd, &txn, campaign_on_answer, campaign_request(ha, effect));
}

static void campaign_lead(struct ha *ha, uint64_t revision)
{
	ha->campaign.fence = (int64_t)revision;
	ha->decide.fence_mod = (int64_t)revision;
	ha->decide.is_in_doubt = false;
	ha_poke(ha);
}

static void campaign_follow(struct ha *ha)
{
	ha->campaign.fence = 0;
	if (ha->told_epoch)
		ha->follow_is_due = true;
	/* Nobody of that name leads any more, whatever the key still says. */
	if (ha->knows_leader && strcmp(ha->leader.name, ha->options.self.name) == 0)
		ha_set_leader(ha, NULL);
	ha_poke(ha);
}

static void campaign_carry_out(struct ha *ha, const struct election_effect *effect)
{
	struct etcd_range leader = {.key = HA_KEY_LEADER};

	switch (effect->kind) {
	case ELECTION_GRANT:
		etcd_grant(ha->etcd, effect->ttl_ms, campaign_on_answer,
			   campaign_request(ha, effect));
		break;
	case ELECTION_KEEP:
		etcd_keep(ha->etcd, effect->lease, campaign_on_answer,
			  campaign_request(ha, effect));
		break;
	case ELECTION_CAMPAIGN:
		campaign_write_key(ha, effect);
		break;
	case ELECTION_READ:
		etcd_range(ha->etcd, &leader, campaign_on_answer, campaign_request(ha, effect));
		break;
	case ELECTION_REVOKE:
		ha->campaign.revokes_n++;
		ha->campaign.replica_lease = 0;
		etcd_revoke(ha->etcd, effect->lease, campaign_on_revoked,
			    campaign_request(ha, effect));
		break;
	case ELECTION_LEAD:
		campaign_lead(ha, effect->revision);
		break;
	case ELECTION_FOLLOW:
		campaign_follow(ha);
		break;
	}
}

static void campaign_arm(struct ha *ha)
{
	struct mono at;

	if (!ha->campaign.runs || !election_next_deadline(&ha->campaign.election, &at)) {
		ha_stop_timer(ha, HA_TIMER_TICK);
		return;
	}
	int64_t ns = at.ns - ha_now().ns;
	ha_set_timer(ha, HA_TIMER_TICK, ns > 0 ? (ns + NS_PER_MS - 1) / NS_PER_MS : 0);
}

/* Never from within itself: etcd's answers come from the loop. */
static void campaign_step(struct ha *ha, const struct election_event *event)
{
	struct election_effects effects;

	election_step(&ha->campaign.election, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++)
		campaign_carry_out(ha, &effects.items[i]);
	campaign_arm(ha);
}

/* ---- the contract ---- */

void campaign_start(struct ha *ha)
{
	struct election_event event = {.kind = ELECTION_START, .now = ha_now()};

	if (ha->campaign.runs)
		return;
	ha->campaign.runs = true;
	ha->campaign.round++;
	election_init(&ha->campaign.election, &ha->options.limits);
	campaign_step(ha, &event);
}

void campaign_stop(struct ha *ha)
{
	struct election_event event = {.kind = ELECTION_RESIGN, .now = ha_now()};

	if (!ha->campaign.runs)
		return;
	campaign_step(ha, &event);
	ha->campaign.runs = false;
	ha->campaign.round++;
	campaign_arm(ha);
}

void campaign_tick(struct ha *ha)
{
	struct election_event event = {.kind = ELECTION_TICK, .now = ha_now()};

	if (ha->campaign.runs)
		campaign_step(ha, &event);
}

bool campaign_leads(const struct ha *ha, struct mono now)
{
	return ha->campaign.runs && ha->campaign.fence &&
	       election_leads(&ha->campaign.election, now);
}

void campaign_see(struct ha *ha, const struct etcd_kv *kv, int64_t revision)
{
	struct election_event event = {
		.kind = kv ? ELECTION_LEADER_SEEN : ELECTION_LEADER_GONE,
		.now = ha_now(),
		.lease = kv ? kv->lease : 0,
		.revision = (uint64_t)(kv ? kv->create_revision : revision),
	};

	campaign_tell_of(ha, kv, revision);
	/* The election knows by itself what is old: it may not have taken what made it so. */
	if (ha->campaign.runs)
		campaign_step(ha, &event);
}

void campaign_lose_sight(struct ha *ha)
{
	struct election_event event = {.kind = ELECTION_WATCH_LOST, .now = ha_now()};

	if (ha->campaign.runs)
		campaign_step(ha, &event);
}

void campaign_open(struct ha *ha)
{
	list_init(&ha->campaign.requests);
}

/* After etcd was closed: nobody answers any more. */
void campaign_close(struct ha *ha)
{
	struct list *link;

	while ((link = list_first(&ha->campaign.requests)))
		campaign_free(LIST_OBJECT(link, struct campaign_request, link));
}

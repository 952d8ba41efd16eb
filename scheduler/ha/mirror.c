/*
 * What etcd has for this fleet, read once and then watched: the fleet's own key, the leader's, and
 * decisions, which are given to the store in their order.  One watch sees all of it, so that who
 * has seen a leader's key has seen every decision of the leaders before.
 */
#include "scheduler/ha/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "scheduler/ha/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ops ---- */

static struct store_op *mirror_next(struct mirror_ops *ops)
{
	if (ops->n == ops->room) {
		ops->room = ops->room * 2 + 16;
		ops->items = realloc(ops->items, ops->room * sizeof(*ops->items));
		CHECK(ops->items);
	}
	return &ops->items[ops->n++];
}

static void mirror_add(struct mirror_ops *ops, const struct etcd_kv *kv)
{
	struct err err;

	if (codec_decode(kv->key, kv->value, kv->value_n, mirror_next(ops), &err)) {
		log_error("ha", "a decision in etcd cannot be read and is left out", LOG_ERR(&err));
		ops->n--;
	}
}

static void mirror_empty(struct mirror_ops *ops)
{
	for (size_t i = 0; i < ops->n; i++)
		store_op_clear(&ops->items[i]);
	ops->n = 0;
	ops->is_whole = ops->is_due = false;
}

/* ---- decisions to the store ---- */

bool mirror_give(struct ha *ha)
{
	struct mirror *mirror = &ha->mirror;
	struct mirror_ops swap = mirror->given;

	if (mirror->is_given || mirror->is_pausing)
		return false;
	if (!mirror->given.is_due) {
		/* The whole comes before what changed meanwhile. */
		if (!mirror->waiting.is_due || mirror->pages_at)
			return false;
		mirror->given = mirror->waiting;
		mirror->waiting = swap;
		mirror_empty(&mirror->waiting);
	}
	mirror->is_given = true;
	ha->callbacks.on_decisions(ha->callbacks.data, mirror->given.items, mirror->given.n,
				   mirror->given.position, mirror->given.is_whole);
	return true;
}

void ha_applied(struct ha *ha, bool durable)
{
	struct mirror *mirror = &ha->mirror;

	CHECK(mirror->is_given);
	mirror->is_given = false;
	if (durable) {
		mirror->applied = mirror->given.position;
		mirror_empty(&mirror->given);
	} else {
		mirror->is_pausing = true;
		ha_set_timer(ha, HA_TIMER_AGAIN, HA_PAUSE_MS);
	}
	/* Who cannot write does not lead. */
	mirror->is_stuck = !durable;
	ha_consider(ha);
	ha_poke(ha);
}

bool mirror_has(const struct ha *ha, int64_t revision)
{
	const struct mirror *mirror = &ha->mirror;

	return mirror->has_fleet && !mirror->pages_at && mirror->seen_revision >= revision &&
	       !mirror->given.is_due && !mirror->waiting.is_due;
}

/* ---- the watch ---- */

/* What was seen stays seen, and a later reading goes on behind it; but of a reading that was cut
 * off nothing is here, whatever the watch brought meanwhile. */
static void mirror_stop(struct ha *ha)
{
	struct mirror *mirror = &ha->mirror;

	etcd_watch_close(mirror->watch);
	mirror->watch = NULL;
	if (mirror->pages_at) {
		mirror->seen_revision =
			fleet_revision(&mirror->fleet, mirror->given.is_due ? mirror->given.position
									    : mirror->applied);
		mirror->needs_whole |= mirror->seen_revision == 0;
		mirror_empty(&mirror->reading);
		mirror_empty(&mirror->waiting);
	}
	mirror->pages_at = 0;
}

static void mirror_on_events(void *data, const struct etcd_event *events, size_t n,
			     int64_t revision)
{
	struct ha *ha = data;
	struct mirror *mirror = &ha->mirror;
	bool fleet_changed = false;

	for (size_t i = 0; i < n; i++) {
		const struct etcd_kv *kv = &events[i].kv;

		if (strcmp(kv->key, HA_KEY_LEADER) == 0) {
			campaign_see(ha, events[i].is_deleted ? NULL : kv, kv->mod_revision);
		} else if (strcmp(kv->key, HA_KEY_FLEET) == 0) {
			fleet_changed = true;
		} else if (strncmp(kv->key, CODEC_PREFIX, strlen(CODEC_PREFIX)) != 0) {
			continue; /* replicas */
		} else if (!events[i].is_deleted) {
			mirror_add(&mirror->waiting, kv);
			mirror->waiting.is_due = mirror->waiting.n > 0;
			mirror->waiting.position = fleet_position(&mirror->fleet, revision);
		} else if (strncmp(kv->key, CODEC_PREFIX "token/", strlen(CODEC_PREFIX "token/"))) {
			log_error("ha", "a decision was deleted from etcd, and holds all the same",
				  LOG_TEXT("key", kv->key));
		}
	}
	mirror->seen_revision = revision;
	if (fleet_changed)
		mirror_look(ha);
	ha_consider(ha);
	ha_poke(ha);
}

static void mirror_on_lost(void *data, enum etcd_lost why, const struct err *err)
{
	struct ha *ha = data;

	log_warn("ha", "the watch is lost, and all is read again", LOG_ERR(err));
	ha->mirror.needs_whole |= why == ETCD_LOST_COMPACTED;
	campaign_lose_sight(ha);
	mirror_stop(ha);
	ha_set_timer(ha, HA_TIMER_LOOK, why == ETCD_LOST_REFUSED ? HA_PAUSE_MS : 0);
}

static void mirror_on_broken(void *data, const struct err *err)
{
	struct ha *ha = data;

	if (err) {
		log_warn("ha", "etcd's watch broke", LOG_ERR(err));
		return;
	}
	/* It may be another etcd than the one that went away. */
	log_info("ha", "etcd's watch goes on", LOG_TEXT("endpoint", etcd_endpoint(ha->etcd)));
	mirror_look(ha);
}

static void mirror_watch(struct ha *ha, int64_t from)
{
	struct etcd_watch_callbacks callbacks = {.data = ha,
						 .on_events = mirror_on_events,
						 .on_lost = mirror_on_lost,
						 .on_broken = mirror_on_broken};

	ha->mirror.watch = etcd_watch_open(ha->etcd, HA_PREFIX, true, from, &callbacks);
}

/* ---- reading, page by page, as it was at one revision ---- */

static void mirror_read_page(struct ha *ha);

static void mirror_on_page(void *data, const struct etcd_answer *answer)
{
	struct ha *ha = data;
	struct mirror *mirror = &ha->mirror;

	mirror->is_paging = false;
	if (!mirror->pages_at || ha->is_closed)
		return; /* of no use any more */
	if (answer->outcome != ETCD_ANSWERED) {
		log_warn("ha", "cannot read the decisions", LOG_ERR(&answer->err));
		mirror_stop(ha);
		ha_set_timer(ha, HA_TIMER_LOOK, HA_PAUSE_MS);
		return;
	}
	for (size_t i = 0; i < answer->kvs_n; i++)
		mirror_add(&mirror->reading, &answer->kvs[i]);
	if (answer->kvs_n && answer->more) {
		snprintf(mirror->after, sizeof(mirror->after), "%s",
			 answer->kvs[answer->kvs_n - 1].key);
		mirror_read_page(ha);
		return;
	}
	/* In front of what the watch has brought meanwhile. */
	codec_sort(mirror->reading.items, mirror->reading.n);
	for (size_t i = 0; i < mirror->waiting.n; i++)
		*mirror_next(&mirror->reading) = mirror->waiting.items[i];
	mirror->waiting.n = 0; /* their texts went with them */
	struct mirror_ops swap = mirror->waiting;
	mirror->waiting = mirror->reading;
	mirror->waiting.is_whole = mirror->needs_whole;
	mirror->waiting.is_due = mirror->needs_whole || mirror->waiting.n > 0;
	mirror->waiting.position = fleet_position(&mirror->fleet, mirror->seen_revision);
	mirror->reading = swap;
	mirror_empty(&mirror->reading);
	mirror->pages_at = 0;
	mirror->needs_whole = false;
	ha_consider(ha);
	ha_poke(ha);
}

static void mirror_read_page(struct ha *ha)
{
	struct mirror *mirror = &ha->mirror;
	struct etcd_range range = {.key = CODEC_PREFIX,
				   .is_prefix = true,
				   .after = mirror->after[0] ? mirror->after : NULL,
				   .revision = mirror->pages_at,
				   .changed_at = mirror->pages_since,
				   .limit = HA_PAGE_N};

	mirror->is_paging = true;
	etcd_range(ha->etcd_slow, &range, mirror_on_page, ha);
}

/* What there is at this revision, or what of it is new to us: with keys that are never deleted that
 * is the same, and needs no history.  What comes later is watched. */
static void mirror_read(struct ha *ha, int64_t revision)
{
	struct mirror *mirror = &ha->mirror;

	mirror_empty(&mirror->reading);
	if (mirror->needs_whole)
		mirror_empty(&mirror->waiting);
	mirror->after[0] = 0;
	mirror->pages_at = revision;
	mirror->pages_since = mirror->needs_whole ? 0 : mirror->seen_revision + 1;
	mirror->seen_revision = revision;
	mirror_watch(ha, revision + 1);
	mirror_read_page(ha);
}

/* ---- looking at the fleet's key ---- */

static const struct etcd_kv *mirror_find(const struct etcd_answer *answer, const char *key)
{
	for (size_t i = 0; i < answer->kvs_n; i++)
		if (strcmp(answer->kvs[i].key, key) == 0)
			return &answer->kvs[i];
	return NULL;
}

static void mirror_refuse(struct ha *ha, const struct err *why)
{
	mirror_stop(ha);
	ha_block(ha, why);
	ha_set_timer(ha, HA_TIMER_LOOK, HA_REFUSED_PAUSE_MS);
}

/* Another etcd than before, or the first one: nothing seen in the old one counts. */
static void mirror_change_fleet(struct ha *ha, const struct fleet *fleet)
{
	struct mirror *mirror = &ha->mirror;

	if (mirror->has_fleet)
		log_warn("ha", "etcd was initialised anew");
	mirror_stop(ha);
	campaign_stop(ha);
	ha->campaign.key_revision = 0;
	mirror->fleet = *fleet;
	mirror->has_fleet = true;
	mirror->seen_revision = fleet_revision(fleet, mirror->applied);
	mirror->needs_whole = mirror->seen_revision == 0;
	mirror->look_floor = mirror->seen_revision;
}

static int mirror_take_fleet(struct ha *ha, const struct etcd_answer *answer, struct err *err)
{
	struct mirror *mirror = &ha->mirror;
	struct fleet fleet;

	if (fleet_check(mirror_find(answer, HA_KEY_FLEET), ha->options.fingerprint, &fleet, err))
		return -1;
	if (!mirror->has_fleet || fleet.generation != mirror->fleet.generation)
		mirror_change_fleet(ha, &fleet);
	/* Once set back it stays so, even when its revision has grown beyond ours: what it had is
	 * not what we have. */
	if (answer->revision < mirror->look_floor)
		mirror->set_back_at = fleet.generation;
	if (mirror->set_back_at == fleet.generation)
		return err_set(err,
			       "etcd was set back: it is at revision %lld, this replica has seen "
			       "%lld. Mend etcd, or wipe it and run `flotilla ha init`",
			       (long long)answer->revision, (long long)mirror->seen_revision);
	return 0;
}

static void mirror_on_look(void *data, const struct etcd_answer *answer)
{
	struct ha *ha = data;
	struct mirror *mirror = &ha->mirror;
	struct err err;

	mirror->is_looking = false;
	if (ha->is_closed)
		return;
	if (answer->outcome != ETCD_ANSWERED) {
		log_warn("ha", "etcd does not answer", LOG_ERR(&answer->err));
		ha_set_timer(ha, HA_TIMER_LOOK, HA_PAUSE_MS);
		return;
	}
	if (mirror_take_fleet(ha, answer, &err)) {
		mirror_refuse(ha, &err);
		return;
	}
	ha_unblock(ha);
	campaign_see(ha, mirror_find(answer, HA_KEY_LEADER), answer->revision);
	if (!mirror->watch && mirror->is_paging) {
		/* A page of a reading that was given up is not to be taken for one of the next. */
		ha_set_timer(ha, HA_TIMER_LOOK, HA_PAUSE_MS);
	} else if (!mirror->watch) {
		mirror->look_revision = answer->revision;
		mirror_read(ha, answer->revision);
	}
	ha_consider(ha);
	ha_poke(ha);
}

void mirror_look(struct ha *ha)
{
	struct etcd_op reads[] = {
		{.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_FLEET}},
		{.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_LEADER}},
	};
	struct etcd_txn txn = {.success = reads, .success_n = ARRAY_N(reads)};

	if (ha->mirror.is_looking)
		return;
	ha->mirror.is_looking = true;
	/* What is seen while the question is under way may be newer than its answer. */
	ha->mirror.look_floor = ha->mirror.seen_revision;
	etcd_txn(ha->etcd_slow, &txn, mirror_on_look, ha);
}

/* ---- the contract ---- */

void mirror_open(struct ha *ha)
{
	ha->mirror.applied = ha->options.applied_revision;
	mirror_look(ha);
}

void mirror_close(struct ha *ha)
{
	struct mirror_ops *all[] = {&ha->mirror.reading, &ha->mirror.waiting, &ha->mirror.given};

	for (size_t i = 0; i < ARRAY_N(all); i++) {
		mirror_empty(all[i]);
		free(all[i]->items);
	}
}

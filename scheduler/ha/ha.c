#include "scheduler/ha/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct mono ha_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (struct mono){now.tv_sec * NS_PER_S + now.tv_nsec};
}

struct election_limits ha_limits_default(void)
{
	/* Kept each half second.  When an answer is late there is time for another try, at another
	 * endpoint, before the lease minus its margin is over. */
	return (struct election_limits){
		.ttl_ms = 2000, .margin_ms = 400, .retry_ms = 100, .answer_ms = 600};
}

/* ---- what is told, and when ---- */

/* The order matters: first that we do not lead, last what depends on everything else. */
static bool ha_tell_one(struct ha *ha)
{
	struct ha_callbacks *callbacks = &ha->callbacks;

	if (ha->follow_is_due) {
		ha->follow_is_due = false;
		ha->told_epoch = 0;
		decide_refuse_all(ha, REFUSAL_NO_LEADER);
		callbacks->on_follow(callbacks->data);
		return true;
	}
	if (ha->leader_is_due) {
		ha->leader_is_due = false;
		callbacks->on_leader(callbacks->data, ha_leader(ha));
		return true;
	}
	if (mirror_give(ha))
		return true;
	if (ha->campaign.fence && !ha->told_epoch && mirror_has(ha, ha->campaign.fence) &&
	    campaign_leads(ha, ha_now())) {
		uint64_t epoch = ha->mirror.fleet.epoch_base + (uint64_t)ha->campaign.fence;

		if (epoch >= INT32_MAX) {
			log_error("ha", "epochs are used up: this fleet cannot be led any more",
				  LOG_UINT("epoch", epoch));
			ha->is_spent = true;
			ha_consider(ha);
			return true;
		}
		ha->told_epoch = epoch;
		callbacks->on_lead(callbacks->data, epoch);
		return true;
	}
	return decide_answer(ha);
}

static void ha_finish(struct ha *ha);

static void ha_run(struct ha *ha)
{
	ha->is_running = true;
	while (!ha->is_closed && ha_tell_one(ha))
		continue;
	ha->is_running = false;
	if (!ha->is_closed)
		decide_carry_on(ha);
	else
		ha_finish(ha);
}

void ha_set_leader(struct ha *ha, const struct ha_peer *leader)
{
	bool is_same = ha->knows_leader == (leader != NULL) &&
		       (!leader || memcmp(&ha->leader, leader, sizeof(*leader)) == 0);

	if (is_same)
		return;
	ha->knows_leader = leader != NULL;
	if (leader)
		ha->leader = *leader;
	ha->leader_is_due = true;
	ha_poke(ha);
}

/* ---- whether to campaign ---- */

void ha_consider(struct ha *ha)
{
	bool may = !ha->is_closed && !ha->is_resigned && !ha->is_unfit && !ha->is_blocked &&
		   !ha->is_spent && !ha->mirror.is_stuck && ha->mirror.has_fleet;

	if (!may)
		campaign_stop(ha);
	else if (mirror_has(ha, ha->mirror.look_revision))
		campaign_start(ha); /* who lags behind would lead without leading */
}

void ha_block(struct ha *ha, const struct err *why)
{
	log_error("ha", "this replica cannot lead", LOG_ERR(why));
	ha->is_blocked = true;
	ha_set_leader(ha, NULL);
	ha_consider(ha);
}

void ha_unblock(struct ha *ha)
{
	if (ha->is_blocked)
		log_info("ha", "this replica may lead again");
	ha->is_blocked = false;
}

/* ---- timers ---- */

static void ha_on_timer(uv_timer_t *handle)
{
	struct ha *ha = handle->data;

	switch ((enum ha_timer)(handle - ha->timers)) {
	case HA_TIMER_RUN:
		ha_run(ha);
		break;
	case HA_TIMER_TICK:
		campaign_tick(ha);
		break;
	case HA_TIMER_LOOK:
		mirror_look(ha);
		break;
	case HA_TIMER_AGAIN:
		ha->mirror.is_pausing = false;
		ha_run(ha);
		break;
	case HA_TIMER_SETTLE:
		decide_carry_on(ha);
		break;
	case HA_TIMER_N:
		break;
	}
}

void ha_set_timer(struct ha *ha, enum ha_timer timer, int64_t ms)
{
	if (ha->is_closed && timer != HA_TIMER_RUN)
		return;
	uv_update_time(ha->loop);
	uv_timer_start(&ha->timers[timer], ha_on_timer, ms > 0 ? (uint64_t)ms : 0, 0);
}

void ha_stop_timer(struct ha *ha, enum ha_timer timer)
{
	uv_timer_stop(&ha->timers[timer]);
}

void ha_poke(struct ha *ha)
{
	if (!ha->is_running && !ha->is_finished)
		ha_set_timer(ha, HA_TIMER_RUN, 0);
}

/* ---- the contract ---- */

static void ha_on_timer_closed(uv_handle_t *handle)
{
	struct ha *ha = handle->data;

	if (--ha->timers_open_n)
		return;
	campaign_close(ha);
	decide_close(ha);
	mirror_close(ha);
	free(ha->self_json);
	free((char *)(uintptr_t)ha->options.endpoints);
	free((char *)(uintptr_t)ha->options.ca_file);
	free(ha);
}

/* A lease that is being given back is waited for: the next leader begins so much sooner. */
static void ha_finish(struct ha *ha)
{
	if (ha->is_finished || ha->is_running || ha->campaign.revokes_n)
		return;
	ha->is_finished = true;
	etcd_close(ha->etcd);
	etcd_close(ha->etcd_slow);
	for (int i = 0; i < HA_TIMER_N; i++)
		uv_close((uv_handle_t *)&ha->timers[i], ha_on_timer_closed);
}

static int ha_open_etcd(struct ha *ha, struct err *err)
{
	struct etcd_options urgent = {.endpoints = ha->options.endpoints,
				      .ca_file = ha->options.ca_file,
				      .answer_ms = ha->options.limits.answer_ms};
	struct etcd_options slow = {.endpoints = ha->options.endpoints,
				    .ca_file = ha->options.ca_file};

	if (etcd_open(&ha->etcd, ha->loop, &urgent, err))
		return -1;
	return etcd_open(&ha->etcd_slow, ha->loop, &slow, err);
}

static char *ha_copy(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	CHECK(!text || copy);
	return copy;
}

int ha_check(const struct ha_options *options, struct err *err)
{
	return fleet_check_now(options, err);
}

int ha_open(struct ha **out, uv_loop_t *loop, const struct ha_options *options,
	    const struct ha_callbacks *callbacks, struct err *err)
{
	const char *name = options->self.name;

	if (!name[0] || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")])
		return err_set(err, "\"%s\" cannot be a replica's name: [a-z0-9-_.]", name);
	struct ha *ha = calloc(1, sizeof(*ha));
	CHECK(ha);
	ha->loop = loop;
	ha->callbacks = *callbacks;
	ha->options = *options;
	ha->options.endpoints = ha_copy(options->endpoints);
	ha->options.ca_file = ha_copy(options->ca_file);
	ha->self_json = fleet_peer_encode(&options->self);
	for (int i = 0; i < HA_TIMER_N; i++) {
		CHECK(uv_timer_init(loop, &ha->timers[i]) == 0);
		ha->timers[i].data = ha;
		ha->timers_open_n++;
	}
	campaign_open(ha);
	decide_open(ha);
	if (ha_open_etcd(ha, err)) {
		ha_close(ha);
		return -1;
	}
	mirror_open(ha);
	*out = ha;
	return 0;
}

bool ha_leads(const struct ha *ha, struct mono now)
{
	return ha->told_epoch && !ha->follow_is_due && campaign_leads(ha, now);
}

const struct ha_peer *ha_leader(const struct ha *ha)
{
	return ha->knows_leader ? &ha->leader : NULL;
}

void ha_set_fit(struct ha *ha, bool is_fit)
{
	ha->is_unfit = !is_fit;
	ha_consider(ha);
}

void ha_resign(struct ha *ha)
{
	ha->is_resigned = true;
	ha_consider(ha);
}

void ha_close(struct ha *ha)
{
	if (!ha || ha->is_closed)
		return;
	ha->is_closed = true;
	/* Its lease, if it was not given back, is left to end. */
	ha->campaign.runs = false;
	ha->campaign.round++;
	for (int i = 0; i < HA_TIMER_N; i++)
		uv_timer_stop(&ha->timers[i]);
	etcd_watch_close(ha->mirror.watch);
	ha->mirror.watch = NULL;
	ha_finish(ha);
}

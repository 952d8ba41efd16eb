/*
 * The node's end of the pump: when a poll is sent, with which records, and which answers count.
 *
 * At most one poll with records is under way, so the cursor into the outbox is simply what the
 * scheduler acknowledged: a lost poll needs no rewinding beyond forgetting it.  Records that come
 * meanwhile gather and go together: the busier, the larger the batches.
 */
#include "proto/pump.h"

#include "common/base/check.h"

static void emit(struct pump_client_effects *out, struct pump_client_effect effect)
{
	CHECK(out->n < PUMP_EFFECTS_MAX);
	out->items[out->n++] = effect;
}

void pump_client_init(struct pump_client *pump, uint64_t epoch, uint64_t acked_seq,
		      uint64_t end_seq)
{
	CHECK(acked_seq > 0 && end_seq > 0);
	*pump = (struct pump_client){.epoch = epoch, .acked_seq = acked_seq, .end_seq = end_seq};
}

static struct pump_poll *find(struct pump_client *pump, uint32_t id)
{
	for (size_t i = 0; i < PUMP_IN_FLIGHT_MAX; i++)
		if (pump->in_flight[i].id == id)
			return &pump->in_flight[i];
	return NULL;
}

static bool is_flushing(const struct pump_client *pump)
{
	for (size_t i = 0; i < PUMP_IN_FLIGHT_MAX; i++)
		if (pump->in_flight[i].id && pump->in_flight[i].is_flush)
			return true;
	return false;
}

static bool is_outstanding(const struct pump_client *pump)
{
	for (size_t i = 0; i < PUMP_IN_FLIGHT_MAX; i++)
		if (pump->in_flight[i].id)
			return true;
	return false;
}

static bool has_records(const struct pump_client *pump)
{
	return pump->end_seq > pump->acked_seq;
}

/* Sends one poll if there is a free place; with records if there are some and none are under way.
 */
static void send_poll(struct pump_client *pump, struct mono now, struct pump_client_effects *out)
{
	struct pump_poll *poll = find(pump, 0);
	uint64_t records_n = 0;

	if (!poll)
		return;
	if (!is_flushing(pump) && has_records(pump)) {
		records_n = pump->end_seq - pump->acked_seq;
		if (records_n > PUMP_RECORDS_MAX)
			records_n = PUMP_RECORDS_MAX;
	}
	pump->last_id = pump->last_id == INT32_MAX ? 1 : pump->last_id + 1;
	*poll = (struct pump_poll){pump->last_id, now, records_n > 0, pump->acked_seq};
	pump->sent_at = now;
	pump->news_wait = false;
	pump->is_urgent = false;
	pump->pauses = false;
	emit(out, (struct pump_client_effect){.kind = PUMP_CLIENT_SEND,
					      .id = poll->id,
					      .first_seq = pump->acked_seq,
					      .records_n = (uint32_t)records_n});
}

/*
 * When the next poll is due, which may be in the past:
 *   1. at once, if none is outstanding: the scheduler could not reach the node
 *   2. at once, if records wait and none are under way
 *   3. at once, if there is news that somebody waits for
 *   4. after a pause, if one of the first two was of no use just now, or the inventory changed
 *   5. else after a heartbeat
 */
static struct mono due_at(const struct pump_client *pump)
{
	bool is_wanted = !is_outstanding(pump) || (has_records(pump) && !is_flushing(pump));

	if ((is_wanted && !pump->pauses) || pump->is_urgent)
		return pump->sent_at;
	return mono_add_ms(pump->sent_at,
			   is_wanted || pump->news_wait ? PUMP_PAUSE_MS : PUMP_HEARTBEAT_MS);
}

static void close_session(struct pump_client *pump)
{
	for (size_t i = 0; i < PUMP_IN_FLIGHT_MAX; i++)
		pump->in_flight[i] = (struct pump_poll){0};
	pump->is_open = false;
	pump->pauses = false;
	pump->is_urgent = false;
}

static struct mono lost_at(const struct pump_poll *poll)
{
	return mono_add_ms(poll->sent_at, PUMP_GIVE_UP_MS);
}

/*
 * Forgets polls that are lost; the records of a lost one go again with the next.  If nothing at all
 * was heard since one was sent, the scheduler does not know this session any more.
 */
static void give_up(struct pump_client *pump, struct mono now, struct pump_client_effects *out)
{
	bool is_deaf = false;

	for (size_t i = 0; i < PUMP_IN_FLIGHT_MAX; i++) {
		struct pump_poll *poll = &pump->in_flight[i];

		if (!poll->id || lost_at(poll).ns > now.ns)
			continue;
		is_deaf = is_deaf || poll->sent_at.ns >= pump->heard_at.ns;
		*poll = (struct pump_poll){0};
	}
	if (is_deaf) {
		close_session(pump);
		emit(out, (struct pump_client_effect){.kind = PUMP_CLIENT_RENEW});
	}
}

/* What the scheduler says of the log.  Only a resync takes an acknowledgement back. */
static void take_ack(struct pump_client *pump, uint64_t next_seq, bool resync,
		     struct pump_client_effects *out)
{
	if (next_seq < pump->acked_seq && resync)
		pump->acked_seq = next_seq;
	if (next_seq <= pump->acked_seq)
		return;
	pump->acked_seq = next_seq;
	emit(out, (struct pump_client_effect){.kind = PUMP_CLIENT_ACKED, .first_seq = next_seq});
}

static void take_answer(struct pump_client *pump, const struct pump_client_event *event,
			struct pump_client_effects *out)
{
	struct pump_poll *poll = event->answer.id ? find(pump, event->answer.id) : NULL;
	struct pump_poll answered = {0};

	/* An answer to a poll that was given up still counts: orders and acknowledgements repeat
	 * well. */
	if (poll) {
		answered = *poll;
		*poll = (struct pump_poll){0};
	}
	pump->heard_at = event->now;
	if (!event->answer.standby && event->answer.epoch < pump->epoch) {
		pump->pauses = true;
		emit(out, (struct pump_client_effect){.kind = PUMP_CLIENT_REFUSE,
						      .id = event->answer.id});
		return;
	}
	if (!event->answer.standby) {
		pump->epoch = event->answer.epoch;
		emit(out, (struct pump_client_effect){.kind = PUMP_CLIENT_TAKE,
						      .id = event->answer.id,
						      .sent_at = answered.sent_at});
	}
	take_ack(pump, event->answer.next_seq, event->answer.resync, out);
	/* Its records were not taken yet, or cannot be stored now. */
	if (answered.is_flush && pump->acked_seq == answered.first_seq)
		pump->pauses = true;
}

void pump_client_step(struct pump_client *pump, const struct pump_client_event *event,
		      struct pump_client_effects *out)
{
	out->n = 0;
	switch (event->kind) {
	case PUMP_CLIENT_OPEN:
		close_session(pump);
		pump->is_open = true;
		pump->sent_at = event->now;
		pump->heard_at = event->now;
		break;
	case PUMP_CLIENT_CLOSED:
		close_session(pump);
		break;
	case PUMP_CLIENT_RECORDS:
		CHECK(event->end_seq >= pump->end_seq);
		pump->end_seq = event->end_seq;
		break;
	case PUMP_CLIENT_NEWS:
		pump->news_wait = true;
		pump->is_urgent = pump->is_urgent || event->urgent;
		break;
	case PUMP_CLIENT_ANSWER:
		if (pump->is_open)
			take_answer(pump, event, out);
		break;
	case PUMP_CLIENT_TICK:
		break;
	}
	if (pump->is_open)
		give_up(pump, event->now, out);
	if (pump->is_open && due_at(pump).ns <= event->now.ns)
		send_poll(pump, event->now, out);
}

bool pump_client_next_deadline(const struct pump_client *pump, struct mono *out_at)
{
	bool is_full = true;

	if (!pump->is_open)
		return false;
	*out_at = (struct mono){INT64_MAX};
	for (size_t i = 0; i < PUMP_IN_FLIGHT_MAX; i++) {
		const struct pump_poll *poll = &pump->in_flight[i];

		if (!poll->id)
			is_full = false;
		else if (lost_at(poll).ns < out_at->ns)
			*out_at = lost_at(poll);
	}
	/* With every place taken a poll cannot be sent, however due. */
	if (!is_full && due_at(pump).ns < out_at->ns)
		*out_at = due_at(pump);
	return true;
}

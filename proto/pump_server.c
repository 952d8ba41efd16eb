/* The scheduler's end of the pump: which parked poll is answered, and when. */
#include "proto/pump.h"

#include "common/base/check.h"

#include <string.h>

/* Room for an answer's own fields around its orders. */
enum { ANSWER_HEAD_BYTES = 64 };

void pump_server_init(struct pump_server *pump, uint64_t next_seq)
{
	*pump = (struct pump_server){.next_seq = next_seq, .park_ms = PUMP_PARK_MS};
}

void pump_server_lease(struct pump_server *pump, uint64_t lease_ms)
{
	uint64_t share_ms = lease_ms / PUMP_PARK_SHARE;

	pump->park_ms = lease_ms && share_ms < PUMP_PARK_MS ? (uint32_t)share_ms : PUMP_PARK_MS;
}

static void answer(struct pump_server *pump, uint32_t place, bool resync, struct pump_answers *out)
{
	CHECK(place < pump->parked_n && out->n < ARRAY_N(out->items));
	out->items[out->n++] = (struct pump_answer){pump->parked[place].token, resync};
	pump->parked_n--;
	memmove(&pump->parked[place], &pump->parked[place + 1],
		(pump->parked_n - place) * sizeof(pump->parked[0]));
	/* Whatever waited goes with it; what does not fit makes the shell step WAKE again. */
	pump->orders_wait = false;
}

/*
 * Records are answered for as soon as they are settled, because the node holds back its next ones
 * until then.  Settled: durable, or refused for a gap.
 */
static void answer_settled(struct pump_server *pump, bool resync, struct pump_answers *out)
{
	for (uint32_t i = 0; i < pump->parked_n;) {
		uint64_t end_seq = pump->parked[i].end_seq;

		if (end_seq && (resync || end_seq <= pump->next_seq))
			answer(pump, i, resync, out);
		else
			i++;
	}
}

/* The oldest, but one whose records are being written only if there is no other: its own answer
 * comes soon, and this one would say nothing of them. */
static uint32_t oldest_idle(const struct pump_server *pump)
{
	for (uint32_t i = 0; i < pump->parked_n; i++)
		if (!pump->parked[i].end_seq)
			return i;
	return 0;
}

/*
 * A poll comes:
 *   1. beyond those that may be parked, the oldest idle one is answered
 *   2. one whose records are durable already (it was sent twice) is answered
 *   3. orders that still wait take the oldest idle one left
 *   4. else it stays
 */
static void park(struct pump_server *pump, const struct pump_server_event *event,
		 struct pump_answers *out)
{
	if (pump->parked_n == PUMP_PARKED_MAX)
		answer(pump, oldest_idle(pump), false, out);
	pump->parked[pump->parked_n++] = (struct pump_parked){
		event->token, mono_add_ms(event->now, pump->park_ms), event->end_seq};
	answer_settled(pump, false, out);
	if (pump->orders_wait && pump->parked_n)
		answer(pump, oldest_idle(pump), false, out);
}

void pump_server_step(struct pump_server *pump, const struct pump_server_event *event,
		      struct pump_answers *out)
{
	out->n = 0;
	switch (event->kind) {
	case PUMP_SERVER_POLL:
		park(pump, event, out);
		break;
	case PUMP_SERVER_WAKE:
		pump->orders_wait = true;
		if (pump->parked_n)
			answer(pump, oldest_idle(pump), false, out);
		break;
	case PUMP_SERVER_DURABLE:
		pump->next_seq = event->next_seq;
		answer_settled(pump, event->resync, out);
		break;
	case PUMP_SERVER_SESSION:
		pump->parked_n = 0;
		break;
	case PUMP_SERVER_TICK:
		while (pump->parked_n && pump->parked[0].until.ns <= event->now.ns)
			answer(pump, 0, false, out);
		break;
	}
}

bool pump_server_next_deadline(const struct pump_server *pump, struct mono *out_at)
{
	if (!pump->parked_n)
		return false;
	*out_at = pump->parked[0].until;
	return true;
}

bool pump_batch_add(struct pump_batch *batch, const struct wire_order *order)
{
	size_t bytes = wire_size(&wire_shape_order, order);

	if (batch->n == PUMP_ORDERS_MAX ||
	    bytes > WIRE_MESSAGE_MAX - ANSWER_HEAD_BYTES - batch->bytes)
		return false;
	batch->orders[batch->n++] = *order;
	batch->bytes += bytes;
	return true;
}

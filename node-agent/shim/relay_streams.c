/*
 * Joins streams: whatever one engine tells of its half is done to the other half.
 *
 * No byte waits here.  Before an event is taken from one engine the other has room for the largest
 * data it can hold; and because credit is only ever passed on, the other half's credit covers all
 * that its peer was allowed to send.
 */
#include "node-agent/shim/relay_internal.h"

#include "common/base/check.h"

enum { PAIR_NONE = 0xffff };

void relay_pairs_clear(struct relay *relay)
{
	relay->pair_free = PAIR_NONE;
	relay->pairs_used_n = 0;
}

static struct relay_pair *pair_add(struct relay *relay)
{
	struct relay_pair *pair;

	if (relay->pair_free != PAIR_NONE) {
		pair = &relay->pairs[relay->pair_free];
		relay->pair_free = pair->free_next;
	} else if (relay->pairs_used_n < relay->config.streams_max) {
		pair = &relay->pairs[relay->pairs_used_n++];
	} else {
		return NULL;
	}
	*pair = (struct relay_pair){0};
	return pair;
}

static void pair_remove(struct relay *relay, struct relay_pair *pair)
{
	pair->gate = 0;
	pair->free_next = relay->pair_free;
	relay->pair_free = (uint16_t)(pair - relay->pairs);
}

static void on_gate_opened(struct relay *relay, const struct mux_event *event)
{
	struct relay_pair *pair = pair_add(relay);
	uint32_t guest = pair ? mux_open(relay->config.guest, event->port, pair) : 0;

	if (!guest) {
		mux_reset(relay->gate, event->stream, MUX_REASON_LIMIT);
		if (pair)
			pair_remove(relay, pair);
		return;
	}
	pair->gate = event->stream;
	pair->guest = guest;
	mux_owner_set(relay->gate, event->stream, pair);
	relay->streams_opened_n++;
}

static void write_on(struct mux *mux, uint32_t stream, const struct mux_event *event)
{
	size_t n = mux_write(mux, stream, event->data, event->data_n);

	CHECK(n == event->data_n);
}

static void on_gate_event(struct relay *relay, const struct mux_event *event)
{
	struct mux *guest = relay->config.guest;
	struct relay_pair *pair = event->owner;

	switch (event->kind) {
	case MUX_OPENED:
		on_gate_opened(relay, event);
		return;
	case MUX_DATA:
		write_on(guest, pair->guest, event);
		return;
	case MUX_END:
		mux_end(guest, pair->guest);
		pair->is_gate_ended = true;
		if (pair->is_guest_ended)
			pair_remove(relay, pair);
		return;
	case MUX_RESET:
		mux_reset(guest, pair->guest, event->reason);
		pair_remove(relay, pair);
		return;
	case MUX_CREDIT:
		mux_consumed(guest, pair->guest, event->credit);
		return;
	case MUX_READY:
	case MUX_RESTARTED:
	case MUX_ACCEPTED:
	case MUX_WRITABLE:
	case MUX_PONG:
	case MUX_BROKEN:
		return;
	}
}

bool relay_take_gate_events(struct relay *relay, bool *out_all_taken)
{
	struct mux_event event;

	*out_all_taken = false;
	while (mux_output_room(relay->config.guest) >= MUX_PAYLOAD_MAX) {
		if (!mux_next(relay->gate, &event)) {
			*out_all_taken = true;
			return true;
		}
		if (event.kind == MUX_BROKEN)
			return false;
		on_gate_event(relay, &event);
	}
	return true;
}

bool relay_owns(const struct relay *relay, const struct mux_event *event)
{
	const struct relay_pair *pair = event->owner;

	return pair >= relay->pairs && pair < relay->pairs + relay->pairs_used_n;
}

void relay_on_guest_event(struct relay *relay, const struct mux_event *event)
{
	struct relay_pair *pair = event->owner;
	struct mux *gate = relay->gate;

	switch (event->kind) {
	case MUX_ACCEPTED:
		mux_accept(gate, pair->gate);
		return;
	case MUX_DATA:
		write_on(gate, pair->gate, event);
		return;
	case MUX_END:
		mux_end(gate, pair->gate);
		pair->is_guest_ended = true;
		if (pair->is_gate_ended)
			pair_remove(relay, pair);
		return;
	case MUX_RESET:
		mux_reset(gate, pair->gate, event->reason);
		pair_remove(relay, pair);
		return;
	case MUX_CREDIT:
		mux_consumed(gate, pair->gate, event->credit);
		return;
	case MUX_READY:
	case MUX_RESTARTED:
	case MUX_OPENED:
	case MUX_WRITABLE:
	case MUX_PONG:
	case MUX_BROKEN:
		return;
	}
}

static void reset_streams(struct relay *relay, bool of_guest, bool of_gate)
{
	for (uint16_t slot = 0; slot < relay->pairs_used_n; slot++) {
		const struct relay_pair *pair = &relay->pairs[slot];

		if (pair->gate && of_guest)
			mux_reset(relay->config.guest, pair->guest, MUX_REASON_CANCELLED);
		if (pair->gate && of_gate)
			mux_reset(relay->gate, pair->gate, MUX_REASON_GONE);
	}
	relay_pairs_clear(relay);
}

void relay_reset_guest_streams(struct relay *relay)
{
	reset_streams(relay, true, false);
}

void relay_reset_gate_streams(struct relay *relay)
{
	reset_streams(relay, false, true);
}

void relay_reset_streams(struct relay *relay)
{
	reset_streams(relay, true, true);
}

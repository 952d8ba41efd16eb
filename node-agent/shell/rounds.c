#include "node-agent/shell/rounds.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

void rounds_open(struct rounds *rounds, uv_loop_t *loop, struct journal *journal,
		 const struct rounds_callbacks *callbacks)
{
	memset(rounds, 0, sizeof(*rounds));
	rounds->loop = loop;
	rounds->journal = journal;
	rounds->callbacks = *callbacks;
	rounds->work.data = rounds;
}

void rounds_add(struct rounds *rounds, const struct node_effect *effect)
{
	struct rounds_list *list = node_effect_class(effect->kind) == NODE_CLASS_DURABLE
					   ? &rounds->gathering.durable
					   : &rounds->gathering.after;

	if (list->n == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->items = realloc(list->items, list->cap * sizeof(*list->items));
		CHECK(list->items);
	}
	list->items[list->n++] = *effect;
}

static void round_clear(struct round *round)
{
	round->durable.n = 0;
	round->after.n = 0;
}

static bool is_news(const struct node_effect *effect)
{
	return effect->kind == NODE_EFFECT_RECORDS || effect->kind == NODE_EFFECT_NEWS ||
	       effect->kind == NODE_EFFECT_EPOCH;
}

static void rounds_carry_out(struct rounds *rounds)
{
	struct rounds_list *after = &rounds->committing.after;

	/* What this steps into the core gathers in the other round.  News goes first, because a
	 * tenant, or a new leader, waits for it: starting the next microVM, which forks, must not
	 * come before. */
	for (size_t i = 0; i < after->n && !rounds->is_dropped; i++) {
		if (is_news(&after->items[i]))
			rounds->callbacks.on_after(rounds->callbacks.arg, &after->items[i]);
	}
	for (size_t i = 0; i < after->n && !rounds->is_dropped; i++) {
		if (!is_news(&after->items[i]))
			rounds->callbacks.on_after(rounds->callbacks.arg, &after->items[i]);
	}
	round_clear(&rounds->committing);
}

static void rounds_commit(uv_work_t *work)
{
	struct rounds *rounds = work->data;

	if (rounds->committing.durable.n == 0)
		rounds->status = journal_probe(rounds->journal, &rounds->err);
	else
		rounds->status = journal_commit(rounds->journal, rounds->committing.durable.items,
						rounds->committing.durable.n, &rounds->err);
}

static void rounds_committed(uv_work_t *work, int status)
{
	struct rounds *rounds = work->data;
	const struct rounds_callbacks *tell = &rounds->callbacks;

	CHECK(status == 0);
	if (rounds->status == 0)
		rounds_carry_out(rounds);
	round_clear(&rounds->committing);
	rounds->is_committing = false;
	if (rounds->status == 0 && !rounds->is_dropped && tell->on_committed)
		tell->on_committed(tell->arg);
	if (rounds->status && !rounds->is_dropped) {
		/* What gathered meanwhile was decided by a state that is no more. */
		round_clear(&rounds->gathering);
		rounds->wants_probe = false;
		tell->on_lost(tell->arg, &rounds->err);
	}
	rounds_flush(rounds);
}

void rounds_probe(struct rounds *rounds)
{
	rounds->wants_probe = true;
	rounds_flush(rounds);
}

void rounds_flush(struct rounds *rounds)
{
	while (!rounds->is_committing &&
	       (rounds->gathering.durable.n || rounds->gathering.after.n || rounds->wants_probe)) {
		bool writes = rounds->gathering.durable.n || rounds->wants_probe;
		struct round round = rounds->committing;
		rounds->committing = rounds->gathering;
		rounds->gathering = round;
		rounds->is_committing = true;
		rounds->is_dropped = false;
		rounds->wants_probe = false;
		if (writes) {
			CHECK(uv_queue_work(rounds->loop, &rounds->work, rounds_commit,
					    rounds_committed) == 0);
			return;
		}
		rounds_carry_out(rounds);
		rounds->is_committing = false;
	}
}

void rounds_drop(struct rounds *rounds)
{
	round_clear(&rounds->gathering);
	rounds->wants_probe = false;
	if (rounds->is_committing)
		rounds->is_dropped = true;
}

bool rounds_are_idle(const struct rounds *rounds)
{
	return !rounds->is_committing;
}

void rounds_close(struct rounds *rounds)
{
	free(rounds->gathering.durable.items);
	free(rounds->gathering.after.items);
	free(rounds->committing.durable.items);
	free(rounds->committing.after.items);
	memset(rounds, 0, sizeof(*rounds));
}

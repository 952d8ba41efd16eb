/* Recomputing the chain, from its first event or from its last head. */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <string.h>

enum { EVENT_PREV = 22, EVENT_HASH = 23, EVENT_HEAD = 26 };

static struct store_fact walk_fact(struct sqlite *reader)
{
	enum store_read statement = STORE_READ_EVENTS;

	return (struct store_fact){
		.id = sqlite_int(reader, statement, 0),
		.node = sqlite_text(reader, statement, 1),
		.seq = sqlite_int(reader, statement, 2),
		.kind = sqlite_int(reader, statement, 3),
		.sandbox = sqlite_text(reader, statement, 4),
		.tenant = sqlite_text(reader, statement, 5),
		.attempt = sqlite_int(reader, statement, 6),
		.incarnation = sqlite_int(reader, statement, 7),
		.refusal = sqlite_int(reader, statement, 8),
		.cause = sqlite_int(reader, statement, 9),
		.plan = sqlite_text(reader, statement, 10),
		.price_version = sqlite_int(reader, statement, 11),
		.template_ = sqlite_text(reader, statement, 12),
		.vcpus = sqlite_int(reader, statement, 13),
		.mem_mib = sqlite_int(reader, statement, 14),
		.at_wall = sqlite_int(reader, statement, 15),
		.from_ms = sqlite_int(reader, statement, 16),
		.to_ms = sqlite_int(reader, statement, 17),
		.from_wall = sqlite_int(reader, statement, 18),
		.boot_id = sqlite_text(reader, statement, 19),
		.detail = sqlite_text(reader, statement, 20),
		.received_at = sqlite_int(reader, statement, 21),
		.hash_version = sqlite_int(reader, statement, 24),
		.billable = sqlite_int(reader, statement, 25),
	};
}

/* The current row's hash, recomputed: is it what the row and the row before it say? */
static bool walk_row_fits(struct ledger_walk *walk, const struct store_fact *fact)
{
	size_t prev_n, kept_n;
	const void *prev = sqlite_blob(walk->reader, STORE_READ_EVENTS, EVENT_PREV, &prev_n);
	const void *kept = sqlite_blob(walk->reader, STORE_READ_EVENTS, EVENT_HASH, &kept_n);

	if (fact->id != walk->events_n + 1 || prev_n != STORE_HASH_N || kept_n != STORE_HASH_N)
		return false;
	/* A row of the first version that says it is free was never posted. */
	if (fact->hash_version == 1 && fact->billable != 1)
		return false;
	if (walk->trusts_first)
		memcpy(walk->hash, prev, STORE_HASH_N);
	walk->trusts_first = false;
	if (memcmp(prev, walk->hash, STORE_HASH_N) != 0)
		return false;
	store_fact_hash(fact, walk->hash, walk->hash);
	return memcmp(kept, walk->hash, STORE_HASH_N) == 0;
}

/* The head of the current row, if it has one. */
static bool walk_head_fits(struct ledger_walk *walk, int64_t event)
{
	struct store_head head = {.event = event};

	if (sqlite_is_null(walk->reader, STORE_READ_EVENTS, EVENT_HEAD))
		return true;
	head.hash = sqlite_blob(walk->reader, STORE_READ_EVENTS, EVENT_HEAD, &head.hash_n);
	head.at_wall = sqlite_int(walk->reader, STORE_READ_EVENTS, EVENT_HEAD + 1);
	head.signature =
		sqlite_blob(walk->reader, STORE_READ_EVENTS, EVENT_HEAD + 2, &head.signature_n);
	if (head.hash_n != STORE_HASH_N || memcmp(head.hash, walk->hash, STORE_HASH_N) != 0 ||
	    (walk->public_key && !store_head_is_signed(&head, walk->public_key)))
		return false;
	walk->heads_n++;
	walk->head_event = event;
	return true;
}

static int walk_check_row(struct ledger_walk *walk, struct err *err)
{
	struct store_fact fact = walk_fact(walk->reader);

	walk->damaged = true;
	if (!walk_row_fits(walk, &fact))
		return err_set(err, "usage_event %lld was changed, or one before it is missing",
			       (long long)fact.id);
	if (!walk_head_fits(walk, fact.id))
		return err_set(err,
			       "the head at usage_event %lld is not of this chain, or not signed "
			       "by this fleet",
			       (long long)fact.id);
	walk->damaged = false;
	walk->events_n = fact.id;
	walk->seen_n++;
	return 0;
}

/* Heads of events that are not there: the newest facts were taken away. */
static int walk_check_end(struct ledger_walk *walk, struct err *err)
{
	int64_t beyond;

	if (sqlite_get_int(walk->reader, STORE_READ_HEAD_BEYOND, SQL(SQL_INT(walk->events_n)), 0,
			   &beyond, err))
		return -1;
	if (beyond == 0)
		return 0;
	/* Beside a writer, both may have come since. */
	if (sqlite_bind(walk->reader, STORE_READ_EVENTS, SQL(SQL_INT(beyond), SQL_INT(1)), err))
		return -1;
	int got = sqlite_next(walk->reader, STORE_READ_EVENTS, err);
	sqlite_reset(walk->reader, STORE_READ_EVENTS);
	walk->damaged = got == 0;
	if (got == 0)
		return err_set(err, "usage_event %lld is signed and missing", (long long)beyond);
	return got < 0 ? -1 : 0;
}

int ledger_walk_step(struct ledger_walk *walk, int64_t max, struct err *err)
{
	int64_t n = 0;
	int got;

	if (sqlite_bind(walk->reader, STORE_READ_EVENTS,
			SQL(SQL_INT(walk->events_n + 1), SQL_INT(max)), err))
		return -1;
	while ((got = sqlite_next(walk->reader, STORE_READ_EVENTS, err)) == 1) {
		n++;
		if (walk_check_row(walk, err)) {
			sqlite_reset(walk->reader, STORE_READ_EVENTS);
			return -1;
		}
	}
	if (got < 0)
		return -1;
	return n == max ? 1 : walk_check_end(walk, err);
}

void ledger_walk_begin(struct ledger_walk *walk, struct sqlite *reader, const uint8_t *public_key)
{
	*walk = (struct ledger_walk){.reader = reader, .public_key = public_key};
}

int ledger_walk_begin_at_head(struct ledger_walk *walk, struct sqlite *reader,
			      const uint8_t *public_key, struct err *err)
{
	int64_t event;

	ledger_walk_begin(walk, reader, public_key);
	if (sqlite_get_int(reader, STORE_READ_HEAD_LAST, SQL_NONE, 0, &event, err))
		return -1;
	if (event < 1)
		return 0;
	walk->events_n = event - 1;
	walk->trusts_first = true;
	return 0;
}

int ledger_walk_all(struct ledger_walk *walk, struct err *err)
{
	int got;

	while ((got = ledger_walk_step(walk, LEDGER_STEP, err)) == 1)
		;
	return got;
}

#include "scheduler/election/election.h"

#include "common/base/check.h"

#include <string.h>

static struct mono after(struct mono at, int64_t ms)
{
	return (struct mono){at.ns + ms * NS_PER_MS};
}

static struct election_effect *election_add(struct election_effects *out,
					    enum election_effect_kind kind)
{
	CHECK(out->n < ELECTION_EFFECTS_MAX);
	out->items[out->n] = (struct election_effect){.kind = kind};
	return &out->items[out->n++];
}

void election_init(struct election *election, const struct election_limits *limits)
{
	CHECK(limits->margin_ms < limits->ttl_ms);
	memset(election, 0, sizeof(*election));
	election->limits = *limits;
}

/* ---- leading and its end ---- */

static void election_follow(struct election *election, struct election_effects *out)
{
	election->leads = false;
	election_add(out, ELECTION_FOLLOW)->revision = election->leader;
}

/* A lease that may still live takes its key along when it is given back. */
static void election_drop_lease(struct election *election, struct election_effects *out)
{
	if (!election->lease)
		return;
	election_add(out, ELECTION_REVOKE)->lease = election->lease;
	election->lease = 0;
	election->keep.number = 0;
	/* A campaign under way was for that lease. */
	if (election->ask.number && election->asked == ELECTION_CAMPAIGN) {
		election->ask.number = 0;
		election->knows = false;
	}
	if (election->leads) {
		election->knows = false;
		election->leader = 0;
		election_follow(election, out);
	}
}

static void election_set_lease(struct election *election, const struct election_event *event)
{
	struct mono ends =
		after(event->asked_at, (int64_t)event->ttl_ms - election->limits.margin_ms);

	if (ends.ns > election->lease_ends.ns)
		election->lease_ends = ends;
	election->keep_at = after(event->asked_at, event->ttl_ms / 4);
}

/* The key is there, under this lease, created by this revision. */
static void election_take_key(struct election *election, const struct election_event *event,
			      struct election_effects *out)
{
	bool ours = election->lease && event->lease == election->lease;

	if (event->revision <= election->gone || event->revision < election->leader)
		return; /* news of the past */
	bool is_new = !election->knows || event->revision != election->leader;
	election->knows = true;
	election->leader = event->revision;
	if (ours && !election->leads) {
		election->leads = true;
		election_add(out, ELECTION_LEAD)->revision = event->revision;
	} else if (!ours && (election->leads || is_new)) {
		election_follow(election, out);
	}
}

static void election_take_absence(struct election *election, uint64_t revision,
				  struct election_effects *out)
{
	if (revision > election->gone)
		election->gone = revision;
	if (election->leader > revision)
		return;
	bool is_new = !election->knows || election->leader;
	election->knows = true;
	election->leader = 0;
	if (election->leads || is_new)
		election_follow(election, out);
}

/* ---- asking ---- */

static struct election_effect *election_ask(struct election *election,
					    struct election_request *request, struct mono now,
					    enum election_effect_kind kind,
					    struct election_effects *out)
{
	struct election_effect *effect = election_add(out, kind);

	if (++election->last_request == 0)
		election->last_request = 1;
	effect->request = request->number = election->last_request;
	effect->lease = election->lease;
	effect->ttl_ms = election->limits.ttl_ms;
	request->until = after(now, election->limits.answer_ms);
	return effect;
}

/*
 * What is wanted of etcd now, besides keeping the lease alive:
 *   1. a lease, if there is none
 *   2. to know the key, if it is not known
 *   3. the key, if nobody has it
 */
static bool election_wants(const struct election *election, enum election_effect_kind *out_kind)
{
	if (!election->lease)
		*out_kind = ELECTION_GRANT;
	else if (!election->knows)
		*out_kind = ELECTION_READ;
	else if (!election->leader)
		*out_kind = ELECTION_CAMPAIGN;
	else
		return false;
	return true;
}

static void election_carry_on(struct election *election, struct mono now,
			      struct election_effects *out)
{
	enum election_effect_kind kind;

	if (election->lease && !election->keep.number && now.ns >= election->keep_at.ns)
		election_ask(election, &election->keep, now, ELECTION_KEEP, out);
	if (!election->ask.number && now.ns >= election->ask_at.ns &&
	    election_wants(election, &kind)) {
		election_ask(election, &election->ask, now, kind, out);
		election->asked = kind;
	}
}

static void election_take_failure(struct election *election, uint32_t request, struct mono now)
{
	if (request == election->keep.number) {
		election->keep.number = 0;
		election->keep_at = after(now, election->limits.retry_ms);
	} else if (request == election->ask.number) {
		election->ask.number = 0;
		election->ask_at = after(now, election->limits.retry_ms);
		/* It may have been carried out: the key tells. */
		if (election->asked == ELECTION_CAMPAIGN)
			election->knows = false;
	}
}

/* ---- steps ---- */

static void election_take_answer(struct election *election, const struct election_event *event,
				 struct election_effects *out)
{
	if (event->request == election->keep.number && event->kind == ELECTION_KEPT) {
		election->keep.number = 0;
		if (event->ttl_ms == 0)
			election_drop_lease(election, out);
		else
			election_set_lease(election, event);
	} else if (event->request == election->ask.number && event->kind != ELECTION_KEPT) {
		election->ask.number = 0;
		election->ask_at = event->now;
		if (event->kind == ELECTION_GRANTED) {
			election->lease = event->lease;
			election->lease_ends = (struct mono){0};
			election_set_lease(election, event);
		} else if (event->exists) {
			election_take_key(election, event, out);
		} else {
			election_take_absence(election, event->revision, out);
		}
	}
}

/* What time alone has decided, before anything else is looked at. */
static void election_expire(struct election *election, struct mono now,
			    struct election_effects *out)
{
	if (election->keep.number && now.ns >= election->keep.until.ns)
		election_take_failure(election, election->keep.number, now);
	if (election->ask.number && now.ns >= election->ask.until.ns)
		election_take_failure(election, election->ask.number, now);
	if (election->lease && now.ns >= election->lease_ends.ns)
		election_drop_lease(election, out);
}

void election_step(struct election *election, const struct election_event *event,
		   struct election_effects *out)
{
	out->n = 0;
	if (event->kind == ELECTION_START)
		election->started = true;
	if (!election->started || election->resigned)
		return;
	election_expire(election, event->now, out);
	switch (event->kind) {
	case ELECTION_GRANTED:
	case ELECTION_KEPT:
	case ELECTION_KEY:
		if (event->request)
			election_take_answer(election, event, out);
		/* An answer may come so late that what it grants is over. */
		election_expire(election, event->now, out);
		break;
	case ELECTION_FAILED:
		if (event->request)
			election_take_failure(election, event->request, event->now);
		break;
	case ELECTION_LEADER_SEEN:
		election_take_key(election, event, out);
		break;
	case ELECTION_LEADER_GONE:
		election_take_absence(election, event->revision, out);
		election->ask_at = event->now;
		break;
	case ELECTION_WATCH_LOST:
		election->knows = false;
		break;
	case ELECTION_RESIGN:
		election->resigned = true;
		election_drop_lease(election, out);
		return;
	case ELECTION_START:
	case ELECTION_TICK:
		break;
	}
	election_carry_on(election, event->now, out);
}

static void sooner(struct mono at, bool *any, struct mono *out_at)
{
	if (!*any || at.ns < out_at->ns)
		*out_at = at;
	*any = true;
}

bool election_next_deadline(const struct election *election, struct mono *out_at)
{
	enum election_effect_kind kind;
	bool any = false;

	if (!election->started || election->resigned)
		return false;
	if (election->lease) {
		sooner(election->lease_ends, &any, out_at);
		sooner(election->keep.number ? election->keep.until : election->keep_at, &any,
		       out_at);
	}
	if (election->ask.number)
		sooner(election->ask.until, &any, out_at);
	else if (election_wants(election, &kind))
		sooner(election->ask_at, &any, out_at);
	return any;
}

bool election_leads(const struct election *election, struct mono now)
{
	return election->leads && now.ns < election->lease_ends.ns;
}

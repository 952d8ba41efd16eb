/*
 * Templates go where they are wanted: one node offers what it has, another one fetches it.  What is
 * saved of a sandbox goes the same way, when move.c says so.
 *
 * Two kinds of want:
 *
 *   everywhere    a template of this name (core_limits.everywhere) shall be on every node
 *   for want of room
 *                 a create found no room on the nodes that have it, or took the last of it: then
 *                 one more node that has room is to get it, until some node has room again
 *
 * Both are looked at when the node that lacks it reports, so nothing is searched for: the node is
 * there, and may receive if
 *
 *   1. it is one that new sandboxes may be placed on (joined, awake, not cordoned, no trouble)
 *   2. it says for what a template must be made (its platform), and receives nothing yet
 *   3. it has no template of that name, in whatever shape
 *   4. it has not failed to get this one, or what is saved of it, lately
 *   5. some node of the same platform offers it, and sends fewer than TRANSFER_SENDS_MAX
 *
 * A transfer is a hint, and is never stored: its source is told to offer, says what there is and
 * under which digest, and its destination is told to fetch exactly that.  Both say in each poll how
 * far they are, so that an order is given again until a poll tells of it, and a node that has
 * forgotten is told again.  It is over when the destination offers the template, when either says
 * that it failed, or when nothing moved for a while.  What a new leader does not know of is fetched
 * to its end all the same: a template is what its digest says, whoever ordered it.
 */
#include "scheduler/core/state.h"

#include <string.h>

enum {
	TRANSFER_SENDS_MAX = 2, /* of one node at a time */
	SHUN_MIN_MS = 30000,    /* after a failure; doubled by each further one */
	SHUN_DOUBLINGS = 5,
	END_EFFECTS = 12, /* free ones for one that ends */
};

/* ---- what is wanted ---- */

static bool is_listed(const char *names, const char *name)
{
	size_t n = strlen(name);

	while (names && *names) {
		size_t part_n = 0;
		while (names[part_n] && names[part_n] != ',')
			part_n++;
		if ((part_n == 1 && names[0] == '*') || (part_n == n && !memcmp(names, name, n)))
			return true;
		names += part_n;
		names += *names == ',';
	}
	return false;
}

void transfer_template_added(struct core *core, struct template_ *template_)
{
	if (core->limits.transfers_max && is_listed(core->limits.everywhere, template_->row.name))
		list_append(&core->everywhere, &template_->everywhere_link);
}

void transfer_want(struct core *core, struct template_ *template_)
{
	if (!core->limits.transfers_max)
		return;
	list_remove(&template_->wanted_link);
	template_->wanted_at = core->now;
	list_append(&core->wanted, &template_->wanted_link);
}

void transfer_offered(struct template_ *template_, uint32_t node)
{
	for (uint32_t i = 0; i < TEMPLATE_HOLDERS; i++)
		if (template_->holders[i] == node + 1)
			return;
	template_->holders[template_->holder_next++ % TEMPLATE_HOLDERS] = node + 1;
}

/* ---- who may ---- */

static bool offers(const struct node *node, uint32_t template_, bool current)
{
	for (uint32_t i = 0; i < node->offer_n; i++)
		if (node->offers[i].template_ == template_)
			return node->offers[i].current || !current;
	return false;
}

static uint32_t sends_n(const struct core *core, uint32_t node)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < CORE_TRANSFERS_MAX; i++)
		n += core->transfers[i].number && core->transfers[i].from == node;
	return n;
}

static bool may_send(const struct core *core, uint32_t slot, uint64_t platform)
{
	const struct node *node = &core->nodes[slot];

	return node->awake && node->joined && !node->leaving && !node->trouble[0] &&
	       !lease_is_lost(node) && node->platform == platform &&
	       sends_n(core, slot) < TRANSFER_SENDS_MAX;
}

static uint32_t find_source(const struct core *core, uint32_t template_, uint64_t platform)
{
	const struct template_ *it = &core->templates[template_];

	for (uint32_t i = 0; i < TEMPLATE_HOLDERS; i++)
		if (it->holders[i] && offers(&core->nodes[it->holders[i] - 1], template_, true) &&
		    may_send(core, it->holders[i] - 1, platform))
			return it->holders[i] - 1;
	return POOL_NONE;
}

static struct shunned *find_shunned(struct node *node, uint32_t template_)
{
	for (uint32_t i = 0; i < NODE_SHUNNED_MAX; i++)
		if (node->shunned[i].fails_n && node->shunned[i].template_ == template_)
			return &node->shunned[i];
	return NULL;
}

/* It failed to get this: not again for a while, longer each time. The oldest is forgotten for it.
 */
static void shun(struct core *core, struct node *node, uint32_t template_)
{
	struct shunned *shunned = find_shunned(node, template_);
	uint32_t doublings;

	for (uint32_t i = 0; !shunned && i < NODE_SHUNNED_MAX; i++)
		if (!node->shunned[i].fails_n)
			shunned = &node->shunned[i];
	if (!shunned) {
		shunned = &node->shunned[0];
		for (uint32_t i = 1; i < NODE_SHUNNED_MAX; i++)
			if (node->shunned[i].until.ns < shunned->until.ns)
				shunned = &node->shunned[i];
		shunned->fails_n = 0;
	}
	doublings = shunned->fails_n < SHUN_DOUBLINGS ? shunned->fails_n : SHUN_DOUBLINGS;
	shunned->template_ = template_;
	shunned->fails_n++;
	shunned->until = mono_add_ms(core->now, (int64_t)SHUN_MIN_MS << doublings);
}

static bool is_shunned(const struct core *core, struct node *node, uint32_t template_)
{
	const struct shunned *shunned = find_shunned(node, template_);

	return shunned && shunned->until.ns > core->now.ns;
}

static bool may_receive(struct core *core, struct node *node, uint32_t template_)
{
	return !offers(node, template_, false) && !is_shunned(core, node, template_);
}

static bool is_copy(const struct transfer *transfer)
{
	return !id_is_empty(&transfer->copy);
}

static bool is_receiving(const struct core *core, uint32_t node)
{
	for (uint32_t i = 0; i < CORE_TRANSFERS_MAX; i++)
		if (core->transfers[i].number && core->transfers[i].to == node)
			return true;
	return false;
}

static bool is_on_its_way(const struct core *core, uint32_t template_)
{
	for (uint32_t i = 0; i < CORE_TRANSFERS_MAX; i++)
		if (core->transfers[i].number && !is_copy(&core->transfers[i]) &&
		    core->transfers[i].template_ == template_)
			return true;
	return false;
}

/* ---- beginning and ending ---- */

static struct transfer *add(struct core *core, uint64_t number, uint32_t template_, uint32_t from,
			    uint32_t to)
{
	struct transfer *transfer = core->transfers;

	while (transfer->number)
		transfer++; /* fewer than there is room for are under way */
	CHECK(transfer < core->transfers + CORE_TRANSFERS_MAX && from != to);
	*transfer = (struct transfer){.number = number,
				      .template_ = template_,
				      .from = from,
				      .to = to,
				      .began_at = core->now,
				      .moved_at = core->now};
	core->transfers_n++;
	effect_wake(core, &core->nodes[from]);
	return transfer;
}

static bool begin(struct core *core, uint32_t to, uint32_t template_)
{
	uint32_t from = find_source(core, template_, core->nodes[to].platform);

	if (from == POOL_NONE)
		return false;
	add(core, sandbox_attempt(core), template_, from, to);
	return true;
}

bool transfer_may_copy(struct core *core, uint32_t from, uint32_t to,
		       const struct template_ *template_)
{
	uint64_t platform = core->nodes[to].platform;

	return core->transfers_n < core->limits.transfers_max && platform &&
	       may_send(core, from, platform) && !is_receiving(core, to) &&
	       !is_shunned(core, &core->nodes[to], (uint32_t)(template_ - core->templates));
}

void transfer_copy(struct core *core, const struct sandbox *copy, uint32_t from)
{
	const struct template_ *template_ = find_template(core, copy->row.template_);
	struct transfer *transfer = add(core, copy->row.attempt,
					(uint32_t)(template_ - core->templates), from, copy->node);

	transfer->sandbox = copy->row.source;
	transfer->copy = copy->row.id;
}

/* NONE: the destination has it. */
static void end(struct core *core, struct transfer *transfer, enum refusal refusal)
{
	struct node *to = &core->nodes[transfer->to];
	struct shunned *shunned = find_shunned(to, transfer->template_);
	struct sandbox *copy = is_copy(transfer) ? find_sandbox(core, transfer->copy.text) : NULL;

	if (refusal != REFUSAL_NONE) {
		/* Of a copy, when it is the template that differs there. */
		if (!is_copy(transfer) || refusal == REFUSAL_TRANSFER_UNUSABLE)
			shun(core, to, transfer->template_);
		transfer->refusal = refusal;
		transfer->ended_at = core->now;
		core->failed[core->transfers_failed_n++ % CORE_TRANSFERS_KEPT] = *transfer;
	} else {
		core->transfers_done_n++;
		if (shunned)
			shunned->fails_n = 0;
	}
	memset(transfer, 0, sizeof(*transfer));
	core->transfers_n--;
	/* Unless it is for that that the copying is over. */
	if (refusal != REFUSAL_NONE && copy && copy->row.state == SANDBOX_SNAPPING)
		snapshot_give_up(core, copy, CAUSE_PLATFORM);
}

void transfer_copied(struct core *core, uint64_t attempt, enum refusal refusal)
{
	for (uint32_t i = 0; core->transfers_n && i < CORE_TRANSFERS_MAX; i++)
		if (core->transfers[i].number == attempt)
			end(core, &core->transfers[i], refusal);
}

/* ---- what nodes say ---- */

static const struct wire_transfer *find_said(const struct wire_poll *poll, uint64_t number)
{
	for (size_t i = 0; i < poll->transfers_n; i++)
		if (poll->transfers[i].number == number)
			return &poll->transfers[i];
	return NULL;
}

static void moved(struct core *core, struct transfer *transfer, uint64_t *known, uint64_t said)
{
	if (said <= *known)
		return;
	*known = said;
	transfer->moved_at = core->now;
}

static void source_says(struct core *core, struct transfer *transfer,
			const struct wire_transfer *said)
{
	bool same = transfer->offered && !strcmp(transfer->artefact, said->template_id) &&
		    !memcmp(transfer->digest, said->digest, sizeof(transfer->digest));

	if (said->state == WIRE_TRANSFER_PREPARING) {
		moved(core, transfer, &transfer->prepared_bytes, said->done_bytes);
		return;
	}
	if (said->state != WIRE_TRANSFER_SENDING || (transfer->offered && !same)) {
		end(core, transfer, said->refusal ? said->refusal : REFUSAL_TRANSFER_NO_SOURCE);
		return;
	}
	if (same)
		return;
	transfer->offered = true;
	transfer->moved_at = core->now;
	transfer->bytes = said->bytes;
	memcpy(transfer->artefact, said->template_id, sizeof(transfer->artefact));
	memcpy(transfer->digest, said->digest, sizeof(transfer->digest));
	effect_wake(core, &core->nodes[transfer->to]);
}

static void destination_says(struct core *core, struct transfer *transfer,
			     const struct wire_transfer *said)
{
	if (said->state == WIRE_TRANSFER_FETCHING)
		moved(core, transfer, &transfer->done_bytes, said->done_bytes);
	else if (said->state == WIRE_TRANSFER_FAILED)
		end(core, transfer, said->refusal);
	/* DONE: this poll says, too, whether it offers it; a later one may. */
}

static void hear(struct core *core, struct transfer *transfer, struct node *node,
		 const struct wire_poll *poll)
{
	const struct wire_transfer *said = find_said(poll, transfer->number);
	bool sends = &core->nodes[transfer->from] == node;
	bool *known = sends ? &transfer->from_knows : &transfer->to_knows;

	if (!sends && !is_copy(transfer) && offers(node, transfer->template_, false)) {
		end(core, transfer, REFUSAL_NONE);
		return;
	}
	/* It was started anew: what it knew, it forgot. */
	if (*known && !said)
		effect_wake(core, node);
	*known = said != NULL;
	if (said && sends)
		source_says(core, transfer, said);
	else if (said)
		destination_says(core, transfer, said);
}

static void consider_wanted(struct core *core, struct node *node, uint32_t slot)
{
	struct list *next;

	for (struct list *link = list_first(&core->wanted); link; link = next) {
		struct template_ *it = LIST_OBJECT(link, struct template_, wanted_link);
		uint32_t template_ = (uint32_t)(it - core->templates);

		next = list_next(&core->wanted, link);
		if (mono_ms_since(core->now, it->wanted_at) >= CORE_WANT_MS || it->ranks_filled) {
			list_remove(link);
			continue;
		}
		if (may_receive(core, node, template_) && place_room(node, &it->row) &&
		    !is_on_its_way(core, template_) && begin(core, slot, template_))
			return;
	}
}

static void consider_everywhere(struct core *core, struct node *node, uint32_t slot)
{
	for (struct list *link = list_first(&core->everywhere); link;
	     link = list_next(&core->everywhere, link)) {
		struct template_ *it = LIST_OBJECT(link, struct template_, everywhere_link);
		uint32_t template_ = (uint32_t)(it - core->templates);

		if (may_receive(core, node, template_) && begin(core, slot, template_))
			return;
	}
}

static void consider(struct core *core, struct node *node, uint32_t slot)
{
	if ((core->role != CORE_ALONE && core->role != CORE_LEADING) || !node->platform ||
	    core->transfers_n >= core->limits.transfers_max || !place_may(node) ||
	    is_receiving(core, slot))
		return;
	consider_wanted(core, node, slot);
	if (!is_receiving(core, slot) && core->transfers_n < core->limits.transfers_max)
		consider_everywhere(core, node, slot);
}

static uint64_t platform_of(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: equal texts are wanted, and no more */

	if (!text[0])
		return 0;
	for (const char *c = text; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	return hash | 1;
}

void transfer_report(struct core *core, struct node *node, const struct wire_poll *poll)
{
	uint32_t slot = (uint32_t)(node - core->nodes);

	node->platform = platform_of(poll->platform);
	if (!core->limits.transfers_max)
		return;
	for (uint32_t i = 0; core->transfers_n && i < CORE_TRANSFERS_MAX; i++) {
		struct transfer *transfer = &core->transfers[i];
		if (transfer->number && (transfer->from == slot || transfer->to == slot))
			hear(core, transfer, node, poll);
	}
	consider(core, node, slot);
}

/* ---- orders ---- */

struct id transfer_id(uint64_t number)
{
	static const char digits[] = "0123456789abcdef";
	struct id id = {"x000"};

	/* As long as a sandbox's, and never one: those begin with another letter. */
	for (int i = 0; i < 16; i++)
		id.text[4 + i] = digits[number >> (60 - 4 * i) & 15];
	return id;
}

static void order_copy(struct wire_order *order, const struct core_sandbox *copy)
{
	order->copy = copy->id;
	order->incarnation = copy->incarnation;
	order->source = copy->source_attempt;
	order->saved = copy->source;
	order->tenant = copy->tenant;
	order->vcpus = copy->vcpus;
	order->mem_mib = copy->mem_mib;
	order->stays = snapshot_copy_is(copy);
	order->how = order->stays ? WIRE_SAVE_PAUSE : copy->how;
}

static void order(struct core *core, struct transfer *transfer, const struct node *node,
		  enum wire_order_kind kind)
{
	struct core_effect *effect = effect_add(core, CORE_EFFECT_ORDER);
	struct wire_order *out = &effect->order.order;

	effect->order.node = node->row.id;
	out->kind = kind;
	out->sandbox = transfer_id(transfer->number);
	out->attempt = transfer->number;
	out->incarnation = 1;
	if (is_copy(transfer))
		order_copy(out, &find_sandbox(core, transfer->copy.text)->row);
	memcpy(out->template, core->templates[transfer->template_].row.name, sizeof(out->template));
	if (kind == WIRE_ORDER_SEND)
		return;
	memcpy(out->artefact, transfer->artefact, sizeof(out->artefact));
	memcpy(out->digest, transfer->digest, sizeof(out->digest));
	out->bytes = transfer->bytes;
}

static bool is_due(const struct core *core, struct mono sent_at)
{
	return !sent_at.ns || mono_ms_since(core->now, sent_at) >= CORE_RESEND_MS;
}

void transfer_poll(struct core *core, const struct node *node)
{
	uint32_t slot = (uint32_t)(node - core->nodes);

	for (uint32_t i = 0; core->transfers_n && i < CORE_TRANSFERS_MAX; i++) {
		struct transfer *transfer = &core->transfers[i];

		if (!transfer->number)
			continue;
		if (transfer->from == slot && !transfer->from_knows &&
		    is_due(core, transfer->from_sent_at)) {
			order(core, transfer, node, WIRE_ORDER_SEND);
			transfer->from_sent_at = core->now;
		}
		if (transfer->to == slot && transfer->offered && !transfer->to_knows &&
		    is_due(core, transfer->to_sent_at)) {
			order(core, transfer, node, WIRE_ORDER_FETCH);
			transfer->to_sent_at = core->now;
		}
	}
}

void transfer_tick(struct core *core)
{
	for (uint32_t i = 0; core->transfers_n && i < CORE_TRANSFERS_MAX; i++) {
		struct transfer *transfer = &core->transfers[i];
		if (transfer->number && effects_left(core) >= END_EFFECTS &&
		    mono_ms_since(core->now, transfer->moved_at) >= CORE_TRANSFER_MS)
			end(core, transfer, REFUSAL_TRANSFER_LOST);
	}
}

bool transfer_next_deadline(const struct core *core, struct mono *out_at)
{
	bool any = false;

	for (uint32_t i = 0; core->transfers_n && i < CORE_TRANSFERS_MAX; i++) {
		const struct transfer *transfer = &core->transfers[i];
		struct mono at = mono_add_ms(transfer->moved_at, CORE_TRANSFER_MS);
		if (!transfer->number || (any && out_at->ns <= at.ns))
			continue;
		*out_at = at;
		any = true;
	}
	return any;
}

/* ---- questions ---- */

static void view(const struct core *core, const struct transfer *transfer,
		 struct core_transfer_view *out_view)
{
	*out_view = (struct core_transfer_view){
		.number = transfer->number,
		.template_ = core->templates[transfer->template_].row.name,
		.sandbox = transfer->sandbox,
		.from = core->nodes[transfer->from].row.id,
		.to = core->nodes[transfer->to].row.id,
		.offered = transfer->offered,
		.bytes = transfer->bytes,
		.done_bytes = transfer->done_bytes,
		.began_at = transfer->began_at,
		.refusal = transfer->refusal,
		.ended_at = transfer->ended_at,
	};
}

bool core_transfer_next(const struct core *core, uint32_t *cursor,
			struct core_transfer_view *out_view)
{
	while (*cursor < CORE_TRANSFERS_MAX) {
		const struct transfer *transfer = &core->transfers[(*cursor)++];
		if (!transfer->number)
			continue;
		view(core, transfer, out_view);
		return true;
	}
	return false;
}

bool core_transfer_failed_next(const struct core *core, uint32_t *cursor,
			       struct core_transfer_view *out_view)
{
	uint64_t at = core->transfers_failed_n - 1 - *cursor;

	if (*cursor >= core->transfers_failed_n || *cursor >= CORE_TRANSFERS_KEPT)
		return false;
	(*cursor)++;
	view(core, &core->failed[at % CORE_TRANSFERS_KEPT], out_view);
	return true;
}

void transfer_verify(const struct core *core)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < CORE_TRANSFERS_MAX; i++) {
		const struct transfer *a = &core->transfers[i];
		uint32_t receives = 0;

		if (!a->number)
			continue;
		n++;
		CHECK(a->from != a->to && wire_attempt_epoch(a->number) == core->epoch);
		CHECK(a->offered || !a->to_knows);
		CHECK(sends_n(core, a->from) <= TRANSFER_SENDS_MAX);
		for (uint32_t j = 0; j < CORE_TRANSFERS_MAX; j++)
			receives += core->transfers[j].number && core->transfers[j].to == a->to;
		CHECK(receives == 1);
	}
	CHECK(n == core->transfers_n && n <= core->limits.transfers_max);
	CHECK(!n || core->role == CORE_ALONE || core->role == CORE_LEADING);
}

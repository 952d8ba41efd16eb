/* A generator that walks the tables; what the tables' rules ask for is mended afterwards. */
#include "tests/proto/random_message.h"

#include "common/base/check.h"

#include <string.h>

static void *take(struct wire_arena *arena, size_t size)
{
	size_t start = (arena->used + WIRE_ALIGN - 1) & ~(size_t)(WIRE_ALIGN - 1);

	CHECK(start + size <= arena->size);
	arena->used = start + size;
	memset(arena->data + start, 0, size);
	return arena->data + start;
}

/* Mostly small, sometimes at either bound: that is where the bugs are. */
static uint64_t random_between(struct rng *rng, uint64_t min, uint64_t max)
{
	uint64_t span = max - min;

	switch (rng_below(rng, 8)) {
	case 0:
		return min;
	case 1:
		return max;
	case 2:
		return span == UINT64_MAX ? rng_next(rng) : min + rng_below(rng, span + 1);
	default:
		return min + rng_below(rng, (span < 1000 ? span : 1000) + 1);
	}
}

static void random_text(struct rng *rng, char *text, size_t n)
{
	static const char *const letters[] = {"a", "Z", "7", " ", "\"", "é", "€", "🚢", "\x7f"};
	size_t at = 0;

	while (at < n) {
		const char *letter = letters[rng_below(rng, ARRAY_N(letters))];
		size_t letter_n = strlen(letter);

		if (letter_n > n - at)
			continue;
		memcpy(text + at, letter, letter_n);
		at += letter_n;
	}
}

static void random_id(struct rng *rng, struct id *id)
{
	uint8_t random[ID_RANDOM_BYTES];

	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)rng_next(rng);
	*id = id_make(rng_one_in(rng, 2) ? "i" : "nod_", random);
}

static void random_number(struct rng *rng, const struct wire_field *field, void *at)
{
	uint64_t number;

	if (field->type == WIRE_TYPE_i64) {
		uint64_t span = field->max - (uint64_t)field->min;

		number = (uint64_t)field->min + random_between(rng, 0, span);
		memcpy(at, &number, sizeof(number));
		return;
	}
	if (field->type == WIRE_TYPE_enumerated)
		number = field->values->values[rng_below(rng, field->values->value_n)].number;
	else
		number = random_between(rng, (uint64_t)field->min, field->max);
	if (field->type == WIRE_TYPE_bool)
		*(bool *)at = number;
	else if (field->type == WIRE_TYPE_u16)
		*(uint16_t *)at = (uint16_t)number;
	else if (field->type == WIRE_TYPE_u64)
		*(uint64_t *)at = number;
	else
		*(uint32_t *)at = (uint32_t)number;
}

static void random_bytes(struct rng *rng, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)rng_next(rng);
}

static void random_list(struct rng *rng, const struct wire_field *field, size_t list_max,
			struct wire_arena *arena, void *message)
{
	size_t max = field->max < list_max ? (size_t)field->max : list_max;
	size_t n = (size_t)random_between(rng, (uint64_t)field->min, max);
	char *elements = take(arena, n * field->of->size + 1);

	memcpy((char *)message + field->offset, &elements, sizeof(elements));
	memcpy((char *)message + field->offset_n, &n, sizeof(n));
	for (size_t i = 0; i < n; i++)
		random_message(rng, field->of, list_max, arena, elements + i * field->of->size);
}

static void random_field(struct rng *rng, const struct wire_field *field, size_t list_max,
			 struct wire_arena *arena, void *message)
{
	void *at = (char *)message + field->offset;
	size_t n;

	if (field->presence == WIRE_OPTIONAL && rng_one_in(rng, 3))
		return;
	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
	case WIRE_TYPE_i64:
	case WIRE_TYPE_bool:
	case WIRE_TYPE_enumerated:
		random_number(rng, field, at);
		break;
	case WIRE_TYPE_id:
		random_id(rng, at);
		break;
	case WIRE_TYPE_text:
		n = (size_t)random_between(rng, (uint64_t)field->min, field->max);
		random_text(rng, at, n);
		break;
	case WIRE_TYPE_fixed:
		random_bytes(rng, at, (size_t)field->max);
		break;
	case WIRE_TYPE_bytes:
		n = (size_t)rng_below(rng, rng_one_in(rng, 20) ? field->max + 1 : 100);
		random_bytes(rng, take(arena, n + 1), n);
		*(struct wire_bytes *)at =
			(struct wire_bytes){arena->data + arena->used - n - 1, n};
		break;
	case WIRE_TYPE_nested:
		random_message(rng, field->of, list_max, arena, at);
		break;
	case WIRE_TYPE_list:
		random_list(rng, field, list_max, arena, message);
		break;
	case WIRE_TYPE_retired:
		break;
	}
}

static void mend_record(struct wire_record *record)
{
	if (record->from_ms > record->to_ms)
		record->from_ms = record->to_ms;
	if (record->kind == WIRE_RECORD_REFUSED && record->refusal == REFUSAL_NONE)
		record->refusal = REFUSAL_NODE_FULL;
	if ((record->kind == WIRE_RECORD_ENDED || record->kind == WIRE_RECORD_DISCARDED) &&
	    record->cause == CAUSE_NONE)
		record->cause = CAUSE_TIMEOUT;
	if (record->kind == WIRE_RECORD_RUNS_ON) {
		record->save += !record->save;
		if (record->refusal == REFUSAL_NONE)
			record->refusal = REFUSAL_PAUSE_FAILED;
	}
	if (record->kind == WIRE_RECORD_KEPT && id_is_empty(&record->source))
		record->source = record->sandbox;
	if (record->kind == WIRE_RECORD_HANDED_OVER) {
		record->save += !record->save;
		record->to = record->sandbox;
	}
}

static void mend_transfer(struct wire_transfer *transfer)
{
	if (transfer->state == WIRE_TRANSFER_FAILED && transfer->refusal == REFUSAL_NONE)
		transfer->refusal = REFUSAL_TRANSFER_LOST;
	if (transfer->state == WIRE_TRANSFER_SENDING && !transfer->template_id[0])
		strcpy(transfer->template_id, "content");
}

static void mend_order(struct wire_order *order)
{
	if (order->kind == WIRE_ORDER_CLAIM) {
		if (!order->template[0])
			strcpy(order->template, "base");
		order->vcpus += !order->vcpus;
		order->mem_mib += !order->mem_mib;
		order->ttl_ms += !order->ttl_ms;
	}
	if ((order->kind == WIRE_ORDER_SEND || order->kind == WIRE_ORDER_FETCH) &&
	    !order->template[0])
		strcpy(order->template, "base");
	if (order->kind == WIRE_ORDER_FETCH && !order->artefact[0])
		strcpy(order->artefact, "content");
	if (order->kind == WIRE_ORDER_FETCH || order->kind == WIRE_ORDER_HAND_OVER) {
		order->vcpus += !order->vcpus;
		order->mem_mib += !order->mem_mib;
		order->how = WIRE_SAVE_PAUSE;
		order->saved = order->copy = order->to = order->sandbox;
	}
	if (order->kind == WIRE_ORDER_KILL && order->cause == CAUSE_NONE)
		order->cause = CAUSE_REQUEST;
	order->deadline_version += !order->deadline_version;
	if (order->how == WIRE_SAVE_SNAPSHOT || order->kind == WIRE_ORDER_PAUSE)
		order->how = WIRE_SAVE_PAUSE;
	order->save += !order->save;
	order->source += !order->source;
}

static void mend_egress(struct wire_egress *egress)
{
	if (!egress->authority.n || !egress->authority_key.n)
		egress->rules_n = 0;
	egress->proxy_port = egress->proxy_port ? egress->proxy_port : 1080;
}

/* What the rules of wire.def ask for, which chance would hardly ever give. */
static void mend(const struct wire_shape *shape, void *message)
{
	struct wire_poll *poll = message;
	struct wire_answer *answer = message;
	struct wire_enrol_reply *enrolled = message;
	struct wire_session_welcome *welcome = message;

	if (shape == &wire_shape_record) {
		mend_record(message);
	} else if (shape == &wire_shape_transfer) {
		mend_transfer(message);
	} else if (shape == &wire_shape_order) {
		mend_order(message);
	} else if (shape == &wire_shape_egress) {
		mend_egress(message);
	} else if (shape == &wire_shape_poll) {
		if (poll->first_seq > UINT64_MAX - 256)
			poll->first_seq -= 256;
		for (size_t i = 0; i < poll->records_n; i++)
			poll->records[i].seq = poll->first_seq + i;
	} else if (shape == &wire_shape_answer) {
		answer->standby = answer->standby && answer->orders_n == 0;
	} else if (shape == &wire_shape_enrol_reply) {
		enrolled->ok = enrolled->ok && !id_is_empty(&enrolled->node);
	} else if (shape == &wire_shape_session_welcome) {
		welcome->ok = welcome->ok && welcome->session;
	}
}

void random_message(struct rng *rng, const struct wire_shape *shape, size_t list_max,
		    struct wire_arena *arena, void *out)
{
	memset(out, 0, shape->size);
	for (size_t i = 0; i < shape->field_n; i++)
		random_field(rng, &shape->fields[i], list_max, arena, out);
	mend(shape, out);
}

void random_damage(struct rng *rng, uint8_t *data, size_t *n)
{
	for (uint64_t i = rng_below(rng, 8) + 1; i > 0 && *n > 0; i--) {
		size_t at = (size_t)rng_below(rng, *n);

		switch (rng_below(rng, 4)) {
		case 0:
			data[at] ^= (uint8_t)(1u << rng_below(rng, 8));
			break;
		case 1:
			data[at] = (uint8_t)rng_next(rng);
			break;
		case 2: /* the bytes that start containers, and long claims */
			data[at] = (uint8_t)(0xdc + rng_below(rng, 4));
			break;
		default:
			if (rng_one_in(rng, 4))
				*n = at;
			break;
		}
	}
}

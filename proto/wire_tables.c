/* wire.def as the const tables that everything else walks. */
#include "proto/reasons.h"
#include "proto/wire.h"

#include "common/base/check.h"

#include <string.h>

/* clang-format off */

/* Values of each enum. */
#define ENUM(c_tag, doc) static const struct wire_value values_##c_tag[] = {
#define VALUE(c_tag, number, c_name, name, doc) {number, #name, doc},
#define ENUM_END(c_tag) };
#include "proto/wire.def"

#define ENUM(c_tag, doc)                                                                           \
	static const struct wire_enum wire_enum_##c_tag = {                                        \
		#c_tag, doc, values_##c_tag, ARRAY_N(values_##c_tag)};
#include "proto/wire.def"

const struct wire_enum *const wire_enums[] = {
#define ENUM(c_tag, doc) &wire_enum_##c_tag,
#include "proto/wire.def"
	NULL,
};

/* Rules, each a function; the line in wire.def makes its name unique. */
#define RULE_NAME_OF(message, line) rule_##message##_##line
#define RULE_NAME(message, line)    RULE_NAME_OF(message, line)
#define RULE(message, promise, doc)                                                                \
	static bool RULE_NAME(message, __LINE__)(const void *any)                                  \
	{                                                                                          \
		const struct wire_##message *m = any;                                              \
		return promise;                                                                    \
	}
#include "proto/wire.def"

#define PART(name, doc) static const struct wire_rule rules_##name[] = {
#define MESSAGE(name, upper, kind, doc) static const struct wire_rule rules_##name[] = {
#define RULE(message, promise, doc) {RULE_NAME(message, __LINE__), doc},
#define END(name) };
#include "proto/wire.def"

/* Fields of each shape. */
#define AT_NUMBER(message, name) .offset = offsetof(struct wire_##message, name)
#define FIELD_u16(message, name, of)        AT_NUMBER(message, name)
#define FIELD_u32(message, name, of)        AT_NUMBER(message, name)
#define FIELD_u64(message, name, of)        AT_NUMBER(message, name)
#define FIELD_i64(message, name, of)        AT_NUMBER(message, name)
#define FIELD_bool(message, name, of)       AT_NUMBER(message, name)
#define FIELD_id(message, name, of)         AT_NUMBER(message, name)
#define FIELD_text(message, name, of)       AT_NUMBER(message, name)
#define FIELD_fixed(message, name, of)      AT_NUMBER(message, name)
#define FIELD_bytes(message, name, of)      AT_NUMBER(message, name)
#define FIELD_retired(message, name, of)    .offset = 0
#define FIELD_enumerated(message, name, of) AT_NUMBER(message, name), .values = &wire_enum_##of
#define FIELD_nested(message, name, of_)    AT_NUMBER(message, name), .of = &wire_shape_##of_
#define FIELD_list(message, name, of_)                                                             \
	AT_NUMBER(message, name), .offset_n = offsetof(struct wire_##message, name##_n),           \
	.of = &wire_shape_##of_

#define PART(name, doc) static const struct wire_field fields_##name[] = {
#define MESSAGE(name, upper, kind, doc) static const struct wire_field fields_##name[] = {
#define FIELD(message, tag_, name_, type_, presence_, min_, max_, of_, unit_, doc_)                \
	{.name = #name_, .tag = tag_, .type = WIRE_TYPE_##type_, .presence = WIRE_##presence_,     \
	 .min = (int64_t)(min_), .max = (uint64_t)(max_), .unit = unit_, .doc = doc_,              \
	 FIELD_##type_(message, name_, of_)},
#define END(name) };
#include "proto/wire.def"

#define SHAPE(name, kind, doc)                                                                     \
	const struct wire_shape wire_shape_##name = {                                              \
		#name, kind, doc, sizeof(struct wire_##name), fields_##name,                       \
		ARRAY_N(fields_##name), rules_##name, ARRAY_N(rules_##name)};
#define PART(name, doc) SHAPE(name, 0, doc)
#define MESSAGE(name, upper, kind, doc) SHAPE(name, kind, doc)
#include "proto/wire.def"

const struct wire_shape *const wire_shapes[] = {
#define PART(name, doc) &wire_shape_##name,
#define MESSAGE(name, upper, kind, doc) &wire_shape_##name,
#include "proto/wire.def"
	NULL,
};

const char *const wire_type_names[] = {
#define TYPE(name) #name,
	WIRE_TYPES
#undef TYPE
};

/* clang-format on */

const struct wire_shape *wire_shape_of(uint32_t kind)
{
	switch ((enum wire_kind)kind) {
#define MESSAGE(name, upper, number, doc)                                                          \
	case WIRE_KIND_##upper:                                                                    \
		return &wire_shape_##name;
#include "proto/wire.def"
	}
	return NULL;
}

const char *wire_value_name(const struct wire_enum *values, uint32_t number)
{
	for (size_t i = 0; i < values->value_n; i++)
		if (values->values[i].number == number)
			return values->values[i].name;
	return NULL;
}

size_t wire_arena_need(const struct wire_shape *shape)
{
	size_t need = 0;

	for (size_t i = 0; i < shape->field_n; i++) {
		const struct wire_field *field = &shape->fields[i];

		if (field->type == WIRE_TYPE_nested)
			need += wire_arena_need(field->of);
		else if (field->type == WIRE_TYPE_list)
			need += WIRE_ALIGN +
				(size_t)field->max * (field->of->size + wire_arena_need(field->of));
	}
	return need;
}

bool wire_poll_is_consecutive(const struct wire_poll *poll)
{
	for (size_t i = 0; i < poll->records_n; i++)
		if (poll->records[i].seq != poll->first_seq + i)
			return false;
	return true;
}

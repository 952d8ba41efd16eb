/* What makes a message valid, and equal to another: the tables' promises, field by field. */
#include "proto/wire_internal.h"

#include "common/base/check.h"

#include <string.h>

_Static_assert(sizeof(enum cause) == sizeof(uint32_t), "enums are 32 bits wide");

const void *wire_list(const struct wire_field *field, const void *message, size_t *out_n)
{
	const void *elements;

	memcpy(out_n, (const char *)message + field->offset_n, sizeof(*out_n));
	memcpy(&elements, wire_at(field, message), sizeof(elements));
	return elements;
}

uint64_t wire_number(const struct wire_field *field, const void *message)
{
	const void *at = wire_at(field, message);

	switch (field->type) {
	case WIRE_TYPE_u16:
		return *(const uint16_t *)at;
	case WIRE_TYPE_u32:
		return *(const uint32_t *)at;
	case WIRE_TYPE_u64:
		return *(const uint64_t *)at;
	case WIRE_TYPE_bool:
		return *(const bool *)at;
	case WIRE_TYPE_enumerated:
		return *(const uint32_t *)at;
	case WIRE_TYPE_i64:
	case WIRE_TYPE_id:
	case WIRE_TYPE_text:
	case WIRE_TYPE_fixed:
	case WIRE_TYPE_bytes:
	case WIRE_TYPE_nested:
	case WIRE_TYPE_list:
	case WIRE_TYPE_retired:
		break;
	}
	check_broken("the field is a number", __FILE__, __LINE__);
}

static bool is_all_zero(const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (data[i])
			return false;
	return true;
}

bool wire_is_absent(const struct wire_field *field, const void *message)
{
	const void *at = wire_at(field, message);
	size_t n;

	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
	case WIRE_TYPE_bool:
	case WIRE_TYPE_enumerated:
		return wire_number(field, message) == 0;
	case WIRE_TYPE_i64:
		return *(const int64_t *)at == 0;
	case WIRE_TYPE_id:
	case WIRE_TYPE_text:
		return *(const char *)at == 0;
	case WIRE_TYPE_fixed:
		return is_all_zero(at, field->max);
	case WIRE_TYPE_bytes:
		return ((const struct wire_bytes *)at)->n == 0;
	case WIRE_TYPE_nested:
		for (size_t i = 0; i < field->of->field_n; i++)
			if (!wire_is_absent(&field->of->fields[i], at))
				return false;
		return true;
	case WIRE_TYPE_list:
		wire_list(field, message, &n);
		return n == 0;
	case WIRE_TYPE_retired:
		break;
	}
	return true;
}

/* The length of the UTF-8 sequence at text, or 0: overlong forms and surrogates are none. */
static size_t utf8_sequence(const unsigned char *text, size_t n)
{
	uint32_t point;
	size_t length;

	if (text[0] < 0x80)
		return 1;
	else if (text[0] >= 0xc2 && text[0] < 0xe0)
		length = 2;
	else if (text[0] >= 0xe0 && text[0] < 0xf0)
		length = 3;
	else if (text[0] >= 0xf0 && text[0] < 0xf5)
		length = 4;
	else
		return 0;
	if (length > n)
		return 0;
	point = text[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3fu);
	}
	if ((length == 3 && point < 0x800) || (length == 4 && point < 0x10000) ||
	    (point >= 0xd800 && point < 0xe000) || point > 0x10ffff)
		return 0;
	return length;
}

static bool text_is_utf8(const char *text, size_t n)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t at = 0;

	while (at < n) {
		size_t length = utf8_sequence(bytes + at, n - at);

		if (length == 0)
			return false;
		at += length;
	}
	return true;
}

static int wrong(const struct wire_shape *shape, const struct wire_field *field, struct err *err,
		 const char *what)
{
	return err_set(err, "%s.%s: %s", shape->name, field->name, what);
}

static int check_text(const struct wire_shape *shape, const struct wire_field *field,
		      const char *text, struct err *err)
{
	size_t n = strnlen(text, (size_t)field->max + 1);

	if (n > field->max)
		return wrong(shape, field, err, "too long");
	if (n < (size_t)field->min)
		return wrong(shape, field, err, "too short");
	if (!text_is_utf8(text, n))
		return wrong(shape, field, err, "not UTF-8");
	return 0;
}

/* min..max of what is counted: bytes or elements. */
static int check_count(const struct wire_shape *shape, const struct wire_field *field, size_t n,
		       struct err *err)
{
	if (n < (uint64_t)field->min || n > field->max)
		return err_set(err, "%s.%s: %zu, not within %lld..%llu", shape->name, field->name,
			       n, (long long)field->min, (unsigned long long)field->max);
	return 0;
}

static int check_number(const struct wire_shape *shape, const struct wire_field *field,
			const void *message, struct err *err)
{
	const void *at = wire_at(field, message);
	uint64_t number;

	if (field->type == WIRE_TYPE_i64) {
		int64_t value = *(const int64_t *)at;

		if (value < field->min || value > (int64_t)field->max)
			return wrong(shape, field, err, "out of range");
		return 0;
	}
	number = wire_number(field, message);
	if (field->type == WIRE_TYPE_enumerated) {
		if (!wire_value_name(field->values, (uint32_t)number))
			return wrong(shape, field, err, "no such value");
	} else if (number < (uint64_t)field->min || number > field->max) {
		return wrong(shape, field, err, "out of range");
	}
	return 0;
}

int wire_check_field(const struct wire_shape *shape, const struct wire_field *field,
		     const void *message, struct err *err)
{
	const void *at = wire_at(field, message);
	struct id id;
	size_t n;

	if (field->presence == WIRE_OPTIONAL && wire_is_absent(field, message))
		return 0;
	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
	case WIRE_TYPE_i64:
	case WIRE_TYPE_bool:
	case WIRE_TYPE_enumerated:
		return check_number(shape, field, message, err);
	case WIRE_TYPE_id:
		if (!id_parse(at, strnlen(at, ID_MAX), &id))
			return wrong(shape, field, err, "not an id");
		return 0;
	case WIRE_TYPE_text:
		return check_text(shape, field, at, err);
	case WIRE_TYPE_bytes:
		return check_count(shape, field, ((const struct wire_bytes *)at)->n, err);
	case WIRE_TYPE_list:
		wire_list(field, message, &n);
		return check_count(shape, field, n, err);
	case WIRE_TYPE_fixed:
	case WIRE_TYPE_nested:
	case WIRE_TYPE_retired:
		break;
	}
	return 0;
}

int wire_check_rules(const struct wire_shape *shape, const void *message, struct err *err)
{
	for (size_t i = 0; i < shape->rule_n; i++)
		if (!shape->rules[i].kept(message))
			return err_set(err, "%s: not so: %s", shape->name, shape->rules[i].doc);
	return 0;
}

int wire_validate(const struct wire_shape *shape, const void *message, struct err *err)
{
	for (size_t i = 0; i < shape->field_n; i++) {
		const struct wire_field *field = &shape->fields[i];
		const char *element = wire_at(field, message);
		size_t n = field->type == WIRE_TYPE_nested;

		if (wire_check_field(shape, field, message, err))
			return -1;
		if (field->type == WIRE_TYPE_list)
			element = wire_list(field, message, &n);
		for (; n > 0; n--, element += field->of->size)
			if (wire_validate(field->of, element, err))
				return -1;
	}
	return wire_check_rules(shape, message, err);
}

static bool field_equal(const struct wire_field *field, const void *a, const void *b)
{
	const char *left = wire_at(field, a), *right = wire_at(field, b);
	const struct wire_bytes *left_bytes = (const void *)left,
				*right_bytes = (const void *)right;
	size_t n = 1, right_n = 1;

	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
	case WIRE_TYPE_bool:
	case WIRE_TYPE_enumerated:
		return wire_number(field, a) == wire_number(field, b);
	case WIRE_TYPE_i64:
		return *(const int64_t *)(const void *)left ==
		       *(const int64_t *)(const void *)right;
	case WIRE_TYPE_id:
	case WIRE_TYPE_text:
		return strcmp(left, right) == 0;
	case WIRE_TYPE_fixed:
		return memcmp(left, right, field->max) == 0;
	case WIRE_TYPE_bytes:
		return left_bytes->n == right_bytes->n &&
		       (left_bytes->n == 0 ||
			memcmp(left_bytes->data, right_bytes->data, left_bytes->n) == 0);
	case WIRE_TYPE_list:
		left = wire_list(field, a, &n);
		right = wire_list(field, b, &right_n);
		break;
	case WIRE_TYPE_nested:
		break;
	case WIRE_TYPE_retired:
		return true;
	}
	if (n != right_n)
		return false;
	for (; n > 0; n--, left += field->of->size, right += field->of->size)
		if (!wire_equal(field->of, left, right))
			return false;
	return true;
}

bool wire_equal(const struct wire_shape *shape, const void *a, const void *b)
{
	for (size_t i = 0; i < shape->field_n; i++)
		if (!field_equal(&shape->fields[i], a, b))
			return false;
	return true;
}

size_t wire_limit(const struct wire_shape *shape)
{
	return shape == &wire_shape_envelope ? WIRE_ENVELOPE_MAX : WIRE_MESSAGE_MAX;
}

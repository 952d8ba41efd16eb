/* Structs to msgpack, by the tables. Fields are written in the order of wire.def, so equal messages
 * have equal bytes (the envelope's authentication relies on that). */
#include "proto/wire_internal.h"

#include <msgpack/pack.h>
#include <string.h>

/* Counts on when it is full, so that one pass tells both the bytes and how many there would be. */
struct sink {
	uint8_t *out;
	size_t max;
	size_t n;
};

static int sink_write(void *any, const char *data, size_t n)
{
	struct sink *sink = any;

	/* An envelope's body may already be in out, behind where it shall go. */
	if (n <= sink->max && sink->n <= sink->max - n)
		memmove(sink->out + sink->n, data, n);
	sink->n += n;
	return 0;
}

static void put_message(msgpack_packer *packer, const struct wire_shape *shape,
			const void *message);

static void put_text(msgpack_packer *packer, const char *text, size_t max)
{
	size_t n = strnlen(text, max);

	msgpack_pack_str(packer, n);
	msgpack_pack_str_body(packer, text, n);
}

static void put_bytes(msgpack_packer *packer, const void *data, size_t n)
{
	msgpack_pack_bin(packer, n);
	if (n)
		msgpack_pack_bin_body(packer, data, n);
}

static void put_list(msgpack_packer *packer, const struct wire_field *field, const void *message)
{
	size_t n;
	const char *element = wire_list(field, message, &n);

	msgpack_pack_array(packer, n);
	for (; n > 0; n--, element += field->of->size)
		put_message(packer, field->of, element);
}

static void put_value(msgpack_packer *packer, const struct wire_field *field, const void *message)
{
	const void *at = wire_at(field, message);
	const struct wire_bytes *bytes = at;

	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
	case WIRE_TYPE_enumerated:
		msgpack_pack_uint64(packer, wire_number(field, message));
		break;
	case WIRE_TYPE_i64:
		msgpack_pack_int64(packer, *(const int64_t *)at);
		break;
	case WIRE_TYPE_bool:
		if (*(const bool *)at)
			msgpack_pack_true(packer);
		else
			msgpack_pack_false(packer);
		break;
	case WIRE_TYPE_id:
		put_text(packer, at, ID_MAX);
		break;
	case WIRE_TYPE_text:
		put_text(packer, at, (size_t)field->max);
		break;
	case WIRE_TYPE_fixed:
		put_bytes(packer, at, (size_t)field->max);
		break;
	case WIRE_TYPE_bytes:
		put_bytes(packer, bytes->data, bytes->n);
		break;
	case WIRE_TYPE_nested:
		put_message(packer, field->of, at);
		break;
	case WIRE_TYPE_list:
		put_list(packer, field, message);
		break;
	case WIRE_TYPE_retired:
		break;
	}
}

static bool is_sent(const struct wire_field *field, const void *message)
{
	return field->presence == WIRE_REQUIRED || !wire_is_absent(field, message);
}

static void put_message(msgpack_packer *packer, const struct wire_shape *shape, const void *message)
{
	size_t n = 0;

	for (size_t i = 0; i < shape->field_n; i++)
		n += is_sent(&shape->fields[i], message);
	msgpack_pack_map(packer, n);
	for (size_t i = 0; i < shape->field_n; i++) {
		const struct wire_field *field = &shape->fields[i];

		if (!is_sent(field, message))
			continue;
		msgpack_pack_uint8(packer, field->tag);
		put_value(packer, field, message);
	}
}

static size_t encode(const struct wire_shape *shape, const void *message, uint8_t *out, size_t max)
{
	struct sink sink = {out, max, 0};
	msgpack_packer packer;

	msgpack_packer_init(&packer, &sink, sink_write);
	put_message(&packer, shape, message);
	return sink.n;
}

size_t wire_size(const struct wire_shape *shape, const void *message)
{
	return encode(shape, message, NULL, 0);
}

int wire_encode(const struct wire_shape *shape, const void *message, uint8_t *out, size_t out_max,
		size_t *out_n, struct err *err)
{
	size_t n;

	if (wire_validate(shape, message, err))
		return err_wrap(err, "encode");
	n = encode(shape, message, out, out_max);
	if (n > out_max || n > wire_limit(shape))
		return err_set(err, "encode: %s: %zu bytes are too many", shape->name, n);
	*out_n = n;
	return 0;
}

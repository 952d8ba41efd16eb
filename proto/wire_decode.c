/*
 * msgpack to structs, by the tables.
 *
 * msgpack-c's parser is a template that calls back for every value.  Using it as such, and not
 * through msgpack_unpack, is what keeps the promise of bounds: its own callbacks allocate an array
 * for as many elements as the input claims; ours look the claim up in the tables first and take it
 * from the arena. Values go straight into the struct, in one pass.
 */
#include "proto/wire_internal.h"

#include <msgpack/unpack.h>
#include <string.h>

/* One value as the parser hands it around; containers carry what they are being decoded into. */
struct value {
	enum value_is {
		VALUE_SKIPPED, /* nil, floats, and all within an unknown field */
		VALUE_NATURAL,
		VALUE_NEGATIVE,
		VALUE_BOOL,
		VALUE_TEXT,
		VALUE_BYTES,
		VALUE_MESSAGE, /* a map that is a known message */
		VALUE_LIST,    /* an array that is a known list */
	} is;
	union {
		uint64_t natural;
		int64_t negative;
		bool truth;
		struct wire_bytes bytes;
		struct {
			const struct wire_shape *shape;
			char *out;
			uint64_t seen; /* bit per tag */
			size_t left;   /* entries still to come */
		} message;
		struct {
			const struct wire_shape *shape;
			char *next; /* element */
		} list;
	};
};

struct decoder {
	const struct wire_shape *root;
	void *out;
	struct wire_arena *arena;
	struct err *err;
};

/* The parser's contract: 0 goes on, negative stops. This one says that err is set. */
enum { REFUSED = -100 };

#define msgpack_unpack_struct(name)    struct parser##name
#define msgpack_unpack_func(ret, name) __attribute__((unused)) static ret parser##name
#define msgpack_unpack_callback(name)  on##name
#define msgpack_unpack_object          struct value
#define msgpack_unpack_user            struct decoder
#define MSGPACK_EMBED_STACK_SIZE       ((unsigned int)WIRE_DEPTH_MAX)

static struct value on_root(struct decoder *decoder)
{
	(void)decoder;
	return (struct value){.is = VALUE_SKIPPED};
}

static int on_natural(uint64_t natural, struct value *out)
{
	*out = (struct value){.is = VALUE_NATURAL, .natural = natural};
	return 0;
}

static int on_signed(int64_t number, struct value *out)
{
	if (number >= 0)
		return on_natural((uint64_t)number, out);
	*out = (struct value){.is = VALUE_NEGATIVE, .negative = number};
	return 0;
}

static int on_skipped(struct value *out)
{
	*out = (struct value){.is = VALUE_SKIPPED};
	return 0;
}

#define on_uint8(decoder, number, out)      on_natural(number, out)
#define on_uint16(decoder, number, out)     on_natural(number, out)
#define on_uint32(decoder, number, out)     on_natural(number, out)
#define on_uint64(decoder, number, out)     on_natural(number, out)
#define on_int8(decoder, number, out)       on_signed(number, out)
#define on_int16(decoder, number, out)      on_signed(number, out)
#define on_int32(decoder, number, out)      on_signed(number, out)
#define on_int64(decoder, number, out)      on_signed(number, out)
#define on_float(decoder, number, out)      ((void)(number), on_skipped(out))
#define on_double(decoder, number, out)     ((void)(number), on_skipped(out))
#define on_nil(decoder, out)                on_skipped(out)
#define on_true(decoder, out)               on_bool(true, out)
#define on_false(decoder, out)              on_bool(false, out)
#define on_str(decoder, base, data, n, out) on_bytes(VALUE_TEXT, data, n, out)
#define on_bin(decoder, base, data, n, out) on_bytes(VALUE_BYTES, data, n, out)
#define on_ext(decoder, base, data, n, out) on_skipped(out)

static int on_bool(bool truth, struct value *out)
{
	*out = (struct value){.is = VALUE_BOOL, .truth = truth};
	return 0;
}

static int on_bytes(enum value_is is, const char *data, size_t n, struct value *out)
{
	*out = (struct value){.is = is, .bytes = {(const uint8_t *)data, n}};
	return 0;
}

static int on_map(struct decoder *decoder, unsigned int n, struct value *out);
static int on_array(struct decoder *decoder, unsigned int n, struct value *out);
static int on_map_item(struct decoder *decoder, struct value *map, struct value key,
		       struct value value);
static int on_array_item(struct decoder *decoder, struct value *array, struct value value);

#include <msgpack/unpack_define.h>
#include <msgpack/unpack_template.h>

static int wrong(struct decoder *decoder, const struct wire_shape *shape,
		 const struct wire_field *field, const char *what)
{
	err_set(decoder->err, "decode: %s%s%s: %s", shape->name, field ? "." : "",
		field ? field->name : "", what);
	return REFUSED;
}

static const struct wire_field *field_by_tag(const struct wire_shape *shape, uint64_t tag)
{
	/* Without gaps, as most are, a tag is also the place. */
	if (tag - 1 < shape->field_n && shape->fields[tag - 1].tag == tag)
		return &shape->fields[tag - 1];
	for (size_t i = 0; i < shape->field_n; i++)
		if (shape->fields[i].tag == tag)
			return &shape->fields[i];
	return NULL;
}

/* All entries are there: nothing required may be missing, and the rules must be kept. */
static int finish_message(struct decoder *decoder, const struct value *map)
{
	const struct wire_shape *shape = map->message.shape;

	for (size_t i = 0; i < shape->field_n; i++) {
		const struct wire_field *field = &shape->fields[i];

		if (field->presence == WIRE_REQUIRED && !(map->message.seen >> field->tag & 1))
			return wrong(decoder, shape, field, "missing");
	}
	if (wire_check_rules(shape, map->message.out, decoder->err)) {
		err_wrap(decoder->err, "decode");
		return REFUSED;
	}
	return 0;
}

static int start_message(struct decoder *decoder, const struct wire_shape *shape, void *at,
			 size_t n, struct value *out)
{
	memset(at, 0, shape->size);
	*out = (struct value){.is = VALUE_MESSAGE, .message = {shape, at, 0, n}};
	return n == 0 ? finish_message(decoder, out) : 0;
}

/*
 * The field that a container is the value of, NULL if it is to be skipped.  The parser's stack
 * tells: 'out' is the first member of the entry being made, and the one below is what it is within.
 */
static int field_of_container(struct decoder *decoder, const struct value *out,
			      const struct wire_field **out_field, char **out_message)
{
	const struct parser_stack *within = (const struct parser_stack *)(const void *)out - 1;
	const struct wire_shape *shape;

	*out_field = NULL;
	if (within->obj.is != VALUE_MESSAGE)
		return 0;
	shape = within->obj.message.shape;
	if (within->ct != MSGPACK_CT_MAP_VALUE || within->map_key.is != VALUE_NATURAL)
		return wrong(decoder, shape, NULL, "a tag is not a number");
	*out_field = field_by_tag(shape, within->map_key.natural);
	*out_message = within->obj.message.out;
	/* A list given twice must not take room twice. */
	if (*out_field && within->obj.message.seen >> (*out_field)->tag & 1)
		return wrong(decoder, shape, *out_field, "there twice");
	return 0;
}

static bool is_root(const struct decoder *decoder, const struct value *out)
{
	const struct parser_context *context = (const struct parser_context *)(const void *)decoder;

	return out == &context->stack[0].obj;
}

static int on_map(struct decoder *decoder, unsigned int n, struct value *out)
{
	const struct parser_stack *within = (const struct parser_stack *)(const void *)out - 1;
	const struct wire_field *field;
	char *message = NULL;

	if (is_root(decoder, out))
		return start_message(decoder, decoder->root, decoder->out, n, out);
	if (within->obj.is == VALUE_LIST)
		return start_message(decoder, within->obj.list.shape, within->obj.list.next, n,
				     out);
	if (field_of_container(decoder, out, &field, &message))
		return REFUSED;
	if (!field || field->type == WIRE_TYPE_retired)
		return on_skipped(out);
	if (field->type != WIRE_TYPE_nested)
		return wrong(decoder, within->obj.message.shape, field, "a map was not expected");
	return start_message(decoder, field->of, wire_at_to_change(field, message), n, out);
}

static char *arena_take(struct wire_arena *arena, size_t size)
{
	size_t start = (arena->used + WIRE_ALIGN - 1) & ~(size_t)(WIRE_ALIGN - 1);

	if (start > arena->size || size > arena->size - start)
		return NULL;
	arena->used = start + size;
	return (char *)arena->data + start;
}

static int start_list(struct decoder *decoder, const struct wire_shape *shape,
		      const struct wire_field *field, char *message, size_t n, struct value *out)
{
	char *elements = NULL;

	if (n > field->max || n < (size_t)field->min)
		return wrong(decoder, shape, field, "too many or too few elements");
	if (n > 0 && !(elements = arena_take(decoder->arena, n * field->of->size)))
		return wrong(decoder, shape, field, "no room for its elements");
	memcpy(message + field->offset, &elements, sizeof(elements));
	memcpy(message + field->offset_n, &n, sizeof(n));
	*out = (struct value){.is = VALUE_LIST, .list = {field->of, elements}};
	return 0;
}

static int on_array(struct decoder *decoder, unsigned int n, struct value *out)
{
	const struct parser_stack *within = (const struct parser_stack *)(const void *)out - 1;
	const struct wire_field *field;
	char *message = NULL;

	if (is_root(decoder, out))
		return wrong(decoder, decoder->root, NULL, "not a map");
	if (within->obj.is == VALUE_LIST)
		return wrong(decoder, within->obj.list.shape, NULL, "not a map");
	if (field_of_container(decoder, out, &field, &message))
		return REFUSED;
	if (!field || field->type == WIRE_TYPE_retired)
		return on_skipped(out);
	if (field->type != WIRE_TYPE_list)
		return wrong(decoder, within->obj.message.shape, field,
			     "an array was not expected");
	return start_list(decoder, within->obj.message.shape, field, message, n, out);
}

static int on_array_item(struct decoder *decoder, struct value *array, struct value value)
{
	if (array->is != VALUE_LIST)
		return 0;
	if (value.is != VALUE_MESSAGE)
		return wrong(decoder, array->list.shape, NULL, "not a map");
	array->list.next += array->list.shape->size;
	return 0;
}

static void store_number(const struct wire_field *field, void *at, uint64_t number)
{
	if (field->type == WIRE_TYPE_u64)
		*(uint64_t *)at = number;
	else if (field->type == WIRE_TYPE_u16)
		*(uint16_t *)at = (uint16_t)number;
	else
		*(uint32_t *)at = (uint32_t)number;
}

static bool number_fits(const struct wire_field *field, uint64_t number)
{
	return number <= (field->type == WIRE_TYPE_u64   ? UINT64_MAX
			  : field->type == WIRE_TYPE_u16 ? UINT16_MAX
							 : UINT32_MAX);
}

/* The longest text that has room in the struct. */
static size_t text_room(const struct wire_field *field)
{
	return field->type == WIRE_TYPE_id ? ID_MAX - 1 : (size_t)field->max;
}

/* False if the value is not of the field's type, or has no room in it. */
static bool store_value(const struct wire_field *field, char *message, const struct value *value)
{
	void *at = wire_at_to_change(field, message);

	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
	case WIRE_TYPE_enumerated:
		if (value->is != VALUE_NATURAL || !number_fits(field, value->natural))
			return false;
		store_number(field, at, value->natural);
		return true;
	case WIRE_TYPE_i64:
		if (value->is == VALUE_NEGATIVE)
			*(int64_t *)at = value->negative;
		else if (value->is == VALUE_NATURAL && value->natural <= INT64_MAX)
			*(int64_t *)at = (int64_t)value->natural;
		else
			return false;
		return true;
	case WIRE_TYPE_bool:
		*(bool *)at = value->is == VALUE_BOOL && value->truth;
		return value->is == VALUE_BOOL;
	case WIRE_TYPE_id:
	case WIRE_TYPE_text:
		if (value->is != VALUE_TEXT || value->bytes.n > text_room(field) ||
		    (value->bytes.n && memchr(value->bytes.data, 0, value->bytes.n)))
			return false;
		if (value->bytes.n)
			memcpy(at, value->bytes.data, value->bytes.n);
		return true;
	case WIRE_TYPE_fixed:
		if (value->is != VALUE_BYTES || value->bytes.n != field->max)
			return false;
		memcpy(at, value->bytes.data, value->bytes.n);
		return true;
	case WIRE_TYPE_bytes:
		if (value->is != VALUE_BYTES)
			return false;
		if (value->bytes.n)
			*(struct wire_bytes *)at = value->bytes;
		return true;
	case WIRE_TYPE_nested:
		return value->is == VALUE_MESSAGE;
	case WIRE_TYPE_list:
		return value->is == VALUE_LIST;
	case WIRE_TYPE_retired:
		return true;
	}
	return false;
}

static int on_map_item(struct decoder *decoder, struct value *map, struct value key,
		       struct value value)
{
	const struct wire_shape *shape = map->message.shape;
	const struct wire_field *field;

	if (map->is != VALUE_MESSAGE)
		return 0;
	if (key.is != VALUE_NATURAL)
		return wrong(decoder, shape, NULL, "a tag is not a number");
	field = field_by_tag(shape, key.natural);
	if (field && field->type != WIRE_TYPE_retired) {
		if (map->message.seen >> field->tag & 1)
			return wrong(decoder, shape, field, "there twice");
		map->message.seen |= 1ULL << field->tag;
		if (!store_value(field, map->message.out, &value))
			return wrong(decoder, shape, field, "not of its type or too large");
		if (wire_check_field(shape, field, map->message.out, decoder->err)) {
			err_wrap(decoder->err, "decode");
			return REFUSED;
		}
	}
	return --map->message.left == 0 ? finish_message(decoder, map) : 0;
}

int wire_decode(const struct wire_shape *shape, const uint8_t *data, size_t n,
		struct wire_arena *arena, void *out_message, struct err *err)
{
	struct parser_context context;
	size_t used = 0;
	int ret;

	if (n == 0 || n > wire_limit(shape))
		return err_set(err, "decode: %s: %zu bytes", shape->name, n);
	parser_init(&context);
	context.user = (struct decoder){shape, out_message, arena, err};
	ret = parser_execute(&context, (const char *)data, n, &used);
	if (ret == REFUSED)
		return -1;
	if (ret < 0)
		return err_set(err, "decode: %s: not msgpack, or too deep", shape->name);
	if (ret == 0)
		return err_set(err, "decode: %s: cut short", shape->name);
	if (used != n)
		return err_set(err, "decode: %s: more bytes than the message has", shape->name);
	if (context.stack[0].obj.is != VALUE_MESSAGE)
		return err_set(err, "decode: %s: not a map", shape->name);
	return 0;
}

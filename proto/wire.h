/*
 * The messages of wire.def as structs, and the engine that encodes, decodes and checks them.
 * Pure: no clock, no I/O, and no allocation but from the caller's arena.
 *
 * On the wire a message is a msgpack map {tag: value}.  A decoded message is a valid message:
 * nothing behind wire_decode needs to check ranges, enums, text or counts again.
 */
#ifndef FLOTILLA_PROTO_WIRE_H
#define FLOTILLA_PROTO_WIRE_H

#include "common/base/err.h"
#include "common/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WIRE_MESSAGE_MAX = 1 << 20,        /* encoded bytes of a message; checked first */
	WIRE_NOTE_MAX = 16384,             /* bytes a scheduler keeps with a sandbox on its node */
	WIRE_INGRESS_MAX = 1024,           /* bytes of an encoded `ingress` */
	WIRE_LOG_TEXT_MAX = 2048,          /* bytes of a line of a sandbox's log */
	WIRE_EGRESS_MAX = 96 * 1024,       /* bytes of an encoded `egress` */
	WIRE_BUILD_DATA_MAX = 512 * 1024,  /* bytes of a file that a build needs, at once */
	WIRE_BUILD_LINES_MAX = 128 * 1024, /* bytes of a build's progress, at once */
	WIRE_BODY_MAX = WIRE_MESSAGE_MAX + 64,   /* the same, sealed */
	WIRE_ENVELOPE_MAX = WIRE_BODY_MAX + 128, /* the same, in its envelope: largest on the bus */
	WIRE_DEPTH_MAX = 8,                      /* containers within containers */
	WIRE_ALIGN = 16,                         /* of lists in an arena */
};

/* Bytes that belong to someone else: the caller when encoding, the input buffer once decoded. */
struct wire_bytes {
	const uint8_t *data;
	size_t n;
};

/* clang-format off */

/* ---- enums, refusal and cause among them ---- */

#define ENUM(c_tag, doc)                        enum c_tag {
#define VALUE(c_tag, number, c_name, name, doc) c_name = number,
#define ENUM_END(c_tag) };
#include "proto/wire.def"

enum wire_kind {
#define MESSAGE(name, upper, kind, doc) WIRE_KIND_##upper = kind,
#include "proto/wire.def"
};

/* ---- structs: struct wire_<message> ---- */

#define WIRE_C_u16(name, max, of)        uint16_t name;
#define WIRE_C_u32(name, max, of)        uint32_t name;
#define WIRE_C_u64(name, max, of)        uint64_t name;
#define WIRE_C_i64(name, max, of)        int64_t name;
#define WIRE_C_bool(name, max, of)       bool name;
#define WIRE_C_enumerated(name, max, of) enum of name;
#define WIRE_C_id(name, max, of)         struct id name;
#define WIRE_C_text(name, max, of)       char name[(max) + 1];
#define WIRE_C_fixed(name, max, of)      uint8_t name[max];
#define WIRE_C_bytes(name, max, of)      struct wire_bytes name;
#define WIRE_C_nested(name, max, of)     struct wire_##of name;
#define WIRE_C_list(name, max, of)                                                                 \
	struct wire_##of *name;                                                                    \
	size_t name##_n;
#define WIRE_C_retired(name, max, of)

#define PART(name, doc)                 struct wire_##name {
#define MESSAGE(name, upper, kind, doc) struct wire_##name {
#define FIELD(message, tag, name, type, presence, min, max, of, unit, doc)                         \
	WIRE_C_##type(name, max, of)
#define END(name) };
#include "proto/wire.def"

/* clang-format on */

/* ---- the engine ---- */

#define WIRE_TYPES                                                                                 \
	TYPE(u16)                                                                                  \
	TYPE(u32)                                                                                  \
	TYPE(u64)                                                                                  \
	TYPE(i64)                                                                                  \
	TYPE(bool)                                                                                 \
	TYPE(enumerated)                                                                           \
	TYPE(id)                                                                                   \
	TYPE(text)                                                                                 \
	TYPE(fixed)                                                                                \
	TYPE(bytes)                                                                                \
	TYPE(nested)                                                                               \
	TYPE(list)                                                                                 \
	TYPE(retired)

enum wire_type {
#define TYPE(name) WIRE_TYPE_##name,
	WIRE_TYPES
#undef TYPE
};

extern const char *const wire_type_names[];

enum wire_presence { WIRE_OPTIONAL, WIRE_REQUIRED };

struct wire_value {
	uint32_t number;
	const char *name;
	const char *doc;
};

struct wire_enum {
	const char *name;
	const char *doc;
	const struct wire_value *values;
	size_t value_n;
};

struct wire_field {
	const char *name;
	uint8_t tag; /* 1..63 */
	enum wire_type type;
	enum wire_presence presence;
	int64_t min;
	uint64_t max;
	size_t offset;   /* in the struct */
	size_t offset_n; /* list: of its count */
	const struct wire_shape *of;
	const struct wire_enum *values;
	const char *unit;
	const char *doc;
};

/* A promise between fields: 'kept' is asked about a message whose fields are valid each. */
struct wire_rule {
	bool (*kept)(const void *message);
	const char *doc;
};

/* All there is to know about one message. */
struct wire_shape {
	const char *name;
	uint32_t kind; /* enum wire_kind; 0 for a PART */
	const char *doc;
	size_t size; /* of the struct */
	const struct wire_field *fields;
	size_t field_n;
	const struct wire_rule *rules;
	size_t rule_n;
};

/* wire_shape_poll, wire_shape_answer, ... */
#define PART(name, doc)                 extern const struct wire_shape wire_shape_##name;
#define MESSAGE(name, upper, kind, doc) extern const struct wire_shape wire_shape_##name;
#include "proto/wire.def"

/* All shapes in the order of wire.def, and all enums; a NULL is behind the last. */
extern const struct wire_shape *const wire_shapes[];
extern const struct wire_enum *const wire_enums[];

/* The shape of a kind, or NULL. */
const struct wire_shape *wire_shape_of(uint32_t kind);

/* The name of an enum's value, or NULL if it has no such value. */
const char *wire_value_name(const struct wire_enum *values, uint32_t number);

/*
 * Where decoded lists live.  The caller gives the storage, which outlives the decoded message;
 * setting used to 0 forgets everything in it.  data must be aligned as by malloc.
 */
struct wire_arena {
	uint8_t *data;
	size_t size;
	size_t used;
};

/* Room that is enough for any one message of this shape. */
size_t wire_arena_need(const struct wire_shape *shape);

/*
 * Encodes 'message', a struct of this shape, into out.  Fault: it is not valid, or longer than
 * out_max or WIRE_MESSAGE_MAX.
 */
int wire_encode(const struct wire_shape *shape, const void *message, uint8_t *out, size_t out_max,
		size_t *out_n, struct err *err);

/* Bytes that wire_encode would write. The message need not be valid. */
size_t wire_size(const struct wire_shape *shape, const void *message);

/*
 * Decodes exactly n bytes.  Texts and fixed fields are copied, bytes point into data, lists into
 * the arena.  On a fault (not msgpack, too long, out of range, a required field missing, a tag
 * twice, no room) *out_message is left undefined.
 */
int wire_decode(const struct wire_shape *shape, const uint8_t *data, size_t n,
		struct wire_arena *arena, void *out_message, struct err *err);

/* Fault, naming the field, unless the message is as wire.def promises. */
int wire_validate(const struct wire_shape *shape, const void *message, struct err *err);

/* Field by field, lists by their elements. */
bool wire_equal(const struct wire_shape *shape, const void *a, const void *b);

/* An attempt's number: the epoch of the leader that made it, and a counter.  So it is unique for
 * ever, and greater than those of any leader before. */
static inline uint64_t wire_attempt(uint64_t epoch, uint64_t n)
{
	return epoch << 32 | n;
}

static inline uint64_t wire_attempt_epoch(uint64_t attempt)
{
	return attempt >> 32;
}

/* The engine by the names of its messages: wire_poll_encode(&poll, ...), wire_poll_decode(...). */
#define WIRE_TYPED(name)                                                                           \
	static inline int wire_##name##_encode(const struct wire_##name *message, uint8_t *out,    \
					       size_t out_max, size_t *out_n, struct err *err)     \
	{                                                                                          \
		return wire_encode(&wire_shape_##name, message, out, out_max, out_n, err);         \
	}                                                                                          \
	static inline int wire_##name##_decode(const uint8_t *data, size_t n,                      \
					       struct wire_arena *arena, struct wire_##name *out,  \
					       struct err *err)                                    \
	{                                                                                          \
		return wire_decode(&wire_shape_##name, data, n, arena, out, err);                  \
	}
#define PART(name, doc)                 WIRE_TYPED(name)
#define MESSAGE(name, upper, kind, doc) WIRE_TYPED(name)
#include "proto/wire.def"

/* A rule of wire.def: records count up from first_seq without a gap. */
bool wire_poll_is_consecutive(const struct wire_poll *poll);

#endif

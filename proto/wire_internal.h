/* What the parts of the engine share, and nobody else needs. */
#ifndef FLOTILLA_PROTO_WIRE_INTERNAL_H
#define FLOTILLA_PROTO_WIRE_INTERNAL_H

#include "proto/wire.h"

/* Where a field lives in its struct. */
static inline const void *wire_at(const struct wire_field *field, const void *message)
{
	return (const char *)message + field->offset;
}

static inline void *wire_at_to_change(const struct wire_field *field, void *message)
{
	return (char *)message + field->offset;
}

/* A list's elements and how many there are. */
const void *wire_list(const struct wire_field *field, const void *message, size_t *out_n);

/* The value of any unsigned, bool or enumerated field. */
uint64_t wire_number(const struct wire_field *field, const void *message);

/* The field holds its zero value, which is sent as absent if it is optional. */
bool wire_is_absent(const struct wire_field *field, const void *message);

/*
 * Fault, unless the field alone is as wire.def promises; a nested message or a list's elements are
 * not looked into.
 */
int wire_check_field(const struct wire_shape *shape, const struct wire_field *field,
		     const void *message, struct err *err);

/* Fault, unless the rules between fields are kept. */
int wire_check_rules(const struct wire_shape *shape, const void *message, struct err *err);

/* The limit for one encoded message: an envelope is larger than what it carries. */
size_t wire_limit(const struct wire_shape *shape);

#endif

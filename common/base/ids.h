/*
 * Identities as text.  Sandbox ids are what E2B's clients expect: 'i' and 20 of [a-z0-9]
 * (their proxy enforces ^[a-z0-9]+$).  All others are a type prefix and 20 of the same alphabet:
 * nod_, ten_, key_.  A text id is always NUL-terminated in a fixed array, so that structs can
 * carry it by value.
 */
#ifndef FLOTILLA_BASE_IDS_H
#define FLOTILLA_BASE_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ID_RANDOM_N = 20,
	ID_MAX = 32,            /* bytes of storage, NUL included, for every id below */
	ID_RANDOM_BYTES = 20,   /* entropy that id_make takes */
	TEMPLATE_NAME_MAX = 64, /* storage for a template's name, NUL included */
};

struct id {
	char text[ID_MAX];
};

/* prefix: at most 8 characters. random: ID_RANDOM_BYTES of entropy from the caller (this is pure).
 */
struct id id_make(const char *prefix, const uint8_t random[ID_RANDOM_BYTES]);

/* False unless text is 1..ID_MAX-1 characters of [a-z0-9_]. */
bool id_parse(const char *text, size_t text_n, struct id *out_id);

bool id_equal(const struct id *a, const struct id *b);
bool id_is_empty(const struct id *id);

/* For hash indexes. */
uint64_t id_hash(const struct id *id);

/* Template names: 1..63 of [a-z0-9-_], as E2B's. */
bool template_name_is_valid(const char *name);

/* The name that the nodes know a tenant's build by: its id, a UUID. */
bool template_name_is_builds(const char *name);

#endif

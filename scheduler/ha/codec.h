/*
 * Decisions as keys and values of etcd, and back; decisions.def says how.  Pure but for malloc.
 * Reading is strict: each member there must be and no other, each of its type and in its bounds,
 * and the key the one that the value makes.
 */
#ifndef FLOTILLA_HA_CODEC_H
#define FLOTILLA_HA_CODEC_H

#include "common/base/err.h"
#include "scheduler/shell/store/store.h"

#include <stddef.h>

enum { CODEC_KEY_MAX = 256, CODEC_VALUE_MAX = 64 * 1024 };

#define CODEC_PREFIX "/flotilla/d/"

/* The key, CODEC_PREFIX included, and the JSON, to be freed. A fault: the op is none that is
 * decided, or a text of it is not UTF-8. */
int codec_encode(const struct store_op *op, char out_key[CODEC_KEY_MAX], char **out_value,
		 struct err *err);

/* Zeroes out what the value does not say. What is read may have texts of its own: store_op_clear.
 * After a fault it has none. */
int codec_decode(const char *key, const void *value, size_t value_n, struct store_op *out,
		 struct err *err);

/* Ops in an order in which none needs a later one; those of a kind stay as they are. */
void codec_sort(struct store_op *ops, size_t n);

#endif

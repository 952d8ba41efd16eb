/* What one scheduler has decided, row by row out of its store. */
#include "scheduler/ha/init_rows.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

static void init_id(struct sqlite *reader, enum store_read statement, int column, struct id *out)
{
	snprintf(out->text, sizeof(out->text), "%s", sqlite_text(reader, statement, column));
}

static void init_hash(struct sqlite *reader, enum store_read statement, int column,
		      uint8_t out[STORE_HASH_N])
{
	size_t n;
	const void *bytes = sqlite_blob(reader, statement, column, &n);

	memset(out, 0, STORE_HASH_N);
	if (bytes && n == STORE_HASH_N)
		memcpy(out, bytes, STORE_HASH_N);
}

static char *init_long(struct sqlite *reader, enum store_read statement, int column)
{
	char *text = strdup(sqlite_text(reader, statement, column));

	CHECK(text);
	return text;
}

#define INIT_TEXT(column, out) snprintf(out, sizeof(out), "%s", sqlite_text(reader, at, column))
#define INIT_INT(column)       sqlite_int(reader, at, column)

void init_row(struct sqlite *reader, enum store_read at, struct store_op *op)
{
	switch (op->kind) {
	case STORE_OP_PLAN:
		INIT_TEXT(0, op->plan.name);
		op->plan.concurrent_max = INIT_INT(1);
		op->plan.session_max_s = INIT_INT(2);
		op->plan.credit_nano = INIT_INT(3);
		op->plan.prepaid = INIT_INT(4) != 0;
		break;
	case STORE_OP_PRICE:
		op->price = (struct store_price){.version = INIT_INT(0),
						 .meter = INIT_INT(1),
						 .price_nano = INIT_INT(2),
						 .divisor = INIT_INT(3)};
		break;
	case STORE_OP_TENANT:
		init_id(reader, at, 0, &op->tenant.id);
		INIT_TEXT(1, op->tenant.name);
		INIT_TEXT(2, op->tenant.plan);
		op->tenant.concurrent_max = INIT_INT(3);
		op->tenant.session_max_s = INIT_INT(4);
		op->tenant.credit_nano = INIT_INT(5);
		op->wall_ns = INIT_INT(6);
		break;
	case STORE_OP_KEY:
		init_hash(reader, at, 0, op->key.hash);
		init_id(reader, at, 1, &op->key.id);
		init_id(reader, at, 2, &op->key.tenant);
		INIT_TEXT(3, op->key.name);
		op->wall_ns = INIT_INT(4);
		break;
	case STORE_OP_SECRET:
		init_id(reader, at, 0, &op->secret.tenant);
		init_id(reader, at, 1, &op->secret.id);
		INIT_TEXT(2, op->secret.name);
		op->secret.version = INIT_INT(3);
		op->secret.created_at_ns = INIT_INT(4);
		op->secret.updated_at_ns = op->wall_ns = INIT_INT(5);
		op->secret.metadata = init_long(reader, at, 6);
		op->secret.sealed = init_long(reader, at, 7);
		break;
	case STORE_OP_TOKEN: /* it stays in etcd when it is over, and says so itself */
		init_hash(reader, at, 0, op->token.hash);
		op->token.expires_at = INIT_INT(1);
		break;
	case STORE_OP_NODE:
		init_id(reader, at, 0, &op->node.id);
		INIT_TEXT(1, op->node.name);
		init_hash(reader, at, 2, op->node.public_key);
		init_hash(reader, at, 3, op->node.token_hash);
		op->wall_ns = INIT_INT(4);
		break;
	case STORE_OP_NODE_SET:
		init_id(reader, at, 0, &op->node_set.id);
		INIT_TEXT(1, op->node_set.name);
		op->node_set.cordoned = INIT_INT(2) != 0;
		op->node_set.lost_below = (uint64_t)INIT_INT(3);
		op->node_set.lost_at_ns = INIT_INT(4);
		break;
	case STORE_OP_TEMPLATE:
		init_id(reader, at, 0, &op->template_.id);
		init_id(reader, at, 1, &op->template_.tenant);
		INIT_TEXT(2, op->template_.name);
		op->template_.is_public = INIT_INT(3) != 0;
		op->template_.deleted = INIT_INT(4) != 0;
		op->template_.life = INIT_INT(5);
		op->template_.created_at = INIT_INT(6);
		op->wall_ns = INIT_INT(7);
		break;
	case STORE_OP_BUILD:
		store_build_columns(reader, at, &op->build);
		op->wall_ns = op->build.finished_at ? op->build.finished_at : op->build.created_at;
		break;
	case STORE_OP_TAG:
		init_id(reader, at, 0, &op->tag.template_);
		op->tag.life = INIT_INT(1);
		INIT_TEXT(2, op->tag.tag);
		INIT_TEXT(3, op->tag.build);
		op->wall_ns = INIT_INT(4);
		break;
	case STORE_OP_VOLUME:
		init_id(reader, at, 0, &op->volume.id);
		init_id(reader, at, 1, &op->volume.tenant);
		INIT_TEXT(2, op->volume.name);
		op->volume.deleted_at_ns = INIT_INT(3);
		op->wall_ns = INIT_INT(4);
		break;
	case STORE_OP_EPOCH:
	case STORE_OP_PROBE:
	case STORE_OP_SANDBOX_NEW:
	case STORE_OP_SANDBOX_ADOPT:
	case STORE_OP_NETWORK:
	case STORE_OP_EFFECT:
	case STORE_OP_REVISION:
		check_broken("a decision", __FILE__, __LINE__);
	}
}

/*
 * Decisions into SQL: what the fleet is told rather than what happened.  With several schedulers
 * they come from etcd, and may come again after a crash; so each changes nothing when it is there.
 */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <stdio.h>

static int decide_tenant(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_tenant_new *tenant = &op->tenant;
	char movement[64];

	snprintf(movement, sizeof(movement), "grant:%s", tenant->id.text);
	if (sqlite_run(writer, STORE_WRITE_TENANT_ADD,
		       SQL(SQL_TEXT(tenant->id.text), SQL_TEXT(tenant->name),
			   SQL_TEXT(tenant->plan),
			   tenant->concurrent_max ? SQL_INT(tenant->concurrent_max) : SQL_NULL,
			   tenant->session_max_s ? SQL_INT(tenant->session_max_s) : SQL_NULL,
			   SQL_INT(tenant->credit_nano), SQL_INT(op->wall_ns)),
		       err))
		return -1;
	if (sqlite_changes(writer) == 0)
		return 0; /* it is known, and has its grant */
	return store_move(writer, movement, tenant->id.text, STORE_ACCOUNT_PROMOTION,
			  STORE_ACCOUNT_CREDIT, tenant->credit_nano, op->wall_ns, err);
}

static int decide_node(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_node_new *node = &op->node;

	if (sqlite_run(writer, STORE_WRITE_NODE_ADD,
		       SQL(SQL_TEXT(node->id.text), SQL_TEXT(node->name),
			   SQL_BLOB(node->public_key, STORE_PUBLIC_KEY_N), SQL_INT(op->wall_ns)),
		       err))
		return -1;
	return sqlite_run(writer, STORE_WRITE_TOKEN_USE,
			  SQL(SQL_BLOB(node->token_hash, STORE_HASH_N),
			      SQL_BLOB(node->public_key, STORE_PUBLIC_KEY_N)),
			  err);
}

static int decide_key(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_key_new *key = &op->key;

	return sqlite_run(writer, STORE_WRITE_KEY_ADD,
			  SQL(SQL_BLOB(key->hash, STORE_HASH_N), SQL_TEXT(key->id.text),
			      id_is_empty(&key->tenant) ? SQL_NULL : SQL_TEXT(key->tenant.text),
			      SQL_TEXT(key->name), SQL_INT(op->wall_ns)),
			  err);
}

static int decide_token(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_token_new *token = &op->token;

	if (sqlite_run(writer, STORE_WRITE_TOKEN_EXPIRE, SQL(SQL_INT(op->wall_ns)), err))
		return -1;
	return sqlite_run(writer, STORE_WRITE_TOKEN_ADD,
			  SQL(SQL_BLOB(token->hash, STORE_HASH_N), SQL_INT(token->expires_at)),
			  err);
}

static int decide_node_set(struct sqlite *writer, const struct store_node_set *set, struct err *err)
{
	return sqlite_run(writer, STORE_WRITE_NODE_SET,
			  SQL(SQL_TEXT(set->id.text), SQL_TEXT(set->name), SQL_INT(set->cordoned),
			      SQL_INT((int64_t)set->lost_below), SQL_INT(set->lost_at_ns)),
			  err);
}

static int decide_plan(struct sqlite *writer, const struct store_plan *plan, struct err *err)
{
	return sqlite_run(writer, STORE_WRITE_PLAN_SET,
			  SQL(SQL_TEXT(plan->name), SQL_INT(plan->concurrent_max),
			      SQL_INT(plan->session_max_s), SQL_INT(plan->credit_nano),
			      SQL_INT(plan->prepaid)),
			  err);
}

/* A price that was ever used never changes: the next one has the next version. */
static int decide_price(struct sqlite *writer, const struct store_price *price, struct err *err)
{
	return sqlite_run(writer, STORE_WRITE_PRICE_SEED,
			  SQL(SQL_INT(price->version), SQL_INT(price->meter),
			      SQL_INT(price->price_nano), SQL_INT(price->divisor)),
			  err);
}

/* What belonged to a life that is over goes with it. */
static int decide_template(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_template_set *template_ = &op->template_;

	if (sqlite_run(writer, STORE_WRITE_TENANT_TEMPLATE_SET,
		       SQL(SQL_TEXT(template_->id.text), SQL_TEXT(template_->tenant.text),
			   SQL_TEXT(template_->name), SQL_INT(template_->is_public),
			   SQL_INT(template_->deleted), SQL_INT(template_->life),
			   SQL_INT(template_->created_at), SQL_INT(op->wall_ns)),
		       err) ||
	    sqlite_run(writer, STORE_WRITE_BUILDS_END,
		       SQL(SQL_TEXT(template_->id.text), SQL_INT(template_->life),
			   SQL_INT(template_->deleted)),
		       err) ||
	    sqlite_run(writer, STORE_WRITE_SHAPES_END, SQL(SQL_TEXT(template_->id.text)), err))
		return -1;
	return sqlite_run(writer, STORE_WRITE_TAGS_END,
			  SQL(SQL_TEXT(template_->id.text), SQL_INT(template_->life),
			      SQL_INT(template_->deleted)),
			  err);
}

static int decide_tag(struct sqlite *writer, const struct store_tag_set *tag, int64_t at_wall,
		      struct err *err)
{
	return sqlite_run(writer, STORE_WRITE_TAG_SET,
			  SQL(SQL_TEXT(tag->template_.text), SQL_TEXT(tag->tag),
			      SQL_TEXT(tag->build), SQL_INT(tag->life), SQL_INT(at_wall)),
			  err);
}

/* A build that is ready has its tags by that alone: no crash comes in between. */
static int decide_build(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_build *build = &op->build;
	struct store_tag_set tag = {.template_ = build->template_, .life = build->life};
	const char *at = build->tags;

	if (sqlite_run(writer, STORE_WRITE_BUILD_SET,
		       SQL(SQL_TEXT(build->id), SQL_TEXT(build->template_.text),
			   SQL_INT(build->life), SQL_INT(build->kind), SQL_INT(build->status),
			   SQL_INT(build->vcpus), SQL_INT(build->mem_mib), SQL_INT(build->disk_mib),
			   SQL_TEXT(build->tags), SQL_TEXT(build->reason), SQL_TEXT(build->step),
			   SQL_INT(build->created_at), SQL_INT(build->finished_at)),
		       err) ||
	    sqlite_run(writer, STORE_WRITE_TENANT_TEMPLATE_TOUCH,
		       SQL(SQL_TEXT(build->template_.text), SQL_INT(op->wall_ns)), err))
		return -1;
	if (build->status != STORE_BUILD_READY)
		return 0;
	snprintf(tag.build, sizeof(tag.build), "%s", build->id);
	while (store_tags_next(&at, tag.tag))
		if (decide_tag(writer, &tag, build->finished_at, err))
			return -1;
	return 0;
}

static int decide_secret(struct sqlite *writer, const struct store_secret *secret, struct err *err)
{
	if (!secret->sealed)
		return sqlite_run(writer, STORE_WRITE_SECRET_DELETE,
				  SQL(SQL_TEXT(secret->tenant.text), SQL_TEXT(secret->name)), err);
	return sqlite_run(writer, STORE_WRITE_SECRET_SET,
			  SQL(SQL_TEXT(secret->tenant.text), SQL_TEXT(secret->id.text),
			      SQL_TEXT(secret->name), SQL_INT(secret->version),
			      SQL_INT(secret->created_at_ns), SQL_INT(secret->updated_at_ns),
			      SQL_TEXT(secret->metadata ? secret->metadata : "{}"),
			      SQL_TEXT(secret->sealed)),
			  err);
}

/* Of two that were given one name at once, the first is it, on each replica alike. */
static int decide_volume(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	const struct store_volume *volume = &op->volume;

	if (sqlite_run(writer, STORE_WRITE_VOLUME_ADD,
		       SQL(SQL_TEXT(volume->id.text), SQL_TEXT(volume->tenant.text),
			   SQL_TEXT(volume->name), SQL_INT(op->wall_ns)),
		       err))
		return -1;
	return sqlite_run(writer, STORE_WRITE_VOLUME_DELETE,
			  SQL(SQL_TEXT(volume->id.text), SQL_INT(volume->deleted_at_ns)), err);
}

int store_decide(struct sqlite *writer, const struct store_op *op, struct err *err)
{
	switch (op->kind) {
	case STORE_OP_TENANT:
		return decide_tenant(writer, op, err);
	case STORE_OP_KEY:
		return decide_key(writer, op, err);
	case STORE_OP_NODE:
		return decide_node(writer, op, err);
	case STORE_OP_TOKEN:
		return decide_token(writer, op, err);
	case STORE_OP_NODE_SET:
		return decide_node_set(writer, &op->node_set, err);
	case STORE_OP_PLAN:
		return decide_plan(writer, &op->plan, err);
	case STORE_OP_PRICE:
		return decide_price(writer, &op->price, err);
	case STORE_OP_TEMPLATE:
		return decide_template(writer, op, err);
	case STORE_OP_BUILD:
		return decide_build(writer, op, err);
	case STORE_OP_TAG:
		return decide_tag(writer, &op->tag, op->wall_ns, err);
	case STORE_OP_SECRET:
		return decide_secret(writer, &op->secret, err);
	case STORE_OP_VOLUME:
		return decide_volume(writer, op, err);
	case STORE_OP_REVISION:
		return sqlite_run(
			writer, STORE_WRITE_META_SET,
			SQL(SQL_TEXT(STORE_META_REVISION), SQL_INT((int64_t)op->revision)), err);
	case STORE_OP_EPOCH:
	case STORE_OP_PROBE:
	case STORE_OP_SANDBOX_NEW:
	case STORE_OP_SANDBOX_ADOPT:
	case STORE_OP_NETWORK:
	case STORE_OP_EFFECT:
		break;
	}
	check_broken("a decision", __FILE__, __LINE__);
}

/* Ops that have texts of their own; those who only pass decisions on need no more of the store. */
#include "scheduler/shell/store/store.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

void store_op_clear(struct store_op *op)
{
	if (op->kind == STORE_OP_SANDBOX_NEW || op->kind == STORE_OP_SANDBOX_ADOPT) {
		free(op->sandbox.extra.metadata);
		free(op->sandbox.extra.envs);
		free(op->sandbox.extra.network);
		free(op->sandbox.extra.mounts);
		free(op->sandbox.extra.idempotency_key);
		memset(&op->sandbox.extra, 0, sizeof(op->sandbox.extra));
	} else if (op->kind == STORE_OP_NETWORK) {
		free(op->network.text);
		op->network.text = NULL;
	} else if (op->kind == STORE_OP_SECRET) {
		free(op->secret.metadata);
		free(op->secret.sealed);
		op->secret.metadata = op->secret.sealed = NULL;
	}
}

static char *store_text_copy(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	CHECK(copy || !text);
	return copy;
}

void store_op_copy(struct store_op *out, const struct store_op *op)
{
	CHECK(op->kind != STORE_OP_SANDBOX_NEW && op->kind != STORE_OP_SANDBOX_ADOPT &&
	      op->kind != STORE_OP_NETWORK);
	*out = *op;
	if (op->kind != STORE_OP_SECRET)
		return;
	out->secret.metadata = store_text_copy(op->secret.metadata);
	out->secret.sealed = store_text_copy(op->secret.sealed);
}

/* What the files of the store share. */
#ifndef FLOTILLA_SHELL_STORE_INTERNAL_H
#define FLOTILLA_SHELL_STORE_INTERNAL_H

#include "scheduler/shell/store/store.h"

enum store_write {
#define STATEMENT(name, sql) STORE_WRITE_##name,
#include "scheduler/shell/store/writer.def"
#undef STATEMENT
	STORE_WRITE_N,
};

/* Carries the batch's ops out in one transaction of the writer. */
int store_apply(struct sqlite *writer, struct store_batch *batch, struct err *err);

/* Plans and prices of a new file. */
int store_seed(struct sqlite *writer, struct err *err);

/* One usage record: the fact, and if it is new and says that time was used, its lines and entries.
 */
int store_post(struct sqlite *writer, struct store_batch *batch, const struct store_op *op,
	       struct err *err);

/* A movement of two accounts: debit gets what credit gives. Nothing when the amount is 0. */
int store_move(struct sqlite *writer, const char *movement, const char *tenant,
	       enum store_account debit, enum store_account credit, int64_t amount_nano,
	       int64_t at_wall, struct err *err);

/* The columns of usage_event that its hash is over. */
struct store_fact {
	int64_t id;
	const char *node, *sandbox, *tenant, *plan, *template_, *boot_id, *detail;
	int64_t seq, kind, attempt, incarnation, refusal, cause, price_version, vcpus, mem_mib;
	int64_t at_wall, from_ms, to_ms, from_wall, received_at;
};

void store_fact_hash(const struct store_fact *fact, const uint8_t prev_hash[STORE_HASH_N],
		     uint8_t out_hash[STORE_HASH_N]);

#endif

/* What the files of the store share. */
#ifndef FLOTILLA_SHELL_STORE_INTERNAL_H
#define FLOTILLA_SHELL_STORE_INTERNAL_H

#include "scheduler/shell/store/heads.h"
#include "scheduler/shell/store/store.h"

enum store_write {
#define STATEMENT(name, sql) STORE_WRITE_##name,
#include "scheduler/shell/store/writer.def"
#undef STATEMENT
	STORE_WRITE_N,
};

/* Carries the batch's ops out in one transaction of the writer, with a signed head when one is due
 * (signer NULL: never). */
int store_apply(struct sqlite *writer, const struct identity *signer, struct store_batch *batch,
		struct err *err);

/* decide.c: one of the decisions. */
int store_decide(struct sqlite *writer, const struct store_op *op, struct err *err);

/* Signs the end of the chain if it has moved, and enough since the last head or is_due. */
int store_head_write(struct sqlite *writer, const struct identity *signer, int64_t at_wall,
		     bool is_due, struct err *err);

struct store_head {
	int64_t event, at_wall;
	const uint8_t *hash, *signature; /* of hash_n and signature_n bytes, as they were found */
	size_t hash_n, signature_n;
};

bool store_head_is_signed(const struct store_head *head, const uint8_t public_key[]);

/* The end of the chain: its last row's id (0: none) and hash (zeros). */
int store_chain_end(struct sqlite *writer, int64_t *out_id, uint8_t out_hash[STORE_HASH_N],
		    struct err *err);

/* Of a file that this version has opened for writing. */
int64_t store_schema_version(void);

/* Adds to the epoch of DIR/scheduler.db, which nobody else has open; migrates it first. */
int store_skip_epochs(const char *dir, int64_t n, int64_t *out_epoch, struct err *err);

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
	int64_t hash_version, billable; /* version 1 has no billable in its hash */
};

enum { STORE_HASH_VERSION = 2 }; /* of what is posted now */

void store_fact_hash(const struct store_fact *fact, const uint8_t prev_hash[STORE_HASH_N],
		     uint8_t out_hash[STORE_HASH_N]);

#endif

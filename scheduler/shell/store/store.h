/*
 * The scheduler's one SQLite file: what is durable, and how it becomes so.
 *
 * One connection writes, on a thread of its own: the loop hands it a batch, goes on gathering the
 * next one, and is called back when the batch is committed or has failed, whole either way.  A
 * second connection, read-only, serves the loop; it sees every batch that was reported committed.
 */
#ifndef FLOTILLA_SHELL_STORE_H
#define FLOTILLA_SHELL_STORE_H

#include "common/base/err.h"
#include "common/io/sqlite.h"
#include "scheduler/core/core.h"
#include "scheduler/shell/store/heads.h"
#include "scheduler/shell/store/templates.h"

#include <uv.h>

enum {
	STORE_HASH_N = 32,
	STORE_NAME_MAX = CORE_NODE_NAME_MAX,
	STORE_PUBLIC_KEY_N = 32,
	STORE_SECRET_NAME_MAX = 128,
};

enum store_account {
#define ACCOUNT(name, number, text, holds) STORE_ACCOUNT_##name = number,
#include "scheduler/shell/store/accounts.def"
#undef ACCOUNT
};

enum store_read {
#define STATEMENT(name, sql) STORE_READ_##name,
#include "scheduler/shell/store/reader.def"
#undef STATEMENT
	STORE_READ_N,
};

/* ---- what is written ------------------------------------------------------------------------- */

/* What the core does not keep of a sandbox. Texts are malloc'ed and the op's. */
struct store_sandbox_extra {
	char *metadata; /* JSON */
	char *envs;     /* JSON, or NULL */
	char *network;  /* JSON of what was asked for, or NULL */
	char *mounts;   /* JSON: a list of {volumeID, name, path}, or NULL */
	bool auto_resume;
	char *idempotency_key; /* or NULL */
	uint8_t idempotency_hash[STORE_HASH_N];
};

struct store_tenant_new {
	struct id id;
	char name[STORE_NAME_MAX], plan[CORE_PLAN_MAX];
	int64_t concurrent_max, session_max_s; /* 0: as the plan says */
	int64_t credit_nano;
};

struct store_key_new {
	struct id id, tenant; /* no tenant: an operator's */
	char name[STORE_NAME_MAX];
	uint8_t hash[STORE_HASH_N];
};

struct store_node_new {
	struct id id;
	char name[STORE_NAME_MAX];
	uint8_t public_key[STORE_PUBLIC_KEY_N];
	uint8_t token_hash[STORE_HASH_N]; /* used up by it */
};

struct store_token_new {
	uint8_t hash[STORE_HASH_N];
	int64_t expires_at;
};

/* All that is decided of a node once it is enrolled. */
struct store_node_set {
	struct id id;
	char name[STORE_NAME_MAX];
	bool cordoned;
	uint64_t lost_below; /* 0: never declared lost */
	int64_t lost_at_ns;  /* wall; 0: never */
};

struct store_plan {
	char name[CORE_PLAN_MAX];
	int64_t concurrent_max, session_max_s;
	int64_t credit_nano; /* granted once, to a new tenant */
	bool prepaid;
};

struct store_price {
	int64_t version, meter;
	int64_t price_nano, divisor;
};

/* What a tenant decided of one of its templates: all of it. See store/templates.h. */
struct store_template_set {
	struct id id, tenant;
	char name[TEMPLATE_NAME_MAX]; /* empty: a snapshot without one */
	bool is_public, deleted;
	int64_t life;
	int64_t created_at; /* of this life, wall ns */
};

struct store_tag_set {
	struct id template_;
	int64_t life;
	char tag[TEMPLATE_NAME_MAX];
	char build[STORE_BUILD_ID_MAX]; /* empty: it is taken away */
};

/* A secret of a tenant's, as it is from now on. Its name is its own among the tenant's; who deletes
 * it and makes one of the same name has another id. Texts are malloc'ed and the op's. */
struct store_secret {
	struct id tenant, id;
	char name[STORE_SECRET_NAME_MAX];
	int64_t version; /* of its value, from 1 */
	int64_t created_at_ns, updated_at_ns;
	char *metadata; /* JSON */
	char *sealed;   /* as vault.h makes it; NULL: the secret is deleted */
};

/* All that is decided of a volume. */
struct store_volume {
	struct id id, tenant;
	char name[STORE_NAME_MAX];
	int64_t deleted_at_ns; /* wall; 0: it is there */
};

enum store_op_kind {
	STORE_OP_EPOCH, /* begin a new epoch, above epoch_floor: batch->epoch, once committed */
	STORE_OP_PROBE, /* writes, so that it is seen whether that works */
	STORE_OP_SANDBOX_NEW,   /* the first save of a sandbox */
	STORE_OP_SANDBOX_ADOPT, /* a sandbox that its node's log brought */
	STORE_OP_NETWORK,       /* what a sandbox may reach, or is to */
	STORE_OP_EFFECT,        /* any other durable effect of the core */
	/* Decisions: one that is there already changes nothing. */
	STORE_OP_TENANT,
	STORE_OP_KEY,
	STORE_OP_NODE, /* enrolled, with the token that it used */
	STORE_OP_TOKEN,
	STORE_OP_NODE_SET,
	STORE_OP_PLAN,
	STORE_OP_PRICE,
	STORE_OP_TEMPLATE,
	STORE_OP_BUILD,
	STORE_OP_TAG,
	STORE_OP_SECRET,
	STORE_OP_VOLUME,
	STORE_OP_REVISION, /* the decisions of etcd are applied up to here */
};

struct store_op {
	enum store_op_kind kind;
	int64_t wall_ns; /* when it was decided */
	union {
		struct core_effect effect;
		struct {
			struct core_sandbox row;
			struct store_sandbox_extra extra;
		} sandbox;
		struct {
			struct id sandbox;
			char *text;   /* JSON, malloc'ed */
			bool is_next; /* until its row says that it is confirmed */
		} network;
		struct store_tenant_new tenant;
		struct store_key_new key;
		struct store_node_new node;
		struct store_token_new token;
		struct store_node_set node_set;
		struct store_plan plan;
		struct store_price price;
		struct store_template_set template_;
		struct store_build build;
		struct store_tag_set tag;
		struct store_volume volume;
		struct store_secret secret;
		uint64_t epoch_floor;
		uint64_t revision;
	};
};

/* Frees the texts that are the op's own, and sets them to NULL. */
void store_op_clear(struct store_op *op);

/* A decision, with texts of its own. */
void store_op_copy(struct store_op *out, const struct store_op *op);

struct store_credit {
	struct id tenant;
	int64_t left_nano;
};

/* Names in the table meta. */
#define STORE_META_REVISION "etcd_revision" /* of STORE_OP_REVISION */

/* A transaction. Zeroed is empty. */
struct store_batch {
	struct store_op *ops;
	size_t ops_n, ops_cap;
	/* after the commit */
	bool committed;
	struct err err;               /* when it is not */
	uint32_t epoch;               /* of STORE_OP_EPOCH */
	struct store_credit *credits; /* tenants whose credit changed; the last of one counts */
	size_t credits_n, credits_cap;
	uint64_t took_ns;
	uint64_t unrated_n; /* usage whose numbers are nonsense: kept as facts, not billed */
};

/* A zeroed op at the end of the batch, to be filled in. Good until the next call. */
struct store_op *store_batch_add(struct store_batch *batch, enum store_op_kind kind,
				 int64_t wall_ns);

/* Frees what is in it and makes it empty; its arrays are kept for the next use. */
void store_batch_clear(struct store_batch *batch);
void store_batch_free(struct store_batch *batch);

/* ---- the store ------------------------------------------------------------------------------- */

struct store;
typedef void (*store_done_cb)(void *data, struct store_batch *batch);

/* Opens DIR/scheduler.db, creates and migrates it, seeds plans and prices, and starts the thread.
 */
int store_open(struct store **out_store, uv_loop_t *loop, const char *dir, store_done_cb on_done,
	       void *data, struct err *err);

/* Waits for the batch that is being committed; on_done is not called any more. NULL is fine. */
void store_close(struct store *store);

/* Hands a batch over; it is the store's until on_done.  One at a time: !store_is_busy. */
void store_commit(struct store *store, struct store_batch *batch);
bool store_is_busy(const struct store *store);

/* The same at once, on the caller's thread: before the loop runs. */
int store_commit_now(struct store *store, struct store_batch *batch, struct err *err);

/* The connection for reading, with the statements of enum store_read. */
struct sqlite *store_reader(struct store *store);

/* ---- rows back out (on the loop) ------------------------------------------------------------- */

struct store_tenant {
	struct id id;
	char name[STORE_NAME_MAX], plan[CORE_PLAN_MAX];
	uint32_t concurrent_max, session_max_s;
	int64_t credit_left_nano;
	bool prepaid;
	uint32_t price_version; /* the newest price list */
};

struct store_node {
	struct core_node row;
	int64_t lost_at_ns;
	uint8_t public_key[STORE_PUBLIC_KEY_N];
};

struct store_sandbox {
	struct core_sandbox row;
	bool auto_resume;
	const char *metadata; /* borrowed until the statement's next step */
};

/* The current row of a statement that selects these columns first. */
void store_tenant_row(struct store *store, enum store_read statement, struct store_tenant *out);
void store_node_row(struct store *store, enum store_read statement, struct store_node *out);
void store_volume_row(struct store *store, enum store_read statement, struct store_volume *out);
void store_sandbox_row(struct store *store, enum store_read statement, struct store_sandbox *out);
enum { STORE_SANDBOX_COLUMNS = 34 }; /* the first column behind those of store_sandbox_row */

/* One row by its key: 1 found, 0 not, -1 fault. */
int store_tenant_find(struct store *store, const struct id *id, struct store_tenant *out,
		      struct err *err);

int store_node_find(struct store *store, const struct id *id, struct store_node *out,
		    struct err *err);

/* ---- templates of tenants: see store/templates.h ---- */

/* The current row of a statement that selects these columns first; the latter without `gone`, and
 * of any connection with the reader's statements. */
void store_own_template_row(struct store *store, enum store_read statement,
			    struct store_own_template *out);
void store_build_row(struct store *store, enum store_read statement, struct store_build *out);
void store_build_columns(struct sqlite *reader, enum store_read statement, struct store_build *out);

/* 1 found, 0 not, -1 fault.  By its id also one that was deleted. */
int store_own_template_find(struct store *store, const char *id, struct store_own_template *out,
			    struct err *err);
int store_own_template_by_name(struct store *store, const struct id *tenant, const char *name,
			       struct store_own_template *out, struct err *err);
/* Also one that is gone. */
int store_build_find(struct store *store, const char *id, struct store_build *out, struct err *err);
int store_build_of_tag(struct store *store, const struct id *template_, const char *tag,
		       struct store_build *out, struct err *err);
int store_build_newest(struct store *store, const struct id *template_, struct store_build *out,
		       struct err *err);

/* The current row of a statement that selects a secret's columns; texts are borrowed until the
 * statement's next step. */
void store_secret_row(struct store *store, enum store_read statement, struct store_secret *out);

int store_volume_find(struct store *store, const struct id *id, struct store_volume *out,
		      struct err *err);

/* A number of the table meta; 0: it is not there. */
int store_meta(struct store *store, const char *name, int64_t *out_value, struct err *err);

/* As the core wants to know a tenant. */
void store_tenant_core(const struct store_tenant *tenant, struct core_tenant *out);

/* Every row that the core holds, as LOAD_* events in the order of events.def. */
typedef void (*store_load_cb)(void *data, const struct core_event *event);
int store_load(struct store *store, store_load_cb on_event, void *data, struct err *err);

/* ---- the ledger's chain ---------------------------------------------------------------------- */

/* From now on the chain gets signed heads, the last one when the store is closed, and they are
 * verified. Before the first batch. */
void store_sign_with(struct store *store, const struct identity *signer);

/* Recomputes every hash of usage_event; a fault names the first row that does not fit. */
int store_verify(struct store *store, uint64_t *out_events_n, struct err *err);

/* What a start can afford: the file, if it is small, and the chain from its last head on. */
int store_verify_end(struct store *store, uint64_t *out_events_n, struct err *err);

/* Verifies the rest meanwhile. The store closes it. */
int store_audit(struct store *store, ledger_audit_cb on_end, void *data, struct err *err);

/* False: there is no audit. */
bool store_audit_status(struct store *store, struct ledger_audit_status *out);

#endif

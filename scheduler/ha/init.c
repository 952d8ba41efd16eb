/*
 * `flotilla ha init`: one scheduler's decisions into etcd, once.
 *
 * A key of its own says that it has begun, and by whom, so that it can be repeated after it was cut
 * off, and so that two never mix.  The fleet's key is written last: until then no replica starts.
 */
#include "scheduler/ha/admin.h"
#include "scheduler/ha/ask.h"
#include "scheduler/ha/codec.h"
#include "scheduler/ha/init_rows.h"

#include "common/base/check.h"
#include "common/io/daemon.h"
#include "scheduler/shell/secrets.h"
#include "scheduler/shell/store/store.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	INIT_BATCH_N = 50,          /* keys in a transaction, at most */
	INIT_BATCH_BYTES = 1 << 19, /* once it is so large, it is sent: etcd takes 1.5 MiB */
	INIT_TRIES_N = 5,           /* of one whose outcome is unknown */
	INIT_EPOCH_SLACK = 1 << 20, /* what leaders may have used since this store heard of one */
};

#define INIT_KEY HA_PREFIX "init"

struct init {
	const struct admin_options *options;
	struct ask ask;
	struct store *store;
	struct fleet fleet;
	char *fleet_json;
	int64_t begun_at; /* create revision of our INIT_KEY */
	int64_t done_n, all_n;
	struct {
		char key[CODEC_KEY_MAX];
		char *value;
	} batch[INIT_BATCH_N];
	size_t batch_n, batch_bytes;
	struct store_op op; /* of the row that is read */
};

/* ---- etcd ---- */

/* Repeated while nobody knows what became of it: each of ours may be carried out twice. */
static int init_txn(struct init *init, const struct etcd_txn *txn, etcd_answer_cb on_answer,
		    void *data, struct err *err)
{
	for (int i = 0; i < INIT_TRIES_N; i++) {
		enum etcd_outcome outcome = ask_txn(&init->ask, txn, on_answer, data);

		if (outcome == ETCD_ANSWERED)
			return 0;
		if (outcome == ETCD_REFUSED)
			break;
	}
	return err_set(err, "%s", init->ask.err.text);
}

struct init_seen {
	bool has_fleet, has_init, is_ours, has_decisions;
	int64_t begun_at;
	const struct init *init;
};

static void init_on_seen(void *data, const struct etcd_answer *answer)
{
	struct init_seen *seen = data;
	struct fleet fleet;
	struct err err;

	for (size_t i = 0; i < answer->kvs_n; i++) {
		const struct etcd_kv *kv = &answer->kvs[i];

		if (strcmp(kv->key, HA_KEY_FLEET) == 0)
			seen->has_fleet = true;
		else
			seen->has_init = true;
		if (fleet_decode(kv, &fleet, &err) == 0)
			seen->is_ours = memcmp(fleet.fingerprint, seen->init->fleet.fingerprint,
					       HA_FINGERPRINT_N) == 0;
		seen->begun_at = kv->create_revision;
	}
	seen->has_decisions = answer->count > (int64_t)answer->kvs_n;
}

static int init_look(struct init *init, struct init_seen *seen, struct err *err)
{
	struct etcd_op reads[] = {
		{.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_FLEET}},
		{.kind = ETCD_OP_RANGE, .range = {.key = INIT_KEY}},
		{.kind = ETCD_OP_RANGE,
		 .range = {.key = CODEC_PREFIX, .is_prefix = true, .only_count = true}},
	};
	struct etcd_txn txn = {.success = reads, .success_n = ARRAY_N(reads)};

	*seen = (struct init_seen){.init = init};
	return init_txn(init, &txn, init_on_seen, seen, err);
}

static int init_refuse(const struct init_seen *seen, struct err *err)
{
	if (seen->has_fleet && seen->is_ours)
		return err_set(err, "this fleet is initialised already: start its schedulers with "
				    "--etcd");
	if (seen->has_fleet)
		return err_set(err,
			       "etcd has another fleet, with other secrets: one etcd is for one "
			       "fleet");
	if (seen->has_init && !seen->is_ours)
		return err_set(err, "another scheduler began to initialise this etcd, and did not "
				    "end: repeat it there, or delete " HA_PREFIX " first");
	if (seen->has_decisions && !seen->has_init)
		return err_set(err, "etcd has decisions of a fleet that has no key any more: mend "
				    "etcd, or delete " HA_PREFIX " first");
	return 0;
}

/* The key that says we have begun. */
static int init_begin(struct init *init, struct err *err)
{
	struct etcd_compare absent[] = {{HA_KEY_FLEET, ETCD_TARGET_CREATE, 0},
					{INIT_KEY, ETCD_TARGET_CREATE, 0}};
	struct etcd_op put = {.kind = ETCD_OP_PUT,
			      .key = INIT_KEY,
			      .value = init->fleet_json,
			      .value_n = strlen(init->fleet_json)};
	struct etcd_txn txn = {
		.compares = absent, .compares_n = 2, .success = &put, .success_n = 1};
	struct init_seen seen;

	if (init_look(init, &seen, err) || init_refuse(&seen, err))
		return -1;
	if (!seen.has_init && (init_txn(init, &txn, NULL, NULL, err) ||
			       init_look(init, &seen, err) || init_refuse(&seen, err)))
		return -1;
	if (!seen.has_init)
		return err_set(err, "etcd does not keep what is written to it");
	init->begun_at = seen.begun_at;
	return 0;
}

/* More puts, only while it is we who initialise. */
static int init_put(struct init *init, const struct etcd_op *ops, size_t n, struct err *err)
{
	struct etcd_compare ours[] = {{HA_KEY_FLEET, ETCD_TARGET_CREATE, 0},
				      {INIT_KEY, ETCD_TARGET_CREATE, init->begun_at}};
	struct etcd_txn txn = {.compares = ours, .compares_n = 2, .success = ops, .success_n = n};

	if (init_txn(init, &txn, NULL, NULL, err))
		return -1;
	if (!init->ask.succeeded)
		return err_set(err, "somebody else initialised this etcd meanwhile");
	return 0;
}

static int init_flush(struct init *init, struct err *err)
{
	struct etcd_op ops[INIT_BATCH_N];
	int fault = 0;

	for (size_t i = 0; i < init->batch_n; i++)
		ops[i] = (struct etcd_op){.kind = ETCD_OP_PUT,
					  .key = init->batch[i].key,
					  .value = init->batch[i].value,
					  .value_n = strlen(init->batch[i].value)};
	if (init->batch_n)
		fault = init_put(init, ops, init->batch_n, err);
	for (size_t i = 0; i < init->batch_n; i++)
		free(init->batch[i].value);
	init->done_n += fault ? 0 : (int64_t)init->batch_n;
	init->batch_n = init->batch_bytes = 0;
	if (!fault && init->options->on_progress)
		init->options->on_progress(init->options->data, init->done_n, init->all_n);
	return fault;
}

static int init_add(struct init *init, struct err *err)
{
	if (codec_encode(&init->op, init->batch[init->batch_n].key,
			 &init->batch[init->batch_n].value, err))
		return -1;
	init->batch_bytes += strlen(init->batch[init->batch_n++].value);
	return init->batch_n == INIT_BATCH_N || init->batch_bytes >= INIT_BATCH_BYTES
		       ? init_flush(init, err)
		       : 0;
}

/* As the last of all; one whose answer was lost is found by its generation. */
static int init_end(struct init *init, struct err *err)
{
	struct etcd_op ops[] = {
		{.kind = ETCD_OP_PUT,
		 .key = HA_KEY_FLEET,
		 .value = init->fleet_json,
		 .value_n = strlen(init->fleet_json)},
		{.kind = ETCD_OP_DELETE, .key = INIT_KEY},
	};
	struct init_seen seen;

	if (init_put(init, ops, ARRAY_N(ops), err) == 0)
		return 0;
	if (init_look(init, &seen, NULL) == 0 && seen.has_fleet && seen.is_ours)
		return 0;
	return -1;
}

/* ---- the store ---- */

static int init_rows(struct init *init, enum store_op_kind kind, enum store_read statement,
		     int64_t now, struct err *err)
{
	struct sqlite *reader = store_reader(init->store);
	int got;

	if (sqlite_bind(reader, statement, SQL(SQL_INT(now)), err))
		return -1;
	while ((got = sqlite_next(reader, statement, err)) == 1) {
		memset(&init->op, 0, sizeof(init->op));
		init->op.kind = kind;
		init->op.wall_ns = now;
		init_row(reader, statement, &init->op);
		int fault = init_add(init, err);
		store_op_clear(&init->op);
		if (fault) {
			sqlite_reset(reader, statement);
			return -1;
		}
	}
	return got;
}

static int init_all(struct init *init, struct err *err)
{
	static const struct {
		enum store_op_kind kind;
		enum store_read statement;
	} sources[] = {
#define DECISION(op, member, folder) {STORE_OP_##op, STORE_READ_DECIDED_##op},
#include "scheduler/ha/decisions.def"
	};
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	int64_t now = at.tv_sec * NS_PER_S + at.tv_nsec;
	if (sqlite_get_int(store_reader(init->store), STORE_READ_DECIDED_COUNT, SQL(SQL_INT(now)),
			   0, &init->all_n, err))
		return -1;
	for (size_t i = 0; i < ARRAY_N(sources); i++)
		if (init_rows(init, sources[i].kind, sources[i].statement, now, err))
			return -1;
	return init_flush(init, err);
}

/* Above every epoch there was: of this scheduler alone, and, when it was one of several before, of
 * any leader that its etcd had. */
static int init_make_fleet(struct init *init, struct err *err)
{
	int64_t epoch, position;

	if (store_meta(init->store, "epoch", &epoch, err) ||
	    store_meta(init->store, STORE_META_REVISION, &position, err))
		return -1;
	if (position)
		epoch += (position & ((INT64_C(1) << HA_REVISION_BITS) - 1)) + INIT_EPOCH_SLACK;
	if (epoch >= INT32_MAX)
		return err_set(err, "epochs are used up");
	init->fleet.epoch_base = (uint64_t)epoch;
	do
		init->fleet.generation = 1 + randombytes_uniform(HA_GENERATION_MAX);
	while (init->fleet.generation == (uint64_t)position >> HA_REVISION_BITS);
	init->fleet_json = fleet_encode(&init->fleet);
	return 0;
}

static int init_run(struct init *init, struct err *err)
{
	if (init_make_fleet(init, err) || init_begin(init, err) || init_all(init, err))
		return -1;
	return init_end(init, err);
}

static void init_on_done(void *data, struct store_batch *batch)
{
	(void)data;
	(void)batch;
}

/* Its folder and files must be there: nothing is made here. */
static int init_open_state(struct init *init, int *out_lock_fd, struct err *err)
{
	const char *dir = init->options->state_dir;
	struct secrets secrets;
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/scheduler.db", dir) >= (int)sizeof(path) ||
	    access(path, R_OK | W_OK))
		return err_set(err, "%s: no scheduler keeps its books there", dir);
	if (daemon_lock(dir, out_lock_fd, err))
		return err_wrap(err, "stop the scheduler first");
	if (secrets_open(&secrets, dir, err))
		return -1;
	secrets_fingerprint(&secrets, init->fleet.fingerprint);
	sodium_memzero(&secrets, sizeof(secrets));
	return store_open(&init->store, &init->ask.loop, dir, init_on_done, NULL, err);
}

int admin_init(const struct admin_options *options, struct admin_init *out, struct err *err)
{
	static struct init init;
	int lock_fd = -1, fault;

	init = (struct init){.options = options};
	if (ask_open(&init.ask, options->endpoints, options->ca_file, err))
		return -1;
	fault = init_open_state(&init, &lock_fd, err) || init_run(&init, err);
	store_close(init.store);
	ask_close(&init.ask);
	free(init.fleet_json);
	for (size_t i = 0; i < init.batch_n; i++)
		free(init.batch[i].value); /* of a batch that a fault kept from being sent */
	if (lock_fd >= 0)
		close(lock_fd);
	if (fault)
		return -1;
	out->fleet = init.fleet;
	out->decisions_n = init.done_n;
	return 0;
}

#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const char *const writer_sql[] = {
#define STATEMENT(name, sql) sql,
#include "scheduler/shell/store/writer.def"
#undef STATEMENT
};

static const char *const reader_sql[] = {
#define STATEMENT(name, sql) sql,
#include "scheduler/shell/store/reader.def"
#undef STATEMENT
};

extern const char store_migration_0001[], store_migration_0002[], store_migration_0003[],
	store_migration_0004[], store_migration_0005[], store_migration_0006[],
	store_migration_0007[], store_migration_0008[], store_migration_0009[],
	store_migration_0010[], store_migration_0011[];

enum {
	STORE_APPLICATION_ID = 0x464c5331, /* "FLS1" */
	STORE_PATH_MAX = 4096,
};

static const char *const migrations[] = {
	store_migration_0001, store_migration_0002, store_migration_0003, store_migration_0004,
	store_migration_0005, store_migration_0006, store_migration_0007, store_migration_0008,
	store_migration_0009, store_migration_0010, store_migration_0011};

static int store_path(char out_path[STORE_PATH_MAX], const char *dir, struct err *err)
{
	if (snprintf(out_path, STORE_PATH_MAX, "%s/scheduler.db", dir) >= STORE_PATH_MAX)
		return err_set(err, "path is too long");
	return 0;
}

struct store {
	struct sqlite writer; /* the thread's, and before it starts the opener's */
	struct sqlite reader; /* the loop's */
	store_done_cb on_done;
	void *data;
	uv_async_t *done; /* freed by its own close callback */
	pthread_t thread;
	bool started;
	bool signs; /* chain heads, as: */
	struct identity signer;
	uv_loop_t *loop;
	struct ledger_audit *audit; /* or NULL */
	char *dir;

	struct store_batch *in_work; /* the loop's: handed over and not yet reported */

	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t wake;
	struct store_batch *given;    /* for the thread */
	struct store_batch *finished; /* for the loop */
	bool stopping;
};

/* Batches are committed by the thread that owns the writer at the moment. */
static void store_commit_batch(struct store *store, struct store_batch *batch)
{
	uint64_t began = uv_hrtime();

	batch->committed = store_apply(&store->writer, store->signs ? &store->signer : NULL, batch,
				       &batch->err) == 0;
	batch->took_ns = uv_hrtime() - began;
}

static void *store_work(void *arg)
{
	struct store *store = arg;

	pthread_mutex_lock(&store->lock);
	for (;;) {
		while (!store->given && !store->stopping)
			pthread_cond_wait(&store->wake, &store->lock);
		struct store_batch *batch = store->given;
		if (!batch)
			break;
		store->given = NULL;
		pthread_mutex_unlock(&store->lock);
		store_commit_batch(store, batch);
		pthread_mutex_lock(&store->lock);
		store->finished = batch;
		uv_async_send(store->done);
	}
	pthread_mutex_unlock(&store->lock);
	return NULL;
}

static void store_on_done(uv_async_t *done)
{
	struct store *store = done->data;
	struct store_batch *batch;

	pthread_mutex_lock(&store->lock);
	batch = store->finished;
	store->finished = NULL;
	pthread_mutex_unlock(&store->lock);
	if (!batch)
		return;
	CHECK(batch == store->in_work);
	store->in_work = NULL;
	store->on_done(store->data, batch);
}

int ledger_open(struct sqlite *reader, const char *dir, struct err *err)
{
	char path[STORE_PATH_MAX];

	if (store_path(path, dir, err))
		return -1;
	struct sqlite_options options = {
		.path = path,
		.read_only = true,
		.application_id = STORE_APPLICATION_ID,
		.migrations = migrations,
		.migrations_n = ARRAY_N(migrations),
		.statements = reader_sql,
		.statements_n = ARRAY_N(reader_sql),
	};
	return sqlite_open(reader, &options, err);
}

int64_t store_schema_version(void)
{
	return ARRAY_N(migrations);
}

static int store_open_writer(struct sqlite *writer, const char *dir, struct err *err)
{
	char path[STORE_PATH_MAX];

	if (store_path(path, dir, err))
		return -1;
	struct sqlite_options options = {
		.path = path,
		.application_id = STORE_APPLICATION_ID,
		.migrations = migrations,
		.migrations_n = ARRAY_N(migrations),
		.statements = writer_sql,
		.statements_n = ARRAY_N(writer_sql),
	};
	return sqlite_open(writer, &options, err);
}

int store_skip_epochs(const char *dir, int64_t n, int64_t *out_epoch, struct err *err)
{
	struct sqlite writer;
	int64_t epoch;
	int fault = -1;

	if (store_open_writer(&writer, dir, err))
		return -1;
	if (sqlite_begin(&writer, err) ||
	    sqlite_get_int(&writer, STORE_WRITE_META_GET, SQL(SQL_TEXT("epoch")), 0, &epoch, err))
		goto end;
	epoch += n;
	/* As store_apply_epoch has it: attempt numbers hold the epoch. */
	if (epoch >= INT32_MAX) {
		err_set(err, "epochs are used up");
		goto end;
	}
	*out_epoch = epoch;
	if (sqlite_run(&writer, STORE_WRITE_META_SET, SQL(SQL_TEXT("epoch"), SQL_INT(epoch)),
		       err) == 0)
		fault = sqlite_commit(&writer, err);
end:
	if (fault)
		sqlite_rollback(&writer);
	sqlite_close(&writer);
	return fault;
}

static int store_open_files(struct store *store, const char *dir, struct err *err)
{
	if (store_open_writer(&store->writer, dir, err) || store_seed(&store->writer, err))
		return -1;
	return ledger_open(&store->reader, dir, err);
}

static void store_free_handle(uv_handle_t *handle)
{
	free(handle);
}

int store_open(struct store **out_store, uv_loop_t *loop, const char *dir, store_done_cb on_done,
	       void *data, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));

	CHECK(store);
	store->writer.lock_fd = store->reader.lock_fd = -1;
	store->loop = loop;
	store->dir = strdup(dir);
	CHECK(store->dir);
	store->on_done = on_done;
	store->data = data;
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->wake, NULL);
	if (store_open_files(store, dir, err))
		goto fail;
	store->done = calloc(1, sizeof(*store->done));
	CHECK(store->done && uv_async_init(loop, store->done, store_on_done) == 0);
	store->done->data = store;
	if (pthread_create(&store->thread, NULL, store_work, store) != 0) {
		err_set(err, "cannot start the thread that commits");
		goto fail;
	}
	store->started = true;
	*out_store = store;
	return 0;
fail:
	store_close(store);
	return err_wrap(err, "store");
}

/* A last head, so that the next start has little to verify. Without one it only has more. */
static void store_sign_end(struct store *store)
{
	struct timespec now;

	if (!store->signs || sqlite_begin(&store->writer, NULL))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (store_head_write(&store->writer, &store->signer,
			     now.tv_sec * 1000000000ll + now.tv_nsec, true, NULL))
		sqlite_rollback(&store->writer);
	else
		sqlite_commit(&store->writer, NULL);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	if (store->started) {
		pthread_mutex_lock(&store->lock);
		store->stopping = true;
		pthread_cond_signal(&store->wake);
		pthread_mutex_unlock(&store->lock);
		pthread_join(store->thread, NULL);
		store_sign_end(store);
	}
	ledger_audit_close(store->audit);
	if (store->done)
		uv_close((uv_handle_t *)store->done, store_free_handle);
	sqlite_close(&store->reader);
	sqlite_close(&store->writer);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	sodium_memzero(&store->signer, sizeof(store->signer));
	free(store->dir);
	free(store);
}

void store_commit(struct store *store, struct store_batch *batch)
{
	CHECK(!store->in_work);
	store->in_work = batch;
	pthread_mutex_lock(&store->lock);
	store->given = batch;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
}

bool store_is_busy(const struct store *store)
{
	return store->in_work != NULL;
}

int store_commit_now(struct store *store, struct store_batch *batch, struct err *err)
{
	/* The thread sleeps while nothing is given to it, so the writer is ours. */
	CHECK(!store->in_work);
	store_commit_batch(store, batch);
	if (batch->committed)
		return 0;
	*err = batch->err;
	return err_wrap(err, "store");
}

struct sqlite *store_reader(struct store *store)
{
	return &store->reader;
}

/* ---- the ledger ---- */

void store_sign_with(struct store *store, const struct identity *signer)
{
	CHECK(!store->in_work);
	store->signer = *signer;
	store->signs = true;
}

static const uint8_t *store_public_key(const struct store *store)
{
	return store->signs ? store->signer.public_key : NULL;
}

int store_verify(struct store *store, uint64_t *out_events_n, struct err *err)
{
	struct ledger_walk walk;

	ledger_walk_begin(&walk, &store->reader, store_public_key(store));
	if (ledger_walk_all(&walk, err) || ledger_check_books(&store->reader, err))
		return -1;
	*out_events_n = (uint64_t)walk.events_n;
	return 0;
}

int store_verify_end(struct store *store, uint64_t *out_events_n, struct err *err)
{
	struct ledger_walk walk;
	char path[STORE_PATH_MAX];
	struct stat file;

	if (store_path(path, store->dir, err))
		return -1;
	if (stat(path, &file) == 0 && file.st_size <= LEDGER_CHECK_NOW_MAX &&
	    sqlite_check(&store->reader, err))
		return -1;
	if (ledger_walk_begin_at_head(&walk, &store->reader, store_public_key(store), err) ||
	    ledger_walk_all(&walk, err))
		return -1;
	*out_events_n = (uint64_t)walk.seen_n;
	return 0;
}

int store_audit(struct store *store, ledger_audit_cb on_end, void *data, struct err *err)
{
	CHECK(!store->audit && store->signs);
	return ledger_audit_open(&store->audit, store->loop, store->dir, store->signer.public_key,
				 on_end, data, err);
}

bool store_audit_status(struct store *store, struct ledger_audit_status *out)
{
	if (!store->audit)
		return false;
	ledger_audit_status(store->audit, out);
	return true;
}

/* ---- batches ---- */

struct store_op *store_batch_add(struct store_batch *batch, enum store_op_kind kind,
				 int64_t wall_ns)
{
	if (batch->ops_n == batch->ops_cap) {
		batch->ops_cap = batch->ops_cap ? batch->ops_cap * 2 : 16;
		batch->ops = realloc(batch->ops, batch->ops_cap * sizeof(*batch->ops));
		CHECK(batch->ops);
	}
	struct store_op *op = &batch->ops[batch->ops_n++];
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->wall_ns = wall_ns;
	return op;
}

void store_batch_clear(struct store_batch *batch)
{
	for (size_t i = 0; i < batch->ops_n; i++)
		store_op_clear(&batch->ops[i]);
	*batch = (struct store_batch){.ops = batch->ops,
				      .ops_cap = batch->ops_cap,
				      .credits = batch->credits,
				      .credits_cap = batch->credits_cap};
}

void store_batch_free(struct store_batch *batch)
{
	store_batch_clear(batch);
	free(batch->ops);
	free(batch->credits);
	*batch = (struct store_batch){0};
}

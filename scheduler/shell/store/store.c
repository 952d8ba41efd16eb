#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

extern const char store_migration_0001[];

enum {
	STORE_APPLICATION_ID = 0x464c5331, /* "FLS1" */
	STORE_PATH_MAX = 4096,
};

struct store {
	struct sqlite writer; /* the thread's, and before it starts the opener's */
	struct sqlite reader; /* the loop's */
	store_done_cb on_done;
	void *data;
	uv_async_t *done; /* freed by its own close callback */
	pthread_t thread;
	bool started;

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

	batch->committed = store_apply(&store->writer, batch, &batch->err) == 0;
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

static int store_open_files(struct store *store, const char *dir, struct err *err)
{
	static const char *const migrations[] = {store_migration_0001};
	char path[STORE_PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/scheduler.db", dir) >= (int)sizeof(path))
		return err_set(err, "path is too long");
	struct sqlite_options options = {
		.path = path,
		.application_id = STORE_APPLICATION_ID,
		.migrations = migrations,
		.migrations_n = ARRAY_N(migrations),
		.statements = writer_sql,
		.statements_n = ARRAY_N(writer_sql),
	};
	if (sqlite_open(&store->writer, &options, err) || store_seed(&store->writer, err))
		return -1;
	options.read_only = true;
	options.statements = reader_sql;
	options.statements_n = ARRAY_N(reader_sql);
	return sqlite_open(&store->reader, &options, err);
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
	}
	if (store->done)
		uv_close((uv_handle_t *)store->done, store_free_handle);
	sqlite_close(&store->reader);
	sqlite_close(&store->writer);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
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
	for (size_t i = 0; i < batch->ops_n; i++) {
		struct store_op *op = &batch->ops[i];
		if (op->kind != STORE_OP_SANDBOX_NEW)
			continue;
		free(op->sandbox.extra.metadata);
		free(op->sandbox.extra.envs);
		free(op->sandbox.extra.idempotency_key);
	}
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

/* A store in a folder of its own, a batch to fill, and the file as others see it. */
#ifndef FLOTILLA_TESTS_SCHED_SHELL_STORE_WORLD_H
#define FLOTILLA_TESTS_SCHED_SHELL_STORE_WORLD_H

#include "scheduler/shell/store/store.h"

extern uv_loop_t loop;
extern char dir[27], path[64]; /* of the store, and of its file */
extern struct store *store;
extern struct store_batch batch;
extern struct err err;
extern uint64_t seq; /* of the record that was added last */
extern int done_n;

void on_done(void *data, struct store_batch *done);
void open_store(void);
void close_store(void);

/* cmocka's setup and teardown. */
int start(void **state);
int stop(void **state);

/* Commits the batch, and empties it. */
void commit(void);
void add_tenant(const char *id, int64_t credit_nano);
/* The next record of node nod_a, of incarnation 1 of one sandbox; to be changed. */
struct wire_record *add_usage(const char *tenant, enum wire_record_kind kind, uint64_t from_ms,
			      uint64_t to_ms);

/* One number out of the file, by a connection of its own. */
int64_t ask(const char *sql);
/* Changes the file behind the store's back, with whatever guards it taken away. */
void tamper(const char *sql);

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

#endif

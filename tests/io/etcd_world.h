/* Real etcd and a client of it, one question at a time. Include after cmocka.h. */
#ifndef FLOTILLA_TESTS_IO_ETCD_WORLD_H
#define FLOTILLA_TESTS_IO_ETCD_WORLD_H

#include "common/io/etcd.h"
#include "tests/io/etcd_rig.h"

struct world {
	struct etcd_rig rig;
	uv_loop_t loop;
	struct etcd *etcd;

	bool is_answered;
	struct etcd_answer answer; /* its kvs are copied: the first only */
	char key[64], value[64];

	struct etcd_watch *watch;
	char seen[1024]; /* "k1=v1 k2- " */
	int seen_n, broken_n, mended_n;
	bool is_lost;
	enum etcd_lost lost;
};

void world_open(struct world *world, int members_n, const char *const *extra);
void world_open_client(struct world *world, const char *endpoints, uint32_t answer_ms,
		       const char *ca_file);
void world_close(struct world *world);

/* Runs the loop until something was told. */
void turn(struct world *world);

void on_answer(void *data, const struct etcd_answer *answer);
struct etcd_answer *await_answer(struct world *world);
struct etcd_answer *put(struct world *world, const char *key, const char *value, int64_t lease);
struct etcd_answer *get(struct world *world, const char *key);

/* All keys with this prefix, from a revision on, into world->seen. */
void watch(struct world *world, const char *key, int64_t from);
void await_seen(struct world *world, int n);
void on_lost(void *data, enum etcd_lost why, const struct err *err);

#endif

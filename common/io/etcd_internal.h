/* Shared by the parts of the etcd client: etcd.c asks, etcd_watch.c watches, etcd_json.c has JSON.
 */
#ifndef FLOTILLA_IO_ETCD_INTERNAL_H
#define FLOTILLA_IO_ETCD_INTERNAL_H

#include "common/base/list.h"
#include "common/io/etcd.h"
#include "common/io/http_client.h"

#include <jansson.h>

struct etcd {
	uv_loop_t *loop;
	struct http_client *http;
	char *endpoints[ETCD_ENDPOINTS_MAX];
	size_t endpoints_n, current;
	uint32_t answer_ms;
	struct list calls, watches;
};

/* This endpoint does not work: whoever is there moves to the next one. */
void etcd_leave(struct etcd *etcd, size_t endpoint);

/* What libcurl shall do with this path of that endpoint. */
int etcd_post(struct etcd *etcd, size_t endpoint, const char *path, const char *body,
	      struct http_client_request *request, struct http_client_call **out_call,
	      struct err *err);

/* What was asked for `data` is answered to nobody. */
void etcd_forget(struct etcd *etcd, const void *data);

/* A watch's connection, anew, if it is at that endpoint. */
void etcd_watch_move(struct etcd_watch *watch, size_t from);
void etcd_watch_free_all(struct etcd *etcd);

/* ---- JSON ---- */

json_t *etcd_json_range(const struct etcd_range *range);
json_t *etcd_json_txn(const struct etcd_txn *txn);
json_t *etcd_json_watch(const char *key, bool is_prefix, int64_t from_revision);
/* 64-bit numbers are texts in etcd's JSON. */
json_t *etcd_json_int(int64_t number);
/* Text or number; `missing` when there is none or it is no number. */
int64_t etcd_json_get_int(const json_t *object, const char *name, int64_t missing);

/* Keys and values decoded, with the storage they need. */
struct etcd_kvs {
	struct etcd_kv *items;
	size_t n, room;
	char **texts;
	size_t texts_n, texts_room;
};

int etcd_kvs_add(struct etcd_kvs *kvs, const json_t *kv, struct err *err);
void etcd_kvs_free(struct etcd_kvs *kvs);

/* The answer to any request; its kvs go to `kvs`. */
int etcd_json_answer(const json_t *json, struct etcd_kvs *kvs, struct etcd_answer *out,
		     struct err *err);

/* An answer that says no: true, and code and text, when it is one of etcd's. */
bool etcd_json_refusal(const json_t *json, enum etcd_code *out_code, struct err *err);

/* Of such: certainly not carried out, wherever it is asked again. */
bool etcd_code_is_final(enum etcd_code code);

#endif

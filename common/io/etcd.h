/*
 * etcd (v3, from 3.4 on) through its JSON gateway, from the loop.
 *
 * Everything is called on the loop's thread.  Each request is answered once, from the loop and
 * never from within the function that made it.  From within any callback everything here may be
 * called, etcd_close too.
 *
 * Requests go to one of the endpoints and stay there as long as it works.  An endpoint that cannot
 * be reached, does not answer within the limit, or answers that it has no leader, is left for the
 * next one; a request that was certainly not carried out, or may be carried out twice (a range, a
 * lease kept or given back), is tried there at once, within its limit.
 */
#ifndef FLOTILLA_IO_ETCD_H
#define FLOTILLA_IO_ETCD_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	ETCD_ENDPOINTS_MAX = 16,
	ETCD_ANSWER_MAX = 32 << 20, /* bytes of an answer, or of one line of a watch */
};

struct etcd;
struct etcd_watch;

struct etcd_options {
	const char *endpoints; /* "http://a:2379,https://b:2379" */
	const char *ca_file;   /* NULL: whom the system believes */
	uint32_t answer_ms;    /* for a request, all its tries together; 0: 2000 */
};

int etcd_open(struct etcd **out, uv_loop_t *loop, const struct etcd_options *options,
	      struct err *err);

/* No callback is called any more, watches are closed. NULL is fine. */
void etcd_close(struct etcd *etcd);

/* The endpoint that is used now: for people. */
const char *etcd_endpoint(const struct etcd *etcd);

/* ---- answers --------------------------------------------------------------------------------- */

enum etcd_outcome {
	ETCD_ANSWERED,
	ETCD_REFUSED, /* by etcd, and not carried out: code and err say why */
	ETCD_UNSENT,  /* no endpoint could be reached: not carried out */
	ETCD_UNKNOWN, /* sent, and nobody knows whether it is or will be carried out */
};

/* Of gRPC, as etcd uses them. */
enum etcd_code {
	ETCD_CODE_NONE = 0,
	ETCD_CODE_INVALID = 3,
	ETCD_CODE_NOT_FOUND = 5, /* no such lease */
	ETCD_CODE_DENIED = 7,    /* auth */
	ETCD_CODE_NO_SPACE = 8,  /* full: see --quota-backend-bytes; or too many requests */
	ETCD_CODE_STATE = 9,     /* FAILED_PRECONDITION */
	ETCD_CODE_REVISION = 11, /* compacted, or not there yet */
	ETCD_CODE_NO_AUTH = 16,  /* auth is on, and we have none */
};

struct etcd_kv {
	const char *key;
	size_t key_n; /* NUL follows */
	const uint8_t *value;
	size_t value_n; /* NUL follows */
	int64_t create_revision, mod_revision;
	int64_t lease; /* 0: none */
};

/* Borrowed for the call. */
struct etcd_answer {
	enum etcd_outcome outcome;
	enum etcd_code code; /* REFUSED */
	struct err err;      /* all but ANSWERED */
	int64_t revision;    /* of the store, when it was answered */
	bool succeeded;      /* txn: the compares held */
	/* Of all ranges of the request, in their order. */
	const struct etcd_kv *kvs;
	size_t kvs_n;
	int64_t count;   /* range: all there are, whatever was asked to be left out */
	bool more;       /* range: beyond its limit */
	int64_t lease;   /* grant, keep */
	uint32_t ttl_ms; /* grant, keep; keep: 0 when there is no such lease */
};

typedef void (*etcd_answer_cb)(void *data, const struct etcd_answer *answer);

/* ---- requests (all texts are borrowed for the call) ------------------------------------------ */

struct etcd_range {
	const char *key;
	bool is_prefix;     /* all keys that begin with it */
	const char *after;  /* with is_prefix: only those after this key; NULL: all */
	int64_t revision;   /* as it was then; 0: now, by the majority */
	int64_t limit;      /* 0: none */
	int64_t changed_at; /* only what was changed at or after this revision; 0: all */
	bool only_count;
};

enum etcd_target { ETCD_TARGET_CREATE, ETCD_TARGET_MOD, ETCD_TARGET_LEASE };

struct etcd_compare { /* the key's revision (0: there is no such key) or lease is `value` */
	const char *key;
	enum etcd_target target;
	int64_t value;
};

enum etcd_op_kind { ETCD_OP_PUT, ETCD_OP_RANGE, ETCD_OP_DELETE };

struct etcd_op {
	enum etcd_op_kind kind;
	const char *key; /* PUT DELETE */
	const void *value;
	size_t value_n;
	int64_t lease; /* PUT; 0: none */
	struct etcd_range range;
};

struct etcd_txn {
	const struct etcd_compare *compares;
	size_t compares_n;
	const struct etcd_op *success, *failure;
	size_t success_n, failure_n;
};

void etcd_range(struct etcd *etcd, const struct etcd_range *range, etcd_answer_cb on_answer,
		void *data);
void etcd_txn(struct etcd *etcd, const struct etcd_txn *txn, etcd_answer_cb on_answer, void *data);
void etcd_grant(struct etcd *etcd, uint32_t ttl_ms, etcd_answer_cb on_answer, void *data);
void etcd_keep(struct etcd *etcd, int64_t lease, etcd_answer_cb on_answer, void *data);
void etcd_revoke(struct etcd *etcd, int64_t lease, etcd_answer_cb on_answer, void *data);

/* ---- watching -------------------------------------------------------------------------------- */

struct etcd_event {
	bool is_deleted; /* kv has key and mod_revision */
	struct etcd_kv kv;
};

enum etcd_lost {
	ETCD_LOST_COMPACTED, /* revisions that were asked for are gone */
	ETCD_LOST_SET_BACK,  /* the store is older than what was asked for: wiped, or a backup */
	ETCD_LOST_REFUSED,   /* etcd does not want to: err says why */
};

struct etcd_watch_callbacks {
	void *data;
	/* Changes in their order, each exactly once, whole revisions; n may be 0: nothing changed
	 * up to this revision. */
	void (*on_events)(void *data, const struct etcd_event *events, size_t n, int64_t revision);
	/* It ended by itself, and is to be closed. */
	void (*on_lost)(void *data, enum etcd_lost why, const struct err *err);
	/* Only for telling people: the connection broke (err), and goes on (NULL). May be NULL. */
	void (*on_broken)(void *data, const struct err *err);
};

/* Every change of the key, or of all keys with that prefix, from a revision on (which may be in
 * the future by one). A broken connection is resumed where it was, at the endpoint of the moment.
 */
struct etcd_watch *etcd_watch_open(struct etcd *etcd, const char *key, bool is_prefix,
				   int64_t from_revision,
				   const struct etcd_watch_callbacks *callbacks);
void etcd_watch_close(struct etcd_watch *watch);

#endif

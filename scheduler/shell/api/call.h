/* One request on its way through the API: what the handlers share. */
#ifndef FLOTILLA_API_CALL_H
#define FLOTILLA_API_CALL_H

#include "common/io/http_client.h"
#include "scheduler/shell/api/api.h"
#include "scheduler/shell/api/http.h"
#include "scheduler/shell/api/limiter.h"
#include "scheduler/shell/api/route.h"
#include "scheduler/shell/store/store.h"

#include <jansson.h>

enum { API_IDEMPOTENCY_KEY_MAX = 256 };

struct api {
	struct api_options options;
	struct engine *engine;
	struct store *store;
	struct http *http;
	char *openapi; /* made when first asked for */
	size_t openapi_n;
	struct limiter limiter;
	int64_t opened_wall_ns;
	struct api_fork *forks; /* that are under way */
	uint64_t fork_requests_n;
	uv_timer_t *snapshots_timer;
	struct api_call *secrets;    /* changes of secrets under way */
	struct api_call *idempotent; /* creates under way that have an Idempotency-Key */
	/* door.c's; NULL where there is one scheduler. */
	struct http_client *client;
	struct http_client *mount_client; /* to flotilla-volumes; NULL: there is none */
	uv_timer_t *door_timer;
	bool is_leaving;
	struct api_call *new_volumes; /* that are being made */
	struct api_call *at_door;     /* waits for a leader, or for the end of a take-over */
};

struct api_call {
	struct api *api;
	struct http_request *request;
	const struct route *route; /* NULL: no such */
	int status;                /* of success, where it is not the route's; else 0 */
	bool ours;                 /* errors as problem documents */
	char parameter[TARGET_SEGMENT_TEXT_MAX], second[TARGET_SEGMENT_TEXT_MAX]; /* of its path */
	struct id tenant; /* empty: an operator's key, or none needed */
	bool is_operator;
	json_t *query, *body;
	uint64_t began_ns;

	/* While it waits at the door, or for the leader's answer. */
	struct api_call *door_next;
	uint64_t wait_until_ms; /* of uv_hrtime; 0: it did not wait yet */
	struct http_client_call *forwarded;
	char forwarded_to[ADDRESS_TEXT_MAX];
	uint64_t give_up_ms; /* of uv_hrtime: another leads, and its answer is not waited for longer
			      */
	/* While it waits for the core. */
	void (*on_reply)(struct api_call *call, const struct core_effect *reply);
	struct id sandbox;
	char idempotency_key[API_IDEMPOTENCY_KEY_MAX]; /* "": none */
	uint8_t idempotency_hash[STORE_HASH_N];
	char snapshot_build[STORE_BUILD_ID_MAX]; /* of the snapshot that is being made */
	char secret[STORE_SECRET_NAME_MAX];      /* which is being changed; "": none */
	struct api_call *next;                   /* in the API's list of either */
	struct api_mounting *mounting;           /* while volumes are being mounted */
	/* While its decisions are being made, one after the other. */
	json_t *answer;
	struct store_op *ops;
	size_t ops_n, ops_at;
	const char *new_volume; /* of a new volume: its name; else NULL */
};

typedef void (*api_handler)(struct api_call *call);

/* Handlers, one for each route. */
#define ROUTE(id, method, path, who, query, body, status, answer, shape, errors, summary)          \
	void api_##id(struct api_call *call);
#include "scheduler/shell/api/routes.def"
#undef ROUTE

/* ---- answers: each ends the call ---- */

void api_answer(struct api_call *call, json_t *json); /* takes the reference; the route's status */
void api_answer_text(struct api_call *call, int status, const char *type, char *text, size_t n);
void api_answer_nothing(struct api_call *call);
void api_pass(struct api_call *call, int status, char *body, size_t n); /* type is a header of it */

/* code: the stable name of what is wrong; error_code: E2B's, or "". */
void api_fail(struct api_call *call, int status, const char *code, const char *error_code,
	      const char *format, ...) __attribute__((format(printf, 5, 6)));
void api_fail_problems(struct api_call *call, const struct problems *problems);
void api_fail_store(struct api_call *call, const struct err *err); /* reading failed */
void api_refuse(struct api_call *call, enum refusal refusal);

/* As an error is told in E2B's form: code and message. Does not end the call. */
json_t *api_refusal_json(struct api_call *call, enum refusal refusal);

/* ---- what handlers need ---- */

/* False, and the call is ended, while the engine is not available. */
bool api_needs_engine(struct api_call *call);

/* Holds the call; on_reply is called with the core's REPLY. The number is for the event. */
uint64_t api_wait(struct api_call *call,
		  void (*on_reply)(struct api_call *call, const struct core_effect *reply));

/* Makes the decision, and answers the call with `answer` when it is made. answer: not looked
 * at where the route has none. */
void api_decide(struct api_call *call, const struct store_op *op, json_t *answer);

/* The same with several, in their order; what was made before one that fails stays.  ops: n of
 * them, copied.  answer: not looked at where the route has none. */
void api_decide_all(struct api_call *call, const struct store_op *ops, size_t n, json_t *answer);

const char *api_text(const json_t *object, const char *name); /* NULL: not there */
int64_t api_int(const json_t *object, const char *name, int64_t missing);

/* A fresh id. */
struct id api_make_id(const char *prefix);

/* A template's identity: follows from its name, so that it needs no storing. */
struct id api_template_id(const char *name);

/* The whole seconds of a time limit; false, and the call is ended, when it is none. */
bool api_timeout(struct api_call *call, const char *field, uint32_t *out_s);

/* A UUID that follows from what it is of. */
enum { API_UUID_MAX = 37 };
void api_uuid(const char *kind, const char *name, int64_t number, char out_text[API_UUID_MAX]);

/* ---- templates.c ---- */

/* What stands for the tenant in "namespace/name". */
enum { API_SLUG_MAX = STORE_NAME_MAX };
void api_tenant_slug(const struct store_tenant *tenant, char out_slug[API_SLUG_MAX]);

/* "[namespace/]name[:tag]" taken apart: the namespace is the tenant's own, the tag "default", where
 * they are not said.  False: it cannot be one, and out_problem says why. */
struct api_template_ref {
	char namespace_[API_SLUG_MAX], name[TEMPLATE_NAME_MAX], tag[TEMPLATE_NAME_MAX];
};
bool api_template_parse(const char *text, struct api_template_ref *out, const char **out_problem);

/* What a reference or an id leads to. */
struct api_template {
	struct api_template_ref ref;
	const struct core_template *fleet; /* an operator's; NULL: a tenant's */
	struct store_own_template own;     /* a tenant's */
	bool is_own;                       /* the caller's */
	/* When nothing was found: there is one, which is another tenant's. */
	bool is_foreign;
};

/* 1: the caller may use it; 0: not, or there is none; -1: fault, and the call is ended.  Its tag
 * may stand for nothing. */
int api_template_find(struct api_call *call, const char *text, struct api_template *out);

/* One that the caller may change; false: the call is ended. */
bool api_template_own(struct api_call *call, const char *text, struct api_template *out);

/* The decision that leaves it as it is, to be changed. */
struct store_op api_template_op(const struct store_own_template *own);

bool api_template_namespace_is_ours(struct api_call *call, const char *namespace_);

/* A reference or an id to the name under which the core knows what it stands for.  1: it is ready,
 * and the caller's to use; 0: not; -1: fault, and the call is ended. */
int api_template_resolve(struct api_call *call, const char *text, char out_name[TEMPLATE_NAME_MAX]);

/* What the template that a sandbox was started from is called; it may be deleted since. */
struct api_template_label {
	struct id id;
	char alias[TEMPLATE_NAME_MAX]; /* empty: it has no name */
	char build[API_UUID_MAX];
};
void api_template_label(struct api_call *call, const char *name, struct api_template_label *out);

/* ["namespace/name"] of one of a tenant's; [] when it has none. */
json_t *api_template_names(struct api_call *call, const struct store_own_template *own);

/* A new build's id. */
void api_build_id(char out_id[STORE_BUILD_ID_MAX]);

/* The tags of a JSON list of texts, joined by commas.  False: the call is ended. */
bool api_template_tags_take(struct api_call *call, const char *field,
			    char out_tags[STORE_TAGS_MAX]);

/* ---- e2b_uploads.c ---- */

/* http.h's on_upload: a file that somebody may bring. */
int api_on_upload(void *data, struct http_request *request, uint64_t *out_max);

/* ---- network.c ---- */

enum {
	API_NETWORK_MAX = 13 * 1024, /* bytes of JSON that are kept of it */
	API_HIDDEN_MAX = 9 * 1024,   /* of what of it is sealed, before it is */
	/* Of the metadata and that: with what else a scheduler writes into a claim's note. */
	API_METADATA_MAX = WIRE_NOTE_MAX - 1024,
};

/* What the body asks for of `network`, to be freed; NULL: nothing. False: the call is ended. */
bool api_network_take(struct api_call *call, char **out_text);

/* What is kept of the sandbox's `network` once the body, an update of it, is in force; to be freed.
 * False: the call is ended. */
bool api_network_update(struct api_call *call, const struct id *sandbox, char **out_text);

/* What was asked for last, with what is sealed of it; NULL: nothing. */
int api_network_read(struct api_call *call, const struct id *sandbox, json_t **out_network,
		     struct err *err);

/* The same as who asks may see it: its tenant opened, without the password of its proxy; an
 * operator without all that was sealed. NULL is fine. */
void api_network_show(struct api_call *call, json_t *network);

/* ---- network_rules.c ---- */

/* What `network` (or an update of it) and `iam` ask for of requests and proxies. False: the call is
 * ended. */
bool api_rules_check(struct api_call *call, const json_t *network);
bool api_iam_check(struct api_call *call, const json_t *iam);

/* The rules with the names of their hosts in small letters; NULL: there are none. */
json_t *api_rules_normal(const json_t *rules);

/* ---- secrets.c ---- */

/* The identity of the tenant's secret of that name; false, and the call is ended: there is none. */
bool api_secret_id(struct api_call *call, const char *name, struct id *out_id);

/* ---- mounts.c ---- */

/* What the body asks for of `volumeMounts`, to be freed; NULL: nothing. False: the call is ended.
 */
bool api_mounts_take(struct api_call *call, char **out_text);

/* A sandbox's volumes: a list of {volumeID, name, path}; NULL: it has none. */
int api_mounts_read(struct api_call *call, const struct id *sandbox, json_t **out_list,
		    struct err *err);

/* Adds them to what is told of a sandbox, as E2B does. */
void api_mounts_add(struct api_call *call, const struct id *sandbox, json_t *json);

/* Holds the call until the sandbox's volumes are mounted; problem: why they are not, or NULL. */
typedef void (*api_mounts_cb)(struct api_call *call, const struct core_sandbox *row,
			      const char *problem);
void api_mounts_then(struct api_call *call, const struct core_sandbox *row, api_mounts_cb then);
void api_mounts_cancel(struct api_call *call);

/* ---- limits.c: false, and the call is ended, when it was asked too often ---- */

/* What an option says of a plan; 0: it does not name it, and there is no limit. */
uint32_t api_limit_of(const struct option_list *by_plan, const char *plan);

void api_limits_open(struct api *api);
bool api_limit_requests(struct api_call *call);  /* by its tenant */
bool api_limit_creates(struct api_call *call);   /* by its tenant, whose plan says how many */
bool api_limit_strangers(struct api_call *call); /* by its address: it has no key that is known */

/* ---- what was seen of sandboxes, also of those that have ended ---- */

/* The sandbox of the path, if it ran and is the caller's, and the reader to ask; NULL: the call is
 * ended. */
struct sqlite *api_observed(struct api_call *call, struct core_sandbox *out_row);
struct sqlite *api_observations(struct api_call *call); /* the same without a sandbox */
bool api_owned(struct api_call *call, const struct id *id, struct core_sandbox *out);

/* start and end of the query, in seconds, to milliseconds; false: the call is ended. */
bool api_window(struct api_call *call, int64_t *out_from_ms, int64_t *out_to_ms);

/* A new array with the items of `rows`, which is released, the last first. */
json_t *api_reversed(json_t *rows);

/* ---- e2b_snapshots.c ---- */

/* Under which the core knows the snapshot that is this build. */
struct id api_snapshot_id(const char *build);

/* Of what a reference leads to, as the core names it: the snapshot, or empty for what is none.  0:
 * there is no such build any more; -1: fault, and the call is ended. */
int api_snapshot_of(struct api_call *call, const char *name, struct id *out_snapshot);

/* Drops those that are in no register (any more); it happens by itself every few seconds. */
void api_snapshots_look(struct api *api);
void api_snapshots_open(struct api *api, uv_loop_t *loop);
void api_snapshots_close(struct api *api);

/* ---- e2b_fork.c ---- */

/* False: it is no answer to one of a fork's creates. */
bool api_fork_on_reply(struct api *api, const struct core_effect *reply);

/* The core's memory is lost; whoever waits is told by others. */
void api_forks_lost(struct api *api);

/* ---- sandboxes as JSON ---- */

/* "iabc…-clientID" is what older clients call "iabc…".  False: the call is ended. */
bool api_sandbox_of(struct api_call *call, struct id *out_id);

/* The sandbox, as who created it needs it; NULL: a fault. */
json_t *api_sandbox_json(struct api_call *call, const struct core_sandbox *row, struct err *err);

#define API_ENVD_VERSION "0.6.13"
#define API_CLIENT_ID    "flotilla"

json_t *api_time(int64_t ns); /* null for 0 */

/* Answers with the sandbox, as who created it needs it. */
void api_answer_sandbox(struct api_call *call, const struct core_sandbox *row);
json_t *api_listed_json(struct api_call *call, const struct core_sandbox *row,
			const char *metadata);

/* Cursors: "<nanoseconds>.<id>", opaque to clients. */
enum { API_CURSOR_MAX = 64 };
struct api_cursor {
	int64_t at_ns;
	struct id id;
};
bool api_cursor_parse(const char *text, struct api_cursor *out);
void api_cursor_header(struct api_call *call, int64_t at_ns, const struct id *id);

/* A page of sandboxes: which statement yields them, how many, and what a row becomes. */
struct api_page {
	enum store_read statement; /* one whose rows store_sandbox_row reads; one more than limit */
	int64_t limit;
	bool is_by_creation; /* the order that the cursor counts in; else by start */
	json_t *(*row_json)(struct api_call *call, const struct store_sandbox *sandbox);
};

/* Adds the page's rows; if there are more, X-Next-Token tells where they begin. */
bool api_page_rows(struct api_call *call, const struct api_page *page, struct sqlite_values values,
		   json_t *rows, struct err *err);

#endif

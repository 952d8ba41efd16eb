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
	struct api_call *idempotent; /* creates under way that have an Idempotency-Key */
	/* door.c's; NULL where there is one scheduler. */
	struct http_client *client;
	uv_timer_t *door_timer;
	bool is_leaving;
	struct api_call *at_door; /* waits for a leader, or for the end of a take-over */
};

struct api_call {
	struct api *api;
	struct http_request *request;
	const struct route *route; /* NULL: no such */
	int status;                /* of success, where it is not the route's; else 0 */
	bool ours;                 /* errors as problem documents */
	char parameter[TARGET_SEGMENT_TEXT_MAX];
	struct id tenant; /* empty: an operator's key, or none needed */
	bool is_operator;
	json_t *query, *body;
	uint64_t began_ns;

	/* While it waits at the door, or for the leader's answer. */
	struct api_call *door_next;
	uint64_t wait_until_ms; /* of uv_hrtime; 0: it did not wait yet */
	struct http_client_call *forwarded;
	char forwarded_to[ADDRESS_TEXT_MAX];
	/* While it waits for the core. */
	void (*on_reply)(struct api_call *call, const struct core_effect *reply);
	struct id sandbox;
	char idempotency_key[API_IDEMPOTENCY_KEY_MAX]; /* "": none */
	uint8_t idempotency_hash[STORE_HASH_N];
	struct api_call *next;
	/* While its decision is being made. */
	json_t *answer;
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

/* ---- what handlers need ---- */

/* False, and the call is ended, while the engine is not available. */
bool api_needs_engine(struct api_call *call);

/* Holds the call; on_reply is called with the core's REPLY. The number is for the event. */
uint64_t api_wait(struct api_call *call,
		  void (*on_reply)(struct api_call *call, const struct core_effect *reply));

/* Makes the decision, and answers the call with `answer` when it is made. */
void api_decide(struct api_call *call, const struct store_op *op, json_t *answer);

const char *api_text(const json_t *object, const char *name); /* NULL: not there */
int64_t api_int(const json_t *object, const char *name, int64_t missing);

/* A fresh id. */
struct id api_make_id(const char *prefix);

/* A template's identity: follows from its name, so that it needs no storing. */
struct id api_template_id(const char *name);

/* The whole seconds of a time limit; false, and the call is ended, when it is none. */
bool api_timeout(struct api_call *call, const char *field, uint32_t *out_s);

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

/* A reference or an id to the name of a template that is known, and the caller's to use. */
bool api_template_resolve(struct api_call *call, const char *text,
			  char out_name[TEMPLATE_NAME_MAX]);

/* ---- network.c ---- */

enum { API_NETWORK_MAX = 1024 }; /* bytes of JSON that are kept of it */

/* What the body asks for of `network`, to be freed; NULL: nothing. False: the call is ended. */
bool api_network_take(struct api_call *call, char **out_text);

/* What was asked for at the create; NULL: nothing. */
int api_network_read(struct api_call *call, const struct id *sandbox, json_t **out_network,
		     struct err *err);

/* ---- limits.c: false, and the call is ended, when it was asked too often ---- */

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

/* A UUID that follows from what it is of. */
enum { API_UUID_MAX = 37 };
void api_uuid(const char *kind, const char *name, int64_t number, char out_text[API_UUID_MAX]);

/* ---- sandboxes as JSON ---- */

#define API_ENVD_VERSION "0.6.13"
#define API_CLIENT_ID    "flotilla"

json_t *api_time(int64_t ns); /* null for 0 */

/* Answers with the sandbox, as who created it needs it. */
void api_answer_sandbox(struct api_call *call, const struct core_sandbox *row);
json_t *api_listed_json(const struct core_sandbox *row, const char *metadata);

/* Cursors: "<nanoseconds>.<id>", opaque to clients. */
enum { API_CURSOR_MAX = 64 };
struct api_cursor {
	int64_t at_ns;
	struct id id;
};
bool api_cursor_parse(const char *text, struct api_cursor *out);

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

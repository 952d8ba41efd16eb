/*
 * Requests to the scheduler and the gateway, by libcurl.  Whatever goes wrong is printed and
 * becomes an exit status here, so that every command fails in the same words.
 */
#ifndef FLOTILLA_CLI_API_H
#define FLOTILLA_CLI_API_H

#include "scheduler/cli/cli.h"

#include <curl/curl.h>
#include <jansson.h>

enum { API_ANSWER_MAX = 16 << 20, API_URL_MAX = 4096, API_CURSOR_MAX = 512 };

enum api_who {
	API_AS_TENANT,   /* the API key; the operator's when there is none */
	API_AS_OPERATOR, /* the operator's key */
};

struct api_call {
	enum api_who who;
	const char *method;  /* "GET" */
	const char *path;    /* "/sandboxes/i123", with its query, escaped */
	json_t *body;        /* borrowed; NULL: none */
	const char *what;    /* for messages: "sandbox i123" */
	bool may_be_missing; /* 404 is not printed, only returned */

	/* answers */
	long code;                   /* HTTP status; 0 when there was none */
	char cursor[API_CURSOR_MAX]; /* X-Next-Token, or empty */
};

/* STATUS_OK, and the answer in *out_answer (NULL when it has no body; the caller's); or the exit
 * status, with the reason printed. */
int api_call(struct cli *cli, struct api_call *call, json_t **out_answer);

/* The same for a simple GET. */
int api_get(struct cli *cli, enum api_who who, const char *path, const char *what,
	    json_t **out_answer);

/* Text of a member, or "". */
const char *api_text(const json_t *object, const char *member);

/* "text" percent-encoded at the end of url (API_URL_MAX bytes); too long text is cut. */
void api_url_add(char *url, const char *text);

/* A full id for a sandbox named by a prefix of its id. */
int api_sandbox_id(struct cli *cli, const char *prefix, char out_id[64]);

/* A tenant's list, page after page. first: the first page's path, with a query. */
int api_pages(struct cli *cli, const char *first, const char *what, json_t **out_array);

/* {"K":"V"} from the values of a repeated flag; NULL when one is no K=V (told, then). */
json_t *args_pairs(const struct cli *cli, const char *flag);

/* Every sandbox of the tenant, page after page. query: "&state=running" or "". */
int api_sandboxes(struct cli *cli, const char *query, json_t **out_array);

/* "15m", "90s", "2h" as whole seconds, rounded up; false when it is none. */
bool api_seconds(const char *text, int64_t *out_seconds);

#endif

/* The requests that a shim makes of its guest's HTTP server. */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { SEED_N = 48, SEED_TEXT_N = SEED_N / 3 * 4 };

static char *without_body(const char *what, const char *token, size_t *out_n)
{
	char *text;
	int n = asprintf(&text,
			 "%s HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 0\r\n%s%s%s"
			 "Connection: close\r\n\r\n",
			 what, token[0] ? "X-Access-Token: " : "", token, token[0] ? "\r\n" : "");

	CHECK(n > 0);
	*out_n = (size_t)n;
	return text;
}

char *shim_request_health(size_t *out_n)
{
	return without_body("GET /health", "", out_n);
}

char *shim_request_sync(const char *token, size_t *out_n)
{
	return without_body("POST /sync", token, out_n);
}

void shim_request_token(const char *document, size_t document_n, char out[SHIM_TOKEN_MAX])
{
	json_t *root = document_n ? json_loadb(document, document_n, 0, NULL) : NULL;
	const char *token = json_string_value(json_object_get(root, "accessToken"));

	out[0] = 0;
	if (token && strlen(token) < SHIM_TOKEN_MAX)
		strcpy(out, token);
	for (const char *c = out; *c; c++)
		if (*c <= ' ' || *c > '~') {
			out[0] = 0;
			break;
		}
	json_decref(root);
}

static char *post(const char *path, const char *type, const char *body, size_t body_n,
		  size_t *out_n)
{
	char *text = malloc(body_n + 512);
	int n;

	CHECK(text);
	n = snprintf(text, 512,
		     "POST %s HTTP/1.1\r\nHost: sandbox\r\nContent-Type: %s\r\n"
		     "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		     path, type, body_n);
	CHECK(n > 0 && n < 512);
	memcpy(text + n, body, body_n);
	*out_n = (size_t)n + body_n;
	return text;
}

/* As E2B's SDK starts a command: the same code is warm then. */
char *shim_request_exec(const char *command, size_t *out_n)
{
	json_t *root = json_pack("{s:{s:s, s:[s, s, s]}, s:b}", "process", "cmd", "/bin/bash",
				 "args", "-l", "-c", command, "stdin", 0);
	char *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
	size_t json_n;
	char *body, *text;

	CHECK(json);
	json_n = strlen(json);
	body = malloc(json_n + 5);
	CHECK(body);
	/* A Connect envelope: flags, length, message. */
	body[0] = 0;
	for (int i = 0; i < 4; i++)
		body[1 + i] = (char)(json_n >> (24 - 8 * i));
	memcpy(body + 5, json, json_n);
	text = post("/process.Process/Start", "application/connect+json", body, json_n + 5, out_n);
	free(body);
	free(json);
	json_decref(root);
	return text;
}

static void make_seed(char out[SEED_TEXT_N + 1])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t bytes[SEED_N];

	CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
	for (size_t i = 0; i < SEED_N / 3; i++) {
		uint32_t three = (uint32_t)bytes[3 * i] << 16 | (uint32_t)bytes[3 * i + 1] << 8 |
				 bytes[3 * i + 2];

		for (size_t j = 0; j < 4; j++)
			out[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
	}
	out[SEED_TEXT_N] = 0;
}

/* RFC 3339, to the nanosecond. */
static void make_timestamp(char *out, size_t out_n)
{
	struct timespec now;
	struct tm parts;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	n = strftime(out, out_n, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(out + n, out_n - n, ".%09ldZ", now.tv_nsec);
}

/* One that could not stand in a header is none. */
static void token_of(const json_t *root, char out_token[OBSERVE_TOKEN_MAX])
{
	const char *token = json_string_value(json_object_get(root, "accessToken"));

	out_token[0] = 0;
	if (token && strlen(token) < OBSERVE_TOKEN_MAX && !strpbrk(token, "\r\n"))
		strcpy(out_token, token);
}

char *shim_request_init(const char *document, size_t document_n, const char *hostname,
			bool has_network, const char *authority, const char *envs,
			char out_token[OBSERVE_TOKEN_MAX], size_t *out_n)
{
	json_t *root = document_n ? json_loadb(document, document_n, 0, NULL) : json_object();
	char seed[SEED_TEXT_N + 1], timestamp[64];
	char *body, *text;
	size_t body_n;

	if (!json_is_object(root)) {
		json_decref(root);
		return NULL;
	}
	if (out_token)
		token_of(root, out_token);
	/* Every clone wakes with the same generator state: nothing of it may be used before this.
	 */
	make_seed(seed);
	json_object_set_new(root, "seed", json_string(seed));
	make_timestamp(timestamp, sizeof(timestamp));
	if (!json_object_get(root, "timestamp"))
		json_object_set_new(root, "timestamp", json_string(timestamp));
	if (hostname && !json_object_get(root, "hostname"))
		json_object_set_new(root, "hostname", json_string(hostname));
	if (has_network)
		json_object_set_new(root, "network", network_describe(authority));
	if (envs && !json_object_get(root, "envVars"))
		json_object_set_new(root, "envVars", json_loads(envs, 0, NULL));
	body = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	CHECK(body);
	body_n = strlen(body);
	text = body_n + 512 <= CHANNEL_REQUEST_MAX
		       ? post("/init", "application/json", body, body_n, out_n)
		       : NULL;
	free(body);
	return text;
}

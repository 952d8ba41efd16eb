#include "scheduler/cli/process_request.h"

#include "common/base/check.h"
#include "scheduler/cli/connect.h"

#include <stdlib.h>
#include <string.h>

enum { ENVD_PORT = 49983 };

bool process_env_is_valid(const char *pair)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	const char *equals = strchr(pair, '=');
	size_t n = strspn(pair, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return equals && n == (size_t)(equals - pair) && n > 0 && strchr(letters, pair[0]);
}

json_t *process_start_message(const struct cli *cli, const struct process_spec *spec)
{
	json_t *args = json_array(), *envs = json_object(), *process;
	const char *pair;

	for (char *const *arg = spec->argv + 1; *arg; arg++)
		json_array_append_new(args, json_string(*arg));
	for (size_t i = 0; (pair = args_value_at(&cli->args, "env", i)); i++) {
		char name[256];

		CHECK(process_env_is_valid(pair));
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(pair, "="), pair);
		json_object_set_new(envs, name, json_string(strchr(pair, '=') + 1));
	}
	process = json_pack("{s:s, s:o, s:o}", "cmd", spec->argv[0], "args", args, "envs", envs);
	if (process && spec->cwd)
		json_object_set_new(process, "cwd", json_string(spec->cwd));
	return process ? json_pack("{s:o, s:b}", "process", process, "stdin", spec->has_input)
		       : NULL;
}

static void add_header(struct process_request *request, const char *name, const char *value)
{
	char line[1024];

	snprintf(line, sizeof(line), "%s: %s", name, value);
	request->headers = curl_slist_append(request->headers, line);
	CHECK(request->headers);
}

static void add_headers(struct process_request *request, const struct process_spec *spec,
			bool is_stream)
{
	char text[600], *user;

	add_header(request, "Content-Type",
		   is_stream ? "application/connect+json" : "application/json");
	add_header(request, "Connect-Protocol-Version", "1");
	add_header(request, "E2b-Sandbox-Id", spec->sandbox_id);
	snprintf(text, sizeof(text), "%d", ENVD_PORT);
	add_header(request, "E2b-Sandbox-Port", text);
	if (spec->access_token[0])
		add_header(request, "X-Access-Token", spec->access_token);
	if (spec->user) {
		snprintf(text, sizeof(text), "%.255s:", spec->user);
		user = connect_base64((const uint8_t *)text, strlen(text));
		snprintf(text, sizeof(text), "Basic %s", user);
		add_header(request, "Authorization", text);
		free(user);
	}
	if (is_stream)
		add_header(request, "Keepalive-Ping-Interval", "30");
	if (is_stream && spec->timeout_s) {
		snprintf(text, sizeof(text), "%lld", (long long)spec->timeout_s * 1000);
		add_header(request, "Connect-Timeout-Ms", text);
	}
	request->headers = curl_slist_append(request->headers, "Expect:");
}

size_t process_request_keep(char *data, size_t one, size_t n, void *user)
{
	struct process_request *request = user;
	size_t room = sizeof(request->refusal) - 1 - request->refusal_n;
	size_t taken = n * one < room ? n * one : room;

	memcpy(request->refusal + request->refusal_n, data, taken);
	request->refusal_n += taken;
	request->refusal[request->refusal_n] = 0;
	return n * one;
}

void process_request_open(struct process_request *request, const struct cli *cli,
			  const struct process_spec *spec, const char *method, json_t *message,
			  bool is_stream)
{
	char url[OPTION_TEXT_MAX + 64];
	size_t base_n = strlen(cli->settings.gateway_url), body_n;

	CHECK(message);
	*request = (struct process_request){.curl = curl_easy_init()};
	CHECK(request->curl);
	while (base_n && cli->settings.gateway_url[base_n - 1] == '/')
		base_n--;
	snprintf(url, sizeof(url), "%.*s/process.Process/%s", (int)base_n,
		 cli->settings.gateway_url, method);
	if (is_stream) {
		request->body = connect_encode(message, &body_n);
	} else {
		request->body = json_dumps(message, JSON_COMPACT);
		CHECK(request->body);
		body_n = strlen(request->body);
	}
	json_decref(message);
	add_headers(request, spec, is_stream);
	curl_easy_setopt(request->curl, CURLOPT_URL, url);
	curl_easy_setopt(request->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	if (cli->settings.ca_file[0])
		curl_easy_setopt(request->curl, CURLOPT_CAINFO, cli->settings.ca_file);
	curl_easy_setopt(request->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(request->curl, CURLOPT_USERAGENT, "flotilla/" FLOTILLA_VERSION);
	curl_easy_setopt(request->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(request->curl, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
	curl_easy_setopt(request->curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(request->curl, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(request->curl, CURLOPT_POSTFIELDS, request->body);
	curl_easy_setopt(request->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_n);
	/* A unary request may wait as long as the process leaves its input unread. */
	curl_easy_setopt(request->curl, CURLOPT_WRITEFUNCTION, process_request_keep);
	curl_easy_setopt(request->curl, CURLOPT_WRITEDATA, request);
}

void process_request_close(struct process_request *request)
{
	if (request->curl)
		curl_easy_cleanup(request->curl);
	curl_slist_free_all(request->headers);
	free(request->body);
	*request = (struct process_request){.curl = NULL};
}

#include "scheduler/cli/api.h"

#include "common/base/check.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct answer {
	char *text;
	size_t n;
	struct api_call *call;
};

const char *api_text(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

void api_url_add(char *url, const char *text)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
	size_t used = strlen(url);

	for (; *text && used + 4 < API_URL_MAX; text++) {
		if (strchr(plain, *text))
			url[used++] = *text;
		else
			used += (size_t)snprintf(url + used, 4, "%%%02X", (unsigned char)*text);
	}
	url[used] = 0;
}

bool api_seconds(const char *text, int64_t *out_seconds)
{
	static const struct option_spec row = {.type = OPTION_TYPE_DURATION,
					       .section = "",
					       .name = "",
					       .text = "",
					       .argument = "1ms..365d"};
	uint64_t ms;

	if (option_parse(&row, text, &ms, NULL))
		return false;
	*out_seconds = (int64_t)((ms + 999) / 1000);
	return true;
}

/* --- one request ----------------------------------------------------------------------------- */

static size_t take_body(char *data, size_t one, size_t n, void *user)
{
	struct answer *answer = user;
	char *larger;

	n *= one;
	if (answer->n + n > API_ANSWER_MAX)
		return 0;
	larger = realloc(answer->text, answer->n + n + 1);
	CHECK(larger);
	memcpy(larger + answer->n, data, n);
	answer->text = larger;
	answer->n += n;
	answer->text[answer->n] = 0;
	return n;
}

static size_t take_header(char *data, size_t one, size_t n, void *user)
{
	static const char name[] = "x-next-token:";
	struct answer *answer = user;
	size_t from = sizeof(name) - 1, end = n * one;

	if (end <= from || strncasecmp(data, name, from) != 0)
		return n * one;
	while (from < end && data[from] == ' ')
		from++;
	while (end > from && (data[end - 1] == '\r' || data[end - 1] == '\n'))
		end--;
	if (end - from < API_CURSOR_MAX)
		snprintf(answer->call->cursor, API_CURSOR_MAX, "%.*s", (int)(end - from),
			 data + from);
	return n * one;
}

static int stop_if_interrupted(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
			       curl_off_t up)
{
	struct cli *cli = user;
	struct pollfd interrupt = {.fd = cli->interrupt_fd, .events = POLLIN};

	(void)down_all;
	(void)down;
	(void)up_all;
	(void)up;
	return cli->interrupt_fd >= 0 && poll(&interrupt, 1, 0) > 0;
}

static int fail_without_answer(const struct cli *cli, CURLcode code)
{
	const char *url = cli->settings.api_url;

	switch ((int)code) {
	case CURLE_ABORTED_BY_CALLBACK:
		return STATUS_INTERRUPTED;
	case CURLE_OPERATION_TIMEDOUT:
		return cli_fail(cli, STATUS_TIMED_OUT, "no answer from %s in time", url);
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return cli_fail(cli, STATUS_TRY_AGAIN,
				"cannot reach the scheduler at %s: %s (--api-url or a context says "
				"where it is)",
				url, curl_easy_strerror(code));
	case CURLE_WRITE_ERROR:
		return cli_fail(cli, STATUS_FAILED, "the answer from %s is too large", url);
	default:
		return cli_fail(cli, STATUS_FAILED, "%s: %s", url, curl_easy_strerror(code));
	}
}

static int status_of(long code)
{
	switch (code) {
	case 400:
	case 413:
	case 422:
		return STATUS_USAGE;
	case 401:
	case 403:
		return STATUS_DENIED;
	case 404:
		return STATUS_NOT_FOUND;
	case 409:
		return STATUS_CONFLICT;
	case 402:
	case 429:
		return STATUS_QUOTA;
	case 408:
	case 502:
	case 503:
		return STATUS_TRY_AGAIN;
	case 504:
		return STATUS_TIMED_OUT;
	default:
		return STATUS_FAILED;
	}
}

static int fail_with_answer(const struct cli *cli, const struct api_call *call,
			    const struct answer *answer)
{
	json_t *body = answer->text ? json_loads(answer->text, 0, NULL) : NULL;
	const char *message = api_text(body, "message");
	int status = status_of(call->code);

	if (!message[0])
		message = api_text(body, "detail"); /* problem documents */
	if (status != STATUS_NOT_FOUND || !call->may_be_missing)
		cli_fail(cli, status, "%s: %s%s(status %ld)", call->what, message,
			 message[0] ? " " : "", call->code);
	json_decref(body);
	return status;
}

static struct curl_slist *headers_of(const struct api_call *call, const char *key)
{
	struct curl_slist *headers = NULL;
	char line[OPTION_TEXT_MAX + 16];

	snprintf(line, sizeof(line), "X-API-KEY: %s", key);
	headers = curl_slist_append(headers, line);
	headers = curl_slist_append(headers, "Accept: application/json");
	headers = curl_slist_append(headers, "Expect:");
	if (call->body)
		headers = curl_slist_append(headers, "Content-Type: application/json");
	return headers;
}

/* Header lines must stay lines. */
static bool key_is_clean(const char *key)
{
	for (; *key; key++)
		if (*key <= ' ' || *key >= 0x7f)
			return false;
	return true;
}

static const char *key_for(const struct cli *cli, enum api_who who)
{
	if (who == API_AS_OPERATOR || !cli->api_key[0])
		return cli->operator_key;
	return cli->api_key;
}

static int perform(struct cli *cli, struct api_call *call, const char *key, struct answer *answer)
{
	struct curl_slist *headers = headers_of(call, key);
	char *body = call->body ? json_dumps(call->body, JSON_COMPACT) : NULL;
	char url[OPTION_TEXT_MAX + API_URL_MAX];
	size_t base_n = strlen(cli->settings.api_url);
	CURL *curl = curl_easy_init();
	CURLcode code;

	CHECK(curl && headers);
	while (base_n && cli->settings.api_url[base_n - 1] == '/')
		base_n--;
	snprintf(url, sizeof(url), "%.*s%s", (int)base_n, cli->settings.api_url, call->path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	if (cli->settings.ca_file[0])
		curl_easy_setopt(curl, CURLOPT_CAINFO, cli->settings.ca_file);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "flotilla/" FLOTILLA_VERSION);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)cli->settings.request_timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_if_interrupted);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, cli);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &call->code);
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	free(body);
	return code == CURLE_OK ? STATUS_OK : fail_without_answer(cli, code);
}

int api_call(struct cli *cli, struct api_call *call, json_t **out_answer)
{
	const char *key = key_for(cli, call->who);
	struct answer answer = {.call = call};
	int status;

	*out_answer = NULL;
	if (!key[0] && call->who == API_AS_OPERATOR)
		return cli_fail(cli, STATUS_DENIED,
				"no operator's key: give --operator-key-file, "
				"FLOTILLA_OPERATOR_KEY or a context that has one");
	if (!key[0])
		return cli_fail(cli, STATUS_DENIED,
				"no API key: give --api-key-file, FLOTILLA_API_KEY or a context "
				"that has one");
	if (!key_is_clean(key))
		return cli_fail(cli, STATUS_USAGE, "the key has characters that no key has");
	call->cursor[0] = 0;
	status = perform(cli, call, key, &answer);
	if (status == STATUS_OK && (call->code < 200 || call->code > 299))
		status = fail_with_answer(cli, call, &answer);
	else if (status == STATUS_OK && answer.n) {
		*out_answer = json_loadb(answer.text, answer.n, JSON_REJECT_DUPLICATES, NULL);
		if (!*out_answer)
			status = cli_fail(cli, STATUS_FAILED, "%s: the answer is no JSON",
					  call->what);
	}
	free(answer.text);
	return status;
}

/* --- often used ------------------------------------------------------------------------------ */

int api_get(struct cli *cli, enum api_who who, const char *path, const char *what,
	    json_t **out_answer)
{
	struct api_call call = {.who = who, .method = "GET", .path = path, .what = what};

	return api_call(cli, &call, out_answer);
}

json_t *args_pairs(const struct cli *cli, const char *flag)
{
	json_t *pairs = json_object();
	const char *pair;

	for (size_t i = 0; (pair = args_value_at(&cli->args, flag, i)); i++) {
		const char *equals = strchr(pair, '=');
		char key[256];

		if (!equals || equals == pair || equals - pair >= (int)sizeof(key)) {
			cli_fail(cli, STATUS_USAGE, "--%s %s: write it as K=V", flag, pair);
			json_decref(pairs);
			return NULL;
		}
		snprintf(key, sizeof(key), "%.*s", (int)(equals - pair), pair);
		if (json_object_set_new(pairs, key, json_string(equals + 1))) {
			cli_fail(cli, STATUS_USAGE, "--%s: not in UTF-8", flag);
			json_decref(pairs);
			return NULL;
		}
	}
	return pairs;
}

int api_pages(struct cli *cli, const char *first, const char *what, json_t **out_array)
{
	char path[API_URL_MAX], cursor[API_CURSOR_MAX] = "";
	json_t *all = json_array();

	do {
		struct api_call call = {
			.who = API_AS_TENANT, .method = "GET", .path = path, .what = what};
		json_t *page = NULL;
		int status;

		snprintf(path, sizeof(path), "%s%s", first, cursor[0] ? "&nextToken=" : "");
		api_url_add(path, cursor);
		status = api_call(cli, &call, &page);
		if (status != STATUS_OK) {
			json_decref(all);
			return status;
		}
		json_array_extend(all, page);
		/* A server that repeats its cursor must not keep us for ever. */
		if (json_array_size(page) == 0 || strcmp(call.cursor, cursor) == 0)
			call.cursor[0] = 0;
		memcpy(cursor, call.cursor, sizeof(cursor));
		json_decref(page);
	} while (cursor[0]);
	*out_array = all;
	return STATUS_OK;
}

int api_sandboxes(struct cli *cli, const char *query, json_t **out_array)
{
	char first[API_URL_MAX];

	snprintf(first, sizeof(first), "/v2/sandboxes?limit=100%s", query);
	return api_pages(cli, first, "list of sandboxes", out_array);
}

int api_sandbox_id(struct cli *cli, const char *prefix, char out_id[64])
{
	size_t prefix_n = strlen(prefix), found_n = 0, i;
	json_t *all, *one;
	int status;

	if (prefix_n == 0 || prefix_n > 63 ||
	    strspn(prefix, "abcdefghijklmnopqrstuvwxyz0123456789") != prefix_n)
		return cli_fail(cli, STATUS_USAGE, "\"%.64s\" is no sandbox's id", prefix);
	snprintf(out_id, 64, "%s", prefix);
	if (prefix_n >= 21)
		return STATUS_OK;
	status = api_sandboxes(cli, "", &all);
	if (status != STATUS_OK)
		return status;
	json_array_foreach(all, i, one)
	{
		const char *id = api_text(one, "sandboxID");

		if (strncmp(id, prefix, prefix_n) == 0 && strlen(id) < 64) {
			snprintf(out_id, 64, "%s", id);
			found_n++;
		}
	}
	json_decref(all);
	if (found_n == 0)
		return cli_fail(cli, STATUS_NOT_FOUND, "no running sandbox has an id like %s",
				prefix);
	if (found_n > 1)
		return cli_fail(cli, STATUS_USAGE, "%zu sandboxes have an id that begins with %s",
				found_n, prefix);
	return STATUS_OK;
}

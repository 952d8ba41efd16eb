/* Asks the scheduler about a volume, or a sandbox. */
#include "scheduler/volumes/volumes.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/io/log.h"

enum { GRANT_ANSWER_MAX = 4096, GRANT_CONNECT_MS = 1000 };

struct answer {
	char text[GRANT_ANSWER_MAX];
	size_t n;
};

static size_t on_bytes(char *bytes, size_t size, size_t n, void *data)
{
	struct answer *answer = data;

	(void)size; /* 1 */
	if (n > sizeof(answer->text) - answer->n)
		return 0;
	memcpy(answer->text + answer->n, bytes, n);
	answer->n += n;
	return n;
}

static bool read_grant(const struct answer *answer, uint64_t *out_bytes_max)
{
	json_t *json = json_loadb(answer->text, answer->n, 0, NULL);
	json_t *bytes_max = json_object_get(json, "bytesMax");
	bool is_good = json_is_integer(bytes_max) && json_integer_value(bytes_max) >= 0;

	if (is_good)
		*out_bytes_max = (uint64_t)json_integer_value(bytes_max);
	json_decref(json);
	return is_good;
}

static long ask_by(CURL *curl, const struct address *api, const struct fleet_key *key,
		   const char *before, const char *behind, const struct id *id,
		   struct answer *answer)
{
	char url[512], header[128], token[ENVD_TOKEN_TEXT_MAX], where[ADDRESS_TEXT_MAX];
	struct curl_slist *headers;
	long status = 0;

	address_format(api, where);
	fleet_key_wake_token(key, id, token);
	snprintf(url, sizeof(url), "http://%s%s%s%s", where, before, id->text, behind);
	snprintf(header, sizeof(header), "X-Wake-Token: %s", token);
	headers = curl_slist_append(NULL, header);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)GRANT_CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)VOLUME_ASK_MS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	return status;
}

static long ask(const struct address *api, const struct fleet_key *key, const char *before,
		const char *behind, const struct id *id, struct answer *answer)
{
	CURL *curl = curl_easy_init();
	long status = 0;

	if (!curl)
		return 0;
	status = ask_by(curl, api, key, before, behind, id, answer);
	curl_easy_cleanup(curl);
	return status;
}

int grant_ask(const struct address *api, const struct fleet_key *key, const struct id *volume,
	      uint64_t *out_bytes_max)
{
	struct answer answer = {.n = 0};
	long status = ask(api, key, "/v1/volumes/", "/grant", volume, &answer);

	if (status == 404 || status == 410)
		return (int)status;
	if (status == 200 && read_grant(&answer, out_bytes_max))
		return 200;
	log_warn("volumes", "the scheduler does not say what volumes there are",
		 LOG_INT("status", status), LOG_TEXT("volume", volume->text));
	return 503;
}

int grant_ask_sandbox(const struct address *api, const struct fleet_key *key,
		      const struct id *sandbox)
{
	struct answer answer = {.n = 0};
	long status = ask(api, key, "/v1/sandboxes/", "/mounts", sandbox, &answer);

	return status == 200 || status == 404 ? (int)status : 503;
}

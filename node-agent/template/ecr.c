/* See ecr.h. */
#include "node-agent/template/ecr.h"

#include "common/base/check.h"

#include <curl/curl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REGION_MAX = 32, URL_MAX = 512, LOGIN_LIMIT_S = 30, ANSWER_MAX = 64 * 1024 };

#define TARGET "X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"

struct answer {
	char text[ANSWER_MAX];
	size_t n;
};

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
	struct answer *answer = arg;

	(void)one;
	if (n > sizeof(answer->text) - answer->n)
		return 0;
	memcpy(answer->text + answer->n, bytes, n);
	answer->n += n;
	return n;
}

static void endpoint_of(const struct ecr_account *account, char out[URL_MAX])
{
	if (account->endpoint && account->endpoint[0])
		snprintf(out, URL_MAX, "%s", account->endpoint);
	else
		snprintf(out, URL_MAX, "https://api.ecr.%s.amazonaws.com%s/", account->region,
			 strncmp(account->region, "cn-", 3) == 0 ? ".cn" : "");
}

/* The answer's status; 0: there is none. */
static long ask(const struct ecr_account *account, struct answer *answer, struct err *err)
{
	char url[URL_MAX], signing[REGION_MAX + 32], problem[CURL_ERROR_SIZE] = "";
	struct curl_slist *fields =
		curl_slist_append(NULL, "Content-Type: application/x-amz-json-1.1");
	CURL *call = curl_easy_init();
	CURLcode code;
	long status = 0;

	CHECK(fields && call);
	CHECK(curl_slist_append(fields, TARGET));
	endpoint_of(account, url);
	snprintf(signing, sizeof(signing), "aws:amz:%s:ecr", account->region);
	curl_easy_setopt(call, CURLOPT_URL, url);
	curl_easy_setopt(call, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(call, CURLOPT_HTTPHEADER, fields);
	curl_easy_setopt(call, CURLOPT_POSTFIELDS, "{}");
	curl_easy_setopt(call, CURLOPT_AWS_SIGV4, signing);
	curl_easy_setopt(call, CURLOPT_USERNAME, account->key_id);
	curl_easy_setopt(call, CURLOPT_PASSWORD, account->secret);
	curl_easy_setopt(call, CURLOPT_TIMEOUT, (long)LOGIN_LIMIT_S);
	curl_easy_setopt(call, CURLOPT_ERRORBUFFER, problem);
	curl_easy_setopt(call, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(call, CURLOPT_WRITEDATA, answer);
	code = curl_easy_perform(call);
	if (code)
		(void)err_set(err, "%s: %s", url, problem[0] ? problem : curl_easy_strerror(code));
	else
		curl_easy_getinfo(call, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(call);
	curl_slist_free_all(fields);
	return status;
}

/* {authorizationData: [{authorizationToken}]}, or {message}; some say Message. */
static char *read_token(const struct answer *answer, long status, struct err *err)
{
	json_t *root = json_loadb(answer->text, answer->n, JSON_REJECT_DUPLICATES, NULL);
	const json_t *data = json_array_get(json_object_get(root, "authorizationData"), 0);
	const char *token = json_string_value(json_object_get(data, "authorizationToken"));
	const char *message = json_string_value(json_object_get(root, "message"));
	char *text = NULL;

	if (!message)
		message = json_string_value(json_object_get(root, "Message"));
	if (status == 200 && token)
		CHECK(text = strdup(token));
	else
		(void)err_set(err, "Amazon's answer is %ld: %.300s", status,
			      message ? message : "no token");
	json_decref(root);
	return text;
}

char *ecr_login(const struct ecr_account *account, struct err *err)
{
	struct answer *answer = calloc(1, sizeof(*answer));
	char *token = NULL;
	long status;

	CHECK(answer);
	status = ask(account, answer, err);
	if (status)
		token = read_token(answer, status, err);
	sodium_memzero(answer, sizeof(*answer));
	free(answer);
	return token;
}

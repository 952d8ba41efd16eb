/*
 * Files that builds copy: whether they are here, and how they come.  The address that is told is
 * good for one file of one tenant, for a while; what it leads to is written to disk as it comes.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	UPLOAD_S = 3600,
	UPLOAD_MAC_N = 32, /* hex digits */
	UPLOAD_TOKEN_MAX = TARGET_SEGMENT_TEXT_MAX,
};

struct upload {
	struct id tenant;
	char hash[BUILDS_HASH_N + 1];
	int64_t until_s;
};

/* ---- tokens: "<tenant>.<hash>.<until>.<mac>" ---- */

static void upload_mac(struct api *api, const struct upload *upload, char out[UPLOAD_MAC_N + 1])
{
	uint8_t hash[SECRET_HASH_N];
	char text[256];

	snprintf(text, sizeof(text), "upload %s %s %" PRId64, upload->tenant.text, upload->hash,
		 upload->until_s);
	secrets_hash(api->options.secrets, text, hash);
	sodium_bin2hex(out, UPLOAD_MAC_N + 1, hash, UPLOAD_MAC_N / 2);
}

static bool upload_parse(struct api *api, const char *token, struct upload *out)
{
	char tenant[ID_MAX], mac[UPLOAD_MAC_N + 2], right[UPLOAD_MAC_N + 1];

	memset(out, 0, sizeof(*out));
	if (sscanf(token, "%31[a-z0-9_].%64[0-9a-f].%18" SCNd64 ".%33[0-9a-f]", tenant, out->hash,
		   &out->until_s, mac) != 4 ||
	    !id_parse(tenant, strlen(tenant), &out->tenant) || strlen(mac) != UPLOAD_MAC_N)
		return false;
	upload_mac(api, out, right);
	return sodium_memcmp(mac, right, UPLOAD_MAC_N) == 0 && builds_hash_is_good(out->hash) &&
	       engine_wall().ns / NS_PER_S <= out->until_s;
}

/* ---- asking ---- */

/* Where the asker found us is where it will find us again. */
static json_t *upload_url(struct api_call *call, const char *token)
{
	const struct api_options *options = &call->api->options;
	const char *host = http_header(call->request, "Host");
	const char *proto = http_header(call->request, "X-Forwarded-Proto");
	bool is_tls = proto && strcmp(proto, "https") == 0;

	/* The gateway ends the TLS of names below the domain. */
	if (host && options->domain[0] && strncmp(host, "api.", 4) == 0 &&
	    strcmp(host + 4, options->domain) == 0)
		is_tls |= strncmp(options->gateway_url, "https:", 6) == 0;
	return json_sprintf("%s://%s/uploads/%s", is_tls ? "https" : "http",
			    host ? host : "localhost", token);
}

void api_template_file(struct api_call *call)
{
	struct upload upload = {.tenant = call->tenant};
	char mac[UPLOAD_MAC_N + 1], token[UPLOAD_TOKEN_MAX];
	struct api_template found;
	json_t *answer;

	if (!api_template_own(call, call->parameter, &found))
		return;
	if (!builds_hash_is_good(call->second)) {
		api_fail(call, 400, "invalid_request", "",
			 "hash: should be the %d hex digits of a SHA-256", BUILDS_HASH_N);
		return;
	}
	memcpy(upload.hash, call->second, sizeof(upload.hash));
	upload.until_s = engine_wall().ns / NS_PER_S + UPLOAD_S;
	upload_mac(call->api, &upload, mac);
	snprintf(token, sizeof(token), "%s.%s.%" PRId64 ".%s", upload.tenant.text, upload.hash,
		 upload.until_s, mac);
	answer = json_pack("{s:b}", "present",
			   builds_has_file(call->api->options.builds, &call->tenant, upload.hash));
	json_object_set_new(answer, "url", upload_url(call, token));
	api_answer(call, answer);
}

/* ---- bringing ---- */

static bool upload_of(struct api *api, const char *target_text, struct upload *out)
{
	static const char prefix[] = "/uploads/";

	return strncmp(target_text, prefix, sizeof(prefix) - 1) == 0 &&
	       upload_parse(api, target_text + sizeof(prefix) - 1, out);
}

int api_on_upload(void *data, struct http_request *request, uint64_t *out_max)
{
	struct api *api = data;
	struct upload upload;
	uint64_t room;
	struct err err;
	int fd;

	/* A replica that does not lead passes on what is short enough for that. */
	if (strcmp(http_method(request), "PUT") != 0 ||
	    !upload_of(api, http_target(request), &upload) ||
	    (api->options.leader && !api->options.leads(api->options.data)))
		return -1;
	fd = builds_file_begin(api->options.builds, &upload.tenant, &room, &err);
	*out_max = room < api->options.upload_max ? room : api->options.upload_max;
	return fd;
}

void api_template_upload(struct api_call *call)
{
	int fd = http_upload(call->request);
	struct upload upload;
	struct err err;
	size_t n;

	(void)http_body(call->request, &n);
	if (!upload_of(call->api, http_target(call->request), &upload)) {
		api_fail(call, 403, "forbidden", "", "This address is good for nothing any more");
		return;
	}
	if (fd < 0 && n > 0) {
		/* A leader was found for it only after it was here. */
		api_fail(call, 503, "store_unavailable", "", "Bring it again");
		return;
	}
	if (fd < 0 ||
	    builds_file_end(call->api->options.builds, &upload.tenant, upload.hash, fd, &err))
		api_fail(call, 507, "no_space", "",
			 "The file cannot be kept: not enough disk space");
	else
		api_answer_nothing(call);
}

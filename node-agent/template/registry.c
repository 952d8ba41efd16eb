/* See registry.h. */
#include "node-agent/template/registry.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/template/build_internal.h"
#include "node-agent/template/ecr.h"
#include "node-agent/template/image_reference.h"
#include "node-agent/template/progress.h"
#include "node-agent/vm/process.h"

#include <fts.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAIR_MAX = 16 * 1024, SAID_MAX = 16 * 1024 };

#define FATAL "level=fatal msg=\""

/* ---- who asks ---- */

static char *pair_of(const struct build_spec *spec, struct err *err)
{
	size_t coded_max = sodium_base64_encoded_len(PAIR_MAX, sodium_base64_VARIANT_ORIGINAL);
	char pair[PAIR_MAX], *coded = NULL;
	int n = snprintf(pair, sizeof(pair), "%s:%s", spec->registry_user, spec->registry_password);

	if ((size_t)n >= sizeof(pair)) {
		(void)err_set(err, "the registry's credentials are too long");
	} else {
		CHECK(coded = malloc(coded_max));
		sodium_bin2base64(coded, coded_max, (const uint8_t *)pair, (size_t)n,
				  sodium_base64_VARIANT_ORIGINAL);
	}
	sodium_memzero(pair, sizeof(pair));
	return coded;
}

static char *login_of(const struct build_request *request, struct err *err)
{
	const struct build_spec *spec = request->spec;
	struct ecr_account account = {.key_id = spec->registry_user,
				      .secret = spec->registry_password,
				      .region = spec->registry_region,
				      .endpoint = request->image.ecr_endpoint};

	return account.region ? ecr_login(&account, err) : pair_of(spec, err);
}

/* What a spec says of it, in the form that skopeo reads: {"auths": {registry: {auth}}}. */
static int auth_write(const char *path, const char *reference, const struct build_request *request,
		      struct err *err)
{
	char registry[IMAGE_REFERENCE_MAX], *text, *login = login_of(request, err);
	json_t *root;
	int result;

	if (!login)
		return err_wrap(err, "nobody can be logged in to the registry of %s", reference);
	image_reference_registry(reference, registry);
	root = json_pack("{s:{s:{s:s}}}", "auths", registry, "auth", login);
	CHECK(root);
	text = json_dumps(root, JSON_COMPACT);
	CHECK(text);
	result = file_write_atomic(path, text, strlen(text), 0600, err);
	sodium_memzero(login, strlen(login));
	sodium_memzero(text, strlen(text));
	json_decref(root);
	free(login);
	free(text);
	return result;
}

/* ---- how much comes ---- */

struct arrival {
	const char *dir;
	uint64_t bytes_max;
	bool is_too_large;
};

/* What a manifest says of its sizes is the registry's word; what lies here is not. */
static bool is_too_large(void *arg)
{
	struct arrival *arrival = arg;
	char *roots[] = {(char *)arrival->dir, NULL};
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	uint64_t bytes = 0;
	FTSENT *entry;

	while (tree && (entry = fts_read(tree)))
		if (entry->fts_info == FTS_F)
			bytes += (uint64_t)entry->fts_statp->st_size;
	if (tree)
		fts_close(tree);
	arrival->is_too_large = bytes > arrival->bytes_max;
	return arrival->is_too_large;
}

/* ---- skopeo ---- */

/*
 * Why skopeo gave up, of all it said: time="…" level=fatal msg="…", with what is special behind a
 * backslash. In place; NULL when it did not say.
 */
static const char *reason_of(char *said)
{
	char *from = strstr(said, FATAL), *to;

	if (!from)
		return NULL;
	from += strlen(FATAL);
	to = from;
	for (const char *at = from; *at && *at != '"'; at++) {
		if (*at == '\\' && at[1])
			at++;
		*to++ = *at;
	}
	*to = 0;
	return from;
}

/* auth: a file of credentials; NULL: nobody in particular asks. */
static int copy(const struct build_request *request, const char *reference, const char *auth,
		const char *dir, struct err *err)
{
	char from[IMAGE_REFERENCE_MAX + 16], to[PATH_MAX], verify[32], said[SAID_MAX], *argv[20];
	struct arrival arrival = {.dir = dir, .bytes_max = request->image.bytes_max};
	struct process_watch watch = {.is_enough = is_too_large, .arg = &arrival};
	const char *reason;
	size_t n = 0;

	snprintf(from, sizeof(from), "docker://%s", reference);
	snprintf(verify, sizeof(verify), "--src-tls-verify=%s",
		 image_reference_is_local(reference) ? "false" : "true");
	if (build_path(to, err, "oci:%s/layout", dir))
		return -1;
	argv[n++] = "skopeo";
	argv[n++] = "--insecure-policy"; /* nobody's signature is asked for; hashes are */
	argv[n++] = "--override-os=linux";
	argv[n++] = "--override-arch=amd64";
	argv[n++] = "copy";
	argv[n++] = "--quiet";
	argv[n++] = "--retry-times=3";
	argv[n++] = verify;
	argv[n++] = auth ? "--src-authfile" : "--src-no-creds";
	if (auth)
		argv[n++] = (char *)auth;
	argv[n++] = from;
	argv[n++] = to;
	argv[n] = NULL;
	if (!process_run_heard(argv, (int)request->limit_ms, &watch, said, sizeof(said), err) &&
	    !is_too_large(&arrival))
		return 0;
	if (arrival.is_too_large)
		return err_set(err,
			       "image %s is larger than %llu MiB, as much as is fetched here "
			       "(--image-size)",
			       reference, (unsigned long long)arrival.bytes_max >> 20);
	reason = reason_of(said);
	return reason ? err_set(err, "image %s cannot be fetched: %s", reference, reason)
		      : err_wrap(err, "image %s cannot be fetched", reference);
}

int registry_fetch(const struct build_request *request, const char *reference, const char *dir,
		   struct err *err)
{
	bool has_own = !request->image.auth_file && request->spec && request->spec->registry_user;
	char own[PATH_MAX];
	int result;

	if (build_path(own, err, "%s/auth.json", dir) ||
	    (has_own && auth_write(own, reference, request, err)))
		return -1;
	progress_say(PROGRESS_INFO, "fetching %s", reference);
	result = copy(request, reference, has_own ? own : request->image.auth_file, dir, err);
	unlink(own);
	return result;
}

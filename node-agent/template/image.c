/* See image.h. */
#include "node-agent/template/image.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/template/artefact.h"
#include "node-agent/template/build_internal.h"
#include "node-agent/template/image_reference.h"
#include "node-agent/template/progress.h"
#include "node-agent/vm/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PACK_LIMIT_MS = 10 * 60 * 1000, AUTH_MAX = 16 * 1024, SAID_MAX = 16 * 1024 };

#define FATAL "level=fatal msg=\""

const char *image_wanted(const struct build_request *request)
{
	if (request->image.from)
		return request->image.from;
	if (request->image.reference)
		return request->image.reference;
	return request->spec ? request->spec->from_image : NULL;
}

int image_check_allowed(const struct build_request *request, const char *name, struct err *err)
{
	char reference[IMAGE_REFERENCE_MAX];

	if (image_reference_parse(name, reference, err))
		return -1;
	if (!request->image.reference &&
	    !image_reference_is_allowed(reference, request->image.allowed))
		return err_set(err,
			       "image `%.100s`: no template here takes its place, and %.300s may "
			       "not be fetched (--registry-allow)",
			       name, reference);
	return 0;
}

/* ---- from a registry ---- */

/* What a spec says of it, in the form that skopeo reads: {"auths": {registry: {auth}}}. */
static int auth_write(const char *path, const char *reference, const struct build_spec *spec,
		      struct err *err)
{
	char registry[IMAGE_REFERENCE_MAX], pair[AUTH_MAX], *text;
	size_t coded_max = sodium_base64_encoded_len(sizeof(pair), sodium_base64_VARIANT_ORIGINAL);
	char *coded = malloc(coded_max);
	json_t *root;
	int result, n;

	CHECK(coded);
	n = snprintf(pair, sizeof(pair), "%s:%s", spec->registry_user, spec->registry_password);
	if ((size_t)n >= sizeof(pair)) {
		free(coded);
		return err_set(err, "the registry's credentials are too long");
	}
	sodium_bin2base64(coded, coded_max, (const uint8_t *)pair, (size_t)n,
			  sodium_base64_VARIANT_ORIGINAL);
	image_reference_registry(reference, registry);
	root = json_pack("{s:{s:{s:s}}}", "auths", registry, "auth", coded);
	text = json_dumps(root, JSON_COMPACT);
	CHECK(text);
	result = file_write_atomic(path, text, strlen(text), 0600, err);
	sodium_memzero(pair, sizeof(pair));
	sodium_memzero(coded, coded_max);
	sodium_memzero(text, strlen(text));
	json_decref(root);
	free(coded);
	free(text);
	return result;
}

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

static int fetch(const struct build_request *request, const char *reference, const char *dir,
		 struct err *err)
{
	char auth[PATH_MAX], from[IMAGE_REFERENCE_MAX + 16], to[PATH_MAX], verify[32];
	char *argv[20], said[SAID_MAX];
	const char *reason;
	size_t n = 0;
	int result;

	snprintf(from, sizeof(from), "docker://%s", reference);
	snprintf(verify, sizeof(verify), "--src-tls-verify=%s",
		 image_reference_is_local(reference) ? "false" : "true");
	if (build_path(to, err, "oci:%s/layout", dir) || build_path(auth, err, "%s/auth.json", dir))
		return -1;
	argv[n++] = "skopeo";
	argv[n++] = "--insecure-policy"; /* nobody's signature is asked for; hashes are */
	argv[n++] = "--override-os=linux";
	argv[n++] = "--override-arch=amd64";
	argv[n++] = "copy";
	argv[n++] = "--quiet";
	argv[n++] = "--retry-times=3";
	argv[n++] = verify;
	if (request->image.auth_file || (request->spec && request->spec->registry_user)) {
		argv[n++] = "--src-authfile";
		argv[n++] = request->image.auth_file ? (char *)request->image.auth_file : auth;
	} else {
		argv[n++] = "--src-no-creds";
	}
	argv[n++] = from;
	argv[n++] = to;
	argv[n] = NULL;
	if (!request->image.auth_file && request->spec && request->spec->registry_user &&
	    auth_write(auth, reference, request->spec, err))
		return -1;
	progress_say(PROGRESS_INFO, "fetching %s", reference);
	result = process_run_heard(argv, (int)request->limit_ms, said, sizeof(said), err);
	unlink(auth);
	if (!result)
		return 0;
	reason = reason_of(said);
	return reason ? err_set(err, "image %s cannot be fetched: %s", reference, reason)
		      : err_wrap(err, "image %s cannot be fetched", reference);
}

/* ---- both ---- */

/* The same folder gives the same bytes. */
static int pack(const char *folder, const char *to, struct err *err)
{
	char *argv[] = {"tar",          "--sort=name", "--mtime=@0",   "--owner=0", "--group=0",
			"--format=gnu", "-C",          (char *)folder, "-cf",       (char *)to,
			"index.json",   "oci-layout",  "blobs",        NULL};

	return process_run(argv, PACK_LIMIT_MS, NULL, 0, err);
}

static int identify(const struct build_request *request, struct image *image, struct err *err)
{
	struct artefact_hash hash;
	struct stat stat_;

	if (stat(image->path, &stat_))
		return err_errno(err, errno, "%s", image->path);
	if (!S_ISREG(stat_.st_mode) || stat_.st_size == 0)
		return err_set(err, "%s: an archive or an OCI image layout is wanted", image->path);
	image->size = (uint64_t)stat_.st_size;
	artefact_hash_begin(&hash);
	artefact_hash_text(&hash, "image");
	if (artefact_hash_file(&hash, request->unpacker, err) ||
	    artefact_hash_file(&hash, image->path, err))
		return -1;
	artefact_hash_end(&hash, image->id);
	return 0;
}

static int pack_layout(struct image *image, const char *folder, struct err *err)
{
	char mark[PATH_MAX];

	if (build_path(mark, err, "%s/oci-layout", folder))
		return -1;
	if (access(mark, F_OK))
		return err_set(err, "%s: an OCI image layout is wanted; it has no oci-layout",
			       folder);
	return build_path(image->path, err, "%s/image.tar", image->dir) ||
			       pack(folder, image->path, err)
		       ? -1
		       : 0;
}

int image_open(const struct build_request *request, struct image *out, struct err *err)
{
	char reference[IMAGE_REFERENCE_MAX], layout[PATH_MAX];
	const char *from = request->image.from;
	struct stat stat_;

	memset(out, 0, sizeof(*out));
	if (from && stat(from, &stat_))
		return err_errno(err, errno, "%s", from);
	if (from && !S_ISDIR(stat_.st_mode)) {
		if (!realpath(from, out->path))
			return err_errno(err, errno, "%s", from);
		return identify(request, out, err);
	}
	if (build_temporary_dir(request->store_dir, out->dir, err))
		return -1;
	if (!from) {
		if (image_reference_parse(image_wanted(request), reference, err) ||
		    fetch(request, reference, out->dir, err) ||
		    build_path(layout, err, "%s/layout", out->dir) || pack_layout(out, layout, err))
			return -1;
		vm_store_remove_tree(layout);
	} else if (pack_layout(out, from, err)) {
		return -1;
	}
	return identify(request, out, err);
}

void image_close(struct image *image)
{
	if (image->dir[0])
		vm_store_remove_tree(image->dir);
}

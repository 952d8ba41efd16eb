/* See image.h. */
#include "node-agent/template/image.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/template/artefact.h"
#include "node-agent/template/build_internal.h"
#include "node-agent/template/image_reference.h"
#include "node-agent/template/registry.h"
#include "node-agent/vm/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PACK_LIMIT_MS = 10 * 60 * 1000 };

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
		    registry_fetch(request, reference, out->dir, err) ||
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

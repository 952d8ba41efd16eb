/*
 * Images that templates are built upon: an archive or a folder of the operator's, or what a
 * registry has, fetched by skopeo.  Nothing of one is unpacked or looked into on the host: see
 * unpack-image, which does that inside a microVM.
 */
#ifndef FLOTILLA_TEMPLATE_IMAGE_H
#define FLOTILLA_TEMPLATE_IMAGE_H

#include "common/base/err.h"
#include "node-agent/vm/store.h"

#include <stdint.h>

struct build_request;

struct image_request {
	const char *from; /* a file or folder, whatever the spec says; NULL: none */
	const char
		*reference;  /* in a registry, of the operator's choice; NULL: what the spec says */
	const char *allowed; /* registries that a spec may name; see image_reference.h */
	const char *auth_file;    /* credentials, as skopeo and Docker write them; NULL: none */
	const char *ecr_endpoint; /* see ecr.h */
	uint64_t bytes_max;       /* of what comes from a registry, as it comes */
};

struct image {
	char path[PATH_MAX]; /* an archive that unpack-image knows */
	uint64_t size;
	char id[VM_ARTEFACT_ID_MAX]; /* of its bytes, and of how it is unpacked */
	char dir[PATH_MAX];          /* empty, or ours and to be removed */
};

/* How the image that the request is upon is called; NULL: it is upon none. */
const char *image_wanted(const struct build_request *request);

/* Fault: the spec names what may not be fetched. */
int image_check_allowed(const struct build_request *request, const char *name, struct err *err);

/* Gets hold of it: takes minutes from a registry.  Close it whatever this says. */
int image_open(const struct build_request *request, struct image *out, struct err *err);
void image_close(struct image *image);

#endif

/*
 * Names of images in registries, as Docker's users write them
 * (https://github.com/distribution/reference): "python:3.12" is docker.io/library/python:3.12,
 * "me/tool" is docker.io/me/tool, and what has a dot, a colon or "localhost" before its first slash
 * names its registry.  Comes from tenants.  Pure.
 */
#ifndef FLOTILLA_TEMPLATE_IMAGE_REFERENCE_H
#define FLOTILLA_TEMPLATE_IMAGE_REFERENCE_H

#include "common/base/err.h"

#include <stdbool.h>

enum { IMAGE_REFERENCE_MAX = 640 };

/* The whole name: with its registry, and ":latest" when it says neither tag nor digest. */
int image_reference_parse(const char *text, char out[IMAGE_REFERENCE_MAX], struct err *err);

/* allowed: "docker.io/library,ghcr.io/me/tool", of which each allows what lies under it; "*": any.
 * reference: a whole name. */
bool image_reference_is_allowed(const char *reference, const char *allowed);

/* Of a whole name: the registry, "127.0.0.1:5000". */
void image_reference_registry(const char *reference, char out[IMAGE_REFERENCE_MAX]);

/* It is this machine: spoken with without TLS, as Docker does. */
bool image_reference_is_local(const char *reference);

#endif

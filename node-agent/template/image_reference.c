/* See image_reference.h. */
#include "node-agent/template/image_reference.h"

#include <stdio.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum { TAG_MAX = 128, NAME_MAX_N = 255 };

static int refuse(const char *text, const char *why, struct err *err)
{
	return err_set(err, "image `%.100s`: %s", text, why);
}

static bool is_made_of(const char *text, size_t n, const char *letters)
{
	return n > 0 && strspn(text, letters) >= n;
}

/* "a.b:5000" or "localhost". */
static bool names_registry(const char *text, size_t n)
{
	return memchr(text, '.', n) || memchr(text, ':', n) ||
	       (n == 9 && memcmp(text, "localhost", 9) == 0);
}

/* Between slashes: letters and digits, with . _ - between them. */
static bool is_path(const char *text, size_t n)
{
	for (size_t at = 0; at <= n;) {
		const char *slash = memchr(text + at, '/', n - at);
		size_t part_n = slash ? (size_t)(slash - text) - at : n - at;

		if (!is_made_of(text + at, part_n, LOWER "._-") || !strchr(LOWER, text[at]) ||
		    !strchr(LOWER, text[at + part_n - 1]))
			return false;
		at += part_n + 1;
	}
	return true;
}

static bool is_suffix(const char *text)
{
	static const char digest[] = "@sha256:";
	const char *at = text;

	if (*at == ':') {
		size_t n = strcspn(at + 1, "@");

		if (n > TAG_MAX || !is_made_of(at + 1, n, LOWER UPPER "._-") || at[1] == '.' ||
		    at[1] == '-')
			return false;
		at += n + 1;
	}
	if (strncmp(at, digest, sizeof(digest) - 1) == 0) {
		at += sizeof(digest) - 1;
		if (strlen(at) != 64 || strspn(at, "0123456789abcdef") != 64)
			return false;
		at += 64;
	}
	return *at == 0;
}

int image_reference_parse(const char *text, char out[IMAGE_REFERENCE_MAX], struct err *err)
{
	const char *slash = strchr(text, '/'), *path = text, *suffix;
	char registry[NAME_MAX_N + 1] = "docker.io";
	size_t path_n;

	if (slash && names_registry(text, (size_t)(slash - text))) {
		size_t n = (size_t)(slash - text);

		if (n > NAME_MAX_N || !is_made_of(text, n, LOWER UPPER ".-:") ||
		    !strchr(LOWER UPPER, text[0]))
			return refuse(text, "its registry is no host", err);
		memcpy(registry, text, n);
		registry[n] = 0;
		path = slash + 1;
	}
	path_n = strcspn(path, ":@");
	suffix = path + path_n;
	if (path_n > NAME_MAX_N || !is_path(path, path_n))
		return refuse(text, "[registry/]path of a-z 0-9 . _ - is wanted", err);
	if (!is_suffix(suffix))
		return refuse(text, "what follows its path is no tag and no digest", err);
	snprintf(out, IMAGE_REFERENCE_MAX, "%s/%s%.*s%s", registry,
		 strcmp(registry, "docker.io") == 0 && !memchr(path, '/', path_n) ? "library/" : "",
		 (int)path_n, path, suffix[0] ? suffix : ":latest");
	return 0;
}

bool image_reference_is_allowed(const char *reference, const char *allowed)
{
	while (*allowed) {
		size_t n = strcspn(allowed, ", ");
		size_t bare_n = n && allowed[n - 1] == '/' ? n - 1 : n;

		if (n == 1 && allowed[0] == '*')
			return true;
		if (bare_n && strncmp(reference, allowed, bare_n) == 0 &&
		    (reference[bare_n] == 0 || strchr("/:@", reference[bare_n])))
			return true;
		allowed += n;
		allowed += strspn(allowed, ", ");
	}
	return false;
}

void image_reference_registry(const char *reference, char out[IMAGE_REFERENCE_MAX])
{
	snprintf(out, IMAGE_REFERENCE_MAX, "%.*s", (int)strcspn(reference, "/"), reference);
}

bool image_reference_is_local(const char *reference)
{
	size_t host_n = strcspn(reference, ":/");

	if (host_n == 9 && memcmp(reference, "localhost", 9) == 0)
		return true;
	return strncmp(reference, "127.", 4) == 0 && strspn(reference, "0123456789.") == host_n;
}

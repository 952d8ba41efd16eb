/* A file's metadata: see metadata.h. */
#include "node-agent/guest/metadata.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum { PREFIX_N = sizeof(METADATA_ATTRIBUTE) - 1 };

static bool refuse(char out_problem[METADATA_PROBLEM_MAX], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool refuse(char out_problem[METADATA_PROBLEM_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(out_problem, METADATA_PROBLEM_MAX, format, args);
	va_end(args);
	return false;
}

/* The first byte that is not printable ASCII, or n. */
static size_t printable_n(struct http_text text)
{
	size_t n = 0;

	while (n < text.n && text.at[n] >= ' ' && text.at[n] <= '~')
		n++;
	return n;
}

static bool pair_check(struct http_text key, struct http_text value,
		       char out_problem[METADATA_PROBLEM_MAX])
{
	size_t n = printable_n(key);

	if (key.n > METADATA_KEY_MAX)
		return refuse(out_problem,
			      "invalid metadata: metadata key \"%.*s\" exceeds %d bytes",
			      HTTP_TEXT_ARG(key), METADATA_KEY_MAX);
	if (n < key.n)
		return refuse(out_problem,
			      "invalid metadata: metadata key contains non-printable-ASCII byte "
			      "0x%02x at offset %zu",
			      (unsigned char)key.at[n], n);
	n = printable_n(value);
	if (n < value.n)
		return refuse(out_problem,
			      "invalid metadata: metadata value for key \"%.*s\" contains "
			      "non-printable-ASCII byte 0x%02x at offset %zu",
			      HTTP_TEXT_ARG(key), (unsigned char)value.at[n], n);
	return true;
}

static bool pair_add(json_t *metadata, struct http_text key, struct http_text value,
		     size_t *total_n)
{
	char name[METADATA_KEY_MAX + 1];

	http_text_copy(key, name, sizeof(name));
	for (char *at = name; *at; at++)
		*at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
	if (json_object_get(metadata, name))
		return true;
	*total_n += PREFIX_N + key.n + value.n;
	return !json_object_set_new(metadata, name, json_stringn(value.at, value.n));
}

bool metadata_from_head(const struct http_head *head, json_t **out_metadata,
			char out_problem[METADATA_PROBLEM_MAX])
{
	json_t *metadata = json_object();
	size_t total_n = 0;
	bool good = metadata || refuse(out_problem, "no memory");

	for (size_t i = 0; good && i < head->headers_n; i++) {
		struct http_text key = head->headers[i].name, value = head->headers[i].value;

		if (!http_text_starts_nocase(key, METADATA_HEADER))
			continue;
		key.at += sizeof(METADATA_HEADER) - 1;
		key.n -= sizeof(METADATA_HEADER) - 1;
		if (key.n)
			good = pair_check(key, value, out_problem) &&
			       (pair_add(metadata, key, value, &total_n) ||
				refuse(out_problem, "no memory"));
	}
	if (good && total_n > METADATA_TOTAL_MAX)
		good = refuse(out_problem,
			      "invalid metadata: total metadata size %zu exceeds %d bytes", total_n,
			      METADATA_TOTAL_MAX);
	if (!good || !json_object_size(metadata)) {
		json_decref(metadata);
		metadata = NULL;
	}
	*out_metadata = metadata;
	return good;
}

/* -- On the file --------------------------------------------------------------------------------
 */

static bool is_ours(const char *attribute)
{
	return !strncmp(attribute, METADATA_ATTRIBUTE, PREFIX_N);
}

/* Before the new ones are written, since all of a file's share one block. */
static int others_remove(int fd, json_t *metadata)
{
	char names[XATTR_LIST_MAX];
	ssize_t n = flistxattr(fd, names, sizeof(names));

	if (n < 0)
		return -1;
	for (char *name = names; name < names + n; name += strlen(name) + 1)
		if (is_ours(name) && !json_object_get(metadata, name + PREFIX_N) &&
		    fremovexattr(fd, name) && errno != ENODATA)
			return -1;
	return 0;
}

static int all_set(int fd, json_t *metadata)
{
	const char *key;
	json_t *value;

	json_object_foreach(metadata, key, value)
	{
		char attribute[PREFIX_N + METADATA_KEY_MAX + 1];

		snprintf(attribute, sizeof(attribute), METADATA_ATTRIBUTE "%s", key);
		if (fsetxattr(fd, attribute, json_string_value(value), json_string_length(value),
			      0))
			return -1;
	}
	return 0;
}

int metadata_write(int fd, json_t *metadata)
{
	if (!others_remove(fd, metadata) && !all_set(fd, metadata))
		return 0;
	/* The second: a device or a pipe, which has no attributes of a user. */
	return errno == ENOTSUP || errno == EPERM ? 0 : -1;
}

json_t *metadata_read(const char *path)
{
	char names[XATTR_LIST_MAX], value[METADATA_TOTAL_MAX];
	ssize_t names_n = listxattr(path, names, sizeof(names));
	json_t *metadata = NULL;

	for (char *name = names; name < names + names_n; name += strlen(name) + 1) {
		ssize_t n = is_ours(name) ? getxattr(path, name, value, sizeof(value)) : -1;

		if (n < 0)
			continue;
		if (!metadata)
			metadata = json_object();
		json_object_set_new(metadata, name + PREFIX_N, json_stringn(value, (size_t)n));
	}
	if (json_object_size(metadata))
		return metadata;
	json_decref(metadata);
	return NULL;
}

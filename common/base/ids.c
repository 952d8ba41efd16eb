#include "common/base/ids.h"

#include "common/base/check.h"

#include <string.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";

struct id id_make(const char *prefix, const uint8_t random[ID_RANDOM_BYTES])
{
	struct id id = {0};
	size_t prefix_n = strlen(prefix);

	CHECK(prefix_n <= 8);
	memcpy(id.text, prefix, prefix_n);
	/* 256 is not a multiple of 36: the bias costs under 0.2 bits of the 103. */
	for (size_t i = 0; i < ID_RANDOM_N; i++)
		id.text[prefix_n + i] = alphabet[random[i] % 36];
	return id;
}

bool id_parse(const char *text, size_t text_n, struct id *out_id)
{
	struct id id = {0};

	if (text_n == 0 || text_n >= ID_MAX)
		return false;
	for (size_t i = 0; i < text_n; i++) {
		char c = text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
		id.text[i] = c;
	}
	*out_id = id;
	return true;
}

bool id_equal(const struct id *a, const struct id *b)
{
	return strcmp(a->text, b->text) == 0;
}

bool id_is_empty(const struct id *id)
{
	return id->text[0] == 0;
}

uint64_t id_hash(const struct id *id)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (const char *c = id->text; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	return hash ^ (hash >> 32);
}

bool template_name_is_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= TEMPLATE_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return true;
}

bool template_name_is_builds(const char *name)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i;

	for (i = 0; name[i] && i < sizeof(form) - 1; i++) {
		char c = name[i];
		bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
		if (form[i] == 'x' ? !is_hex : c != '-')
			return false;
	}
	return !name[i] && i == sizeof(form) - 1;
}

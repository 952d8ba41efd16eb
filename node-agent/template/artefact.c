/* See artefact.h. */
#include "node-agent/template/artefact.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HASH_N = 20 };

void artefact_hash_begin(struct artefact_hash *hash)
{
	crypto_generichash_init(&hash->state, NULL, 0, HASH_N);
}

static void add(struct artefact_hash *hash, const void *bytes, size_t n)
{
	crypto_generichash_update(&hash->state, bytes, n);
}

void artefact_hash_text(struct artefact_hash *hash, const char *text)
{
	add(hash, text, strlen(text) + 1);
}

void artefact_hash_number(struct artefact_hash *hash, uint64_t number)
{
	uint8_t bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(number >> (8 * i));
	add(hash, bytes, sizeof(bytes));
}

int artefact_hash_file(struct artefact_hash *hash, const char *path, struct err *err)
{
	FILE *file = fopen(path, "re");
	static uint8_t bytes[256 * 1024];
	struct stat stat;
	size_t n;

	if (!file)
		return err_errno(err, errno, "%s", path);
	if (fstat(fileno(file), &stat)) {
		err_errno(err, errno, "%s", path);
		goto fail;
	}
	artefact_hash_number(hash, (uint64_t)stat.st_size);
	while ((n = fread(bytes, 1, sizeof(bytes), file)) > 0)
		add(hash, bytes, n);
	if (ferror(file)) {
		err_errno(err, errno, "%s", path);
		goto fail;
	}
	fclose(file);
	return 0;
fail:
	fclose(file);
	return -1;
}

void artefact_hash_end(struct artefact_hash *hash, char out_id[VM_ARTEFACT_ID_MAX])
{
	uint8_t bytes[HASH_N];

	crypto_generichash_final(&hash->state, bytes, sizeof(bytes));
	sodium_bin2hex(out_id, VM_ARTEFACT_ID_MAX, bytes, sizeof(bytes));
}

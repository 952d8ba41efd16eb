/* Names of artefacts: hashes of what is in them. Uses libsodium. */
#ifndef FLOTILLA_TEMPLATE_ARTEFACT_H
#define FLOTILLA_TEMPLATE_ARTEFACT_H

#include "node-agent/vm/store.h"

#include <sodium.h>

struct artefact_hash {
	crypto_generichash_state state;
};

void artefact_hash_begin(struct artefact_hash *hash);
/* The text's end counts too, so that ("ab", "c") is not ("a", "bc"). */
void artefact_hash_text(struct artefact_hash *hash, const char *text);
void artefact_hash_number(struct artefact_hash *hash, uint64_t number);
/* The file's length and bytes. */
int artefact_hash_file(struct artefact_hash *hash, const char *path, struct err *err);
void artefact_hash_end(struct artefact_hash *hash, char out_id[VM_ARTEFACT_ID_MAX]);

#endif

/* See hidden.h. */
#include "scheduler/shell/egress/hidden.h"

#include "common/base/check.h"
#include "scheduler/shell/vault.h"

#include <stdlib.h>
#include <string.h>

static const char *const fields[] = {"rules", "egressProxy", "iam"};

#define SEALED "sealed"

void hidden_seal(const struct secrets *secrets, const struct id *tenant, json_t *network)
{
	json_t *hidden = json_object();
	char *text, *sealed;

	for (size_t i = 0; i < ARRAY_N(fields); i++) {
		json_t *value = json_object_get(network, fields[i]);

		if (!value)
			continue;
		json_object_set(hidden, fields[i], value);
		json_object_del(network, fields[i]);
	}
	if (json_object_size(hidden)) {
		text = json_dumps(hidden, JSON_COMPACT | JSON_SORT_KEYS);
		CHECK(text);
		sealed = vault_network_seal(secrets, tenant, text);
		json_object_set_new(network, SEALED, json_string(sealed));
		free(sealed);
		vault_free(text);
	}
	json_decref(hidden);
}

void hidden_drop(json_t *network)
{
	json_object_del(network, SEALED);
}

int hidden_open(const struct secrets *secrets, const struct id *tenant, json_t *network,
		struct err *err)
{
	const char *sealed = json_string_value(json_object_get(network, SEALED));
	json_t *hidden;
	char *text;

	if (!sealed)
		return 0;
	text = vault_network_unseal(secrets, tenant, sealed);
	hidden_drop(network);
	if (!text)
		return err_set(err, "a sandbox's network does not open with this vault.key");
	hidden = json_loads(text, 0, NULL);
	vault_free(text);
	json_object_update(network, hidden);
	json_decref(hidden);
	return 0;
}

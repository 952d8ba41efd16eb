/*
 * Values of tenants' secrets: sealed before they are written anywhere, and opened only when a
 * sandbox is to have them in its environment, or its keeper in its requests.
 *
 * A sealed value is XChaCha20-Poly1305 under vault.key, its nonce in front, in base64.  The seal is
 * over whose it is, which secret and which version of it, so that what lies in one row opens in no
 * other: whoever can write the database, or etcd, can lose a secret, not swap it.
 */
#ifndef FLOTILLA_SHELL_VAULT_H
#define FLOTILLA_SHELL_VAULT_H

#include "scheduler/shell/secrets.h"
#include "scheduler/shell/store/store.h"

#include <jansson.h>

enum {
	VAULT_VALUE_MAX = 16 * 1024, /* bytes of a value */
	VAULT_ENVS_MAX = 48 * 1024,  /* of an environment as JSON; with what else the guest is told
					it must fit the wire */
};

/* For `secret`, whose tenant, id and version are set; to be freed. */
char *vault_seal(const struct secrets *secrets, const struct store_secret *secret,
		 const char *value);

/* The value of a whole secret, for vault_free. NULL: it was not sealed for this one, or by another
 * key. */
char *vault_unseal(const struct secrets *secrets, const struct store_secret *secret);
void vault_free(char *value); /* and wipes it; NULL is fine */

/* The value of the tenant's secret of that id or name, for vault_free.  NULL: it is not there, or
 * does not open; err says which. */
char *vault_value(const struct secrets *secrets, struct store *store, const struct id *tenant,
		  const char *wanted, struct err *err);

/* What is to be hidden of a sandbox's network (egress/hidden.h), VAULT_VALUE_MAX bytes at most, to
 * be freed; and back, for vault_free, NULL as above.  The tenant's, so that its forks have it too.
 */
char *vault_network_seal(const struct secrets *secrets, const struct id *tenant, const char *text);
char *vault_network_unseal(const struct secrets *secrets, const struct id *tenant,
			   const char *sealed);

/*
 * Environments, as a sandbox's row keeps them until it is claimed: an object of texts, and of
 * {"secret": id} where a value is a secret's.
 */
json_t *vault_env_of(const struct id *secret);

/* The same with values in their place, as JSON for vault_free.  NULL: a secret of it is gone, is
 * not the tenant's, or does not open, or all is longer than VAULT_ENVS_MAX; err says which. */
char *vault_envs_fill(const struct secrets *secrets, struct store *store, const struct id *tenant,
		      const char *envs_text, struct err *err);

#endif

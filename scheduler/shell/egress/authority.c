/* See authority.h. */
#include "scheduler/shell/egress/authority.h"

#include "scheduler/shell/egress/p256.h"

#include <sodium.h>
#include <string.h>

enum {
	SERIAL = 1,
	FROM_S = 1735689600, /* 2025 to 2055: it ends with the fleet, not by itself */
	UNTIL_S = 2682374400,
};

/* The same name for all: guests find it by a number that is made of the name (guest/authority.c).
 * Of two of that name OpenSSL and GnuTLS try both. */
#define NAME "Flotilla egress"

static int fill(gnutls_x509_crt_t made, gnutls_x509_privkey_t key)
{
	const unsigned char serial = SERIAL;
	unsigned char id[20];
	size_t id_n = sizeof(id);
	int status = gnutls_x509_crt_set_version(made, 3);

	if (status == 0)
		status = gnutls_x509_crt_set_serial(made, &serial, sizeof(serial));
	if (status == 0)
		status = gnutls_x509_crt_set_dn_by_oid(made, GNUTLS_OID_X520_COMMON_NAME, 0, NAME,
						       sizeof(NAME) - 1);
	if (status == 0)
		status = gnutls_x509_crt_set_activation_time(made, FROM_S);
	if (status == 0)
		status = gnutls_x509_crt_set_expiration_time(made, UNTIL_S);
	if (status == 0)
		status = gnutls_x509_crt_set_key(made, key);
	if (status == 0)
		status = gnutls_x509_crt_set_basic_constraints(made, 1, 0);
	if (status == 0)
		status = gnutls_x509_crt_set_key_usage(made, GNUTLS_KEY_KEY_CERT_SIGN);
	if (status == 0)
		status = gnutls_x509_crt_get_key_id(made, 0, id, &id_n);
	if (status == 0)
		status = gnutls_x509_crt_set_subject_key_id(made, id, id_n);
	if (status == 0)
		status = gnutls_x509_crt_sign2(made, made, key, GNUTLS_DIG_SHA256, 0);
	return status;
}

int authority_make(const struct secrets *secrets, const struct id *tenant,
		   struct authority *out_authority, struct err *err)
{
	struct p256 pair = p256_derive(secrets, "flotilla egress authority 1", tenant->text);
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t made;
	int status = p256_key(&pair, &key, err);

	sodium_memzero(&pair, sizeof(pair));
	if (status)
		return -1;
	out_authority->certificate_n = sizeof(out_authority->certificate);
	out_authority->key_n = sizeof(out_authority->key);
	status = gnutls_x509_crt_init(&made);
	if (status == 0) {
		status = fill(made, key);
		if (status == 0)
			status = gnutls_x509_crt_export(made, GNUTLS_X509_FMT_PEM,
							out_authority->certificate,
							&out_authority->certificate_n);
		if (status == 0)
			status = gnutls_x509_privkey_export(key, GNUTLS_X509_FMT_DER,
							    out_authority->key,
							    &out_authority->key_n);
		gnutls_x509_crt_deinit(made);
	}
	gnutls_x509_privkey_deinit(key);
	return status ? err_set(err, "the sandbox's authority: %s", gnutls_strerror(status)) : 0;
}

/* See issue.h. */
#include "node-agent/egress/issue.h"

#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SERIAL_N = 16, KEY_ID_MAX = 64, TEXT_MAX = 8192, DAY_S = 24 * 3600, LIFE_S = 30 * DAY_S };

struct issuer {
	gnutls_x509_crt_t authority;
	gnutls_x509_privkey_t authority_key;
	gnutls_x509_privkey_t key; /* of all it makes: they are made for one sandbox */
	char key_text[TEXT_MAX];
};

static int fault(struct err *err, int status)
{
	return err_set(err, "certificates for the sandbox: %s", gnutls_strerror(status));
}

int issuer_open(struct issuer **out_issuer, const struct wire_bytes *authority,
		const struct wire_bytes *authority_key, struct err *err)
{
	const gnutls_datum_t certificate = {(unsigned char *)authority->data,
					    (unsigned)authority->n};
	const gnutls_datum_t key = {(unsigned char *)authority_key->data,
				    (unsigned)authority_key->n};
	struct issuer *issuer = calloc(1, sizeof(*issuer));
	size_t text_n = TEXT_MAX;
	int status = issuer ? 0 : GNUTLS_E_MEMORY_ERROR;

	if (status == 0)
		status = gnutls_x509_crt_init(&issuer->authority);
	if (status == 0)
		status = gnutls_x509_crt_import(issuer->authority, &certificate,
						GNUTLS_X509_FMT_PEM);
	if (status == 0)
		status = gnutls_x509_privkey_init(&issuer->authority_key);
	if (status == 0)
		status = gnutls_x509_privkey_import(issuer->authority_key, &key,
						    GNUTLS_X509_FMT_DER);
	if (status == 0)
		status = gnutls_x509_privkey_init(&issuer->key);
	if (status == 0)
		status = gnutls_x509_privkey_generate(
			issuer->key, GNUTLS_PK_ECDSA,
			GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (status == 0)
		status = gnutls_x509_privkey_export(issuer->key, GNUTLS_X509_FMT_PEM,
						    issuer->key_text, &text_n);
	if (status == 0) {
		*out_issuer = issuer;
		return 0;
	}
	issuer_close(issuer);
	return fault(err, status);
}

void issuer_close(struct issuer *issuer)
{
	if (!issuer)
		return;
	if (issuer->authority)
		gnutls_x509_crt_deinit(issuer->authority);
	if (issuer->authority_key)
		gnutls_x509_privkey_deinit(issuer->authority_key);
	if (issuer->key)
		gnutls_x509_privkey_deinit(issuer->key);
	explicit_bzero(issuer, sizeof(*issuer));
	free(issuer);
}

/* Of the certificate and of its authority: strict clients, Python 3.13 among them, want both. */
static int identify_keys(const struct issuer *issuer, gnutls_x509_crt_t made)
{
	unsigned char id[KEY_ID_MAX];
	size_t n = sizeof(id);
	int status = gnutls_x509_crt_get_key_id(made, 0, id, &n);

	if (status == 0)
		status = gnutls_x509_crt_set_subject_key_id(made, id, n);
	n = sizeof(id);
	if (status == 0)
		status = gnutls_x509_crt_get_subject_key_id(issuer->authority, id, &n, NULL);
	/* An authority without one is found by its name alone. */
	if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return 0;
	return status ? status : gnutls_x509_crt_set_authority_key_id(made, id, n);
}

static int fill(const struct issuer *issuer, gnutls_x509_crt_t made, const char *host)
{
	static const char maker[] = "Flotilla";
	const time_t now = time(NULL);
	unsigned char serial[SERIAL_N];
	int status = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

	serial[0] &= 0x7f; /* it is a positive number */
	if (status == 0)
		status = gnutls_x509_crt_set_version(made, 3);
	if (status == 0)
		status = gnutls_x509_crt_set_serial(made, serial, sizeof(serial));
	/* A sandbox's clock may be behind. */
	if (status == 0)
		status = gnutls_x509_crt_set_activation_time(made, now - DAY_S);
	if (status == 0)
		status = gnutls_x509_crt_set_expiration_time(made, now + LIFE_S);
	if (status == 0)
		status = gnutls_x509_crt_set_key(made, issuer->key);
	/* The host's is no common name, which has room for 64 bytes only. */
	if (status == 0)
		status = gnutls_x509_crt_set_dn_by_oid(made, GNUTLS_OID_X520_ORGANIZATION_NAME, 0,
						       maker, sizeof(maker) - 1);
	if (status == 0)
		status = gnutls_x509_crt_set_subject_alt_name(
			made, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host), GNUTLS_FSAN_SET);
	if (status == 0)
		status = identify_keys(issuer, made);
	if (status == 0)
		status = gnutls_x509_crt_set_basic_constraints(made, 0, -1);
	if (status == 0)
		status = gnutls_x509_crt_set_key_usage(made, GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (status == 0)
		status = gnutls_x509_crt_set_key_purpose_oid(made, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (status == 0)
		status = gnutls_x509_crt_sign2(made, issuer->authority, issuer->authority_key,
					       GNUTLS_DIG_SHA256, 0);
	return status;
}

int issuer_config(const struct issuer *issuer, const char *host, struct tls_config **out_config,
		  struct err *err)
{
	gnutls_x509_crt_t made;
	char text[TEXT_MAX];
	size_t text_n = sizeof(text);
	int status = gnutls_x509_crt_init(&made);

	if (status)
		return fault(err, status);
	status = fill(issuer, made, host);
	if (status == 0)
		status = gnutls_x509_crt_export(made, GNUTLS_X509_FMT_PEM, text, &text_n);
	gnutls_x509_crt_deinit(made);
	return status ? fault(err, status)
		      : tls_config_server_pem(out_config, text, issuer->key_text, err);
}

/* See p256.h. */
#include "scheduler/shell/egress/p256.h"

#include "common/base/check.h"

#include <gmp.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <sodium.h>
#include <string.h>

/* Big-endian, with zeros in front. */
static void number_write(const mpz_t number, uint8_t out[P256_N])
{
	size_t n = (mpz_sizeinbase(number, 2) + 7) / 8;

	CHECK(n <= P256_N);
	memset(out, 0, P256_N);
	mpz_export(out + P256_N - n, NULL, 1, 1, 1, 0, number);
}

struct p256 p256_derive(const struct secrets *secrets, const char *purpose, const char *tenant)
{
	const struct ecc_curve *curve = nettle_get_secp_256r1();
	struct ecc_scalar scalar;
	struct ecc_point point;
	struct p256 pair;
	mpz_t x, y;
	bool is_good = false;

	mpz_inits(x, y, NULL);
	ecc_scalar_init(&scalar, curve);
	ecc_point_init(&point, curve);
	/* One in four thousand million numbers is above the curve's order. */
	for (uint8_t attempt = 0; !is_good; attempt++) {
		crypto_generichash_state state;

		crypto_generichash_init(&state, secrets->vault, sizeof(secrets->vault),
					sizeof(pair.k));
		crypto_generichash_update(&state, (const uint8_t *)purpose, strlen(purpose) + 1);
		crypto_generichash_update(&state, (const uint8_t *)tenant, strlen(tenant) + 1);
		crypto_generichash_update(&state, &attempt, sizeof(attempt));
		crypto_generichash_final(&state, pair.k, sizeof(pair.k));
		mpz_import(x, sizeof(pair.k), 1, 1, 1, 0, pair.k);
		is_good = ecc_scalar_set(&scalar, x);
	}
	ecc_point_mul_g(&point, &scalar);
	ecc_point_get(&point, x, y);
	number_write(x, pair.x);
	number_write(y, pair.y);
	ecc_point_clear(&point);
	ecc_scalar_clear(&scalar);
	mpz_clears(x, y, NULL);
	return pair;
}

int p256_key(const struct p256 *pair, gnutls_x509_privkey_t *out_key, struct err *err)
{
	const gnutls_datum_t x = {(unsigned char *)pair->x, P256_N};
	const gnutls_datum_t y = {(unsigned char *)pair->y, P256_N};
	const gnutls_datum_t k = {(unsigned char *)pair->k, P256_N};
	int status = gnutls_x509_privkey_init(out_key);

	if (status)
		return err_set(err, "a key: %s", gnutls_strerror(status));
	status = gnutls_x509_privkey_import_ecc_raw(*out_key, GNUTLS_ECC_CURVE_SECP256R1, &x, &y,
						    &k);
	if (status == 0)
		return 0;
	gnutls_x509_privkey_deinit(*out_key);
	return err_set(err, "a key: %s", gnutls_strerror(status));
}

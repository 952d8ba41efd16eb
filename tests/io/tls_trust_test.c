/* Whom a careful client believes, and what it says of whom it does not. */
#include "tests/io/tls_ends.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/check.h"

#define EC "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "

static const struct certificate {
	const char *name, *for_whom, *authority;
	int days;
} certificates[] = {
	{"good", "DNS:good.example,DNS:*.below.example", "ours", 2},
	{"address", "IP:203.0.113.10", "ours", 2},
	{"expired", "DNS:good.example", "ours", -1},
	{"unknown", "DNS:good.example", "theirs", 2},
	{"no_server", "DNS:good.example\nextendedKeyUsage=clientAuth", "ours", 2},
};
static char folder[40];
static struct tls_config *careful;

static void run(const char *command)
{
	char words[1200];

	snprintf(words, sizeof(words), "cd %s && (%s) 2>/dev/null", folder, command);
	assert_int_equal(system(words), 0);
}

static void make_authority(const char *name)
{
	char words[512];

	snprintf(words, sizeof(words),
		 "openssl req -x509 " EC "-days 2 -keyout %s.key -out %s.pem -subj '/CN=%s'", name,
		 name, name);
	run(words);
}

static void make_certificate(const struct certificate *certificate)
{
	char words[1024];

	snprintf(words, sizeof(words),
		 "printf 'subjectAltName=%s\n' > names && "
		 "openssl req " EC "-keyout %s.key -out request -subj /CN=x && "
		 "openssl x509 -req -in request -CA %s.pem -CAkey %s.key -CAcreateserial "
		 "-out %s.pem -days %d -extfile names",
		 certificate->for_whom, certificate->name, certificate->authority,
		 certificate->authority, certificate->name, certificate->days);
	run(words);
}

static void path_of(char out[80], const char *name, const char *kind)
{
	snprintf(out, 80, "%s/%s.%s", folder, name, kind);
}

static char *text_of(const char *name, const char *kind)
{
	char path[80], *text = calloc(1, 4096);
	FILE *file;

	path_of(path, name, kind);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_true(fread(text, 1, 4095, file) > 0);
	fclose(file);
	return text;
}

static int open_world(void **state)
{
	char path[80];
	struct err err;

	(void)state;
	strcpy(folder, "/tmp/flotilla-trust-XXXXXX");
	assert_non_null(mkdtemp(folder));
	make_authority("ours");
	make_authority("theirs");
	for (size_t i = 0; i < ARRAY_N(certificates); i++)
		make_certificate(&certificates[i]);
	path_of(path, "ours", "pem");
	assert_int_equal(tls_config_client_careful(&careful, path, NULL, &err), 0);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	tls_config_unref(careful);
	run("rm *");
	rmdir(folder);
	return 0;
}

/* What becomes of a client that asks for a name, and of a server with a certificate. */
static void meet(struct tls_config *config, const char *certificate, const char *name,
		 struct end *client, struct end *server)
{
	char *pem = text_of(certificate, "pem"), *key = text_of(certificate, "key");
	struct tls_config *server_config;
	struct err err;

	memset(client, 0, sizeof(*client));
	memset(server, 0, sizeof(*server));
	assert_int_equal(tls_config_server_pem(&server_config, pem, key, &err), 0);
	/* What it was made of is not needed any longer. */
	memset(pem, 'x', strlen(pem));
	memset(key, 'x', strlen(key));
	free(pem);
	free(key);
	client->tls = tls_open_to(config, name);
	server->tls = tls_open(server_config);
	tls_config_unref(server_config);
	assert_true(client->tls && server->tls);
	ends_exchange(client, server, 1000);
}

static void part(struct end *client, struct end *server)
{
	tls_close(client->tls);
	tls_close(server->tls);
}

static void a_server_is_believed_by_name_and_authority(void **state)
{
	static const struct {
		const char *certificate, *name, *why; /* NULL: believed */
	} rows[] = {
		{"good", "good.example", NULL},
		{"good", "GOOD.Example", NULL},
		{"good", "a.below.example", NULL},
		{"good", "below.example", "name in the certificate does not match"},
		{"good", "a.b.below.example", "name in the certificate does not match"},
		{"good", "other.example", "name in the certificate does not match"},
		{"good", "203.0.113.10", "name in the certificate does not match"},
		{"address", "203.0.113.10", NULL},
		{"address", "203.0.113.11", "name in the certificate does not match"},
		{"address", "good.example", "name in the certificate does not match"},
		{"expired", "good.example", "expired"},
		{"unknown", "good.example", "issuer is unknown"},
		{"no_server", "good.example", "intended purpose"},
	};
	static struct end client, server;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		size_t n;

		meet(careful, rows[i].certificate, rows[i].name, &client, &server);
		if (!rows[i].why) {
			if (client.status)
				fail_msg("row %zu: %s", i, client.err.text);
			assert_true(tls_is_ready(client.tls) && tls_is_ready(server.tls));
			end_say(&client, "secret");
			ends_exchange(&client, &server, 1000);
			end_assert_came(&server, "secret");
		} else {
			if (client.status != -1 || tls_is_ready(client.tls))
				fail_msg("row %zu is believed", i);
			if (!strstr(client.err.text, rows[i].why) ||
			    strncmp(client.err.text, "certificate: ", 13) != 0)
				fail_msg("row %zu: %s", i, client.err.text);
			/* It is told, and that is the end. */
			assert_non_null(tls_output(client.tls, &n));
			assert_true(end_move(&client, &server, PLAIN_MAX));
			assert_int_equal(server.status, -1);
			end_feed(&client, (const uint8_t *)"x", 1);
			assert_int_equal(client.status, -1);
			tls_end(client.tls);
		}
		part(&client, &server);
	}
}

static void a_name_is_greeted_with_and_an_address_is_not(void **state)
{
	static const struct {
		const char *name;
		bool is_said;
	} rows[] = {{"good.example", true}, {"203.0.113.10", false}, {"3com.example", true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct tls *client = tls_open_to(careful, rows[i].name);
		const uint8_t *bytes;
		size_t n;

		assert_non_null(client);
		bytes = tls_output(client, &n);
		assert_int_equal(memmem(bytes, n, rows[i].name, strlen(rows[i].name)) != NULL,
				 rows[i].is_said);
		tls_close(client);
	}
}

static void trust_comes_from_a_text_or_a_file(void **state)
{
	static struct end client, server;
	char *theirs = text_of("theirs", "pem"), path[80];
	struct tls_config *config;
	struct err err;

	(void)state;
	path_of(path, "ours", "pem");
	/* The text goes before the file. */
	assert_int_equal(tls_config_client_careful(&config, path, theirs, &err), 0);
	free(theirs);
	meet(config, "unknown", "good.example", &client, &server);
	assert_int_equal(client.status, 0);
	part(&client, &server);
	meet(config, "good", "good.example", &client, &server);
	assert_int_equal(client.status, -1);
	part(&client, &server);
	tls_config_unref(config);

	assert_int_equal(tls_config_client_careful(&config, "/nowhere/ca.pem", NULL, &err), -1);
	assert_non_null(strstr(err.text, "/nowhere/ca.pem: "));
	assert_int_equal(tls_config_client_careful(&config, path, "no PEM at all", &err), -1);
	assert_non_null(strstr(err.text, "certificates to trust: "));
	assert_int_equal(tls_config_client_careful(&config, path, "", &err), -1);
	path_of(path, "ours", "key");
	assert_int_equal(tls_config_client_careful(&config, path, NULL, &err), -1);
}

static void a_certificate_and_a_key_that_do_not_fit_are_refused(void **state)
{
	char *pem = text_of("good", "pem"), *key = text_of("good", "key");
	char *other = text_of("address", "key");
	struct tls_config *config;
	struct err err;

	(void)state;
	assert_int_equal(tls_config_server_pem(&config, pem, other, &err), -1);
	assert_int_equal(strncmp(err.text, "certificate: ", 13), 0);
	assert_int_equal(tls_config_server_pem(&config, "", key, &err), -1);
	assert_int_equal(tls_config_server_pem(&config, pem, "", &err), -1);
	assert_int_equal(tls_config_server_pem(&config, key, pem, &err), -1);
	free(pem);
	free(key);
	free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_is_believed_by_name_and_authority),
		cmocka_unit_test(a_name_is_greeted_with_and_an_address_is_not),
		cmocka_unit_test(trust_comes_from_a_text_or_a_file),
		cmocka_unit_test(a_certificate_and_a_key_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests(tests, open_world, close_world);
}

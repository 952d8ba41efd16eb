/* See tls.h.  GnuTLS pulls from the bytes of the feed and pushes into a buffer of our own. */
#include "common/io/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum {
	HANDSHAKE_MAX = 32 * 1024, /* of one message: certificates of clients are not wanted */
	OUTPUT_KEPT_MAX = 4096,    /* a larger buffer is given back when it is empty */
};

/* With forward secrecy and authenticated encryption alone. */
static const char server_priorities[] =
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-AES-128-CBC:-AES-256-CBC:"
	"%SERVER_PRECEDENCE";

struct tls_config {
	unsigned users_n;
	bool is_server, is_careful;
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priorities;
	gnutls_datum_t ticket_key;
};

struct tls {
	gnutls_session_t session;
	struct tls_config *config;
	char *peer; /* who it is to be, or NULL */
	gnutls_typed_vdata_st wanted[2];
	bool is_ready, is_broken, has_said_end;
	const uint8_t *in; /* of the feed under way */
	size_t in_n;
	uint8_t *out;
	size_t out_at, out_n, out_max;
};

static int fault(struct err *err, const char *what, int status)
{
	return err_set(err, "%s: %s", what, gnutls_strerror(status));
}

static void config_free(struct tls_config *config)
{
	if (config->credentials)
		gnutls_certificate_free_credentials(config->credentials);
	if (config->priorities)
		gnutls_priority_deinit(config->priorities);
	if (config->ticket_key.data) {
		gnutls_memset(config->ticket_key.data, 0, config->ticket_key.size);
		gnutls_free(config->ticket_key.data);
	}
	free(config);
}

static struct tls_config *config_new(bool is_server, const char *priorities, struct err *err)
{
	struct tls_config *config = calloc(1, sizeof(*config));
	int status;

	if (!config) {
		err_set(err, "TLS: no memory");
		return NULL;
	}
	config->users_n = 1;
	config->is_server = is_server;
	status = gnutls_certificate_allocate_credentials(&config->credentials);
	if (status == 0)
		status = gnutls_priority_init(&config->priorities, priorities, NULL);
	if (status == 0)
		return config;
	fault(err, "TLS", status);
	config_free(config);
	return NULL;
}

static int copy_ticket_key(struct tls_config *config, const struct tls_config *older)
{
	unsigned n = older->ticket_key.size;

	config->ticket_key.data = gnutls_malloc(n);
	if (!config->ticket_key.data)
		return GNUTLS_E_MEMORY_ERROR;
	memcpy(config->ticket_key.data, older->ticket_key.data, n);
	config->ticket_key.size = n;
	return 0;
}

int tls_config_server(struct tls_config **out_config, const char *certificate_path,
		      const char *key_path, const struct tls_config *older, struct err *err)
{
	struct tls_config *config = config_new(true, server_priorities, err);
	int status;

	if (!config)
		return -1;
	status = gnutls_certificate_set_x509_key_file(config->credentials, certificate_path,
						      key_path, GNUTLS_X509_FMT_PEM);
	if (status < 0) {
		err_set(err, "certificate %s, key %s: %s", certificate_path, key_path,
			gnutls_strerror(status));
		goto fail;
	}
	status = older ? copy_ticket_key(config, older)
		       : gnutls_session_ticket_key_generate(&config->ticket_key);
	if (status < 0) {
		fault(err, "TLS tickets", status);
		goto fail;
	}
	*out_config = config;
	return 0;
fail:
	config_free(config);
	return -1;
}

int tls_config_client(struct tls_config **out_config, struct err *err)
{
	struct tls_config *config = config_new(false, "NORMAL", err);

	if (!config)
		return -1;
	*out_config = config;
	return 0;
}

int tls_config_server_pem(struct tls_config **out_config, const char *certificate, const char *key,
			  struct err *err)
{
	const gnutls_datum_t chain = {(unsigned char *)certificate, (unsigned)strlen(certificate)};
	const gnutls_datum_t own = {(unsigned char *)key, (unsigned)strlen(key)};
	struct tls_config *config = config_new(true, server_priorities, err);
	int status;

	if (!config)
		return -1;
	status = gnutls_certificate_set_x509_key_mem(config->credentials, &chain, &own,
						     GNUTLS_X509_FMT_PEM);
	if (status < 0) {
		config_free(config);
		return fault(err, "certificate", status);
	}
	*out_config = config;
	return 0;
}

int tls_config_client_careful(struct tls_config **out_config, const char *trusted_path,
			      const char *trusted, struct err *err)
{
	struct tls_config *config = config_new(false, "NORMAL", err);
	const gnutls_datum_t text = {(unsigned char *)trusted,
				     trusted ? (unsigned)strlen(trusted) : 0};
	int n;

	if (!config)
		return -1;
	config->is_careful = true;
	n = trusted ? gnutls_certificate_set_x509_trust_mem(config->credentials, &text,
							    GNUTLS_X509_FMT_PEM)
		    : gnutls_certificate_set_x509_trust_file(config->credentials, trusted_path,
							     GNUTLS_X509_FMT_PEM);
	if (n > 0) {
		*out_config = config;
		return 0;
	}
	config_free(config);
	return err_set(err, "%s: %s", trusted ? "certificates to trust" : trusted_path,
		       n ? gnutls_strerror(n) : "there is no certificate in it");
}

void tls_config_unref(struct tls_config *config)
{
	if (config && !--config->users_n)
		config_free(config);
}

/* ---- what GnuTLS does instead of I/O ---- */

static ssize_t pull(gnutls_transport_ptr_t arg, void *to, size_t n)
{
	struct tls *tls = arg;

	if (!tls->in_n) {
		gnutls_transport_set_errno(tls->session, EAGAIN);
		return -1;
	}
	if (n > tls->in_n)
		n = tls->in_n;
	memcpy(to, tls->in, n);
	tls->in += n;
	tls->in_n -= n;
	return (ssize_t)n;
}

/* For handshakes over datagrams; asked for nevertheless. */
static int pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
	struct tls *tls = arg;

	(void)ms;
	return tls->in_n ? 1 : 0;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *from, size_t n)
{
	struct tls *tls = arg;

	if (tls->out_n + n > tls->out_max) {
		size_t max = tls->out_n + n > 2 * tls->out_max ? tls->out_n + n : 2 * tls->out_max;
		uint8_t *out = realloc(tls->out, max);

		if (!out) {
			gnutls_transport_set_errno(tls->session, ENOMEM);
			return -1;
		}
		tls->out = out;
		tls->out_max = max;
	}
	memcpy(tls->out + tls->out_n, from, n);
	tls->out_n += n;
	return (ssize_t)n;
}

/* ---- sessions ---- */

/* For that name, and for servers at all: what vouches for a client of it does not. */
static void want_certificate(struct tls *tls)
{
	tls->wanted[0] = (gnutls_typed_vdata_st){.type = GNUTLS_DT_DNS_HOSTNAME,
						 .data = (unsigned char *)tls->peer};
	tls->wanted[1] = (gnutls_typed_vdata_st){.type = GNUTLS_DT_KEY_PURPOSE_OID,
						 .data = (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER};
	gnutls_session_set_verify_cert2(tls->session, tls->wanted, 2, 0);
}

static int session_setup(struct tls *tls)
{
	static const gnutls_datum_t http = {(unsigned char *)"http/1.1", 8};
	struct tls_config *config = tls->config;
	unsigned flags = config->is_server ? GNUTLS_SERVER : GNUTLS_CLIENT;
	int status = gnutls_init(&tls->session, flags | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);

	if (status == 0)
		status = gnutls_priority_set(tls->session, config->priorities);
	if (status == 0)
		status = gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE,
						config->credentials);
	/* Not binding: a client that offers nothing we know is served all the same. */
	if (status == 0)
		status = gnutls_alpn_set_protocols(tls->session, &http, 1, 0);
	if (status == 0 && config->ticket_key.data)
		status = gnutls_session_ticket_enable_server(tls->session, &config->ticket_key);
	if (status)
		return -1;
	/* An address is no name for a greeting. */
	if (tls->peer && tls->peer[strspn(tls->peer, "0123456789.")])
		(void)gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, tls->peer,
					     strlen(tls->peer));
	if (config->is_careful)
		want_certificate(tls);
	gnutls_handshake_set_max_packet_length(tls->session, HANDSHAKE_MAX);
	/* The owner has the clock. */
	gnutls_handshake_set_timeout(tls->session, GNUTLS_INDEFINITE_TIMEOUT);
	gnutls_transport_set_ptr(tls->session, tls);
	gnutls_transport_set_pull_function(tls->session, pull);
	gnutls_transport_set_pull_timeout_function(tls->session, pull_timeout);
	gnutls_transport_set_push_function(tls->session, push);
	return 0;
}

static struct tls *open_to(struct tls_config *config, const char *name)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return NULL;
	tls->config = config;
	config->users_n++;
	tls->peer = name ? strdup(name) : NULL;
	if ((name && !tls->peer) || session_setup(tls)) {
		tls_close(tls);
		return NULL;
	}
	/* What a client says first; what it hears comes by tls_feed. */
	if (!config->is_server)
		(void)gnutls_handshake(tls->session);
	return tls;
}

struct tls *tls_open(struct tls_config *config)
{
	CHECK(!config->is_careful);
	return open_to(config, NULL);
}

struct tls *tls_open_to(struct tls_config *config, const char *name)
{
	CHECK(!config->is_server);
	return open_to(config, name);
}

void tls_close(struct tls *tls)
{
	if (!tls)
		return;
	if (tls->session)
		gnutls_deinit(tls->session);
	tls_config_unref(tls->config);
	free(tls->peer);
	free(tls->out);
	free(tls);
}

/* ---- what the peer says ---- */

/* What is wrong with the peer's certificate, for people. */
static int distrusted(struct tls *tls, struct err *err)
{
	unsigned status = gnutls_session_get_verify_cert_status(tls->session);
	gnutls_datum_t text;

	if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0))
		return fault(err, "certificate", GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR);
	err_set(err, "certificate: %s", text.data);
	gnutls_free(text.data);
	return -1;
}

static int broken(struct tls *tls, const char *what, int status, struct err *err)
{
	tls->is_broken = true;
	/* The peer may want to know why; whether it can be told does not matter. */
	if (gnutls_error_is_fatal(status))
		(void)gnutls_alert_send_appropriate(tls->session, status);
	if (status == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		return distrusted(tls, err);
	return fault(err, what, status);
}

/* "Again" comes from a lack of bytes, but also after messages that are not for us (tickets). */
static bool goes_on(const struct tls *tls, int status, size_t in_before_n)
{
	return status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_WARNING_ALERT_RECEIVED ||
	       (status == GNUTLS_E_AGAIN && tls->in_n && tls->in_n < in_before_n);
}

/* 0: done, or the bytes are used up. */
static int take_handshake(struct tls *tls, struct err *err)
{
	size_t before_n;
	int status;

	do {
		before_n = tls->in_n;
		status = gnutls_handshake(tls->session);
	} while (goes_on(tls, status, before_n));
	if (status == 0)
		tls->is_ready = true;
	return status == 0 || status == GNUTLS_E_AGAIN ? 0
						       : broken(tls, "TLS handshake", status, err);
}

static int take_records(struct tls *tls, uint8_t *plain, size_t plain_max, struct tls_read *out,
			struct err *err)
{
	size_t before_n;
	ssize_t n;

	while (!out->is_ended) {
		CHECK(out->plain_n < plain_max);
		before_n = tls->in_n;
		n = gnutls_record_recv(tls->session, plain + out->plain_n,
				       plain_max - out->plain_n);
		if (n > 0)
			out->plain_n += (size_t)n;
		else if (n == 0)
			out->is_ended = true;
		else if (goes_on(tls, (int)n, before_n))
			continue;
		else if (n == GNUTLS_E_AGAIN)
			break;
		else /* renegotiation among them: nobody here asks for it */
			return broken(tls, "TLS", (int)n, err);
	}
	return 0;
}

int tls_feed(struct tls *tls, const uint8_t *bytes, size_t bytes_n, uint8_t *plain,
	     size_t plain_max, struct tls_read *out, struct err *err)
{
	int status = 0;

	*out = (struct tls_read){0};
	CHECK(plain_max >= bytes_n + TLS_PLAIN_MORE);
	if (tls->is_broken)
		return err_set(err, "TLS: the session has ended");
	tls->in = bytes;
	tls->in_n = bytes_n;
	if (!tls->is_ready)
		status = take_handshake(tls, err);
	if (status == 0 && tls->is_ready)
		status = take_records(tls, plain, plain_max, out, err);
	tls->in = NULL;
	tls->in_n = 0;
	return status;
}

bool tls_is_ready(const struct tls *tls)
{
	return tls->is_ready;
}

/* ---- what we say ---- */

int tls_write(struct tls *tls, const uint8_t *bytes, size_t bytes_n)
{
	CHECK(tls->is_ready && !tls->has_said_end);
	while (bytes_n) {
		ssize_t n = gnutls_record_send(tls->session, bytes, bytes_n);

		if (n < 0 && n != GNUTLS_E_INTERRUPTED)
			return -1;
		if (n > 0) {
			bytes += n;
			bytes_n -= (size_t)n;
		}
	}
	return 0;
}

void tls_end(struct tls *tls)
{
	if (!tls->is_ready || tls->is_broken || tls->has_said_end)
		return;
	tls->has_said_end = true;
	(void)gnutls_bye(tls->session, GNUTLS_SHUT_WR);
}

const uint8_t *tls_output(const struct tls *tls, size_t *out_n)
{
	*out_n = tls->out_n - tls->out_at;
	return *out_n ? tls->out + tls->out_at : NULL;
}

void tls_output_done(struct tls *tls, size_t n)
{
	tls->out_at += n;
	CHECK(tls->out_at <= tls->out_n);
	if (tls->out_at < tls->out_n)
		return;
	tls->out_at = tls->out_n = 0;
	if (tls->out_max > OUTPUT_KEPT_MAX) {
		free(tls->out);
		tls->out = NULL;
		tls->out_max = 0;
	}
}

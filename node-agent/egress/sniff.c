/* See sniff.h. */
#include "node-agent/egress/sniff.h"

#include "common/http/head.h"

#include <ctype.h>
#include <string.h>

/* ---- TLS ---- */

/* What is left to be read; is_short once it asked for more than there is. */
struct cursor {
	const uint8_t *at;
	size_t n;
	bool is_short;
};

static uint32_t take_number(struct cursor *cursor, size_t bytes_n)
{
	uint32_t value = 0;

	if (cursor->n < bytes_n) {
		cursor->is_short = true;
		cursor->n = 0;
		return 0;
	}
	for (size_t i = 0; i < bytes_n; i++)
		value = value << 8 | *cursor->at++;
	cursor->n -= bytes_n;
	return value;
}

/* A part whose length stands before it, in so many bytes. */
static struct cursor take_part(struct cursor *cursor, size_t length_n)
{
	size_t n = take_number(cursor, length_n);
	struct cursor part = {cursor->at, n, false};

	if (cursor->is_short || cursor->n < n) {
		cursor->is_short = true;
		cursor->n = 0;
		return (struct cursor){NULL, 0, true};
	}
	cursor->at += n;
	cursor->n -= n;
	return part;
}

/* Letters, digits, '-', '_', '.' and nothing else: no name that reads differently elsewhere. */
static bool take_name(const uint8_t *at, size_t n, char out_name[EGRESS_NAME_MAX])
{
	if (n == 0 || n >= EGRESS_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum(at[i]) && at[i] != '-' && at[i] != '_' && at[i] != '.')
			return false;
	memcpy(out_name, at, n);
	out_name[n] = 0;
	return true;
}

static enum egress_sniff server_name(struct cursor extension, char out_name[EGRESS_NAME_MAX])
{
	struct cursor list = take_part(&extension, 2);

	while (list.n) {
		uint32_t type = take_number(&list, 1);
		struct cursor name = take_part(&list, 2);

		if (type == 0 && !name.is_short)
			return take_name(name.at, name.n, out_name) ? EGRESS_SNIFF_NAME
								    : EGRESS_SNIFF_NONE;
	}
	return EGRESS_SNIFF_NONE;
}

static enum egress_sniff client_hello(struct cursor hello, char out_name[EGRESS_NAME_MAX])
{
	struct cursor extensions;

	take_number(&hello, 2); /* version */
	for (int i = 0; i < 8; i++)
		take_number(&hello, 4); /* random */
	take_part(&hello, 1);           /* session */
	take_part(&hello, 2);           /* ciphers */
	take_part(&hello, 1);           /* compressions */
	extensions = take_part(&hello, 2);
	while (extensions.n) {
		uint32_t type = take_number(&extensions, 2);
		struct cursor extension = take_part(&extensions, 2);

		if (type == 0 && !extension.is_short)
			return server_name(extension, out_name);
	}
	return EGRESS_SNIFF_NONE;
}

static enum egress_sniff sniff_tls(const uint8_t *bytes, size_t n, char out_name[EGRESS_NAME_MAX])
{
	struct cursor cursor = {bytes, n, false}, record, hello;
	size_t record_n;

	if (n < 5)
		return EGRESS_SNIFF_MORE;
	record_n = (size_t)bytes[3] << 8 | bytes[4];
	if (bytes[1] != 3 || record_n == 0 || record_n + 5 > EGRESS_SNIFF_MAX)
		return EGRESS_SNIFF_NONE;
	if (n < record_n + 5)
		return EGRESS_SNIFF_MORE;
	take_number(&cursor, 3);
	record = take_part(&cursor, 2);
	if (take_number(&record, 1) != 1)
		return EGRESS_SNIFF_NONE;
	/* One that is cut into several records is not looked for: no common client sends it. */
	hello = take_part(&record, 3);
	return hello.is_short ? EGRESS_SNIFF_NONE : client_hello(hello, out_name);
}

/* ---- HTTP ---- */

static enum egress_sniff host_of(const struct http_head *head, char out_name[EGRESS_NAME_MAX])
{
	struct http_text host = http_head_value(head, "host");
	const char *colon = host.n ? memchr(host.at, ':', host.n) : NULL;
	size_t hosts_n = 0;

	for (size_t i = 0; i < head->headers_n; i++)
		hosts_n += http_text_equal_nocase(head->headers[i].name, "host");
	/* Two would be read by one server so and by another otherwise; as would a whole URL. */
	if (hosts_n != 1 || head->target.at[0] != '/')
		return EGRESS_SNIFF_NONE;
	if (colon)
		host.n = (size_t)(colon - host.at);
	return take_name((const uint8_t *)host.at, host.n, out_name) ? EGRESS_SNIFF_NAME
								     : EGRESS_SNIFF_NONE;
}

static enum egress_sniff sniff_http(const uint8_t *bytes, size_t n, char out_name[EGRESS_NAME_MAX])
{
	struct http_head head;
	size_t head_n, scanned_n = 0;
	enum http_verdict verdict =
		http_request_parse((const char *)bytes, n, &scanned_n, &head, &head_n);

	if (verdict == HTTP_OK)
		return host_of(&head, out_name);
	return verdict == HTTP_MORE ? EGRESS_SNIFF_MORE : EGRESS_SNIFF_NONE;
}

enum egress_sniff egress_sniff(const uint8_t *bytes, size_t n, char out_name[EGRESS_NAME_MAX])
{
	enum egress_sniff found;

	if (n == 0)
		return EGRESS_SNIFF_MORE;
	if (bytes[0] == 0x16)
		found = sniff_tls(bytes, n, out_name);
	else if (isupper(bytes[0]))
		found = sniff_http(bytes, n, out_name);
	else
		found = EGRESS_SNIFF_NONE;
	return found == EGRESS_SNIFF_MORE && n >= EGRESS_SNIFF_MAX ? EGRESS_SNIFF_NONE : found;
}

/*
 * Any answers of a proxy: no more is wanted of it than it says before the way is open, what is said
 * to it is what the protocol has there, and a password only if it asked for one.  Bits of the first
 * byte of the input: there is a user; the host is a name.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/egress/socks.h"

#define PASSWORD "\x01\x04user\x08password"

static const uint8_t by_name[] = "\x05\x01\x00\x03\x0cgood.example\x1f\x90",
		     by_address[] = "\x05\x01\x00\x01\xcb\x00\x71\x0a\x1f\x90";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool says(const struct socks *socks, const void *bytes, size_t n)
{
	return socks->said_n == n && memcmp(socks->said, bytes, n) == 0;
}

static void check_said(const struct socks *socks, enum socks_step before, const uint8_t *heard)
{
	bool is_asked = before == SOCKS_METHOD && heard[1] == 2;

	if (is_asked)
		CHECK(socks->step == SOCKS_PASSWORD && socks->user[0] &&
		      says(socks, PASSWORD, sizeof(PASSWORD) - 1));
	else if (before == SOCKS_METHOD || before == SOCKS_PASSWORD)
		CHECK(socks->step == SOCKS_REPLY &&
		      (socks->name ? says(socks, by_name, sizeof(by_name) - 1)
				   : says(socks, by_address, sizeof(by_address) - 1)));
	else
		CHECK(socks->said_n == 0);
}

/* How long a reply is that lets one through, behind these bytes of it; 0: it does not. */
static size_t reply_n(const uint8_t *reply)
{
	if (reply[0] != 5 || reply[1] != 0)
		return 0;
	return reply[3] == 1 ? 10 : reply[3] == 4 ? 22 : reply[3] == 3 ? 7 + (size_t)reply[4] : 0;
}

/* How many of the bytes are said until the way is open; 0: it is not, by them. */
static size_t open_at(const uint8_t *bytes, size_t n, bool has_user)
{
	size_t at = 2;

	if (n < at || bytes[0] != 5 || (bytes[1] != 0 && (bytes[1] != 2 || !has_user)))
		return 0;
	if (bytes[1] == 2) {
		at += 2;
		if (n < at || bytes[3] != 0)
			return 0;
	}
	if (n < at + 5 || !reply_n(bytes + at) || n < at + reply_n(bytes + at))
		return 0;
	return at + reply_n(bytes + at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool has_user = size && (data[0] & 1), has_name = size && (data[0] & 2), is_good = true;
	struct socks socks = {.user = has_user ? "user" : "",
			      .password = has_user ? "password" : "",
			      .name = has_name ? "good.example" : NULL,
			      .address = 0xcb00710a,
			      .port = 8080};
	uint8_t heard[SOCKS_HEARD_MAX];
	size_t at = 0;
	struct err err;

	if (!size)
		return 0;
	data++, size--;
	socks_begin(&socks);
	CHECK(has_user ? says(&socks, "\x05\x02\x00\x02", 4) : says(&socks, "\x05\x01\x00", 3));
	while (is_good && socks.step != SOCKS_OPEN && socks.wanted_n <= size - at) {
		enum socks_step before = socks.step;
		size_t wanted_n = socks.wanted_n;

		CHECK(wanted_n > 0 && wanted_n <= sizeof(heard));
		memcpy(heard, data + at, wanted_n);
		at += wanted_n;
		is_good = socks_hear(&socks, heard, &err) == 0;
		if (is_good)
			check_said(&socks, before, heard);
	}
	CHECK((socks.step == SOCKS_OPEN ? at : 0) == open_at(data, size, has_user));
	return 0;
}

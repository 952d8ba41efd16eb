/* What is told to the agent: a line each, at once. */
#include "node-agent/carry/carry.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const names[] = {
#define REFUSAL(number, upper, name, http, error_code, text) [REFUSAL_##upper] = #name,
#include "proto/refusals.def"
#undef REFUSAL
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
	/* Who listened is gone: nobody wants the rest. */
	if (fflush(stdout))
		_exit(1);
}

void say_progress(uint64_t bytes)
{
	say("progress %llu", (unsigned long long)bytes);
}

static const char *hex(const uint8_t digest[LISTING_DIGEST_N])
{
	static char text[2 * LISTING_DIGEST_N + 1];

	return sodium_bin2hex(text, sizeof(text), digest, LISTING_DIGEST_N);
}

void say_offered(uint64_t bytes, const uint8_t digest[LISTING_DIGEST_N], const char *id)
{
	say("offered %llu %s %s", (unsigned long long)bytes, hex(digest), id);
}

void say_arrived(const uint8_t digest[LISTING_DIGEST_N], const char *id)
{
	say("arrived %s %s", hex(digest), id);
}

void say_installed(uint64_t bytes)
{
	say("installed %llu", (unsigned long long)bytes);
}

void say_failed(enum refusal refusal, const struct err *err)
{
	say("failed %s %s", names[refusal], err->text);
	exit(1);
}

void digest_of(const void *bytes, size_t n, uint8_t out[LISTING_DIGEST_N])
{
	crypto_generichash(out, LISTING_DIGEST_N, bytes, n, NULL, 0);
}

enum refusal refusal_of_errno(int error)
{
	return error == ENOENT ? REFUSAL_TRANSFER_NO_SOURCE : REFUSAL_TRANSFER_NO_SPACE;
}

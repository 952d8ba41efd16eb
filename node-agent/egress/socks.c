/* See socks.h. */
#include "node-agent/egress/socks.h"

#include <string.h>

enum {
	VERSION = 5,
	PASSWORD_VERSION = 1,
	NO_PASSWORD = 0,
	WITH_PASSWORD = 2,
	CONNECT = 1,
	IS_ADDRESS = 1,
	IS_NAME = 3,
	IS_ADDRESS6 = 4,
};

static void say(struct socks *socks, const void *bytes, size_t n)
{
	memcpy(socks->said + socks->said_n, bytes, n);
	socks->said_n += n;
}

static void say_byte(struct socks *socks, size_t byte)
{
	socks->said[socks->said_n++] = (uint8_t)byte;
}

static void say_text(struct socks *socks, const char *text)
{
	say_byte(socks, strlen(text));
	say(socks, text, strlen(text));
}

static void expect(struct socks *socks, enum socks_step step, size_t n)
{
	socks->step = step;
	socks->wanted_n = n;
}

void socks_begin(struct socks *socks)
{
	socks->said_n = 0;
	say_byte(socks, VERSION);
	say_byte(socks, socks->user[0] ? 2 : 1);
	say_byte(socks, NO_PASSWORD);
	if (socks->user[0])
		say_byte(socks, WITH_PASSWORD);
	expect(socks, SOCKS_METHOD, 2);
}

static void ask(struct socks *socks)
{
	const uint8_t address[4] = {(uint8_t)(socks->address >> 24),
				    (uint8_t)(socks->address >> 16), (uint8_t)(socks->address >> 8),
				    (uint8_t)socks->address};

	say_byte(socks, VERSION);
	say_byte(socks, CONNECT);
	say_byte(socks, 0);
	say_byte(socks, socks->name ? IS_NAME : IS_ADDRESS);
	if (socks->name)
		say_text(socks, socks->name);
	else
		say(socks, address, sizeof(address));
	say_byte(socks, socks->port >> 8);
	say_byte(socks, socks->port & 255);
	/* One more than the head, which says how long what follows is. */
	expect(socks, SOCKS_REPLY, 5);
}

static const char *reason(uint8_t reply)
{
	static const char *const reasons[] = {
		"",
		"it failed",
		"not allowed by its rules",
		"network unreachable",
		"host unreachable",
		"connection refused",
		"it took too long",
		"command not known",
		"kind of address not known",
	};

	return reply < sizeof(reasons) / sizeof(reasons[0]) ? reasons[reply] : "no known reason";
}

static int hear_method(struct socks *socks, uint8_t method, struct err *err)
{
	if (method == NO_PASSWORD) {
		ask(socks);
		return 0;
	}
	if (method != WITH_PASSWORD || !socks->user[0])
		return err_set(err, "the proxy wants another user than it was told of");
	say_byte(socks, PASSWORD_VERSION);
	say_text(socks, socks->user);
	say_text(socks, socks->password);
	expect(socks, SOCKS_PASSWORD, 2);
	return 0;
}

static int hear_reply(struct socks *socks, const uint8_t *bytes, struct err *err)
{
	size_t rest_n;

	if (bytes[1])
		return err_set(err, "the proxy refuses: %s", reason(bytes[1]));
	/* The address it calls from, less the byte that is here, and a port. */
	rest_n = bytes[3] == IS_ADDRESS    ? 3
		 : bytes[3] == IS_ADDRESS6 ? 15
		 : bytes[3] == IS_NAME     ? bytes[4]
					   : SIZE_MAX;
	if (rest_n == SIZE_MAX)
		return err_set(err, "the proxy speaks no SOCKS5");
	expect(socks, SOCKS_BOUND, rest_n + 2);
	return 0;
}

int socks_hear(struct socks *socks, const uint8_t *bytes, struct err *err)
{
	socks->said_n = 0;
	switch (socks->step) {
	case SOCKS_METHOD:
		if (bytes[0] != VERSION)
			return err_set(err, "the proxy speaks no SOCKS5");
		return hear_method(socks, bytes[1], err);
	case SOCKS_PASSWORD:
		if (bytes[1])
			return err_set(err, "the proxy refuses the user or its password");
		ask(socks);
		return 0;
	case SOCKS_REPLY:
		if (bytes[0] != VERSION)
			return err_set(err, "the proxy speaks no SOCKS5");
		return hear_reply(socks, bytes, err);
	case SOCKS_BOUND:
		expect(socks, SOCKS_OPEN, 0);
		return 0;
	case SOCKS_OPEN:
		break;
	}
	return err_set(err, "the way is open already");
}

/* flotilla-carry: sends a template, or what is saved, to another host, or fetches it. For the
 * agent; see carry.h. */
#include "node-agent/carry/carry.h"

#include "common/base/check.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NICE = 10, LINE_MAX_ = 8 * 1024 };

static bool take_hex(const char *value, uint8_t *out, size_t max, size_t *out_n)
{
	const char *end;

	return sodium_hex2bin(out, max, value, strlen(value), NULL, out_n, &end) == 0 && !*end;
}

static bool take_text(const char *value, char *out, size_t max)
{
	return (size_t)snprintf(out, max, "%s", value) < max;
}

static bool take(struct carry_order *order, const char *word, const char *value)
{
	size_t n;

	if (!strcmp(word, "store"))
		return take_text(value, order->store, sizeof(order->store));
	if (!strcmp(word, "name"))
		return take_text(value, order->name, sizeof(order->name)) &&
		       template_name_is_valid(order->name);
	if (!strcmp(word, "id"))
		return strlen(value) == LISTING_ID_N &&
		       strspn(value, "0123456789abcdef") == LISTING_ID_N &&
		       take_text(value, order->id, sizeof(order->id));
	if (!strcmp(word, "saved"))
		return value[0] == '/' && take_text(value, order->saved, sizeof(order->saved));
	if (!strcmp(word, "transfer"))
		return id_parse(value, strlen(value), &order->transfer);
	if (!strcmp(word, "gateway"))
		return take_text(value, order->gateway, sizeof(order->gateway));
	if (!strcmp(word, "ticket"))
		return take_hex(value, order->ticket.bytes, TICKET_N, &n) && n == TICKET_N;
	if (!strcmp(word, "ingress"))
		return take_hex(value, order->ingress, sizeof(order->ingress), &order->ingress_n);
	if (!strcmp(word, "url"))
		return take_text(value, order->url, sizeof(order->url));
	if (!strcmp(word, "token"))
		return take_text(value, order->token, sizeof(order->token));
	if (!strcmp(word, "digest"))
		return take_hex(value, order->digest, sizeof(order->digest), &n) &&
		       n == sizeof(order->digest);
	return false;
}

static int read_order(struct carry_order *order, struct err *err)
{
	static char line[LINE_MAX_];

	while (fgets(line, sizeof(line), stdin)) {
		size_t n = strcspn(line, "\n");
		char *value = memchr(line, ' ', n);

		line[n] = 0;
		if (!n)
			return 0;
		if (value)
			*value++ = 0;
		if (!value || !take(order, line, value))
			return err_set(err, "cannot read its order: `%.20s`", line);
	}
	return err_set(err, "its order has no end");
}

int main(int argc, char **argv)
{
	static struct carry_order order;
	bool sends = argc == 2 && !strcmp(argv[1], "send");
	struct err err = {{0}};

	if (argc != 2 || (!sends && strcmp(argv[1], "fetch") != 0)) {
		fprintf(stderr, "usage: flotilla-carry send|fetch; flotilla-agent starts it\n");
		return 64;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	setpriority(PRIO_PROCESS, 0, NICE);
	CHECK(sodium_init() >= 0);
	if (read_order(&order, &err))
		say_failed(REFUSAL_TRANSFER_LOST, &err);
	if (sends ? send_run(&order, &err) : fetch_run(&order, &err))
		say_failed(sends ? REFUSAL_TRANSFER_NO_SOURCE : REFUSAL_TRANSFER_LOST, &err);
	return 0;
}

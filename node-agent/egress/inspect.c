/* See inspect.h. */
#include "node-agent/egress/inspect.h"

#include "common/base/check.h"
#include "node-agent/egress/requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct inspect {
	struct tls *near, *far; /* NULL: it came without */
	struct requests requests;
	struct bytes early;                /* for the far end, until it can be spoken to */
	bool is_near_over;                 /* it was told that nothing more comes */
	bool is_near_ended;                /* it said so itself */
	char failure[REQUESTS_ANSWER_MAX]; /* the answer to whatever it asks: there is no far end */
};

static struct tls *open_near(const char *host, const struct issuer *issuer, struct err *err)
{
	struct tls_config *config;
	struct tls *tls;

	if (issuer_config(issuer, host, &config, err))
		return NULL;
	tls = tls_open(config);
	tls_config_unref(config);
	if (!tls)
		err_set(err, "TLS: no memory");
	return tls;
}

int inspect_open(struct inspect **out_inspect, const char *host, const struct issuer *issuer,
		 struct tls_config *trust, struct err *err)
{
	struct inspect *inspect = calloc(1, sizeof(*inspect));

	CHECK(inspect);
	requests_begin(&inspect->requests, host);
	*out_inspect = inspect;
	if (!trust)
		return 0;
	inspect->near = open_near(host, issuer, err);
	inspect->far = inspect->near ? tls_open_to(trust, host) : NULL;
	if (inspect->far)
		return 0;
	if (inspect->near)
		err_set(err, "TLS: no memory");
	inspect_close(inspect);
	return -1;
}

void inspect_close(struct inspect *inspect)
{
	if (!inspect)
		return;
	tls_close(inspect->near);
	tls_close(inspect->far);
	requests_end(&inspect->requests);
	bytes_remove(&inspect->early, inspect->early.n);
	free(inspect);
}

/* ---- what is said ---- */

static void collect(struct tls *tls, struct bytes *out)
{
	const uint8_t *bytes;
	size_t n;

	while (tls && (bytes = tls_output(tls, &n))) {
		CHECK(bytes_append(out, bytes, n));
		tls_output_done(tls, n);
	}
}

/* False: a server that speaks before it is asked is none of HTTP. */
static bool say_near(struct inspect *inspect, const void *bytes, size_t n, struct bytes *to_near)
{
	if (!n || inspect->is_near_over)
		return true;
	if (!inspect->near) {
		CHECK(bytes_append(to_near, bytes, n));
		return true;
	}
	return tls_is_ready(inspect->near) && tls_write(inspect->near, bytes, n) == 0;
}

static void end_near(struct inspect *inspect)
{
	if (inspect->near && !inspect->is_near_over)
		tls_end(inspect->near);
	inspect->is_near_over = true;
}

static bool say_far(struct inspect *inspect, const struct bytes *bytes, struct bytes *to_far)
{
	if (!inspect->far)
		return bytes_append(to_far, bytes->at, bytes->n);
	if (tls_is_ready(inspect->far))
		return tls_write(inspect->far, bytes->at, bytes->n) == 0;
	return bytes_append(&inspect->early, bytes->at, bytes->n);
}

/* The last that the sandbox hears. */
static bool answer(struct inspect *inspect, const char *text, struct bytes *to_near)
{
	(void)say_near(inspect, text, strlen(text), to_near);
	end_near(inspect);
	return false;
}

/* Behind all that it said. */
static void pass_near_end(struct inspect *inspect)
{
	if (inspect->is_near_ended && inspect->far && !inspect->early.n)
		tls_end(inspect->far);
}

/* ---- what is heard ---- */

static bool take_requests(struct inspect *inspect, const struct wire_egress_rule *rule,
			  const uint8_t *bytes, size_t n, struct bytes *to_near,
			  struct bytes *to_far)
{
	char refusal[REQUESTS_ANSWER_MAX];
	struct bytes out = {0};
	bool goes_on;

	goes_on = requests_take(&inspect->requests, rule, bytes, n, &out, refusal);
	/* Also with those before one that cannot go: their answers would come first, and it ends.
	 */
	if (!goes_on)
		answer(inspect, refusal, to_near);
	else if (out.n)
		goes_on = say_far(inspect, &out, to_far);
	if (out.n)
		explicit_bzero(out.at, out.n);
	bytes_remove(&out, out.n);
	return goes_on;
}

static bool take_near(struct inspect *inspect, const struct wire_egress_rule *rule,
		      const uint8_t *bytes, size_t n, bool is_ended, struct bytes *to_near,
		      struct bytes *to_far)
{
	bool is_ready = !inspect->near || tls_is_ready(inspect->near);

	if (inspect->failure[0] && is_ready)
		return answer(inspect, inspect->failure, to_near);
	if (n && !take_requests(inspect, rule, bytes, n, to_near, to_far))
		return false;
	inspect->is_near_ended |= is_ended;
	pass_near_end(inspect);
	return true;
}

/* Before a word of it was heard: the sandbox is told, as soon as it can be. */
static bool far_failed(struct inspect *inspect, const struct err *err, struct bytes *to_near)
{
	char text[256];

	snprintf(text, sizeof(text), "%.100s: %.130s", inspect->requests.host, err->text);
	requests_answer(502, text, inspect->failure);
	return tls_is_ready(inspect->near) ? answer(inspect, inspect->failure, to_near) : true;
}

static bool take_far(struct inspect *inspect, const struct wire_egress_rule *rule,
		     const uint8_t *bytes, size_t n, bool is_ended, struct bytes *to_near,
		     struct bytes *to_far)
{
	bool goes_on = true;

	if (inspect->early.n && tls_is_ready(inspect->far)) {
		goes_on = tls_write(inspect->far, inspect->early.at, inspect->early.n) == 0;
		explicit_bzero(inspect->early.at, inspect->early.n);
		bytes_remove(&inspect->early, inspect->early.n);
		pass_near_end(inspect);
	}
	if (n) {
		bool is_decided = requests_hear(&inspect->requests, bytes, n);

		goes_on = goes_on && say_near(inspect, bytes, n, to_near);
		if (is_decided && goes_on)
			goes_on = take_requests(inspect, rule, NULL, 0, to_near, to_far);
	}
	if (is_ended)
		end_near(inspect);
	return goes_on;
}

bool inspect_take(struct inspect *inspect, enum inspect_side from,
		  const struct wire_egress_rule *rule, const uint8_t *bytes, size_t n,
		  struct bytes *to_near, struct bytes *to_far)
{
	static uint8_t plain[INSPECT_TAKE_MAX + TLS_PLAIN_MORE];
	struct tls *tls = from == INSPECT_NEAR ? inspect->near : inspect->far;
	bool was_ready = tls && tls_is_ready(tls), goes_on;
	struct tls_read read = {.plain_n = n};
	struct err err;
	int status = 0;

	if (tls) {
		status = tls_feed(tls, bytes, n, plain, sizeof(plain), &read, &err);
		bytes = plain;
	}
	goes_on = (from == INSPECT_NEAR ? take_near : take_far)(inspect, rule, bytes, read.plain_n,
								read.is_ended, to_near, to_far);
	if (status)
		goes_on = from == INSPECT_FAR && !was_ready && goes_on &&
			  far_failed(inspect, &err, to_near);
	collect(inspect->near, to_near);
	collect(inspect->far, to_far);
	return goes_on;
}

bool inspect_is_greeting(const struct inspect *inspect)
{
	return inspect->far && !tls_is_ready(inspect->far);
}

bool inspect_fail(struct inspect *inspect, const char *why, struct bytes *to_near)
{
	struct err err;
	bool goes_on = true;

	if (!inspect->failure[0]) {
		err_set(&err, "%s", why);
		goes_on = far_failed(inspect, &err, to_near);
		collect(inspect->near, to_near);
	}
	return goes_on;
}

bool inspect_owes_near(const struct inspect *inspect)
{
	return inspect->failure[0] && !inspect->is_near_over;
}

bool inspect_wants_near(const struct inspect *inspect)
{
	return !inspect->early.n && inspect->requests.step != REQUESTS_HELD;
}

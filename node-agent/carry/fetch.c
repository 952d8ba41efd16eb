/* Fetches a template, or what is saved: its listing first, then all pieces; waits for leave, and
 * installs it. */
#include "node-agent/carry/fetch.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fetch_get(struct fetch *fetch, const char *url, size_t body_max, http_client_done_cb on_done,
	       void *data)
{
	char port[8];
	const struct http_client_header headers[] = {
		{"e2b-sandbox-id", fetch->order->transfer.text},
		{"e2b-sandbox-port", port},
		{"e2b-traffic-access-token", fetch->order->token},
	};
	struct http_client_request request = {
		.url = url,
		.headers = headers,
		.headers_n = ARRAY_N(headers),
		.total_ms = FETCH_CALL_MS,
		.body_max = body_max,
		.on_done = on_done,
		.data = data,
	};
	struct http_client_call *call;
	struct err err;

	snprintf(port, sizeof(port), "%d", CARRY_PORT);
	if (http_client_start(fetch->client, &request, &call, &err))
		say_failed(REFUSAL_TRANSFER_LOST, &err);
}

void fetch_check_time(struct fetch *fetch)
{
	struct err err;

	if (uv_now(&fetch->loop) - fetch->moved_ms < FETCH_LOST_MS)
		return;
	err_set(&err, "nothing came for %d s", FETCH_LOST_MS / 1000);
	say_failed(REFUSAL_TRANSFER_LOST, &err);
}

void fetch_corrupt(struct fetch *fetch, const char *what)
{
	struct err err;

	if (++fetch->corrupt_n < FETCH_CORRUPT_MAX)
		return;
	err_set(&err, "%s was not what was promised, %d times", what, FETCH_CORRUPT_MAX);
	say_failed(REFUSAL_TRANSFER_CORRUPT, &err);
}

/* ---- the listing ---- */

static void ask_for_listing(uv_timer_t *timer);

static void on_listing(void *data, const struct http_client_answer *answer)
{
	struct fetch *fetch = data;
	struct err err;

	if (answer->status != 200) {
		fetch_check_time(fetch);
		uv_timer_start(&fetch->lanes[0].again, ask_for_listing, FETCH_AGAIN_MS, 0);
		return;
	}
	digest_of(answer->body, answer->body_n, fetch->digest);
	if (memcmp(fetch->digest, fetch->order->digest, sizeof(fetch->digest)) != 0) {
		fetch_corrupt(fetch, "the listing");
		uv_timer_start(&fetch->lanes[0].again, ask_for_listing, FETCH_SOON_MS, 0);
		return;
	}
	if (listing_parse((const char *)answer->body, answer->body_n, &fetch->listing, &err) ||
	    ((strcmp(fetch->listing.id, fetch->order->id) != 0 ||
	      listing_is_saved(&fetch->listing.files[0]) != (fetch->order->saved[0] != 0)) &&
	     err_set(&err, "the listing is of another template")))
		say_failed(REFUSAL_TRANSFER_CORRUPT, &err);
	fetch->moved_ms = uv_now(&fetch->loop);
	if (pieces_begin(fetch, &err))
		say_failed(REFUSAL_TRANSFER_NO_SPACE, &err);
}

static void ask_for_listing(uv_timer_t *timer)
{
	struct lane *lane = timer->data;

	snprintf(lane->url, sizeof(lane->url), "%s/listing", lane->fetch->order->url);
	fetch_get(lane->fetch, lane->url, LISTING_TEXT_MAX, on_listing, lane->fetch);
}

/* ---- the whole ---- */

/* Its agent compares what it was told with what it ordered; false: it wants no more of it. */
static bool wait_for_leave(void)
{
	char line[32];

	return fgets(line, sizeof(line), stdin) && !strcmp(line, "install\n");
}

int fetch_run(const struct carry_order *order, struct err *err)
{
	static struct fetch fetch;
	enum refusal refusal;
	uint64_t bytes = 0;

	fetch.order = order;
	if (install_folder(order, fetch.dir, &fetch.lock, err))
		say_failed(REFUSAL_TRANSFER_NO_SPACE, err);
	uv_loop_init(&fetch.loop);
	if (http_client_open(&fetch.client, &fetch.loop, &(struct http_client_options){0}, err))
		return -1;
	for (size_t i = 0; i < FETCH_LANES; i++) {
		fetch.lanes[i].fetch = &fetch;
		uv_timer_init(&fetch.loop, &fetch.lanes[i].again);
		fetch.lanes[i].again.data = &fetch.lanes[i];
	}
	fetch.moved_ms = uv_now(&fetch.loop);
	ask_for_listing(&fetch.lanes[0].again);
	uv_run(&fetch.loop, UV_RUN_DEFAULT);
	if (pieces_sync(&fetch, err))
		say_failed(REFUSAL_TRANSFER_NO_SPACE, err);
	say_progress(fetch.listing.bytes);
	say_arrived(fetch.digest, fetch.listing.id);
	if (!wait_for_leave())
		return 0;
	refusal = order->saved[0] ? install_saved(order, fetch.dir, &bytes, err)
				  : install(order, &fetch.listing, fetch.dir, err);
	if (refusal != REFUSAL_NONE)
		say_failed(refusal, err);
	say_installed(bytes);
	return 0;
}

/*
 * Finds the sandbox of a signed URL that does not name it, by trying the tokens of all that are
 * bound here: one hash each.
 *
 * What that can cost is bounded whoever asks: a slice of tokens each millisecond, whatever waits,
 * so an eighth of the thread at the most; a queue of fixed length; and so many misses for each
 * source.  A miss is answered at a fixed time after it was asked, so that its duration tells
 * nothing of how many sandboxes there are; and with the words that envd has for a wrong signature.
 */
#include <stdlib.h>

#include "scheduler/gateway/client.h"
#include "scheduler/gateway/signed.h"
#include "scheduler/gateway/sources.h"

enum {
	SLICE_TOKENS = 256,
	SLICE_MS = 1,
	QUEUE_MAX = 64,
	MISS_MS = 250,
};

struct search {
	struct client *client;
	struct list link; /* in searches; then, found nothing, in misses */
	struct signed_url url;
	uint32_t at;  /* the next slot */
	bool is_over; /* none fits */
	uint32_t place;
	uint64_t began_ms;
};

struct searches {
	struct gateway *gateway;
	struct list waiting, misses;
	unsigned waiting_n;
	struct sources sources;
	uv_timer_t timer;
};

int searches_open(struct gateway *gateway, struct err *err)
{
	struct searches *searches = calloc(1, sizeof(*searches));

	if (!searches)
		return err_set(err, "no memory for searches");
	searches->gateway = gateway;
	list_init(&searches->waiting);
	list_init(&searches->misses);
	sources_init(&searches->sources);
	uv_timer_init(gateway->loop, &searches->timer);
	searches->timer.data = searches;
	gateway->searches = searches;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void searches_close(struct gateway *gateway)
{
	uv_close((uv_handle_t *)&gateway->searches->timer, on_closed);
	gateway->searches = NULL;
}

void search_cancel(struct client *client)
{
	struct search *search = client->search;

	if (!search)
		return;
	client->search = NULL;
	if (!search->is_over)
		client->gateway->searches->waiting_n--;
	list_remove(&search->link);
	free(search);
}

static void on_found(struct search *search, const struct id *sandbox)
{
	struct client *client = search->client;

	sources_give_back(&client->gateway->searches->sources, search->place);
	client->found = *sandbox;
	search_cancel(client);
	client->request = REQUEST_HEAD;
	client_resume(client);
}

/* While shims are still coming back, the sandbox may be one of theirs. */
static void on_not_found(struct search *search)
{
	struct client *client = search->client;
	struct searches *searches = client->gateway->searches;

	list_remove(&search->link);
	searches->waiting_n--;
	search->is_over = true;
	list_append(&searches->misses, &search->link);
	if (gateway_is_starting(client->gateway)) {
		client->request = REQUEST_HELD;
		client_set_deadline(client, client->gateway->options->hold_ms);
	}
}

/* Of the first in the queue, until it is done or the slice used up; what is left of the slice. */
static unsigned try_tokens(struct search *search, unsigned left)
{
	const struct gateway *gateway = search->client->gateway;

	while (left && search->at < gateway->slots_used_n) {
		const struct sandbox_slot *slot = &gateway->slots[search->at++];

		if (!slot->tunnel)
			continue;
		left--;
		if (signed_url_fits(&search->url, slot->envd_token)) {
			on_found(search, &slot->sandbox);
			return left;
		}
	}
	if (search->at >= gateway->slots_used_n)
		on_not_found(search);
	return left;
}

static void answer_misses(struct searches *searches)
{
	uint64_t now_ms = gateway_now_ms(searches->gateway);
	struct list *link = list_first(&searches->misses);

	while (link) {
		struct search *search = LIST_OBJECT(link, struct search, link);
		struct client *client = search->client;

		link = list_next(&searches->misses, link);
		if (search->began_ms + MISS_MS > now_ms)
			return;
		/* Those that are held are answered by their own deadline. */
		if (client->request != REQUEST_SEARCHED)
			continue;
		response_answer(client, OUTCOME_BAD_SIGNATURE);
	}
}

static void on_timer(uv_timer_t *timer);

static void arm(struct searches *searches)
{
	struct list *miss = list_first(&searches->misses);

	if (list_first(&searches->waiting))
		uv_timer_start(&searches->timer, on_timer, SLICE_MS, 0);
	else if (miss)
		uv_timer_start(&searches->timer, on_timer, MISS_MS / 10, 0);
	else
		uv_timer_stop(&searches->timer);
}

static void on_timer(uv_timer_t *timer)
{
	struct searches *searches = timer->data;
	unsigned left = SLICE_TOKENS;
	struct list *first;

	while (left && (first = list_first(&searches->waiting)))
		left = try_tokens(LIST_OBJECT(first, struct search, link), left);
	answer_misses(searches);
	arm(searches);
}

static uint32_t place_of(const struct client *client)
{
	struct sockaddr_storage address = client_peer(client);

	return sources_place(&client->gateway->searches->sources, (struct sockaddr *)&address);
}

enum outcome search_begin(struct client *client, const struct http_head *head,
			  enum outcome otherwise)
{
	struct searches *searches = client->gateway->searches;
	struct search *search = calloc(1, sizeof(*search));
	enum outcome outcome = otherwise;
	uv_timeval64_t now;

	if (!search || uv_gettimeofday(&now) ||
	    !signed_url_read(head, now.tv_sec, &search->url, &outcome))
		goto none;
	if (outcome != OUTCOME_ROUTED)
		goto none;
	outcome = OUTCOME_SEARCHES;
	search->place = place_of(client);
	if (searches->waiting_n == QUEUE_MAX ||
	    !sources_take(&searches->sources, search->place, gateway_now_ms(client->gateway)))
		goto none;
	search->client = client;
	search->began_ms = gateway_now_ms(client->gateway);
	client->search = search;
	list_append(&searches->waiting, &search->link);
	/* Once: who comes while others wait must not put off the next slice. */
	if (!searches->waiting_n++)
		arm(searches);
	return OUTCOME_ROUTED;
none:
	free(search);
	return outcome;
}

void search_on_bound(struct client *client, const struct sandbox_slot *slot)
{
	if (client->search && client->search->is_over &&
	    signed_url_fits(&client->search->url, slot->envd_token))
		on_found(client->search, &slot->sandbox);
}

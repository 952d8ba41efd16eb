#include "node-agent/shell/links.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "node-agent/shell/link.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static int check_url(const char *url, struct err *err)
{
	static const char *const schemes[] = {"tcp://", "tls+tcp://"};
	struct address address;

	for (size_t i = 0; i < ARRAY_N(schemes); i++) {
		size_t n = strlen(schemes[i]);
		if (strncmp(url, schemes[i], n) == 0)
			return address_parse(url + n, &address) && address.host[0] && address.port
				       ? 0
				       : err_set(err, "--scheduler: %s: not %sHOST:PORT", url,
						 schemes[i]);
	}
	return err_set(err, "--scheduler: %s: neither tcp:// nor tls+tcp://", url);
}

int links_check(const struct option_list *schedulers, struct err *err)
{
	if (schedulers->n == 0)
		return err_set(err, "--scheduler names none");
	if (schedulers->n > NODE_REPLICAS_MAX)
		return err_set(err, "--scheduler names %zu schedulers; there are at most %d",
			       schedulers->n, NODE_REPLICAS_MAX);
	for (size_t i = 0; i < schedulers->n; i++) {
		const char *url = option_list_at(schedulers, i);
		if (check_url(url, err))
			return -1;
		for (size_t j = 0; j < i; j++)
			if (strcmp(url, option_list_at(schedulers, j)) == 0)
				return err_set(err, "--scheduler names %s twice", url);
	}
	return 0;
}

static void links_free(struct links *links)
{
	sodium_memzero(&links->enrolment, sizeof(links->enrolment));
	free(links->scratch->arena.data);
	free(links->scratch);
	links->scratch = NULL;
}

int links_open(struct links *links, struct agent *agent, struct err *err)
{
	const struct option_list *schedulers = &agent->options->scheduler;

	memset(links, 0, sizeof(*links));
	links->agent = agent;
	if (enrolment_load(agent->options->state_dir, &links->enrolment, err))
		return -1;
	links->scratch = calloc(1, sizeof(*links->scratch));
	CHECK(links->scratch);
	links->scratch->arena.size = wire_arena_need(&wire_shape_answer);
	CHECK(links->scratch->arena.size >= wire_arena_need(&wire_shape_build_tell));
	links->scratch->arena.data = malloc(links->scratch->arena.size);
	CHECK(links->scratch->arena.data);
	for (uint32_t i = 0; i < schedulers->n; i++) {
		if (link_open(&links->items[i], links, i, option_list_at(schedulers, i), err)) {
			links_close(links);
			return -1;
		}
		links->n++;
	}
	return 0;
}

void links_begin(struct links *links, const struct node_meta *meta)
{
	links->may_speak = true;
	links->epoch = meta->epoch;
	for (uint32_t i = 0; i < links->n; i++)
		link_begin(links->items[i], meta);
}

void links_epoch(struct links *links, uint64_t epoch)
{
	links->epoch = epoch;
	links_news(links, true);
}

void links_records(struct links *links, uint64_t end_seq)
{
	for (uint32_t i = 0; i < links->n; i++)
		link_records(links->items[i], end_seq);
}

void links_news(struct links *links, bool urgent)
{
	for (uint32_t i = 0; i < links->n; i++)
		link_news(links->items[i], urgent);
}

void links_observed(struct links *links, const struct wire_observed *observed)
{
	for (uint32_t i = 0; links->may_speak && i < links->n; i++)
		link_observed(links->items[i], observed);
}

bool links_build_ask(struct links *links, uint32_t number, const struct wire_build_ask *ask)
{
	return links->may_speak && link_build_ask(links->items[number], ask);
}

/* ---- enrolment ---- */

void links_enrol_elsewhere(struct links *links, const char *why)
{
	bool all_refused = why && ++links->refused_n % links->n == 0;

	links->turn = (links->turn + 1) % links->n;
	if (all_refused && links->n > 1)
		log_error("link", "no scheduler enrols this node", LOG_TEXT("last", why));
	/* An operator may mend it, or one of them come to lead: tried again by the timer. */
	if (!all_refused)
		link_greet(links->items[links->turn]);
}

void links_enrolled(struct links *links)
{
	for (uint32_t i = 0; i < links->n; i++)
		link_greet(links->items[i]);
}

/* ---- goodbye ---- */

bool links_leave(struct links *links)
{
	links->is_leaving = true;
	for (uint32_t i = 0; i < links->n; i++)
		links->goodbyes_n += link_leave(links->items[i]);
	return links->goodbyes_n > 0;
}

void links_goodbye_told(struct links *links)
{
	CHECK(links->goodbyes_n > 0);
	if (--links->goodbyes_n == 0)
		agent_left(links->agent);
}

void links_close(struct links *links)
{
	links->may_speak = false;
	for (uint32_t i = 0; i < links->n; i++)
		link_close(links->items[i]);
	links->n = 0;
	if (links->scratch)
		links_free(links);
}

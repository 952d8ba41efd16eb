/*
 * The link to one scheduler: opens sessions, keeps polls under way by the pump's rules, and steps
 * what comes back into the core.
 */
#ifndef FLOTILLA_NODE_LINK_H
#define FLOTILLA_NODE_LINK_H

#include "node-agent/shell/links.h"

/* url: borrowed for as long as the link. replica: its number. */
int link_open(struct link **out_link, struct links *links, uint32_t replica, const char *url,
	      struct err *err);

void link_begin(struct link *link, const struct node_meta *meta);
void link_records(struct link *link, uint64_t end_seq);
void link_news(struct link *link, bool urgent);

/* Enrols if it is its turn, or opens a session. */
void link_greet(struct link *link);

/* Sends it, if a session is open. */
void link_observed(struct link *link, const struct wire_observed *observed);

/* False: it cannot be sent. */
bool link_build_ask(struct link *link, const struct wire_build_ask *ask);

/* A last poll. False: there is no session. */
bool link_leave(struct link *link);

/* Frees it, later, from the loop. */
void link_close(struct link *link);

#endif

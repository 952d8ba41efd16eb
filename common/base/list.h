/*
 * Intrusive doubly linked lists.  The link is a member of the object, so that queueing cannot fail;
 * LIST_OBJECT gets back from the link to the object.  A zeroed link is in no list; a head must be
 * initialised.
 */
#ifndef FLOTILLA_BASE_LIST_H
#define FLOTILLA_BASE_LIST_H

#include "common/base/check.h"

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev; /* of a link that is in no list: NULL */
};

#define LIST_OBJECT(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_is_linked(const struct list *link)
{
	return link->next != NULL;
}

/* The first link, or NULL when the list is empty. */
static inline struct list *list_first(const struct list *head)
{
	return head->next == head ? NULL : head->next;
}

/* The one after link, or NULL at the end. */
static inline struct list *list_next(const struct list *head, const struct list *link)
{
	return link->next == head ? NULL : link->next;
}

static inline void list_insert_between(struct list *link, struct list *prev, struct list *next)
{
	CHECK(!list_is_linked(link));
	link->prev = prev;
	link->next = next;
	prev->next = link;
	next->prev = link;
}

static inline void list_append(struct list *head, struct list *link)
{
	list_insert_between(link, head->prev, head);
}

static inline void list_prepend(struct list *head, struct list *link)
{
	list_insert_between(link, head, head->next);
}

/* Harmless on a link that is in no list. */
static inline void list_remove(struct list *link)
{
	if (!list_is_linked(link))
		return;
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->next = link->prev = NULL;
}

#endif

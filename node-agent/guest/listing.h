/* The answer of ListDir, as text: what is in a folder, down to some depth. */
#ifndef FLOTILLA_GUEST_LISTING_H
#define FLOTILLA_GUEST_LISTING_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	LISTING_TEXT_MAX = 24 * 1024 * 1024, /* some 60,000 entries */
	LISTING_NAMES_MAX = 8 * 1024 * 1024, /* of the folders that the walk is in */
	LISTING_DEPTH_MAX = 1000,
};

struct listing {
	char *text; /* {"entries":[…]}, owned */
	size_t text_n, text_max;
	const atomic_bool *is_abandoned; /* ends the walk early */
};

/*
 * Walks as Go's WalkDir does: in the order of names, each folder before what is in it, links not
 * followed, what vanishes meanwhile left out.  path is walked under that name, and back to itself
 * at the end.  0; or -1 with errno: of the folder itself, E2BIG when a bound is reached, ECANCELED
 * when abandoned.  May be called on any thread; the listing begins as zeroes but for is_abandoned.
 */
int listing_read(struct listing *listing, char path[PATH_MAX], unsigned depth);
void listing_close(struct listing *listing);

#endif

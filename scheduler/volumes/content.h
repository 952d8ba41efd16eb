/*
 * Files of volumes over HTTP, as E2B's clients ask for them: /volumecontent/{volumeID}/dir, path
 * and file.  libmicrohttpd with a few threads of its own; a request's work is done on the thread
 * that has it, and bodies pass in pieces, so memory does not grow with files.
 *
 * The scheduler asks here too, for volumes to be mounted: POST /mounts/{sandboxID} with {"mounts":
 * [{"volumeID", "path"}, …]} and its X-Wake-Token; the gateway passes nothing of that on.
 */
#ifndef FLOTILLA_VOLUMES_CONTENT_H
#define FLOTILLA_VOLUMES_CONTENT_H

#include "scheduler/volumes/mounts.h"

struct content;

struct content_options {
	struct address listen;
	uint32_t connections_max, threads;
	struct volumes *volumes;
	struct mounts *mounts;
	const struct fleet_key *key;
};

int content_open(struct content **out, const struct content_options *options, struct err *err);
void content_close(struct content *content); /* requests under way are cut off */
struct address content_address(const struct content *content);

#endif

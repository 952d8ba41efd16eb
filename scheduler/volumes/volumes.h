/*
 * What the volumes' server knows: the volumes that somebody asked for since it started, each with
 * what the scheduler said of it lately.
 *
 * The scheduler is asked again every two seconds at most, and while it cannot be asked, what it
 * said last holds: so files are there while a scheduler restarts.  A volume whose folder is here
 * and that was not asked about yet can then be read, and not written.
 */
#ifndef FLOTILLA_VOLUMES_VOLUMES_H
#define FLOTILLA_VOLUMES_VOLUMES_H

#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/io/address.h"
#include "common/mux/fleet_key.h"
#include "scheduler/volumes/tree.h"

enum { VOLUME_GRANT_MS = 2000, VOLUME_ASK_MS = 5000 };

struct volumes;

struct volumes_options {
	const char *dir; /* there is a folder in it for each volume */
	struct address api_backend;
	const struct fleet_key *key;
	uint64_t reserve;
};

struct volume {
	struct id id;
	struct tree tree;
	/* private */
	struct volume *next;
	unsigned users_n;
	bool is_deleted;
	uint64_t asked_ms; /* when the scheduler said the grant; 0: it did not yet */
};

/* The folder is made; volumes of what others left there are found when they are asked for. */
int volumes_open(struct volumes **out, const struct volumes_options *options, struct err *err);
void volumes_close(struct volumes *volumes); /* nobody has any volume any more */

/* 200: *out is the caller's to use until volumes_put. Else an HTTP status: 404, 410: no such, or
 * not any more; 503: nobody can say; 500: a fault of ours, which is logged.  May block, on any
 * thread. */
int volumes_get(struct volumes *volumes, const struct id *id, struct volume **out);
void volumes_put(struct volumes *volumes, struct volume *volume);

/* Asks about each volume that has a folder here, and removes those that are deleted. Blocks. */
void volumes_sweep(struct volumes *volumes);

/* grant.c: what the scheduler says: 200 with *out_bytes_max, 404, 410, or 503: nothing. Blocks. */
int grant_ask(const struct address *api, const struct fleet_key *key, const struct id *volume,
	      uint64_t *out_bytes_max);

/* Whether there is such a sandbox, running or paused: 200, 404, or 503: nobody can say. Blocks. */
int grant_ask_sandbox(const struct address *api, const struct fleet_key *key,
		      const struct id *sandbox);

#endif

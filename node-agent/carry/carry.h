/*
 * flotilla-carry: the agent's child that sends a template, or what is saved of a sandbox, to
 *another host, or fetches one.  A process of its own, because it reads and writes for seconds or
 *minutes, takes what strangers may have touched, and may be killed at any time; it dies with its
 *agent, too.
 *
 *   main.c          what it is told
 *   say.c           what it tells
 *   gather.c        the listing of what is to be sent
 *   send.c          serves listing and pieces by way of the gateway, as if it were a sandbox
 *   fetch.c         fetches a listing, then fetch_pieces.c what is not here yet
 *   install.c       puts what arrived into the store
 *   install_saved.c or, if it is what is saved, makes it the folder of a microVM that was paused
 *   listing.c       what a listing is
 *
 * Its orders come by standard input, `word value` a line, up to an empty one; secrets are among
 * them, so they are not in its arguments.  It tells on standard output, a line each:
 *
 *	progress BYTES                  read (send), or here and proved (fetch)
 *	offered BYTES DIGEST ID         send: it can be fetched now
 *	arrived DIGEST ID               fetch: all is here; `install` is waited for
 *	installed BYTES                 fetch: it is in place, and takes this on disk (what is
 *	                                saved; else 0)
 *	failed REFUSAL TEXT             (a name of refusals.def); it ends
 */
#ifndef FLOTILLA_CARRY_CARRY_H
#define FLOTILLA_CARRY_CARRY_H

#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/mux/fleet_key.h"
#include "common/mux/tunnel.h"
#include "node-agent/carry/listing.h"
#include "node-agent/vm/store.h"
#include "proto/wire.h"

#include <limits.h>

enum { CARRY_PORT = 1 }; /* that is asked for; any but envd's */

/* What it is told; a word that its order does not need is empty. */
struct carry_order {
	char store[PATH_MAX];
	char name[TEMPLATE_NAME_MAX]; /* of the template */
	char id[VM_ARTEFACT_ID_MAX];  /* send of what is saved: as that says itself */
	/* It is what is saved: send: in this folder; fetch: to be in the folder of a microVM. */
	char saved[PATH_MAX];
	struct id transfer;                  /* what the gateway knows it by */
	char gateway[129];                   /* send: HOST:PORT of the tunnels */
	struct ticket ticket;                /* send */
	uint8_t ingress[TUNNEL_INGRESS_MAX]; /* send */
	size_t ingress_n;
	char url[129], token[65];         /* fetch */
	uint8_t digest[LISTING_DIGEST_N]; /* fetch */
};

/* ---- say.c ---- */

void say_progress(uint64_t bytes);
void say_offered(uint64_t bytes, const uint8_t digest[LISTING_DIGEST_N], const char *id);
void say_arrived(const uint8_t digest[LISTING_DIGEST_N], const char *id);
void say_installed(uint64_t bytes);
_Noreturn void say_failed(enum refusal refusal, const struct err *err);

void digest_of(const void *bytes, size_t n, uint8_t out[LISTING_DIGEST_N]);

/* The refusal that a fault of the disk is. */
enum refusal refusal_of_errno(int error);

/* ---- gather.c ---- */

/* The listing of a template's files, or of what is saved, to be freed by the caller. */
int gather(const struct carry_order *order, char **out_text, size_t *out_n, struct err *err);

/* ---- send.c ---- */

/* Serves until nobody has asked for a while. */
int send_run(const struct carry_order *order, struct err *err);

/* ---- fetch.c ---- */

int fetch_run(const struct carry_order *order, struct err *err);

/* ---- install.c ---- */

/* Where what is fetched is gathered, for one digest; kept from one try to the next. */
int install_folder(const struct carry_order *order, char out_dir[PATH_MAX], int *out_lock,
		   struct err *err);

/* Whether the folder that the file is in is in the store already. */
bool install_has(const struct carry_order *order, const struct listing_file *file);

/* All of it is in dir: into the store, and under its name. */
enum refusal install(const struct carry_order *order, const struct listing *listing,
		     const char *dir, struct err *err);

/* ---- install_saved.c ---- */

/* All of it is in dir: durably into its folder, with all that belongs to one. */
enum refusal install_saved(const struct carry_order *order, const char *dir, uint64_t *out_bytes,
			   struct err *err);

#endif

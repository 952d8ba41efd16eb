/*
 * A microVM's network as its owner has it, be that a shim or the builder of templates: a keeper
 * (node-agent/egress), whose tap is put behind the microVM's card when there is something to reach.
 * The card is in every snapshot, on a hub with nothing else; so a clone that waits has no process,
 * no namespace and no device for it.
 */
#ifndef FLOTILLA_SHIM_NETWORK_H
#define FLOTILLA_SHIM_NETWORK_H

#include "common/base/err.h"
#include "node-agent/egress/policy.h"
#include "node-agent/vm/qmp.h"

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

enum { NETWORK_AGAIN_MS = 1000 }; /* until a keeper that died has a successor */

struct network_keeper;

/* err: NULL, or why there is none as it was wanted. */
typedef void (*network_cb)(void *arg, const struct err *err);

struct network {
	/* The owner's, before network_open. */
	uv_loop_t *loop;
	struct qmp *qmp; /* is open by the time that anything is wanted */
	void *arg;       /* of callbacks */
	bool was_saved;  /* the microVM goes on from a state in which its card may be on */

	struct network_keeper *keeper; /* NULL: none */
	uint8_t rules[WIRE_EGRESS_MAX];
	size_t rules_n;
	/* private */
	uv_timer_t timer;
	char host[EGRESS_HOST_TEXT_MAX];
	uint64_t change;  /* counts the rules; which of them is in force, the keeper says */
	unsigned number;  /* of the last keeper: what QEMU has of it is named after it */
	bool is_attached; /* its tap is behind the card */
	bool is_in_force; /* it has the last rules */
	bool is_ending;
	network_cb done; /* NULL: nobody waits */
};

void network_open(struct network *network);

/* The microVM is ending: a keeper that dies gets no successor. */
void network_end(struct network *network);
void network_close(struct network *network);

/*
 * What it may reach (a message `egress`), and the operator's settings ("": none).  A network is
 * made when there is something to reach and none yet; one that is there has the new rules.  done is
 * called once, when they are in force, or with why not.  A later call takes the place of one that
 * is under way, whose done is not called.
 */
void network_set(struct network *network, const char *host, const struct wire_bytes *rules,
		 network_cb done);
bool network_is_wanted(const char *host, const struct wire_bytes *rules);

/* By which the guest is to believe its keeper: PEM, to be freed; NULL: it need not. */
char *network_authority(const struct wire_bytes *rules);

/* What the guest is told of it.  authority: as above, or NULL. */
json_t *network_describe(const char *authority);

#endif

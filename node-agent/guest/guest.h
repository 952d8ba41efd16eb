/* What every part of the guest agent may need to know: one instance, made by main. */
#ifndef FLOTILLA_GUEST_GUEST_H
#define FLOTILLA_GUEST_GUEST_H

#include <uv.h>

#include "node-agent/guest/conn.h"
#include "node-agent/guest/logbook.h"
#include "node-agent/guest/metrics.h"
#include "node-agent/guest/process.h"
#include "node-agent/guest/settings.h"
#include "node-agent/guest/watchers.h"

#define GUEST_ENVD_VERSION "0.6.13" /* of E2B's daemon, whose protocol this is */

enum { GUEST_PORT = 49983 };
#define GUEST_LOOPBACK "127.0.0.1:49983" /* the same, for what runs inside */

struct guest {
	uv_loop_t loop;
	bool owns_system; /* process 1 of a microVM: may set clock, host name and entropy */
	struct settings settings;
	struct conn_pool conns;
	struct process_table processes;
	struct metrics metrics;  /* for tenants */
	struct metrics observed; /* for the host */
	struct logbook logbook;
	struct watchers watchers;
};

/* A new host has greeted (channel.h). pool: of its connections. */
void init_expect(void *pool);

#endif

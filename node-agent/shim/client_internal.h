/* The agent's side of a shim, between its two files: client.c gives orders, client_hear.c hears. */
#ifndef FLOTILLA_SHIM_CLIENT_INTERNAL_H
#define FLOTILLA_SHIM_CLIENT_INTERNAL_H

#include "node-agent/shim/client.h"
#include "node-agent/shim/identity.h"
#include "node-agent/shim/wire_stream.h"

#include <stdint.h>
#include <sys/un.h>

enum {
	SHIM_RECONNECT_MS = 100, /* after a connection that broke while the shim lives */
	SHIM_BURY_MS = 20,       /* looking whether what was killed is dead */
	SHIM_END_RECORD_MAX = 48 * 1024,
	SHIM_CLAIM_PATIENCE_MS = 5 * 1000, /* a shim that runs says no by itself before */
	SHIM_ADOPT_PATIENCE_MS = 4 * 1000, /* until one that was found has spoken */
	SHIM_ASK_PATIENCE_MS = 30 * 1000,
	SHIM_KILL_PATIENCE_MS = 10 * 1000, /* a large machine takes a while to be torn down */
};

struct shim_client {
	struct shim_client_callbacks callbacks;
	uv_loop_t *loop;
	char dir[PATH_MAX];
	struct wire_stream stream;
	uv_timer_t timer;    /* connecting anew, burying */
	uv_timer_t patience; /* until an answer is overdue */
	unsigned handles_n;
	uint64_t claim_due, ask_due, kill_due; /* of the loop's clock; 0: nothing is asked */
	uint64_t attempt;                      /* of the claim that is asked */
	enum cause kill_cause;                 /* the last that was ordered */
	struct identity shim, qemu;            /* as far as known */
	struct wire_shim_status last;          /* without its claim; at_mono_ns 0: none heard */
	bool is_found;                         /* adopted, and not heard of yet */
	bool had_last_look;                    /* once more around the loop, since patience ended */
	bool is_hung;
	bool is_over; /* on_ended or on_gone has been told */
};

/* Paths of sockets are limited to 107 bytes; the way through a descriptor is always short. */
int shim_socket_address(const char *dir, struct sockaddr_un *out_address, int *out_dir_fd);

/* False: nobody listens, hence no shim lives. */
bool shim_connect(struct shim_client *client);

/* Connects; or, where there is no shim, finds out what became of it. */
void shim_on_timer(uv_timer_t *timer);

/* When an answer is overdue follows from the three _due. */
void shim_patience_set(struct shim_client *client);
void shim_expect_status(struct shim_client *client);

#endif

/* A bus on NNG's TCP mapping: what bus_sp.c (who connects) and bus_sp_connection.c (what is said)
 * share. */
#ifndef FLOTILLA_IO_BUS_SP_H
#define FLOTILLA_IO_BUS_SP_H

#include "common/base/pool.h"
#include "common/io/address.h"
#include "common/io/bus_mapping.h"
#include "common/io/sp_stream.h"

enum {
	SP_CONNECTIONS_MAX = 1 << 14, /* a scheduler's; who dials has one */
	SP_REQUEST_N = 4,             /* a request's id in front of its body */
	SP_READ_MAX = 64 << 10,       /* bytes read at once */
};

struct sp_connection {
	struct bus_sp *sp;
	uv_tcp_t tcp;
	uv_connect_t connect;
	uint32_t slot;
	bool is_greeted, is_closing;
	uint64_t since_ms; /* it exists, or its unfinished message began; 0: nothing is due */
	struct sp_stream stream;
};

struct bus_sp {
	struct bus *bus; /* NULL: it never opened */
	uv_loop_t *loop;
	int open_handles_n; /* and a lookup under way */
	bool is_closing;
	size_t message_max;
	struct pool pool;
	void *pool_memory;
	struct sp_connection **connections; /* by slot */
	uint8_t *input; /* SP_READ_MAX bytes, for all: each read is used up at once */
	uv_timer_t sweep;
	uv_tcp_t listener; /* listening */
	struct address address;
	uv_timer_t redial; /* dialling, as all below */
	uv_getaddrinfo_t lookup;
	uint64_t redial_ms;
	bool is_up;
};

/* NULL: there are as many as there may be.  The caller connects it. */
struct sp_connection *sp_connection_make(struct bus_sp *sp);

/* It is connected: greet and read. */
void sp_connection_start(struct sp_connection *connection);

/* Harmless on one that is closing.  Who dials, dials again. */
void sp_connection_close(struct sp_connection *connection);

bool sp_connection_send(struct bus *bus, uint64_t header, const uint8_t *body, size_t body_n);

void sp_redial_later(struct bus_sp *sp);

/* One handle less; the last frees all. */
void sp_handle_closed(struct bus_sp *sp);

#endif

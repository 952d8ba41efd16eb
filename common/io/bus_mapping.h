/* What carries a bus: each address scheme has its mapping.  For the bus's own parts. */
#ifndef FLOTILLA_IO_BUS_MAPPING_H
#define FLOTILLA_IO_BUS_MAPPING_H

#include "common/io/bus.h"

/* A request's id on the wire has its highest bit set: it is the last of a path, and we have no
 * longer ones. */
#define BUS_REQUEST_BIT 0x80000000u

struct bus_mapping {
	const char *scheme; /* "tcp://" */
	/* Sets bus->state, and bus->port when listening. address: what follows the scheme. */
	int (*open)(struct bus *bus, uv_loop_t *loop, const char *address,
		    const struct bus_options *options, struct err *err);
	/* header: a token when listening, else the request's id with its bit. */
	bool (*send)(struct bus *bus, uint64_t header, const uint8_t *body, size_t body_n);
	/* Calls bus_mapping_closed in the end, from the loop. */
	void (*close)(struct bus *bus);
};

extern const struct bus_mapping bus_mapping_sp;
extern const struct bus_mapping bus_mapping_nng;

void bus_mapping_closed(struct bus *bus);

#endif

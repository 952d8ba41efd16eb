/* The bus: picks the mapping for an address. */
#include "common/io/bus_mapping.h"

#include "common/base/check.h"

#include <string.h>

static int bus_open(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
		    const struct bus_callbacks *callbacks, bool is_listening, struct err *err)
{
	static const struct bus_mapping *const mappings[] = {&bus_mapping_sp, &bus_mapping_nng};

	*bus = (struct bus){
		.is_listening = is_listening, .callbacks = *callbacks, .user = callbacks->user};
	for (size_t i = 0; i < ARRAY_N(mappings); i++) {
		size_t n = strlen(mappings[i]->scheme);

		if (strncmp(options->url, mappings[i]->scheme, n) != 0)
			continue;
		bus->mapping = mappings[i];
		if (mappings[i]->open(bus, loop, options->url + n, options, err))
			return err_wrap(err, "bus: %s", options->url);
		return 0;
	}
	return err_set(err, "bus: %s: neither tcp:// nor tls+tcp://", options->url);
}

int bus_listen(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
	       const struct bus_callbacks *callbacks, struct err *err)
{
	return bus_open(bus, loop, options, callbacks, true, err);
}

int bus_dial(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
	     const struct bus_callbacks *callbacks, struct err *err)
{
	return bus_open(bus, loop, options, callbacks, false, err);
}

bool bus_reply(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	CHECK(bus->is_listening);
	return !bus->is_closing && bus->mapping->send(bus, token, body, body_n);
}

bool bus_send(struct bus *bus, uint32_t id, const uint8_t *body, size_t body_n)
{
	CHECK(!bus->is_listening && id > 0 && id < BUS_REQUEST_BIT);
	return !bus->is_closing && bus->mapping->send(bus, id | BUS_REQUEST_BIT, body, body_n);
}

void bus_close(struct bus *bus)
{
	if (bus->is_closing)
		return;
	bus->is_closing = true;
	bus->mapping->close(bus);
}

void bus_mapping_closed(struct bus *bus)
{
	bus->state = NULL;
	if (bus->callbacks.on_closed)
		bus->callbacks.on_closed(bus);
}

/* Templates that are copied from host to host: rule 16. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"

#include <stdlib.h>
#include <string.h>

static bool had(const struct host *host, uint32_t content)
{
	for (uint32_t i = host->contents_n; i > 0; i--)
		if (host->contents[i - 1] == content)
			return true;
	return false;
}

void oracle_built(struct world *world, uint32_t host, uint32_t content)
{
	struct host *known = &world->oracle->hosts[host];

	CHECK(known->contents_n < CONTENTS_MAX);
	known->contents[known->contents_n++] = content;
}

void oracle_fetches(struct world *world, uint32_t host, uint32_t content)
{
	if (platform_of_host(world, content % HOSTS_MAX) != platform_of_host(world, host))
		world_fail(world, "host %u fetches what was made for another kind of host", host);
}

void oracle_installed(struct world *world, uint32_t host, uint32_t content)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		if (had(&world->oracle->hosts[i], content)) {
			if (!had(&world->oracle->hosts[host], content))
				oracle_built(world, host, content);
			return;
		}
	world_fail(world, "host %u installs what nobody built", host);
}

void oracle_offers(struct world *world, uint32_t host, const struct wire_poll *poll)
{
	const struct host *known = &world->oracle->hosts[host];
	uint32_t fetches_n = 0;

	for (size_t i = 0; i < poll->templates_n; i++)
		if (!had(known, (uint32_t)strtoul(poll->templates[i].template_id + 8, NULL, 10)))
			world_fail(world, "host %u offers %s, which it never had", host,
				   poll->templates[i].template_id);
	for (size_t i = 0; i < poll->transfers_n; i++) {
		const struct wire_transfer *said = &poll->transfers[i];
		fetches_n += said->state == WIRE_TRANSFER_FETCHING;
		if (said->state == WIRE_TRANSFER_DONE &&
		    !had(known, (uint32_t)strtoul(said->template_id + 8, NULL, 10)))
			world_fail(world, "host %u calls a copy done that is not there", host);
	}
	if (fetches_n > 1)
		world_fail(world, "host %u fetches more than one template at a time", host);
}

void oracle_look_at_transfers(struct world *world, uint32_t replica)
{
	struct core_transfer_view view;
	uint32_t sends[HOSTS_MAX] = {0}, fetches[HOSTS_MAX] = {0}, cursor = 0;

	while (core_transfer_next(replica_core(world, replica), &cursor, &view)) {
		uint32_t from = (uint32_t)strtoul(view.from.text + 4, NULL, 10);
		uint32_t to = (uint32_t)strtoul(view.to.text + 4, NULL, 10);
		if (++sends[from] > 2 || ++fetches[to] > 1)
			world_fail(world, "replica %u copies too much at a time", replica);
	}
}

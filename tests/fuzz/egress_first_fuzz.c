/*
 * The first bytes of a sandbox's connection: a name that is found has a host's letters only, and no
 * beginning of the same bytes says another one.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/egress/sniff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[EGRESS_NAME_MAX] = "", early[EGRESS_NAME_MAX];
	enum egress_sniff found = egress_sniff(data, size, name);

	CHECK(memchr(name, 0, sizeof(name)));
	if (found == EGRESS_SNIFF_NAME) {
		CHECK(name[0]);
		CHECK(name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"0123456789-_.")] == 0);
		if (size && egress_sniff(data, size - 1, early) == EGRESS_SNIFF_NAME)
			CHECK(strcmp(name, early) == 0);
	}
	return 0;
}

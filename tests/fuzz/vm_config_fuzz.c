/* config.json of a microVM: what is read is what would be written. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/vm/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm_config config, back;
	char *text;

	if (vm_config_parse((const char *)data, size, &config, NULL))
		return 0;
	CHECK(vm_config_format(&config, &text, NULL) == 0);
	CHECK(vm_config_parse(text, strlen(text), &back, NULL) == 0);
	CHECK(id_equal(&config.vm, &back.vm) && config.purpose == back.purpose &&
	      config.warmth == back.warmth);
	CHECK(strcmp(config.template_dir, back.template_dir) == 0);
	CHECK(strcmp(config.gateway, back.gateway) == 0);
	free(text);
	return 0;
}

/* Lines of QEMU's control channel: any bytes give a message whose texts end, or a fault. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/vm/qmp_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmp_message message;
	struct err err;

	if (qmp_message_parse((const char *)data, size, &message, &err)) {
		CHECK(memchr(err.text, 0, sizeof(err.text)));
		return 0;
	}
	CHECK(memchr(message.status, 0, sizeof(message.status)));
	CHECK(memchr(message.reason, 0, sizeof(message.reason)));
	CHECK(memchr(message.text, 0, sizeof(message.text)));
	CHECK(message.event <= QMP_EVENT_UNKNOWN);
	return 0;
}

/* POST /sync: what the sandbox has written is on its disk, which is all that is kept of it then. */
#include <unistd.h>

#include "node-agent/guest/guest.h"
#include "node-agent/guest/routes.h"

/* A plain host has its own ways. */
void sync_post(struct conn *conn, json_t *request)
{
	(void)request;
	if (conn->guest->owns_system)
		sync();
	conn_answer(conn, 204, NULL, NULL, NULL, 0);
}

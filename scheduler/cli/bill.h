/* What a sandbox used and cost, from GET /v1/usage. */
#ifndef FLOTILLA_CLI_BILL_H
#define FLOTILLA_CLI_BILL_H

#include "scheduler/cli/cli.h"

/* Waits a little for the sandbox's last second to be posted, then prints its bill on standard
 * error: run's standard output belongs to the command. Returns an exit status. */
int bill_print(struct cli *cli, const char *sandbox_id);

/* Why the sandbox ended; "" when that is not known (yet). Never prints. */
void bill_cause(struct cli *cli, const char *sandbox_id, char out_cause[64]);

#endif

/*
 * What rules of running sandboxes name changes by itself: secrets when their tenant changes them,
 * and identity tokens, which live for an hour.  Their nodes are then told the rules again.
 */
#ifndef FLOTILLA_SHELL_EGRESS_RENEW_H
#define FLOTILLA_SHELL_EGRESS_RENEW_H

#include "scheduler/shell/engine.h"
#include "scheduler/shell/secrets.h"

#include <uv.h>

struct renewals;

struct renewals_options {
	struct engine *engine;
	const struct secrets *secrets;
};

/* Tokens are renewed from now on, as long as this scheduler leads. */
void renewals_open(struct renewals **out_renewals, uv_loop_t *loop,
		   const struct renewals_options *options);
void renewals_close(struct renewals *renewals); /* NULL is fine */

/* The tenant's secret of that name has another value, or none any more. */
void renewals_secret(struct renewals *renewals, const struct id *tenant, const char *name);

#endif

/* The environment of a process: login variables, then the sandbox's, then the request's. */
#ifndef FLOTILLA_GUEST_ENV_H
#define FLOTILLA_GUEST_ENV_H

#include <jansson.h>
#include <stdbool.h>

#include "node-agent/guest/users.h"

#define ENV_PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Later ones win. sandbox and request: objects of strings, or NULL; before them come, with an
 * authority, the variables that tell programs of it. NULL: no memory. */
json_t *env_merge(const struct user *user, bool has_authority, json_t *sandbox, json_t *request);

/* "NAME=value", NULL at the end; one allocation, freed by free(). NULL: no memory. */
char **env_list(json_t *env);

#endif

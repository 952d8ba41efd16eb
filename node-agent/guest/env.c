/* The environment of a process: see env.h. */
#include "node-agent/guest/env.h"

#include "node-agent/guest/authority.h"

#include <stdlib.h>
#include <string.h>

json_t *env_merge(const struct user *user, bool has_authority, json_t *sandbox, json_t *request)
{
	json_t *env = json_pack("{s:s,s:s,s:s,s:s}", "PATH", ENV_PATH_DEFAULT, "HOME", user->home,
				"USER", user->name, "LOGNAME", user->name);

	for (unsigned i = 0; has_authority && i < authority_variables_n; i++)
		json_object_set_new(env, authority_variables[i].name,
				    json_string(authority_variables[i].value));
	if (!env || (sandbox && json_object_update(env, sandbox)) ||
	    (request && json_object_update(env, request))) {
		json_decref(env);
		return NULL;
	}
	return env;
}

char **env_list(json_t *env)
{
	size_t list_bytes = (json_object_size(env) + 1) * sizeof(char *), bytes = list_bytes;
	const char *name;
	json_t *value;
	char **list, **slot, *text;

	json_object_foreach(env, name, value) bytes += strlen(name) + json_string_length(value) + 2;
	list = slot = malloc(bytes);
	if (!list)
		return NULL;
	text = (char *)list + list_bytes;
	json_object_foreach(env, name, value)
	{
		*slot++ = text;
		text = stpcpy(text, name);
		*text++ = '=';
		text = stpcpy(text, json_string_value(value)) + 1;
	}
	*slot = NULL;
	return list;
}

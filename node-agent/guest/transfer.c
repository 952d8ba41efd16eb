/* What uploads and downloads have in common: see transfer.h. */
#include "node-agent/guest/transfer.h"

#include <errno.h>
#include <string.h>

#include "common/http/target.h"
#include "node-agent/guest/caller.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/path.h"

/* name: "" is the one of the authorization, else the default one. */
static bool find_user(struct conn *conn, char name[USER_NAME_MAX], struct user *out_user)
{
	struct http_text authorization = http_head_value(&conn->head, "authorization");

	if (!name[0] && !caller_basic_user(authorization, name))
		name[0] = 0;
	if (!name[0])
		strcpy(name, conn->guest->settings.default_user);
	if (user_find(name, out_user))
		return true;
	conn_answer_error(conn, 401, "error looking up user '%s': user: unknown user %s", name,
			  name);
	return false;
}

bool transfer_user(struct conn *conn, struct user *out_user)
{
	char name[USER_NAME_MAX];

	if (http_query_get(conn->query, "username", name, sizeof(name)) != HTTP_QUERY_BAD)
		return find_user(conn, name, out_user);
	conn_answer_error(conn, 400, "malformed username");
	return false;
}

bool transfer_named_user(struct conn *conn, const json_t *given, struct user *out_user)
{
	struct http_text text = {json_string_value(given), json_string_length(given)};
	char name[USER_NAME_MAX] = "";

	if (!given || json_is_null(given) ||
	    (json_is_string(given) && http_text_copy(text, name, sizeof(name))))
		return find_user(conn, name, out_user);
	conn_answer_error(conn, 400, "username: a user's name is wanted");
	return false;
}

bool transfer_path(struct conn *conn, const struct user *user, bool *out_given, char out[PATH_MAX])
{
	char path[PATH_MAX];
	enum http_query found = http_query_get(conn->query, "path", path, sizeof(path));
	const char *problem = found == HTTP_QUERY_BAD ? "malformed path" : NULL;

	*out_given = found == HTTP_QUERY_FOUND && path[0];
	if (!problem)
		problem = path_resolve(path, user->home, caller_workdir(conn, user), out);
	if (problem)
		conn_answer_error(conn, 400, "%s", problem);
	return !problem;
}

void transfer_refuse(struct conn *conn, const char *path)
{
	switch (errno) {
	case ENOENT:
		conn_answer_error(conn, 404, "path '%s' does not exist", path);
		return;
	case EISDIR:
		conn_answer_error(conn, 400, "path '%s' is a directory", path);
		return;
	case ENOTDIR:
	case ENAMETOOLONG:
	case EINVAL:
		conn_answer_error(conn, 400, "path '%s': %s", path, strerror(errno));
		return;
	case ENOSPC:
	case EDQUOT:
		conn_answer_error(conn, 507, "not enough disk space");
		return;
	case EACCES:
	case EPERM:
		conn_answer_error(conn, 403, "path '%s': %s", path, strerror(errno));
		return;
	}
	conn_answer_error(conn, 500, "path '%s': %s", path, strerror(errno));
}

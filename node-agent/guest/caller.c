/* Which user a request speaks for: see caller.h. */
#include "node-agent/guest/caller.h"

#include <string.h>

#include "node-agent/guest/base64.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/path.h"

bool caller_basic_user(struct http_text authorization, char out[USER_NAME_MAX])
{
	char plain[3 * 128 + 3];
	struct http_text name = {plain, 0};
	const char *colon;

	if (!http_text_starts_nocase(authorization, "basic "))
		return false;
	authorization.at += 6;
	authorization.n -= 6;
	authorization = http_text_trim(authorization);
	if (authorization.n > 4 * 128 || !base64_decode(authorization, plain, &name.n))
		return false;
	colon = memchr(plain, ':', name.n);
	if (!colon)
		return false;
	name.n = (size_t)(colon - plain);
	return http_text_copy(name, out, USER_NAME_MAX);
}

bool caller_find(struct conn *conn, struct user *out_user)
{
	struct http_text authorization = http_head_value(&conn->head, "authorization");
	char name[USER_NAME_MAX];

	strcpy(name, conn->guest->settings.default_user);
	if (authorization.n && !caller_basic_user(authorization, name)) {
		connect_refuse(conn, CONNECT_UNAUTHENTICATED, "malformed authorization header");
		return false;
	}
	if (!name[0])
		strcpy(name, conn->guest->settings.default_user);
	if (!user_find(name, out_user)) {
		connect_refuse(conn, CONNECT_UNAUTHENTICATED, "invalid username: '%s'", name);
		return false;
	}
	return true;
}

const char *caller_workdir(const struct conn *conn, const struct user *user)
{
	const char *workdir = conn->guest->settings.default_workdir;

	return workdir[0] ? workdir : user->home;
}

bool caller_path(struct conn *conn, const struct user *user, const char *path, char out[PATH_MAX])
{
	const char *problem = path_resolve(path, user->home, caller_workdir(conn, user), out);

	if (problem)
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
	return !problem;
}

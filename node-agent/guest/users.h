/*
 * Users and groups, read from /etc/passwd and /etc/group by ourselves: a static program has no name
 * service switch, and the files are the sandbox's truth anyway.
 */
#ifndef FLOTILLA_GUEST_USERS_H
#define FLOTILLA_GUEST_USERS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/http/text.h"

enum {
	USER_NAME_MAX = 64,
	USER_GROUPS_MAX = 64,
	USER_FILE_MAX = 1024 * 1024, /* of /etc/passwd and /etc/group that is looked at */
};

struct user {
	char name[USER_NAME_MAX];
	char home[PATH_MAX];
	uid_t uid;
	gid_t gid;
	gid_t groups[USER_GROUPS_MAX]; /* the primary one first */
	size_t groups_n;
};

/* False when there is no such user. */
bool user_find(const char *name, struct user *out_user);

/* The name of an id, or its number when it has none. */
void user_name(uid_t uid, char out[USER_NAME_MAX]);
void group_name(gid_t gid, char out[USER_NAME_MAX]);

/* -- Pure: the files' texts given ------------------------------------------------------------- */

bool passwd_find_name(struct http_text passwd, const char *name, struct user *out_user);
bool passwd_find_uid(struct http_text passwd, uid_t uid, char out[USER_NAME_MAX]);
bool group_find_gid(struct http_text group, gid_t gid, char out[USER_NAME_MAX]);
/* Adds the groups that list the user as a member. */
void group_add_memberships(struct http_text group, struct user *user);

#endif

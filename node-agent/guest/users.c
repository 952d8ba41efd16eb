/* Users and groups: see users.h. */
#include "node-agent/guest/users.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Cuts what stands before 'separator' off the front; false when nothing is left. */
static bool cut(struct http_text *rest, char separator, struct http_text *out)
{
	const char *end;

	if (!rest->at)
		return false;
	end = memchr(rest->at, separator, rest->n);
	*out = (struct http_text){rest->at, end ? (size_t)(end - rest->at) : rest->n};
	rest->n -= out->n + (end ? 1 : 0);
	rest->at = end ? end + 1 : NULL;
	return true;
}

static bool cut_id(struct http_text *rest, unsigned *out_id)
{
	struct http_text field;
	uint64_t id;

	if (!cut(rest, ':', &field) || !http_text_u64(field, &id) || id >= UINT32_MAX)
		return false;
	*out_id = (unsigned)id;
	return true;
}

/* name:x:uid:gid:comment:home:shell */
static bool passwd_line(struct http_text line, struct http_text *out_name, struct user *out_user)
{
	struct http_text ignored, home;

	if (!cut(&line, ':', out_name) || !cut(&line, ':', &ignored) ||
	    !cut_id(&line, &out_user->uid) || !cut_id(&line, &out_user->gid) ||
	    !cut(&line, ':', &ignored) || !cut(&line, ':', &home))
		return false;
	return http_text_copy(*out_name, out_user->name, sizeof(out_user->name)) &&
	       http_text_copy(home, out_user->home, sizeof(out_user->home));
}

bool passwd_find_name(struct http_text passwd, const char *name, struct user *out_user)
{
	struct http_text line, found;

	while (cut(&passwd, '\n', &line)) {
		if (!passwd_line(line, &found, out_user) || !http_text_equal(found, name))
			continue;
		out_user->groups[0] = out_user->gid;
		out_user->groups_n = 1;
		return true;
	}
	return false;
}

/* Both files have the name first and the number third. */
static bool find_number(struct http_text file, unsigned id, char out[USER_NAME_MAX])
{
	struct http_text line, name, ignored;
	unsigned found;

	while (cut(&file, '\n', &line))
		if (cut(&line, ':', &name) && cut(&line, ':', &ignored) && cut_id(&line, &found) &&
		    found == id)
			return http_text_copy(name, out, USER_NAME_MAX);
	return false;
}

bool passwd_find_uid(struct http_text passwd, uid_t uid, char out[USER_NAME_MAX])
{
	return find_number(passwd, uid, out);
}

bool group_find_gid(struct http_text group, gid_t gid, char out[USER_NAME_MAX])
{
	return find_number(group, gid, out);
}

/* name:x:gid:member,member */
void group_add_memberships(struct http_text group, struct user *user)
{
	struct http_text line, ignored, member;
	unsigned gid;

	while (user->groups_n < USER_GROUPS_MAX && cut(&group, '\n', &line)) {
		if (!cut(&line, ':', &ignored) || !cut(&line, ':', &ignored) ||
		    !cut_id(&line, &gid) || gid == user->gid || !line.at)
			continue;
		while (http_text_list_next(&line, &member)) {
			if (!http_text_equal(member, user->name))
				continue;
			user->groups[user->groups_n++] = gid;
			break;
		}
	}
}

/* The whole file, or an empty text; the caller frees 'at'. */
static struct http_text file_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct http_text text = {NULL, 0};
	struct stat status;
	char *bytes;
	ssize_t n;

	if (fd < 0)
		return text;
	if (!fstat(fd, &status) && status.st_size > 0 && status.st_size <= USER_FILE_MAX &&
	    (bytes = malloc((size_t)status.st_size))) {
		n = read(fd, bytes, (size_t)status.st_size);
		text = (struct http_text){bytes, n > 0 ? (size_t)n : 0};
	}
	close(fd);
	return text;
}

bool user_find(const char *name, struct user *out_user)
{
	struct http_text passwd = file_read("/etc/passwd"), group;
	bool found = passwd_find_name(passwd, name, out_user);

	free((char *)passwd.at);
	if (!found)
		return false;
	group = file_read("/etc/group");
	group_add_memberships(group, out_user);
	free((char *)group.at);
	return true;
}

void user_name(uid_t uid, char out[USER_NAME_MAX])
{
	struct http_text passwd = file_read("/etc/passwd");

	if (!passwd_find_uid(passwd, uid, out))
		snprintf(out, USER_NAME_MAX, "%u", uid);
	free((char *)passwd.at);
}

void group_name(gid_t gid, char out[USER_NAME_MAX])
{
	struct http_text group = file_read("/etc/group");

	if (!group_find_gid(group, gid, out))
		snprintf(out, USER_NAME_MAX, "%u", gid);
	free((char *)group.at);
}

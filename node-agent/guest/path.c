/* Paths: see path.h. */
#include "node-agent/guest/path.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

void path_clean(char *path)
{
	char *out = path;
	const char *at = path;

	CHECK(path[0] == '/');
	while (*at) {
		size_t n;

		at += strspn(at, "/");
		n = strcspn(at, "/");
		if (n == 2 && at[0] == '.' && at[1] == '.') {
			while (out > path && *--out != '/')
				;
		} else if (n && !(n == 1 && at[0] == '.')) {
			*out++ = '/';
			memmove(out, at, n);
			out += n;
		}
		at += n;
	}
	if (out == path)
		*out++ = '/';
	*out = 0;
}

const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

const char *path_resolve(const char *path, const char *home, const char *base, char out[PATH_MAX])
{
	const char *front = home, *rest = path;
	int n;

	if (!path[0]) {
		front = base;
	} else if (path[0] == '/') {
		front = "";
	} else if (path[0] == '~') {
		if (path[1] && path[1] != '/')
			return "cannot expand user-specific home dir";
		rest = path + 1;
	}
	n = snprintf(out, PATH_MAX, "%s/%s", front, rest);
	if (n >= PATH_MAX)
		return "the path is too long";
	if (out[0] != '/')
		return "the home is not an absolute path";
	path_clean(out);
	return NULL;
}

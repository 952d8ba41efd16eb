/* Paths as a client writes them, made absolute.  Pure: the file system is not looked at. */
#ifndef FLOTILLA_GUEST_PATH_H
#define FLOTILLA_GUEST_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * "" is the base, "~" and "~/x" are the home, other relative paths start at the home; "." and ".."
 * and repeated slashes are taken out.  NULL, or why it is refused (static text).
 */
const char *path_resolve(const char *path, const char *home, const char *base, char out[PATH_MAX]);

/* Takes ".", ".." and repeated slashes out of an absolute path, in place. */
void path_clean(char *path);

/* The last component; "/" for the root.  Points into path, which is clean. */
const char *path_name(const char *path);

#endif

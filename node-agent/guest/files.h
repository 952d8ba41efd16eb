/* Common acts on the file system, in a user's name.  All may be called on any thread. */
#ifndef FLOTILLA_GUEST_FILES_H
#define FLOTILLA_GUEST_FILES_H

#include <limits.h>
#include <stdbool.h>

#include "node-agent/guest/users.h"

enum { FILES_REMOVE_DEPTH_MAX = 1000 };

/*
 * Makes the folder and all that lead to it: 0755, the user's; those already there are left alone.
 * 0, or -1 with errno (ENOTDIR: something in the way is a file).
 */
int files_make_folders(const char *path, const struct user *user);

/* The same for what leads to a file. */
int files_make_parents(const char *path, const struct user *user);

/* The file or the folder with all it holds, links not followed; nothing there is fine.  0, or -1
 * with errno of the last failure: what could be removed is (ENAMETOOLONG: nested too deeply). */
int files_remove(const char *path);

/* errno as Go words it: E2B's messages end with it. */
const char *files_errno_text(int number, char out[128]);

#endif

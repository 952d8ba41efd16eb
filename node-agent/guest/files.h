/* Common acts on the file system, in a user's name. */
#ifndef FLOTILLA_GUEST_FILES_H
#define FLOTILLA_GUEST_FILES_H

#include <stdbool.h>

#include "node-agent/guest/users.h"

/* Makes the folder and all that lead to it: 0755, the user's; those already there are left alone.
 * 0, or -1 with errno (ENOTDIR: something in the way is a file). */
int files_make_folders(const char *path, const struct user *user);

/* The same for what leads to a file. */
int files_make_parents(const char *path, const struct user *user);

/* The file or the folder with all it holds; nothing there is fine. 0, or -1 with errno. */
int files_remove(const char *path);

#endif

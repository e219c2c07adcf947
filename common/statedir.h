/*
 * What a VM keeps from one start to the next, such as its firmware's variables: a directory of its own below
 * $XDG_STATE_HOME/skep, ~/.local/state/skep, or /var/lib/skep for root.  Main thread.
 */
#ifndef COMMON_STATEDIR_H
#define COMMON_STATEDIR_H

#include <stddef.h>

/*
 * The directory's path; whether it exists is not looked at.  0; -EINVAL for a name that rundir_name_check() refuses,
 * -ENAMETOOLONG, -ENOENT when there is neither HOME nor XDG_STATE_HOME (all reported).
 */
int statedir_path(const char *name, char *out, size_t len);
/* The same, and makes what is missing of it, mode 0700.  Also -EPERM (reported) when it is somebody else's. */
int statedir_make(const char *name, char *out, size_t len);

/*
 * Writes PATH as a whole or not at all, mode 0600: under another name first, and on stable storage before it gets its
 * own.  0 or -errno (reported); then what was there before is still there, and nothing else.
 */
int statedir_write(const char *path, const void *data, size_t len);

#endif

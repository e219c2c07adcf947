/*
 * The run directory of a VM: $XDG_RUNTIME_DIR/skep/NAME, or /run/skep/NAME.  Holding its lock is being the VM of
 * that name; the kernel drops a dead owner's lock, so whatever a dead one left behind is simply taken over.
 * Main thread.
 */
#ifndef COMMON_RUNDIR_H
#define COMMON_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>

/* 1 to 63 letters, digits, '.', '_' and '-', no '.' or '-' first.  0 or -EINVAL with the reason in why[]. */
int rundir_name_check(const char *name, char *why, size_t why_len);
/*
 * Directory of all run directories, to be freed.  Without XDG_RUNTIME_DIR root has /run/skep, others /tmp/skep-UID, because /run is
 * not theirs; root also where that is a login's own, in /run/user.  Aborts when out of memory.
 */
char *rundir_base(void);
char *rundir_path(const char *name);            /* "<base>/NAME", to be freed */

/*
 * Creates and locks a VM's directory, mode 0700; leftovers of a dead owner are removed and the pid written.
 * 0: *path is to be freed and *lock_fd open.  -EBUSY (reported) while a VM of that name runs, -EPERM (reported)
 * when the directory belongs to someone else, -errno (reported) of the host.
 */
int rundir_open(const char *name, char **path, int *lock_fd);
/*
 * Removes everything but exit.json and the log, and unlocks.  Frees path; both may be unset (NULL, -1).
 */
void rundir_close(char *path, int lock_fd);

struct conf;
/* info.json, what `list` shows: name, pid, arch, cpus, memory, start.  0 or -errno (reported). */
int rundir_write_info(const char *path, const struct conf *);
/* Writes a file of the directory whole or not at all.  0 or -errno (reported). */
int rundir_write_json(const char *path, const char *file, const json_t *);

/* Is the VM of this directory running?  Its pid (above 0), 0 when not, -errno (not reported; -EACCES: another user's). */
int rundir_owner(const char *path);
/* Calls fn for every running VM, sorted by name; info may be NULL.  0 or -errno (reported); no directory is 0. */
int rundir_walk(void (*fn)(const char *name, int pid, const json_t *info, void *), void *arg);
/*
 * Removes what killed VMs of this user have left, sockets, pid and info, as rundir_close() would have.  Takes each directory's
 * lock meanwhile; what cannot be cleaned stays, and the next of its name takes it over.
 */
void rundir_clean_dead(void);

#endif

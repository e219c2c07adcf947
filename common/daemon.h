/*
 * A VM in the background, and the file with its process number.  Main thread, before the guest runs and after it has ended.
 */
#ifndef COMMON_DAEMON_H
#define COMMON_DAEMON_H

/*
 * Forks, before there are threads.  0 in the child, which builds the VM; *fd is for daemon_ready().  1 in the parent, once the child has
 * called that (*status is 0) or has ended without (its exit status, or STATUS_FAILED).  -errno (reported).
 */
int daemon_split(int *fd, int *status);
/*
 * The child has a VM: a session of its own, standard input and output on /dev/null, standard error on the log, the parent ends.
 * 0, or -errno (reported): whoever asked for the VM has gone.
 */
int daemon_ready(int fd);

/*
 * Writes this process's number into a file, whole or not at all; what a dead process left there is replaced.  0, -EBUSY (reported): the
 * process it names is alive; -EINVAL (reported): it is no such file; -errno (reported) of the host.
 */
int pidfile_write(const char *path);
/* Removes it, if this process's number is still there. */
void pidfile_remove(const char *path);

#endif

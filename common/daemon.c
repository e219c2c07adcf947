/*
 * Going to the background.  The child that builds the VM keeps the caller's terminal until it can say that there is one, so
 * refusals appear where they are read, and their exit status is the caller's.
 */
#include "common/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vm.h"

/* The parent's part: until the child has spoken, or ended. */
static int hear(int fd, pid_t child)
{
	char c;
	ssize_t n;
	int status;

	while ((n = read(fd, &c, 1)) < 0 && errno == EINTR)
		;
	close(fd);
	if (n == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return STATUS_FAILED;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	err_msg(-ECHILD, "the VM's process was ended by signal %d before the VM was there", WTERMSIG(status));
	return STATUS_FAILED;
}

int daemon_split(int *fd, int *status)
{
	int p[2];
	pid_t child;

	if (pipe2(p, O_CLOEXEC))
		return err_sys("pipe");
	fflush(NULL);                   /* or both would write it */
	child = fork();
	if (child < 0) {
		const int err = err_sys("fork");

		close(p[0]);
		close(p[1]);
		return err;
	}
	close(p[child ? 1 : 0]);
	if (child)
		*status = hear(p[0], child);
	else
		*fd = p[1];
	return child > 0;
}

int daemon_ready(int fd)
{
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int err = 0;

	if (null < 0)
		return err_sys("'/dev/null': open");
	setsid();                       /* fails where there is one already */
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	log_detach(null);
	close(null);
	if (write(fd, "", 1) != 1)
		err = err_sys("the process that asked for the VM has gone");
	close(fd);
	return err;
}

/* The number in it, 0 when it is empty or absent; -EINVAL: something else, or -errno (neither reported). */
static int pidfile_read(const char *path)
{
	char text[16], *end;
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;
	long pid;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = fstat(fd, &st) || !S_ISREG(st.st_mode) ? -1 : read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return n ? -EINVAL : 0;
	text[n] = 0;
	pid = strtol(text, &end, 10);
	return text[0] > '0' && text[0] <= '9' && pid <= INT_MAX && (!*end || !strcmp(end, "\n")) ? (int)pid : -EINVAL;
}

static int pidfile_replace(const char *path)
{
	char tmp[PATH_MAX];
	int fd = snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) < (int)sizeof(tmp) ? mkostemp(tmp, O_CLOEXEC) : (errno = ENAMETOOLONG, -1);
	int err = 0;

	if (fd < 0)
		return err_sys("pidfile '%s': create", path);
	if (dprintf(fd, "%ld\n", (long)getpid()) < 0 || fchmod(fd, 0644))
		err = err_sys("pidfile '%s': write", path);
	if (close(fd) && !err)
		err = err_sys("pidfile '%s': write", path);
	if (!err && rename(tmp, path))
		err = err_sys("pidfile '%s': create", path);
	if (err)
		unlink(tmp);
	return err;
}

int pidfile_write(const char *path)
{
	const int pid = pidfile_read(path);

	if (pid == -EINVAL)
		return err_msg(pid, "pidfile '%s': there is something else of that name; remove it, or name another file", path);
	errno = -pid;
	if (pid < 0)
		return err_sys("pidfile '%s': read", path);
	if (pid && pid != getpid() && (!kill(pid, 0) || errno == EPERM))
		return err_msg(-EBUSY, "pidfile '%s': process %d, which it names, is alive; end that, or name another file", path, pid);
	return pidfile_replace(path);
}

void pidfile_remove(const char *path)
{
	if (pidfile_read(path) == getpid() && unlink(path))
		log_warn("vm", "pidfile '%s': remove: %s", path, strerror(errno));
}

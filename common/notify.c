/*
 * A manager's socket takes datagrams of VARIABLE=VALUE lines [SYSTEMD "sd_notify(3)"].
 */
#include "common/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const size_t n = strlen(path);
	int fd;

	if ((path[0] != '/' && path[0] != '@') || n >= sizeof(a.sun_path)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(a.sun_path, path, n);
	if (path[0] == '@')
		a.sun_path[0] = 0;      /* an abstract name [SYSTEMD "sd_notify(3)"] */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n))) {
		const int err = errno;

		close(fd);
		errno = err;
		fd = -1;
	}
	return fd;
}

int notify_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = path ? connect_to(path) : 0;

	if (fd < 0)
		log_debug("notify", "NOTIFY_SOCKET '%s': %s", path, strerror(errno));
	unsetenv("NOTIFY_SOCKET");
	return fd < 0 ? 0 : fd;
}

static void tell(int fd, const char *text, int flags)
{
	if (fd > 0 && send(fd, text, strlen(text), MSG_NOSIGNAL | flags) < 0)
		log_debug("notify", "%s", strerror(errno));
}

void notify_ready(int fd, const char *state)
{
	char text[96];

	snprintf(text, sizeof(text), "READY=1\nMAINPID=%ld\nSTATUS=%s\n", (long)getpid(), state);
	tell(fd, text, 0);
}

void notify_state(int fd, const char *state, bool ends)
{
	char text[96];

	snprintf(text, sizeof(text), "%sSTATUS=%s\n", ends ? "STOPPING=1\n" : "", state);
	tell(fd, text, MSG_DONTWAIT);
}

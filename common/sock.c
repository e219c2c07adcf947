/*
 * Sockets to listen at.
 */
#include "common/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

static int clear_path(const char *name, const struct sockaddr_un *sa)
{
	struct stat st;
	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys("%s: socket '%s'", name, sa->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_msg(-EEXIST, "%s: '%s' exists and is not a socket; name another path or remove it", name, sa->sun_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys("%s: socket '%s'", name, sa->sun_path);
	int alive = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno != ECONNREFUSED;
	close(fd);
	if (alive)
		return err_msg(-EADDRINUSE, "%s: socket '%s' is in use by another process; name another path", name, sa->sun_path);
	if (unlink(sa->sun_path) < 0 && errno != ENOENT)
		return err_sys("%s: removing the stale socket '%s'", name, sa->sun_path);
	return 0;
}

int sock_unix(const char *name, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	if (len >= sizeof(sa.sun_path))
		return err_msg(-ENAMETOOLONG, "%s: socket path '%s' is longer than %zu bytes; use a shorter directory or name",
			       name, path, sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path, path, len + 1);
	int err = clear_path(name, &sa);
	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* The mode of the descriptor becomes the mode of the file, so nobody gets in between bind and chmod. */
	if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = err_sys("%s: socket '%s'", name, path);
		if (fd >= 0)
			close(fd);
		return err;
	}
	return fd;
}

static bool parse_port(const char *text, uint16_t *port)
{
	unsigned v = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || (v = v * 10 + (unsigned)(*text - '0')) > 65535)
			return false;
	}
	*port = htons((uint16_t)v);
	return true;
}

static bool set_addr4(struct sock_addr *a, const char *host, uint16_t port)
{
	a->in4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port };
	a->len = sizeof(a->in4);
	if (!*host)
		a->in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (inet_pton(AF_INET, host, &a->in4.sin_addr) != 1)
		return false;
	a->loopback = ntohl(a->in4.sin_addr.s_addr) >> 24 == 127;
	return true;
}

static bool set_addr6(struct sock_addr *a, const char *host, uint16_t port)
{
	a->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
	a->len = sizeof(a->in6);
	if (inet_pton(AF_INET6, host, &a->in6.sin6_addr) != 1)
		return false;
	a->loopback = IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
	return true;
}

bool sock_parse(const char *arg, struct sock_addr *a)
{
	char text[80];
	uint16_t port;
	if (strlen(arg) >= sizeof(text))
		return false;
	strcpy(text, arg);
	char *colon = strrchr(text, ':');
	if (!parse_port(colon ? colon + 1 : text, &port))
		return false;
	if (!colon)
		return set_addr4(a, "", port);
	*colon = '\0';
	if (text[0] != '[')
		return set_addr4(a, text, port);
	char *end = strchr(text, ']');
	if (!end || end[1])
		return false;
	*end = '\0';
	return set_addr6(a, text + 1, port);
}

int sock_tcp(const struct sock_addr *a)
{
	int one = 1, err;
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &a->sa, a->len) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

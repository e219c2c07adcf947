/*
 * notified SOCKET FILE: what a service manager hears [SYSTEMD "sd_notify(3)"]. SOCKET is a path, or @NAME for an abstract one. Each
 * datagram becomes a line of FILE: "from=PID" and its own lines, separated by blanks. Runs until it is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int hear(int s, char *text, size_t cap)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { text, cap - 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(s, &m, 0);
	struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
	struct ucred who = { 0 };

	if (n < 0)
		return -1;
	text[n] = 0;
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ' ';
	if (c && c->cmsg_type == SCM_CREDENTIALS)
		memcpy(&who, CMSG_DATA(c), sizeof(who));
	return who.pid;
}

int main(int argc, char **argv)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_DGRAM, 0), on = 1, pid;
	char text[1024];

	if (argc != 3 || strlen(argv[1]) >= sizeof(a.sun_path)) {
		fprintf(stderr, "usage: notified SOCKET FILE\n");
		return 2;
	}
	memcpy(a.sun_path, argv[1], strlen(argv[1]));
	if (argv[1][0] == '@')
		a.sun_path[0] = 0;
	if (setsockopt(s, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ||
	    bind(s, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(argv[1])))) {
		perror(argv[1]);
		return 1;
	}
	FILE *f = fopen(argv[2], "w");
	if (!f) {
		perror(argv[2]);
		return 1;
	}
	setlinebuf(f);
	while ((pid = hear(s, text, sizeof(text))) >= 0)
		fprintf(f, "from=%d %s\n", pid, text);
	return 1;
}

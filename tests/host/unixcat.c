/*
 * unixcat [-u UID] PATH: connect to a Unix socket, as another user if so asked; standard input goes into it, what comes out
 * goes to standard output.
 *
 * Ends when the other side closes, or after the end of the input (exit status 0). busybox nc knows no Unix sockets.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* copy: move what one read gives; 0 at the end of the input or when the other side is gone. */
static int copy(int from, int to)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof(buf));

	for (ssize_t done = 0; done < n;) {
		ssize_t w = write(to, buf + done, (size_t)(n - done));
		if (w <= 0)
			return 0;
		done += w;
	}
	return n > 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc == 4 && strcmp(argv[1], "-u") == 0) {
		if (setgid((gid_t)atoi(argv[2])) || setuid((uid_t)atoi(argv[2]))) {
			perror(argv[2]);
			return 1;
		}
		argc -= 2;
		argv += 2;
	}
	if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "usage: unixcat [-u UID] PATH\n");
		return 2;
	}
	strcpy(addr.sun_path, argv[1]);
	if (sock < 0 || connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		perror(argv[1]);
		return 1;
	}
	struct pollfd fds[2] = { { .fd = sock, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents && !copy(sock, 1))
			return 0;
		if (fds[1].revents && !copy(0, sock))
			return 0;
	}
	return 1;
}

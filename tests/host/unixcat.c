/*
 * unixcat PATH: connect to a Unix socket; standard input goes into it, what comes out goes to standard output.
 *
 * Ends when the other side closes, or after the end of the input (exit status 0). busybox nc knows no Unix sockets.
 */
#include <poll.h>
#include <stdio.h>
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

	if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "usage: unixcat PATH\n");
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

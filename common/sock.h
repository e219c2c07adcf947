/*
 * Sockets to listen at: unix paths and TCP addresses.  Addresses are numeric, as a static binary has no resolver.  Any thread.
 */
#ifndef COMMON_SOCK_H
#define COMMON_SOCK_H

#include <netinet/in.h>
#include <stdbool.h>

struct sock_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
	bool loopback;
};

/* ADDR:PORT, [ADDR6]:PORT, :PORT or PORT; without an address, 127.0.0.1.  False: it is none of them. */
bool sock_parse(const char *text, struct sock_addr *);
/* A descriptor bound to it, non-blocking, not listening yet; -errno (not reported). */
int sock_tcp(const struct sock_addr *);
/*
 * The same for a path, with mode 0600.  A socket nobody listens at is the remains of a dead process and goes; anything else
 * at the path stays untouched.  -errno (reported, `who` first).
 */
int sock_unix(const char *who, const char *path);

#endif

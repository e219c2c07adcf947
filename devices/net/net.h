/*
 * Networks as devices see them: queue pairs of packets, each behind a virtio-net header of 12 bytes
 * [VIRTIO-1.2 5.1.6], which is also what Linux taps speak.
 *
 * Locking: a network belongs to one device.  Its callbacks come on the loop's thread without that device's
 * lock; every call here is made with it held, on the loop's thread, but open and close (main thread).
 */
#ifndef DEVICES_NET_NET_H
#define DEVICES_NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/conf.h"

struct vm;
struct ev;
struct net;

#define NET_HDR_LEN 12u
#define NET_PAIRS_MAX 8
/* Header, Ethernet with a VLAN tag, and the largest packet segmentation offload makes. */
#define NET_PACKET_MAX (NET_HDR_LEN + 18u + 65535u)
#define NET_FORMS "tap, a tap's name such as tap0, tap=NAME, fd=N[:N...] or null"

/* What the guest can take: offloads the back end may leave undone towards it. */
#define NET_OFF_CSUM 1u
#define NET_OFF_TSO4 2u
#define NET_OFF_TSO6 4u
#define NET_OFF_ECN 8u

struct net_conf {
	const char *backend;
	const char *bridge;             /* NULL: none */
	unsigned pairs;                 /* 1..NET_PAIRS_MAX */
	unsigned mtu;                   /* 0: as it is */
};

struct net_ops {
	void (*readable)(void *arg, unsigned pair);
	void (*writable)(void *arg, unsigned pair);
};

struct net_driver;
struct net_queue {
	struct net *net;
	unsigned pair;
	int fd;                         /* one packet a read or write; -1: none */
	struct ev *ev;
	bool rx, tx;                    /* what is watched for */
	bool failed;                    /* reported, not watched any more */
};

struct net {
	const struct net_driver *drv;
	struct vm *vm;
	const char *who;                /* the device's id */
	struct net_conf conf;
	const struct net_ops *ops;
	void *arg;
	char name[32];                  /* of the host's side, for messages: "tap0" */
	bool offloads;                  /* checksums and segmentation may be left to it, and it may leave them to us */
	struct net_queue q[NET_PAIRS_MAX];
};

struct net_driver {
	const char *name;
	/* Is this specification mine?  arg: what follows "name=", or the whole specification. */
	bool (*match)(const char *spec, const char **arg);
	int (*open)(struct net *, const char *arg);             /* fills q[].fd, name, offloads; 0 or -errno (reported) */
	int (*offload)(struct net *, unsigned off);             /* NULL: none */
	int (*pairs_set)(struct net *, unsigned active);        /* NULL: nothing to do */
};
extern const struct net_driver net_null, net_fd, net_tap;

/* Opens a back end; `who` and the strings stay the caller's.  NULL on failure (reported), *err the -errno. */
struct net *net_open(struct vm *, const char *who, const struct net_conf *, const struct net_ops *, void *arg, int *err);
void net_close(struct net *);                                   /* NULL ok */
/* The grammar only: 0, or -EINVAL (reported, listing the forms).  For machines that never run. */
int net_check(const char *who, const char *backend);
/* One packet with its header.  Bytes, -EAGAIN, or another -errno (reported once; the queue is then dead). */
ssize_t net_readv(struct net *, unsigned pair, const struct iovec *, unsigned n);
/* Bytes, -EAGAIN: wait for writable(); any other -errno: the packet is refused. */
ssize_t net_writev(struct net *, unsigned pair, const struct iovec *, unsigned n);
void net_watch_rx(struct net *, unsigned pair, bool on);
void net_watch_tx(struct net *, unsigned pair, bool on);
int net_offload(struct net *, unsigned off);                    /* NET_OFF_*; 0 or -errno */
/* How many pairs the guest uses; packets come on these only. */
int net_pairs_set(struct net *, unsigned active);

#endif

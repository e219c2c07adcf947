/*
 * Linux tap interfaces [Linux Documentation/networking/tuntap.rst]: made here, which takes CAP_NET_ADMIN, or
 * made before for this user (`ip tuntap add`).  An interface made here goes away with the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/net/net.h"

#define TUN_PATH "/dev/net/tun"

static bool name_ok(const char *s)
{
	const size_t len = strlen(s);

	return len > 0 && len < IFNAMSIZ && !strpbrk(s, "/=: \t%") && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static bool tap_match(const char *spec, const char **arg)
{
	*arg = strncmp(spec, "tap=", 4) == 0 ? spec + 4 : spec;
	return name_ok(*arg);
}

/* --- Making it --- */

static int attach_failed(const struct net *n, const char *name, int err)
{
	const char *multi = n->conf.pairs > 1 ? " multi_queue" : "";

	if (err == EPERM || err == EACCES)
		return err_msg(-err, "%s: tap '%s': making it takes CAP_NET_ADMIN; or make it before: "
			       "ip tuntap add dev %s mode tap%s user $(id -un)", n->who, name, name, multi);
	if (err == EBUSY)
		return err_msg(-err, "%s: tap '%s' is in use by another machine or program; choose another", n->who, name);
	if (err == EINVAL)
		return err_msg(-err, "%s: interface '%s' exists and is no tap with %s; delete it, or make it with: "
			       "ip tuntap add dev %s mode tap%s", n->who, name,
			       n->conf.pairs > 1 ? "several queues" : "one queue", name, multi);
	return err_msg(-err, "%s: tap '%s': %s", n->who, name, strerror(err));
}

static int queue_attach(struct net *n, unsigned pair)
{
	const int hdr_len = NET_HDR_LEN;
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	const int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_msg(-errno, "%s: %s: %s; load the module with 'modprobe tun' and give this user access", n->who,
			       TUN_PATH, strerror(errno));
	n->q[pair].fd = fd;
	if (n->conf.pairs > 1)
		r.ifr_flags |= IFF_MULTI_QUEUE;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", n->name);
	if (ioctl(fd, TUNSETIFF, &r) < 0)
		return attach_failed(n, n->name, errno);
	snprintf(n->name, sizeof(n->name), "%s", r.ifr_name);   /* "tap%d" has become a number */
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) < 0)
		return err_sys("%s: tap '%s': header size", n->who, n->name);
	return 0;
}

/* --- The interface itself --- */

static int flags_up(struct net *n, int sock)
{
	struct ifreq r = { .ifr_flags = 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", n->name);
	if (ioctl(sock, SIOCGIFFLAGS, &r) < 0)
		return err_sys("%s: tap '%s': flags", n->who, n->name);
	if (r.ifr_flags & IFF_UP)
		return 0;
	r.ifr_flags |= IFF_UP;
	if (ioctl(sock, SIOCSIFFLAGS, &r) == 0)
		return 0;
	return err_msg(-errno, "%s: tap '%s' is down and cannot be brought up: %s; do it before: ip link set %s up", n->who,
		       n->name, strerror(errno), n->name);
}

static int mtu_set(struct net *n, int sock)
{
	struct ifreq r = { .ifr_mtu = (int)n->conf.mtu };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", n->name);
	if (n->conf.mtu == 0 || ioctl(sock, SIOCSIFMTU, &r) == 0)
		return 0;
	return err_msg(-errno, "%s: tap '%s': MTU %u: %s; leave 'mtu' out or set it before: ip link set %s mtu %u", n->who,
		       n->name, n->conf.mtu, strerror(errno), n->name, n->conf.mtu);
}

static int bridge_join(struct net *n, int sock)
{
	struct ifreq r = { .ifr_flags = 0 };

	if (!n->conf.bridge)
		return 0;
	if (!name_ok(n->conf.bridge))
		return err_msg(-EINVAL, "%s: bridge '%s' cannot be an interface's name", n->who, n->conf.bridge);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", n->conf.bridge);
	r.ifr_ifindex = (int)if_nametoindex(n->name);
	/* EBUSY: it is in a bridge already, which the operator has chosen. */
	if (ioctl(sock, SIOCBRADDIF, &r) == 0 || errno == EBUSY)
		return 0;
	/* ENOPKG: no bridge has been made since the host started. */
	if (errno == ENODEV || errno == ENOPKG)
		return err_msg(-ENODEV, "%s: bridge '%s' does not exist; make it with: ip link add %s type bridge", n->who,
			       n->conf.bridge, n->conf.bridge);
	return err_msg(-errno, "%s: adding tap '%s' to bridge '%s': %s; do it before: ip link set %s master %s", n->who, n->name,
		       n->conf.bridge, strerror(errno), n->name, n->conf.bridge);
}

static int interface_setup(struct net *n)
{
	const int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err;

	if (sock < 0)
		return err_sys("%s: socket", n->who);
	err = mtu_set(n, sock);
	if (!err)
		err = bridge_join(n, sock);
	if (!err)
		err = flags_up(n, sock);
	close(sock);
	return err;
}

static int tap_open(struct net *n, const char *arg)
{
	int err = 0;

	snprintf(n->name, sizeof(n->name), "%s", strcmp(arg, "tap") == 0 ? "tap%d" : arg);
	for (unsigned i = 0; i < n->conf.pairs && !err; i++)
		err = queue_attach(n, i);
	if (!err)
		err = interface_setup(n);
	if (!err)
		n->offloads = ioctl(n->q[0].fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0 &&
			      ioctl(n->q[0].fd, TUNSETOFFLOAD, 0) == 0;
	return err;
}

/* --- Running --- */

static int tap_offload(struct net *n, unsigned off)
{
	unsigned flags = 0;

	flags |= off & NET_OFF_CSUM ? TUN_F_CSUM : 0;
	flags |= off & NET_OFF_TSO4 ? TUN_F_TSO4 : 0;
	flags |= off & NET_OFF_TSO6 ? TUN_F_TSO6 : 0;
	flags |= off & NET_OFF_ECN ? TUN_F_TSO_ECN : 0;
	return ioctl(n->q[0].fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

/* The kernel spreads flows over attached queues only. */
static int tap_pairs_set(struct net *n, unsigned active)
{
	int err = 0;

	for (unsigned i = 0; i < n->conf.pairs && n->conf.pairs > 1; i++) {
		struct ifreq r = { .ifr_flags = i < active ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

		/* EINVAL: it is so already. */
		if (ioctl(n->q[i].fd, TUNSETQUEUE, &r) < 0 && errno != EINVAL)
			err = -errno;
	}
	return err;
}

const struct net_driver net_tap = {
	.name = "tap", .match = tap_match, .open = tap_open, .offload = tap_offload, .pairs_set = tap_pairs_set,
};

/*
 * A real tap, where this process may make one; elsewhere only the refusals are checked.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/net/net.h"

static struct vm vm;
static void on_ready(void *arg, unsigned pair) { }
static const struct net_ops ops = { on_ready, on_ready };

/* NULL where taps cannot be made. */
static struct net *tap(const char *spec, unsigned pairs, unsigned mtu)
{
	const struct net_conf conf = { .backend = spec, .pairs = pairs, .mtu = mtu };
	int err = 0;
	struct net *n = net_open(&vm, "test", &conf, &ops, NULL, &err);
	if (!n && err != -EPERM && err != -EACCES && err != -ENOENT && err != -ENODEV && err != -ENOTTY && err != -ENOSYS)
		ck_abort_msg("tap: %s", strerror(-err));
	if (!n)
		printf("no tap here: not tested\n");
	return n;
}

static int interface_mtu(const char *name)
{
	struct ifreq r = { .ifr_mtu = 0 };
	const int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", name);
	ck_assert_int_eq(ioctl(s, SIOCGIFMTU, &r), 0);
	close(s);
	return r.ifr_mtu;
}

START_TEST(carries_packets)
{
	uint8_t buf[2048], frame[100] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
	const struct iovec iov = { buf, sizeof(buf) };
	ssize_t n = -1;
	vm.loop = loop_new();
	struct net *t = tap("skeptest0", 1, 1400);
	if (!t) {
		loop_free(vm.loop);
		return;
	}
	ck_assert_str_eq(t->name, "skeptest0");
	ck_assert_int_eq(interface_mtu(t->name), 1400);
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = (int)if_nametoindex(t->name),
	};
	const int s = socket(AF_PACKET, SOCK_RAW, htons(0x88b5));
	ck_assert_int_eq(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(send(s, frame, sizeof(frame), 0), sizeof(frame));
	for (int i = 0; i < 100 && n != NET_HDR_LEN + sizeof(frame); i++)       /* the host's own chatter comes too */
		n = net_readv(t, 0, &iov, 1);
	ck_assert_int_eq(n, NET_HDR_LEN + sizeof(frame));
	ck_assert_mem_eq(buf + NET_HDR_LEN, frame, sizeof(frame));
	memset(buf, 0, NET_HDR_LEN);
	const struct iovec out = { buf, NET_HDR_LEN + sizeof(frame) };
	ck_assert_int_eq(net_writev(t, 0, &out, 1), NET_HDR_LEN + sizeof(frame));
	ck_assert_int_eq(recv(s, buf, sizeof(buf), 0), sizeof(frame));
	memset(buf, 0xff, NET_HDR_LEN);                         /* a header that says nonsense: the kernel refuses */
	ck_assert_int_lt(net_writev(t, 0, &out, 1), 0);
	close(s);
	ck_assert(t->offloads);
	ck_assert_int_eq(net_offload(t, NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6), 0);
	ck_assert_int_eq(net_offload(t, 0), 0);
	net_close(t);
	ck_assert_uint_eq(if_nametoindex("skeptest0"), 0);
	loop_free(vm.loop);
}
END_TEST

START_TEST(several_queues)
{
	vm.loop = loop_new();
	struct net *t = tap("tap", 4, 0);
	if (t) {
		ck_assert_int_eq(strncmp(t->name, "tap", 3), 0);
		ck_assert_int_eq(net_pairs_set(t, 1), 0);
		ck_assert_int_eq(net_pairs_set(t, 4), 0);
		ck_assert_int_eq(net_pairs_set(t, 2), 0);
		int err = 0;
		const struct net_conf conf = { .backend = t->name, .pairs = 1 };
		ck_assert_ptr_null(net_open(&vm, "test", &conf, &ops, NULL, &err));     /* another kind of tap */
		const struct net_conf bridge = { .backend = "skeptest1", .pairs = 1, .bridge = "no-such-br" };
		ck_assert_ptr_null(net_open(&vm, "test", &bridge, &ops, NULL, &err));
		net_close(t);
	}
	loop_free(vm.loop);
}
END_TEST

UNIT_MAIN("devices/net/tap", carries_packets, several_queues)

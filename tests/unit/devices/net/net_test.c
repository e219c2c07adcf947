#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/net/net.h"

static struct vm vm;
static unsigned reads[2], writes[2];

static void on_readable(void *arg, unsigned pair) { reads[pair]++; }
static void on_writable(void *arg, unsigned pair) { writes[pair]++; }
static const struct net_ops ops = { on_readable, on_writable };

START_TEST(grammar)
{
	static const char *const good[] = { "null", "tap", "tap0", "tap=br0-guest", "fd=3", "vmtap12" };
	static const char *const bad[] = { "", "tap=", "a/b", "much-too-long-a-name", "slirp:x", "..", "tap0 ", "tap%d" };
	for (size_t i = 0; i < NELEM(good); i++)
		ck_assert_int_eq(net_check("test", good[i]), 0);
	for (size_t i = 0; i < NELEM(bad); i++)
		ck_assert_int_eq(net_check("test", bad[i]), -EINVAL);
}
END_TEST

START_TEST(packets)
{
	int s[2], t[2], err;
	char text[32], buf[64];
	vm.loop = loop_new();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, t), 0);
	snprintf(text, sizeof(text), "fd=%d:%d", s[1], t[1]);
	const struct net_conf conf = { .backend = text, .pairs = 2 };
	struct net *n = net_open(&vm, "test", &conf, &ops, NULL, &err);
	ck_assert_ptr_nonnull(n);
	const struct iovec iov[2] = { { buf, 4 }, { buf + 4, 60 } };
	ck_assert_int_eq(net_readv(n, 0, iov, 2), -EAGAIN);     /* made non-blocking */
	ck_assert_int_eq(send(t[0], "packet", 6, 0), 6);
	loop_step(vm.loop, 0);
	ck_assert_uint_eq(reads[1], 0);                         /* nobody asked yet */
	net_watch_rx(n, 1, true);
	loop_step(vm.loop, 100);
	ck_assert_uint_eq(reads[1], 1);
	ck_assert_uint_eq(reads[0], 0);
	ck_assert_int_eq(net_readv(n, 1, iov, 2), 6);
	ck_assert_mem_eq(buf, "packet", 6);
	ck_assert_int_eq(net_writev(n, 0, iov, 2), 64);
	net_watch_tx(n, 0, true);
	loop_step(vm.loop, 100);
	ck_assert_uint_eq(writes[0], 1);
	ck_assert_int_eq(net_offload(n, 0), 0);
	ck_assert_int_eq(net_offload(n, NET_OFF_CSUM), -EOPNOTSUPP);
	close(t[0]);
	ck_assert_int_eq(net_readv(n, 1, iov, 2), -EPIPE);
	ck_assert_int_eq(net_readv(n, 1, iov, 2), -EAGAIN);
	net_close(n);
	close(s[0]);
	loop_free(vm.loop);
}
END_TEST

START_TEST(refusals)
{
	static const char *const bad[] = { "fd=", "fd=x", "fd=1048575", "fd=-1", "no/name" };
	int err = 0;
	vm.loop = loop_new();
	for (size_t i = 0; i < NELEM(bad); i++) {
		const struct net_conf conf = { .backend = bad[i], .pairs = 1 };
		ck_assert_ptr_null(net_open(&vm, "test", &conf, &ops, NULL, &err));
		ck_assert_int_lt(err, 0);
	}
	loop_free(vm.loop);
}
END_TEST

UNIT_MAIN("devices/net/net", grammar, packets, refusals)

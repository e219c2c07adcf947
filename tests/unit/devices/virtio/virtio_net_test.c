#include "tests/unit/unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "devices/classes.h"
#include "devices/virtio/virtio_net.h"
#include "tests/unit/devices/virtio/driver.h"

#define RINGS (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)
#define HDR NET_HDR_LEN

struct wire {
	struct drv *d;
	int peer[2];
};

/* An interface whose other side is a packet socket of the test. */
static struct wire wire_new(unsigned pairs)
{
	struct wire w = { NULL, { -1, -1 } };
	char text[64] = "fd=";
	struct vm *vm = drv_vm_new();
	for (unsigned i = 0; i < pairs; i++) {
		int s[2];
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, s), 0);
		w.peer[i] = s[0];
		snprintf(text + strlen(text), sizeof(text) - strlen(text), i ? ":%d" : "%d", s[1]);
	}
	drv_conf(vm, "pci.0.4.0.backend", text);
	drv_conf(vm, "pci.0.4.0.queues", pairs == 2 ? "2" : "1");
	w.d = drv_open(vm, &virtio_net_class, "pci.0.4.0");
	ck_assert_ptr_nonnull(w.d);
	return w;
}

static void wire_end(struct wire *w)
{
	struct vm *vm = w->d->vm;
	drv_close(w->d);
	drv_vm_free(vm);
	for (int i = 0; i < 2; i++)
		if (w->peer[i] >= 0)
			close(w->peer[i]);
}

static void frame(uint8_t *p, size_t n, unsigned seed)
{
	memset(p, 0, HDR);
	for (size_t i = HDR; i < n; i++)
		p[i] = (uint8_t)(i * 7 + seed);
}

static void rx_buffers(struct drv *d, unsigned q, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		const struct drv_buf b = { drv_alloc(d, len), len, true };
		drv_add(d, q, &b, 1, false);
	}
	drv_kick(d, q);
	drv_settle(d);
}

static void both_ways(uint64_t features)
{
	struct wire w = wire_new(1);
	struct drv *d = w.d;
	uint8_t pkt[2000], got[2000];
	drv_start(d, features, 3, 64);
	for (unsigned i = 0; i < 200; i++) {
		const uint32_t len = 64 + i * 5;
		d->brk = DRV_RAM_BASE + (1 << 20);
		const struct drv_buf b[2] = { { drv_alloc(d, HDR), HDR, false }, { drv_alloc(d, len), len, false } };
		frame(pkt, HDR + len, i);
		memcpy(drv_ptr(d, b[1].gpa, len), pkt + HDR, len);
		ck_assert_int_eq(drv_do(d, 1, b, 2, features & VIRTIO_F_INDIRECT_DESC), 0);
		ck_assert_int_eq(recv(w.peer[0], got, sizeof(got), 0), HDR + len);
		ck_assert_mem_eq(got, pkt, HDR + len);
	}
	for (unsigned i = 0; i < 200; i++) {
		const uint32_t len = 64 + i * 5;
		uint32_t used = 0;
		d->brk = DRV_RAM_BASE + (1 << 20);
		const struct drv_buf b = { drv_alloc(d, 1600), 1600, true };
		const int id = drv_add(d, 0, &b, 1, false);
		drv_kick(d, 0);
		drv_settle(d);
		frame(pkt, HDR + len, i);
		ck_assert_int_eq(send(w.peer[0], pkt, HDR + len, 0), HDR + len);
		ck_assert_int_eq(drv_wait(d, 0, &used), id);
		ck_assert_uint_eq(used, HDR + len);
		ck_assert_mem_eq((uint8_t *)drv_ptr(d, b.gpa, used) + HDR, pkt + HDR, len);
		ck_assert_uint_eq(get_le16((uint8_t *)drv_ptr(d, b.gpa, used) + 10), 1);
		ck_assert(drv_irq(d, 1));
	}
	wire_end(&w);
}
START_TEST(split) { both_ways(0); both_ways(RINGS | VNET_F_MRG_RXBUF); }
END_TEST
START_TEST(packed) { both_ways(VIRTIO_F_RING_PACKED); both_ways(VIRTIO_F_RING_PACKED | RINGS | VNET_F_MRG_RXBUF); }
END_TEST

/* A packet over several small buffers; then one that fits none of them. */
static void merging(uint64_t features)
{
	struct wire w = wire_new(1);
	struct drv *d = w.d;
	uint8_t pkt[4000], got[4000];
	uint32_t used, at = 0;
	drv_start(d, features | VNET_F_MRG_RXBUF, 3, 16);
	frame(pkt, 1000, 3);
	ck_assert_int_eq(send(w.peer[0], pkt, 1000, 0), 1000);
	rx_buffers(d, 0, 3, 256);
	ck_assert_int_eq(drv_poll(d, 0, &used), -1);            /* 768 bytes are not enough: the packet waits */
	const uint64_t first = d->brk - 3 * 256;
	rx_buffers(d, 0, 2, 256);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_ge(drv_wait(d, 0, &used), 0);
		ck_assert_uint_eq(used, i < 3 ? 256 : 1000 - 3 * 256);
		memcpy(got + at, drv_ptr(d, first + i * 256, used), used);
		at += used;
	}
	ck_assert_uint_eq(get_le16(got + 10), 4);
	ck_assert_mem_eq(got + HDR, pkt + HDR, 1000 - HDR);
	ck_assert_int_eq(drv_poll(d, 0, &used), -1);
	/* The whole ring is too small for this one: dropped, and the next is received. */
	rx_buffers(d, 0, 15, 64);
	frame(pkt, 4000, 4);
	ck_assert_int_eq(send(w.peer[0], pkt, 4000, 0), 4000);
	ck_assert_int_eq(send(w.peer[0], pkt, 60, 0), 60);
	ck_assert_int_ge(drv_wait(d, 0, &used), 0);
	ck_assert_uint_eq(used, 60);
	wire_end(&w);
}
START_TEST(merged) { merging(0); merging(RINGS); merging(VIRTIO_F_RING_PACKED); merging(VIRTIO_F_RING_PACKED | RINGS); }
END_TEST

/* The peer does not read: the queue stalls, nothing is lost or reordered, and it goes on afterwards. */
START_TEST(tx_stall)
{
	struct wire w = wire_new(1);
	struct drv *d = w.d;
	uint8_t got[4096];
	unsigned sent = 0, seen = 0;
	drv_start(d, RINGS, 3, 256);
	for (; sent < 250; sent++) {
		const struct drv_buf b = { drv_alloc(d, 4000), 4000, false };
		put_le32(drv_ptr(d, b.gpa + HDR, 4), sent);
		drv_add(d, 1, &b, 1, false);
	}
	drv_kick(d, 1);
	drv_settle(d);
	for (int idle = 0; seen < sent && idle < 1000; ) {
		if (recv(w.peer[0], got, sizeof(got), 0) == 4000) {
			ck_assert_uint_eq(get_le32(got + HDR), seen++);
			idle = 0;
		} else {
			loop_step(d->vm->loop, 1);
			idle++;
		}
	}
	ck_assert_uint_eq(seen, sent);
	wire_end(&w);
}
END_TEST

static int ctrl(struct drv *d, unsigned q, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	const uint64_t at = drv_alloc(d, 2 + len), ack = drv_alloc(d, 1);
	uint8_t *p = drv_ptr(d, at, 2 + len);
	p[0] = class;
	p[1] = cmd;
	memcpy(p + 2, data, len);
	*(uint8_t *)drv_ptr(d, ack, 1) = 0xee;
	const struct drv_buf b[2] = { { at, 2 + len, false }, { ack, 1, true } };
	ck_assert_int_eq(drv_do(d, q, b, 2, false), 1);
	return *(uint8_t *)drv_ptr(d, ack, 1);
}

START_TEST(control)
{
	struct wire w = wire_new(2);
	struct drv *d = w.d;
	const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 }, on = 1, tables[8] = { 0 }, bad[8] = { 0xff, 0xff, 0xff, 0xff };
	drv_start(d, VNET_F_CTRL_VQ | VNET_F_CTRL_RX | VNET_F_CTRL_MAC_ADDR | VNET_F_MQ | VNET_F_MRG_RXBUF, 5, 16);
	ck_assert_uint_eq(drv_cfg(d, 8, 2), 2);
	ck_assert_int_eq(ctrl(d, 4, 0, 0, &on, 1), 0);
	ck_assert_int_eq(ctrl(d, 4, 0, 0, &on, 0), 1);
	ck_assert_int_eq(ctrl(d, 4, 1, 1, mac, 6), 0);
	ck_assert_uint_eq(drv_cfg(d, 0, 4), 0x03020102);
	ck_assert_int_eq(ctrl(d, 4, 1, 1, mac, 5), 1);
	ck_assert_int_eq(ctrl(d, 4, 1, 0, tables, 8), 0);
	ck_assert_int_eq(ctrl(d, 4, 1, 0, bad, 8), 1);
	ck_assert_int_eq(ctrl(d, 4, 9, 0, bad, 8), 1);
	ck_assert_int_eq(ctrl(d, 4, 4, 0, (uint8_t[]){ 3, 0 }, 2), 1);
	ck_assert_int_eq(ctrl(d, 4, 4, 0, (uint8_t[]){ 0, 0 }, 2), 1);
	/* The second pair is silent until it is switched on. */
	uint8_t pkt[100] = { 0 };
	uint32_t used;
	rx_buffers(d, 2, 2, 2048);
	ck_assert_int_eq(send(w.peer[1], pkt, sizeof(pkt), 0), 100);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, 2, &used), -1);
	ck_assert_int_eq(ctrl(d, 4, 4, 0, (uint8_t[]){ 2, 0 }, 2), 0);
	ck_assert_int_ge(drv_wait(d, 2, &used), 0);
	ck_assert_uint_eq(used, 100);
	wire_end(&w);
}
END_TEST

/* Without MQ the control queue is the third one although more exist. */
START_TEST(control_without_mq)
{
	struct wire w = wire_new(2);
	const uint8_t on = 1;
	drv_start(w.d, VNET_F_CTRL_VQ | VNET_F_CTRL_RX, 3, 16);
	ck_assert_int_eq(ctrl(w.d, 2, 0, 1, &on, 1), 0);
	wire_end(&w);
}
END_TEST

START_TEST(mac_address)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, "pci.0.4.0.backend", "null");
	drv_conf(vm, "pci.0.5.0.backend", "null");
	drv_conf(vm, "pci.0.6.0.backend", "null");
	drv_conf(vm, "pci.0.6.0.mac", "58:9c:fc:00:11:22");
	struct drv *a = drv_open(vm, &virtio_net_class, "pci.0.4.0"), *b = drv_open(vm, &virtio_net_class, "pci.0.5.0");
	struct drv *c = drv_open(vm, &virtio_net_class, "pci.0.6.0");
	ck_assert_uint_eq(drv_cfg(a, 0, 1), 2);
	ck_assert_uint_ne(drv_cfg(a, 2, 4), drv_cfg(b, 2, 4));
	/* FNV-1a of "test/pci.0.4.0": an address once given stays for ever. */
	uint64_t h = 0xcbf29ce484222325;
	for (const char *p = "test/pci.0.4.0"; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3;
	ck_assert_uint_eq(drv_cfg(a, 5, 1), h & 0xff);
	ck_assert_uint_eq(drv_cfg(a, 1, 1), h >> 32 & 0xff);
	ck_assert_uint_eq(drv_cfg(c, 0, 4), 0x00fc9c58);
	drv_start(a, 0, 3, 16);
	const struct drv_buf pkt = { drv_alloc(a, 100), 100, false };
	ck_assert_int_eq(drv_do(a, 1, &pkt, 1, false), 0);
	drv_close(a);
	drv_close(b);
	drv_close(c);
	drv_vm_free(vm);
}
END_TEST

/* Buffers taken in advance return to the ring for a snapshot and are used after it. */
START_TEST(pause_and_snapshot)
{
	for (unsigned packed_ring = 0; packed_ring < 2; packed_ring++) {
		struct wire w = wire_new(1);
		struct drv *d = w.d;
		struct device *dev = &d->v->pci.dev;
		uint8_t pkt[300];
		uint32_t used;
		drv_start(d, VNET_F_MRG_RXBUF | RINGS | (packed_ring ? VIRTIO_F_RING_PACKED : 0), 3, 16);
		rx_buffers(d, 0, 16, 256);
		ck_assert_uint_gt(d->v->vq[0].inuse, 0);
		frame(pkt, 300, 1);
		dev->cls->pause(dev);
		ck_assert_uint_eq(d->v->vq[0].inuse, 0);
		ck_assert_int_eq(send(w.peer[0], pkt, 300, 0), 300);
		drv_settle(d);
		ck_assert_int_eq(drv_poll(d, 0, &used), -1);
		json_t *rec = device_save(dev);
		device_reset(dev);
		ck_assert_int_eq(device_load(dev, rec), 0);
		json_decref(rec);
		dev->cls->resume(dev);
		ck_assert_int_ge(drv_wait(d, 0, &used), 0);
		ck_assert_uint_eq(used, 256);
		ck_assert_int_ge(drv_wait(d, 0, &used), 0);
		ck_assert_uint_eq(used, 44);
		wire_end(&w);
	}
}
END_TEST

START_TEST(peer_gone)
{
	struct wire w = wire_new(1);
	drv_start(w.d, 0, 3, 16);
	rx_buffers(w.d, 0, 4, 2048);
	close(w.peer[0]);
	w.peer[0] = -1;
	drv_settle(w.d);
	const struct drv_buf pkt = { drv_alloc(w.d, 100), 100, false };
	ck_assert_int_eq(drv_do(w.d, 1, &pkt, 1, false), 0);
	const uint64_t before = now_ns();
	loop_step(w.d->vm->loop, 20);           /* waits: the dead descriptor is not watched any more */
	ck_assert_uint_ge(now_ns() - before, 15000000);
	wire_end(&w);
}
END_TEST

START_TEST(refusals)
{
	struct vm *vm = drv_vm_new();
	ck_assert_ptr_null(drv_open(vm, &virtio_net_class, "pci.0.4.0"));
	drv_conf(vm, "pci.0.4.0.backend", "no/such");
	ck_assert_ptr_null(drv_open(vm, &virtio_net_class, "pci.0.4.0"));
	drv_conf(vm, "pci.0.4.0.backend", "fd=x");
	ck_assert_ptr_null(drv_open(vm, &virtio_net_class, "pci.0.4.0"));
	drv_conf(vm, "pci.0.4.0.backend", "fd=9999");
	ck_assert_ptr_null(drv_open(vm, &virtio_net_class, "pci.0.4.0"));
	drv_vm_free(vm);
}
END_TEST

/* The cable is pulled out: the driver is told, packets are lost both ways and counted; plugged in, they pass again. */
START_TEST(cable)
{
	struct wire w = wire_new(1);
	struct drv *d = w.d;
	const struct device_class *cls = &virtio_net_class;
	struct device *dev = &d->v->pci.dev;
	uint8_t pkt[100], got[200];
	struct net_port p;
	uint32_t used;

	drv_start(d, VNET_F_STATUS | VNET_F_MRG_RXBUF, 3, 64);
	ck_assert_uint_eq(drv_cfg(d, VNET_CFG_STATUS, 2), 1);
	rx_buffers(d, 0, 40, 2000);
	cls->net_link(dev, false);
	ck_assert_uint_eq(drv_cfg(d, VNET_CFG_STATUS, 2), 0);
	ck_assert(drv_irq(d, 0));
	cls->net_link(dev, false);
	ck_assert(!drv_irq(d, 0));                              /* nothing new */
	frame(pkt, sizeof(pkt), 1);
	ck_assert_int_eq(send(w.peer[0], pkt, sizeof(pkt), 0), sizeof(pkt));
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, 0, &used), -1);
	const struct drv_buf b = { drv_alloc(d, sizeof(pkt)), sizeof(pkt), false };
	ck_assert_int_eq(drv_do(d, 1, &b, 1, false), 0);
	ck_assert_int_lt(recv(w.peer[0], got, sizeof(got), 0), 0);
	cls->net_link(dev, true);
	ck_assert(drv_irq(d, 0));
	frame(pkt, sizeof(pkt), 2);
	ck_assert_int_eq(send(w.peer[0], pkt, sizeof(pkt), 0), sizeof(pkt));
	ck_assert_int_ge(drv_wait(d, 0, &used), 0);
	ck_assert_uint_eq(used, sizeof(pkt));
	ck_assert_int_eq(drv_do(d, 1, &b, 1, false), 0);
	ck_assert_int_eq(recv(w.peer[0], got, sizeof(got), 0), sizeof(pkt));
	cls->net_port(dev, &p);
	ck_assert(p.up);
	ck_assert_uint_eq(p.queues, 1);
	ck_assert_mem_eq(p.mac, ((struct vnet *)d->v)->mac, 6);
	ck_assert_uint_eq(p.rx.packets, 1);
	ck_assert_uint_eq(p.rx.bytes, sizeof(pkt) - HDR);
	ck_assert_uint_eq(p.rx.dropped, 1);
	ck_assert_uint_eq(p.tx.packets, 1);
	ck_assert_uint_eq(p.tx.bytes, sizeof(pkt) - HDR);
	ck_assert_uint_eq(p.tx.dropped, 1);
	wire_end(&w);
}
END_TEST

UNIT_MAIN("devices/virtio/virtio_net", split, packed, merged, tx_stall, control, control_without_mq, mac_address,
	pause_and_snapshot, cable, peer_gone, refusals)

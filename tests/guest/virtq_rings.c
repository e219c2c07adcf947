/*
 * virtq: what can be wrong with chains, addresses, indirect tables, the available ring, packed rings, and the places of rings
 * [VIRTIO-1.2 2.7, 2.8].
 */
#include "tests/guest/virtq.h"

#define DESC_AVAIL 0x80                 /* packed rings: available in the first round [VIRTIO-1.2 2.8.1] */
#define DESC_USED 0x8000

static struct vdesc table[256] __attribute__((aligned(16)));    /* indirect */

static void bad_data(struct ctx *c, uint64_t addr, uint32_t len)
{
	with_data(c, c->r->desc, addr, len);
	go(c, 0);
}

static void bad_table(struct ctx *c, uint64_t addr, uint32_t len, unsigned flags)
{
	desc(c->r->desc, 0, addr, len, DESC_INDIRECT | flags, 1);
	desc(c->r->desc, 1, buf(1), 64, dir(c), 0);
	go(c, 0);
}

/* Memory that nothing lives in: the upper half of RAM. */
static uint64_t spare(void)
{
	return machine.ram + machine.ram_len / 2;
}

/* --- chains --- */

static void next_self(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, 0);
	go(c, 0);
}

static void next_cycle(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 64, dir(c) | DESC_NEXT, 0);
	go(c, 0);
}

static void next_whole_ring(struct ctx *c)
{
	for (unsigned i = 0; i < c->d->len[c->q]; i++)
		desc(c->r->desc, i, buf(i), 64, dir(c) | DESC_NEXT, (i + 1) % c->d->len[c->q]);
	go(c, 5);
}

static void next_range(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, c->d->len[c->q]);
	go(c, 0);
}

static void next_range_max(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, 0xffff);
	go(c, 0);
}

static void head_range(struct ctx *c)
{
	go(c, c->d->len[c->q]);
}

static void head_range_max(struct ctx *c)
{
	go(c, 0xffff);
}

static void same_head_twice(struct ctx *c)
{
	with_data(c, c->r->desc, buf(2), 512);
	vq_add(c->d, c->q, 0);
	go(c, 0);
}

/* --- addresses and lengths --- */

static void data_past_ram(struct ctx *c) { bad_data(c, machine.ram + machine.ram_len - 256, 512); }
static void data_at_ram_end(struct ctx *c) { bad_data(c, machine.ram + machine.ram_len, 512); }
static void data_len_max(struct ctx *c) { bad_data(c, buf(2), 0xffffffff); }
static void data_in_hole(struct ctx *c) { bad_data(c, machine.hole, 512); }
static void data_in_ecam(struct ctx *c) { bad_data(c, machine.ecam, 512); }
static void data_in_registers(struct ctx *c) { bad_data(c, c->d->common, 512); }
static void data_at_top(struct ctx *c) { bad_data(c, ~0ull - 255, 256); }
static void data_wraps(struct ctx *c) { bad_data(c, ~0ull << 12, 0x2000); }
static void data_high_bit(struct ctx *c) { bad_data(c, 1ull << 63 | buf(2), 512); }
static void data_empty(struct ctx *c) { bad_data(c, buf(2), 0); }
static void data_empty_nowhere(struct ctx *c) { bad_data(c, ~0ull, 0); }

/* The device writes over the ring it works on, or sends it. */
static void data_is_desc(struct ctx *c) { bad_data(c, (uintptr_t)c->r->desc, 512); }
static void data_is_avail(struct ctx *c) { bad_data(c, (uintptr_t)&c->r->avail, 512); }
static void data_is_used(struct ctx *c) { bad_data(c, (uintptr_t)&c->r->used, 512); }

static void all_empty(struct ctx *c)
{
	for (unsigned i = 0; i < 3; i++)
		desc(c->r->desc, i, 0, 0, dir(c) | (i < 2 ? DESC_NEXT : 0), i + 1);
	go(c, 0);
}

/* More than 4 GiB in one chain [VIRTIO-1.2 2.7.4]. */
static void data_too_much(struct ctx *c)
{
	unsigned n = NELEM(table);
	uint32_t len = (uint32_t)MIN(machine.ram_len / 2, 1ull << 30) & ~4095u;

	for (unsigned i = 0; i < n; i++)
		desc(table, i, spare(), len, dir(c) | (i < n - 1 ? DESC_NEXT : 0), i + 1);
	bad_table(c, (uintptr_t)table, sizeof(table), 0);
}

/* --- kinds of buffers --- */

static void wrong_order(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, DESC_WRITE | DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 64, DESC_NEXT, 2);
	desc(c->r->desc, 2, buf(2), 64, DESC_WRITE, 0);
	go(c, 0);
}

static void only_readable(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 512, 0, 0);
	go(c, 0);
}

static void only_writable(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, DESC_WRITE | DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 512, DESC_WRITE, 0);
	go(c, 0);
}

static void one_byte(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 1, dir(c), 0);
	go(c, 0);
}

static void one_byte_each(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 1, DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 1, DESC_WRITE, 0);
	go(c, 0);
}

static void flags_unknown(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | 0xfff8, 0);
	go(c, 0);
}

/* --- indirect tables --- */

static void indirect_self(struct ctx *c)
{
	desc(table, 0, buf(0), 64, dir(c) | DESC_NEXT, 0);
	bad_table(c, (uintptr_t)table, 16, 0);
}

static void indirect_cycle(struct ctx *c)
{
	desc(table, 0, buf(0), 64, dir(c) | DESC_NEXT, 1);
	desc(table, 1, buf(1), 64, dir(c) | DESC_NEXT, 0);
	bad_table(c, (uintptr_t)table, 32, 0);
}

static void indirect_next_range(struct ctx *c)
{
	desc(table, 0, buf(0), 64, dir(c) | DESC_NEXT, 2);
	bad_table(c, (uintptr_t)table, 32, 0);
}

static void indirect_nested(struct ctx *c)
{
	desc(table, 0, (uintptr_t)(table + 2), 16, DESC_INDIRECT, 0);
	desc(table, 2, buf(0), 64, dir(c), 0);
	bad_table(c, (uintptr_t)table, 16, 0);
}

static void indirect_of_itself(struct ctx *c)
{
	desc(table, 0, (uintptr_t)table, 16, DESC_INDIRECT, 0);
	bad_table(c, (uintptr_t)table, 16, 0);
}

static void indirect_good_table(struct ctx *c)
{
	with_data(c, table, buf(2), 512);
}

static void indirect_with_next(struct ctx *c)
{
	indirect_good_table(c);
	bad_table(c, (uintptr_t)table, 48, DESC_NEXT);
}

static void indirect_in_chain(struct ctx *c)
{
	indirect_good_table(c);
	desc(c->r->desc, 0, buf(0), 16, dir(c) | DESC_NEXT, 1);
	desc(c->r->desc, 1, (uintptr_t)table, 48, DESC_INDIRECT, 0);
	go(c, 0);
}

static void indirect_writable(struct ctx *c)
{
	indirect_good_table(c);
	bad_table(c, (uintptr_t)table, 48, DESC_WRITE);
}

static void indirect_len_0(struct ctx *c) { bad_table(c, (uintptr_t)table, 0, 0); }
static void indirect_len_1(struct ctx *c) { bad_table(c, (uintptr_t)table, 1, 0); }
static void indirect_len_odd(struct ctx *c) { bad_table(c, (uintptr_t)table, 17, 0); }
static void indirect_len_max(struct ctx *c) { bad_table(c, (uintptr_t)table, 0xfffffff0, 0); }
static void indirect_unaligned(struct ctx *c) { bad_table(c, (uintptr_t)table + 1, 32, 0); }
static void indirect_in_hole(struct ctx *c) { bad_table(c, machine.hole, 32, 0); }
static void indirect_past_ram(struct ctx *c) { bad_table(c, machine.ram + machine.ram_len - 16, 32, 0); }
static void indirect_wraps(struct ctx *c) { bad_table(c, ~0ull - 15, 64, 0); }
static void indirect_is_ring(struct ctx *c) { bad_table(c, (uintptr_t)c->r->desc, 16, 0); }

/* --- the available ring --- */

static void avail_to(struct ctx *c, uint16_t idx)
{
	with_data(c, c->r->desc, buf(2), 512);
	*(volatile uint16_t *)&c->r->avail.idx = idx;
	vq_kick(c->d, c->q);
}

static void avail_jump(struct ctx *c) { avail_to(c, (uint16_t)(c->d->len[c->q] + 1)); }
static void avail_jump_half(struct ctx *c) { avail_to(c, 0x8000); }
static void avail_back(struct ctx *c) { avail_to(c, 0xffff); }

/* --- garbage --- */

static void garbage_desc(struct vdesc *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t kind = random_below(8), addr = kind ? spare() + random_below(machine.ram_len / 4) : random_get();
		uint32_t len = random_below(4) ? (uint32_t)random_below(BUF_LEN) : (uint32_t)random_get();

		desc(t, i, addr, len, (unsigned)random_below(kind > 3 ? 4 : 0x10000), (unsigned)random_below(n + (kind == 1)));
	}
}

static void garbage(struct ctx *c)
{
	unsigned n = c->d->len[c->q];

	for (unsigned round = 0; round < 8; round++) {
		garbage_desc(c->r->desc, n);
		garbage_desc(table, NELEM(table));
		for (unsigned i = 0; i < n; i++)
			c->r->avail.ring[i] = (uint16_t)random_below(n + (i == 60));
		*(volatile uint16_t *)&c->r->avail.idx += (uint16_t)(1 + random_below(8));
		vq_kick(c->d, c->q);
	}
}

static void ones(struct ctx *c)
{
	memset(c->r->desc, 0xff, sizeof(c->r->desc));
	go(c, 0);
}

/* Right in form, nonsense in content: request headers, packets, control messages. */
static void nonsense(struct ctx *c)
{
	for (unsigned round = 0; round < 16; round++) {
		for (unsigned i = 0; i < 64; i++)
			bufs[3][i] = (uint8_t)random_get();
		/* Not a write that would change what the proof reads. */
		if (c->d->type == VIRTIO_BLK && bufs[3][0] == 1)
			bufs[3][0] = 2;
		unsigned n = (round % (VQ_LEN / 2)) * 2;

		desc(c->r->desc, n, buf(3), 64, c->writes ? DESC_WRITE : DESC_NEXT, n + 1);
		desc(c->r->desc, n + 1, buf(4), 64, DESC_WRITE, 0);
		go(c, n);
	}
}

/* --- packed rings --- */

static void packed_go(struct ctx *c)
{
	for (unsigned i = 0; i < c->d->len[c->q]; i++)
		c->r->desc[i].next = (uint16_t)((c->r->desc[i].next | DESC_AVAIL) & ~DESC_USED);
	vq_kick(c->d, c->q);
}

/* In a packed ring the last two fields change places: id, then flags. */
static void packed(struct ctx *c, unsigned i, uint64_t addr, uint32_t len, unsigned flags)
{
	desc(c->r->desc, i, addr, len, i, flags);
}

static void packed_endless(struct ctx *c)
{
	for (unsigned i = 0; i < c->d->len[c->q]; i++)
		packed(c, i, buf(i), 64, dir(c) | DESC_NEXT);
	packed_go(c);
}

static void packed_bad_data(struct ctx *c)
{
	packed(c, 0, machine.hole, 512, dir(c));
	packed(c, 1, buf(1), 0xffffffff, dir(c));
	packed(c, 2, ~0ull << 12, 0x2000, dir(c));
	packed_go(c);
}

static void packed_bad_table(struct ctx *c)
{
	packed(c, 0, (uintptr_t)table, 17, DESC_INDIRECT);
	packed_go(c);
}

static void packed_nested(struct ctx *c)
{
	table[0] = (struct vdesc){ .addr = (uintptr_t)table, .len = 16, .flags = 0, .next = DESC_INDIRECT };
	packed(c, 0, (uintptr_t)table, 16, DESC_INDIRECT);
	packed_go(c);
}

static void packed_garbage(struct ctx *c)
{
	for (unsigned round = 0; round < 4; round++) {
		garbage_desc(c->r->desc, c->d->len[c->q]);
		for (unsigned i = 0; i < c->d->len[c->q]; i++)
			c->r->desc[i].next = (uint16_t)random_get() & (random_below(8) ? 7 : 0xffff);
		packed_go(c);
	}
}

/* --- setting up --- */

static void setup(struct ctx *c, uint64_t desc_at, uint64_t driver, uint64_t device, unsigned len)
{
	vdev_negotiate(c->d, features(c->d, c->q, VIRTIO_ALL_FEATURES));
	c->d->len[c->q] = VQ_LEN;
	vq_place(c->d, c->q, desc_at, driver, device, len);
	vdev_put(c->d, C_QUEUE_ENABLE, 2, 1);
	vdev_put(c->d, C_STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
	with_data(c, c->r->desc, buf(2), 512);
	go(c, 0);
}

static uint64_t d_at(const struct ctx *c) { return (uintptr_t)c->r->desc; }
static uint64_t a_at(const struct ctx *c) { return (uintptr_t)&c->r->avail; }
static uint64_t u_at(const struct ctx *c) { return (uintptr_t)&c->r->used; }

static void size_0(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 0); }
static void size_3(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 3); }
static void size_double(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 1024); }
static void size_max(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 0xffff); }
static void desc_in_hole(struct ctx *c) { setup(c, machine.hole, a_at(c), u_at(c), VQ_LEN); }
static void avail_in_hole(struct ctx *c) { setup(c, d_at(c), machine.hole, u_at(c), VQ_LEN); }
static void used_in_hole(struct ctx *c) { setup(c, d_at(c), a_at(c), machine.hole, VQ_LEN); }
static void desc_past_ram(struct ctx *c) { setup(c, machine.ram + machine.ram_len - 512, a_at(c), u_at(c), VQ_LEN); }
static void avail_past_ram(struct ctx *c) { setup(c, d_at(c), machine.ram + machine.ram_len - 64, u_at(c), VQ_LEN); }
static void used_past_ram(struct ctx *c) { setup(c, d_at(c), a_at(c), machine.ram + machine.ram_len - 64, VQ_LEN); }
static void desc_wraps(struct ctx *c) { setup(c, ~0ull - 511, a_at(c), u_at(c), VQ_LEN); }
static void used_wraps(struct ctx *c) { setup(c, d_at(c), a_at(c), ~0ull - 63, VQ_LEN); }
static void desc_unaligned(struct ctx *c) { setup(c, d_at(c) + 1, a_at(c), u_at(c), VQ_LEN); }
static void avail_unaligned(struct ctx *c) { setup(c, d_at(c), a_at(c) + 1, u_at(c), VQ_LEN); }
static void used_unaligned(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c) + 1, VQ_LEN); }
static void rings_on_each_other(struct ctx *c) { setup(c, d_at(c), d_at(c), d_at(c), VQ_LEN); }
static void rings_nowhere(struct ctx *c) { setup(c, 0, 0, 0, VQ_LEN); }

const struct vcase ring_cases[] = {
	{ "next-self", next_self, ALL, false, 0 },
	{ "next-cycle", next_cycle, ALL, false, 0 },
	{ "next-whole-ring", next_whole_ring, ALL, false, 0 },
	{ "next-range", next_range, ALL, false, 0 },
	{ "next-range-max", next_range_max, ALL, false, 0 },
	{ "head-range", head_range, ALL, false, 0 },
	{ "head-range-max", head_range_max, ALL, false, 0 },
	{ "same-head-twice", same_head_twice, ALL, false, 0 },
	{ "data-past-ram", data_past_ram, ALL, false, 0 },
	{ "data-at-ram-end", data_at_ram_end, ALL, false, 0 },
	{ "data-len-max", data_len_max, ALL, false, 0 },
	{ "data-in-hole", data_in_hole, ALL, false, 0 },
	{ "data-in-ecam", data_in_ecam, ALL, false, 0 },
	{ "data-in-registers", data_in_registers, ALL, false, 0 },
	{ "data-at-top", data_at_top, ALL, false, 0 },
	{ "data-wraps", data_wraps, ALL, false, 0 },
	{ "data-high-bit", data_high_bit, ALL, false, 0 },
	{ "data-empty", data_empty, ALL, false, 0 },
	{ "data-empty-nowhere", data_empty_nowhere, ALL, false, 0 },
	{ "data-is-desc", data_is_desc, ALL, false, 0 },
	{ "data-is-avail", data_is_avail, ALL, false, 0 },
	{ "data-is-used", data_is_used, ALL, false, 0 },
	{ "data-too-much", data_too_much, ALL, false, 0 },
	{ "all-empty", all_empty, ALL, false, 0 },
	{ "wrong-order", wrong_order, ALL, false, 0 },
	{ "only-readable", only_readable, ALL, false, 0 },
	{ "only-writable", only_writable, ALL, false, 0 },
	{ "one-byte", one_byte, ALL, false, 0 },
	{ "one-byte-each", one_byte_each, ALL, false, 0 },
	{ "flags-unknown", flags_unknown, ALL, false, 0 },
	{ "indirect-self", indirect_self, ALL, false, 0 },
	{ "indirect-cycle", indirect_cycle, ALL, false, 0 },
	{ "indirect-next-range", indirect_next_range, ALL, false, 0 },
	{ "indirect-nested", indirect_nested, ALL, false, 0 },
	{ "indirect-of-itself", indirect_of_itself, ALL, false, 0 },
	{ "indirect-with-next", indirect_with_next, ALL, false, 0 },
	{ "indirect-in-chain", indirect_in_chain, ALL, false, 0 },
	{ "indirect-writable", indirect_writable, ALL, false, 0 },
	{ "indirect-len-0", indirect_len_0, ALL, false, 0 },
	{ "indirect-len-1", indirect_len_1, ALL, false, 0 },
	{ "indirect-len-odd", indirect_len_odd, ALL, false, 0 },
	{ "indirect-len-max", indirect_len_max, ALL, false, 0 },
	{ "indirect-unaligned", indirect_unaligned, ALL, false, 0 },
	{ "indirect-in-hole", indirect_in_hole, ALL, false, 0 },
	{ "indirect-past-ram", indirect_past_ram, ALL, false, 0 },
	{ "indirect-wraps", indirect_wraps, ALL, false, 0 },
	{ "indirect-is-ring", indirect_is_ring, ALL, false, 0 },
	{ "indirect-refused", indirect_cycle, ALL & ~F_INDIRECT, false, 0 },
	{ "avail-jump", avail_jump, ALL, false, 0 },
	{ "avail-jump-half", avail_jump_half, ALL, false, 0 },
	{ "avail-back", avail_back, ALL, false, 0 },
	{ "garbage", garbage, ALL, false, 0 },
	{ "garbage-event-idx", garbage, ALL | F_EVENT_IDX, false, 0 },
	{ "ones", ones, ALL, false, 0 },
	{ "nonsense", nonsense, ALL, false, 0 },
	{ "packed-endless", packed_endless, PACKED_TOO, false, 0 },
	{ "packed-bad-data", packed_bad_data, PACKED_TOO, false, 0 },
	{ "packed-bad-table", packed_bad_table, PACKED_TOO, false, 0 },
	{ "packed-nested", packed_nested, PACKED_TOO, false, 0 },
	{ "packed-garbage", packed_garbage, PACKED_TOO, false, 0 },
	{ "packed-garbage-event-idx", packed_garbage, ~0ull, false, 0 },
	{ "size-0", size_0, 0, false, 0 },
	{ "size-3", size_3, 0, false, 0 },
	{ "size-double", size_double, 0, false, 0 },
	{ "size-max", size_max, 0, false, 0 },
	{ "desc-in-hole", desc_in_hole, 0, false, 0 },
	{ "avail-in-hole", avail_in_hole, 0, false, 0 },
	{ "used-in-hole", used_in_hole, 0, false, 0 },
	{ "desc-past-ram", desc_past_ram, 0, false, 0 },
	{ "avail-past-ram", avail_past_ram, 0, false, 0 },
	{ "used-past-ram", used_past_ram, 0, false, 0 },
	{ "desc-wraps", desc_wraps, 0, false, 0 },
	{ "used-wraps", used_wraps, 0, false, 0 },
	{ "desc-unaligned", desc_unaligned, 0, false, 0 },
	{ "avail-unaligned", avail_unaligned, 0, false, 0 },
	{ "used-unaligned", used_unaligned, 0, false, 0 },
	{ "rings-on-each-other", rings_on_each_other, 0, false, 0 },
	{ "rings-nowhere", rings_nowhere, 0, false, 0 },
};
const unsigned nring_cases = NELEM(ring_cases);

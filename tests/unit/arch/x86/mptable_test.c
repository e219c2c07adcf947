/* The MP table as a guest walks it [MPS-1.4 4]. */
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "tests/unit/arch/x86/testvm.h"

struct counts {
	unsigned cpus, buses, ioapics, io, local, boot;
};

static struct counts walk(const struct blob *b)
{
	struct counts c = { 0 };
	size_t off = 44;

	for (unsigned i = 0; i < get_le16(b->data + 34); i++) {
		const uint8_t *e = b->data + off;

		ck_assert_uint_lt(off, b->len);
		c.cpus += e[0] == 0;
		c.boot += e[0] == 0 && e[3] & 2;
		c.buses += e[0] == 1;
		c.ioapics += e[0] == 2;
		c.io += e[0] == 3;
		c.local += e[0] == 4;
		ck_assert_uint_le(e[0], 4);
		off += e[0] == 0 ? 20 : 8;
	}
	ck_assert_uint_eq(off, b->len);
	return c;
}

START_TEST(counts_and_checksums)
{
	static const struct { const char *cpus; unsigned listed; } t[] = { { "1", 1 }, { "2", 2 }, { "255", 255 }, { "300", 255 } };

	for (size_t i = 0; i < NELEM(t); i++) {
		struct vm *vm = TEST_VM("cpus", t[i].cpus);
		struct blob b;
		uint8_t fp[MPFP_LEN];

		x86_mptable(vm, X86_MPTABLE, &b, fp);
		struct counts c = walk(&b);

		ck_assert_mem_eq(b.data, "PCMP", 4);
		ck_assert_uint_eq(get_le16(b.data + 4), b.len);
		ck_assert_uint_eq(byte_sum(b.data, b.len), 0);
		ck_assert_mem_eq(fp, "_MP_", 4);
		ck_assert_uint_eq(byte_sum(fp, sizeof(fp)), 0);
		ck_assert_uint_eq(get_le32(fp + 4), X86_MPTABLE);
		ck_assert_uint_eq(c.cpus, t[i].listed);
		ck_assert_uint_eq(c.boot, 1);
		ck_assert_uint_eq(c.buses, 2);
		ck_assert_uint_eq(c.ioapics, 1);
		ck_assert_uint_eq(c.io, 15 + 128);
		ck_assert_uint_eq(c.local, 2);
		blob_free(&b);
		test_vm_free(vm);
	}
}
END_TEST

START_TEST(routing_is_the_boards)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct blob b;
	uint8_t fp[MPFP_LEN];
	unsigned seen = 0;

	x86_mptable(vm, X86_MPTABLE, &b, fp);
	for (size_t off = 44 + 20; off < b.len; off += 8) {
		const uint8_t *e = b.data + off;

		if (e[0] != 3)
			continue;
		if (e[4] == MP_BUS_PCI) {
			ck_assert_uint_eq(e[7], arch_x86.pci_intx_gsi(e[5] >> 2, e[5] & 3));
			ck_assert_uint_eq(get_le16(e + 2), 0xf);
			seen++;
		} else {
			ck_assert_uint_eq(e[7], e[5] == 0 ? 2 : e[5]);
			ck_assert_uint_eq(get_le16(e + 2), e[5] == 9 ? 0xd : 0);
		}
	}
	ck_assert_uint_eq(seen, 128);
	blob_free(&b);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("arch/x86/mptable", counts_and_checksums, routing_is_the_boards)

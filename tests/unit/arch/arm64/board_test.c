#include <errno.h>

#include "tests/unit/arch/arm64/testvm.h"

static int map_of(const char *size, struct memmap *m)
{
	struct conf *c = conf_new();
	conf_set(c, "memory.size", size, "test");
	int err = arch_arm64.memmap(c, m);
	conf_free(c);
	return err;
}

START_TEST(map_places_everything_without_overlap)
{
	struct memmap m;
	ck_assert_int_eq(map_of("255G", &m), 0);
	struct { uint64_t base, len; } r[] = {
		{ GICD_BASE, GICD_LEN }, { GICC_BASE, GICC_LEN }, { V2M_BASE, V2M_LEN }, { ITS_BASE, ITS_LEN },
		{ GICR_BASE, (uint64_t)ARM64_VCPUS_MAX * GICR_LEN }, { 0x09000000, 0x1000 }, { 0x09010000, 0x1000 },
		{ 0x09030000, 0x1000 }, { 0x09040000, 0x1000 }, { m.pci32_base, m.pci32_len }, { m.pci_io_mmio, m.pci_io_len },
		{ m.ram[0].base, m.ram[0].len }, { m.ecam_base, m.ecam_len }, { m.pci64_base, m.pci64_len },
	};
	for (size_t i = 0; i < NELEM(r); i++)
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(!ranges_overlap(r[i].base, r[i].len, r[k].base, r[k].len), "%zu and %zu", i, k);
	ck_assert_uint_eq(m.nram, 1);
	ck_assert_uint_eq(m.pci_io_mmio, 0x3eff0000);
	ck_assert_uint_eq(m.pci32_base + m.pci32_len, 0x3eff0000);
	ck_assert_uint_eq(arm64_map_bits(&m), 40);
	ck_assert_uint_eq(arch_arm64.max_vcpus, 123);
}
END_TEST

START_TEST(sizes_that_cannot_be_placed_are_refused)
{
	struct memmap m;
	ck_assert_int_eq(map_of("256G", &m), -EINVAL);
	ck_assert_int_eq(map_of("16777217", &m), -EINVAL);
	ck_assert_int_eq(map_of("16448K", &m), 0);
	ck_assert_uint_eq(m.ram[0].len, 16448 << 10);
}
END_TEST

START_TEST(few_address_bits_move_the_high_ranges)
{
	struct memmap m, before;
	map_of("4G", &before);
	m = before;
	ck_assert_int_eq(arm64_map_limit(&m, 48), 0);
	ck_assert_int_eq(memcmp(&m, &before, sizeof(m)), 0);
	ck_assert_int_eq(arm64_map_limit(&m, 40), 0);
	ck_assert_int_eq(memcmp(&m, &before, sizeof(m)), 0);

	/* 39 bits hold ECAM but not the window behind it */
	ck_assert_int_eq(arm64_map_limit(&m, 39), 0);
	ck_assert_uint_eq(m.ecam_base, ECAM_BASE);
	ck_assert_uint_ge(m.pci64_base, m.ecam_base + m.ecam_len);
	ck_assert_uint_eq(m.pci64_base + m.pci64_len, 1ull << 39);

	/* 36 bits, as on some laptops */
	m = before;
	ck_assert_int_eq(arm64_map_limit(&m, 36), 0);
	ck_assert_uint_eq(m.ecam_base, ECAM_LOW_BASE);
	ck_assert_uint_eq(m.ecam_base + m.ecam_len, RAM_BASE);
	ck_assert_uint_eq(m.pci64_base, GIB(5));
	ck_assert_uint_eq(m.pci64_base + m.pci64_len, 1ull << 36);
	ck_assert_uint_le(arm64_map_bits(&m), 36);
}
END_TEST

START_TEST(ram_beyond_the_address_bits_is_refused)
{
	struct memmap m;
	map_of("64G", &m);
	ck_assert_int_eq(arm64_map_limit(&m, 36), -EINVAL);
	/* to the last byte: no room is left for a window */
	map_of("63G", &m);
	ck_assert_int_eq(arm64_map_limit(&m, 36), 0);
	ck_assert_uint_eq(m.pci64_len, 0);
	ck_assert_uint_eq(arm64_map_bits(&m), 36);
}
END_TEST

START_TEST(intx_pins_swizzle_over_four_inputs)
{
	ck_assert_uint_eq(arch_arm64.pci_intx_gsi(0, 0), 3);
	ck_assert_uint_eq(arch_arm64.pci_intx_gsi(1, 0), 4);
	ck_assert_uint_eq(arch_arm64.pci_intx_gsi(1, 3), 3);
	ck_assert_uint_eq(arch_arm64.pci_intx_gsi(31, 0), 6);
}
END_TEST

START_TEST(mpidr_has_sixteen_vcpus_a_cluster)
{
	ck_assert_uint_eq(arm64_mpidr(0), 0);
	ck_assert_uint_eq(arm64_mpidr(15), 15);
	ck_assert_uint_eq(arm64_mpidr(16), 0x100);
	ck_assert_uint_eq(arm64_mpidr(122), 0x70a);
	ck_assert_uint_eq(arm64_mpidr(4096), 0x10000);
}
END_TEST

UNIT_MAIN("arch/arm64/board", map_places_everything_without_overlap, sizes_that_cannot_be_placed_are_refused,
	  few_address_bits_move_the_high_ranges, ram_beyond_the_address_bits_is_refused, intx_pins_swizzle_over_four_inputs,
	  mpidr_has_sixteen_vcpus_a_cluster)

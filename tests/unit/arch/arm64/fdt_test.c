#include "tests/unit/arch/arm64/testvm.h"

#define GIC "/interrupt-controller@8000000"
#define PCIE "/pcie@4010000000"

START_TEST(board_chips_and_stdout)
{
	struct testvm *t = testvm_new("append=console=ttyAMA0");
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_str_eq(text(fdt, "/", "compatible"), "linux,dummy-virt");
	ck_assert_str_eq(text(fdt, "/chosen", "stdout-path"), "/pl011@9000000");
	ck_assert_str_eq(text(fdt, "/chosen", "bootargs"), "console=ttyAMA0");
	ck_assert_int_eq(prop_len(fdt, "/pl011@9000000", "compatible"), (int)sizeof("arm,pl011\0arm,primecell"));
	ck_assert_uint_eq(cell64(fdt, "/pl011@9000000", "reg", 0), 0x09000000);
	ck_assert_uint_eq(cell64(fdt, "/pl011@9000000", "reg", 2), 0x1000);
	ck_assert_uint_eq(cell(fdt, "/pl011@9000000", "interrupts", 1), 1);
	ck_assert_int_eq(prop_len(fdt, "/pl011@9000000", "clocks"), 8);
	ck_assert_int_eq(prop_len(fdt, "/pl031@9010000", "clocks"), 4);
	ck_assert_uint_eq(cell(fdt, "/pl031@9010000", "interrupts", 1), 2);
	ck_assert_int_lt(fdt_path_offset(fdt, "/pl011@9040000"), 0);
	ck_assert_uint_eq(cell(fdt, "/gpio-keys/poweroff", "gpios", 0), cell(fdt, "/pl061@9030000", "phandle", 0));
	ck_assert_uint_eq(cell(fdt, "/gpio-keys/poweroff", "gpios", 1), 3);
	ck_assert_uint_eq(cell(fdt, "/gpio-keys/poweroff", "linux,code", 0), 116);
	ck_assert_uint_eq(cell(fdt, "/apb-pclk", "phandle", 0), cell(fdt, "/pl011@9000000", "clocks", 1));
	testvm_free(t);
}
END_TEST

START_TEST(second_port_when_configured)
{
	struct testvm *t = testvm_new("lpc.com2.path=stdio");
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_uint_eq(cell(fdt, "/pl011@9040000", "interrupts", 1), 8);
	ck_assert_str_eq(text(fdt, "/chosen", "stdout-path"), "/pl011@9000000");
	testvm_free(t);
}
END_TEST

START_TEST(chosen_has_initrd_and_fresh_seeds)
{
	struct testvm *t = testvm_new("");
	const struct arm64_layout l = { .initrd = 0x1234560000, .initrd_len = 0x789 };
	uint8_t seed[64];
	const void *fdt = testvm_fdt(t, &l);
	ck_assert_uint_eq(cell64(fdt, "/chosen", "linux,initrd-start", 0), l.initrd);
	ck_assert_uint_eq(cell64(fdt, "/chosen", "linux,initrd-end", 0), l.initrd + l.initrd_len);
	ck_assert_int_eq(prop_len(fdt, "/chosen", "bootargs"), -FDT_ERR_NOTFOUND);
	ck_assert_int_eq(prop_len(fdt, "/chosen", "rng-seed"), -FDT_ERR_NOTFOUND);
	ck_assert_int_eq(prop_len(fdt, "/chosen", "kaslr-seed"), -FDT_ERR_NOTFOUND);

	t->vm.dry = false;
	fdt = testvm_fdt(t, NULL);
	ck_assert_int_eq(prop_len(fdt, "/chosen", "linux,initrd-start"), -FDT_ERR_NOTFOUND);
	ck_assert_int_eq(prop_len(fdt, "/chosen", "rng-seed"), 64);
	ck_assert_int_eq(prop_len(fdt, "/chosen", "kaslr-seed"), 8);
	memcpy(seed, text(fdt, "/chosen", "rng-seed"), sizeof(seed));
	fdt = testvm_fdt(t, NULL);
	ck_assert_int_ne(memcmp(seed, text(fdt, "/chosen", "rng-seed"), sizeof(seed)), 0);
	testvm_free(t);
}
END_TEST

START_TEST(dry_trees_are_equal_bytes)
{
	struct testvm *a = testvm_new("cpus=3"), *b = testvm_new("cpus=3");
	testvm_fdt(a, NULL);
	testvm_fdt(b, NULL);
	ck_assert_uint_eq(a->fdt.len, b->fdt.len);
	ck_assert_int_eq(memcmp(a->fdt.data, b->fdt.data, a->fdt.len), 0);
	testvm_free(a);
	testvm_free(b);
}
END_TEST

static void check_cpus(unsigned n)
{
	char keys[32], path[32];
	snprintf(keys, sizeof(keys), "cpus=%u", n);
	struct testvm *t = testvm_new(keys);
	const void *fdt = testvm_fdt(t, NULL);
	unsigned found = 0;
	int node;
	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/cpus/cpu@%x", i / 16 << 8 | i % 16);
		ck_assert_uint_eq(cell(fdt, path, "reg", 0), i / 16 << 8 | i % 16);
		ck_assert_str_eq(text(fdt, path, "enable-method"), "psci");
	}
	fdt_for_each_subnode(node, fdt, fdt_path_offset(fdt, "/cpus"))
		found++;
	ck_assert_uint_eq(found, n);
	ck_assert_uint_eq(cell64(fdt, GIC, "reg", 6), (uint64_t)n * 0x20000);
	ck_assert_uint_le(cell64(fdt, GIC, "reg", 4) + cell64(fdt, GIC, "reg", 6), 0x09000000);
	testvm_free(t);
}

START_TEST(cpus_are_numbered_as_kvm_does)
{
	check_cpus(1);
	check_cpus(17);
	check_cpus(123);
}
END_TEST

START_TEST(topology_becomes_a_cpu_map)
{
	struct testvm *t = testvm_new("cpus=8 sockets=2 cores=2 threads=2");
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_uint_eq(cell(fdt, "/cpus/cpu-map/socket1/cluster0/core1/thread1", "cpu", 0), cell(fdt, "/cpus/cpu@7", "phandle",
												    0));
	ck_assert_uint_eq(cell(fdt, "/cpus/cpu-map/socket0/cluster0/core1/thread0", "cpu", 0), cell(fdt, "/cpus/cpu@2", "phandle",
												    0));
	testvm_free(t);
	t = testvm_new("cpus=2 cores=2");
	fdt = testvm_fdt(t, NULL);
	ck_assert_uint_eq(cell(fdt, "/cpus/cpu-map/socket0/cluster0/core1", "cpu", 0), cell(fdt, "/cpus/cpu@1", "phandle", 0));
	testvm_free(t);
	t = testvm_new("cpus=2");
	ck_assert_int_lt(fdt_path_offset(testvm_fdt(t, NULL), "/cpus/cpu-map"), 0);
	testvm_free(t);
}
END_TEST

/* Looks a device's pin up as a kernel does: mask, compare, take the parent's specifier. */
static uint32_t route(const void *fdt, unsigned slot, unsigned pin)
{
	uint32_t addr = slot << 11 & cell(fdt, PCIE, "interrupt-map-mask", 0);
	uint32_t line = pin & cell(fdt, PCIE, "interrupt-map-mask", 3);
	for (int row = 0; row < prop_len(fdt, PCIE, "interrupt-map") / 40; row++) {
		if (cell(fdt, PCIE, "interrupt-map", row * 10) != addr || cell(fdt, PCIE, "interrupt-map", row * 10 + 3) != line)
			continue;
		ck_assert_uint_eq(cell(fdt, PCIE, "interrupt-map", row * 10 + 4), cell(fdt, GIC, "phandle", 0));
		ck_assert_uint_eq(cell(fdt, PCIE, "interrupt-map", row * 10 + 7), 0);
		ck_assert_uint_eq(cell(fdt, PCIE, "interrupt-map", row * 10 + 9), 4);
		return cell(fdt, PCIE, "interrupt-map", row * 10 + 8);
	}
	return UINT32_MAX;
}

START_TEST(interrupt_map_agrees_with_the_board)
{
	struct testvm *t = testvm_new("");
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_uint_eq(cell(fdt, GIC, "#address-cells", 0), 2);
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned pin = 0; pin < 4; pin++)
			ck_assert_uint_eq(route(fdt, slot, pin + 1), arch_arm64.pci_intx_gsi(slot, pin));
	testvm_free(t);
}
END_TEST

START_TEST(pci_windows)
{
	struct testvm *t = testvm_new("");
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_uint_eq(cell64(fdt, PCIE, "reg", 0), 0x4010000000);
	ck_assert_uint_eq(cell64(fdt, PCIE, "reg", 2), 0x10000000);
	ck_assert_uint_eq(cell(fdt, PCIE, "bus-range", 1), 255);
	ck_assert_uint_eq(cell(fdt, PCIE, "ranges", 0), 0x01000000);
	ck_assert_uint_eq(cell64(fdt, PCIE, "ranges", 1), 0);
	ck_assert_uint_eq(cell64(fdt, PCIE, "ranges", 3), 0x3eff0000);
	ck_assert_uint_eq(cell(fdt, PCIE, "ranges", 7), 0x02000000);
	ck_assert_uint_eq(cell64(fdt, PCIE, "ranges", 8), 0x10000000);
	ck_assert_uint_eq(cell64(fdt, PCIE, "ranges", 12), 0x2eff0000);
	ck_assert_uint_eq(cell(fdt, PCIE, "ranges", 14), 0x03000000);
	ck_assert_uint_eq(cell64(fdt, PCIE, "ranges", 17), 0x8000000000);
	ck_assert_uint_eq(cell64(fdt, PCIE, "ranges", 19), 0x8000000000);
	ck_assert_int_eq(prop_len(fdt, PCIE, "dma-coherent"), 0);

	ck_assert_int_eq(arm64_map_limit(&t->vm.map, 30 + 1), 0);
	t->vm.map.pci64_len = 0;
	fdt = testvm_fdt(t, NULL);
	ck_assert_uint_eq(cell(fdt, "/pcie@3f000000", "bus-range", 1), 15);
	ck_assert_int_eq(prop_len(fdt, "/pcie@3f000000", "ranges"), 2 * 28);
	testvm_free(t);
}
END_TEST

START_TEST(gicv3_with_and_without_its)
{
	struct testvm *t = testvm_new("");
	struct arm64_machine m = { .gic = 3 };
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_str_eq(text(fdt, GIC, "compatible"), "arm,gic-v3");
	ck_assert_uint_eq(cell64(fdt, GIC "/its@8080000", "reg", 0), 0x08080000);
	ck_assert_uint_eq(cell(fdt, PCIE, "msi-map", 0), 0);
	ck_assert_uint_eq(cell(fdt, PCIE, "msi-map", 1), cell(fdt, GIC "/its@8080000", "phandle", 0));
	ck_assert_uint_eq(cell(fdt, PCIE, "msi-map", 3), 0x10000);
	ck_assert_uint_eq(cell(fdt, "/timer", "interrupts", 2), 8);
	ck_assert_uint_eq(cell(fdt, "/timer", "interrupts", 7), 11);
	ck_assert_uint_eq(cell(fdt, "/pmu", "interrupts", 1), 7);

	t->vm.arch_state = (struct vm_arch *)&m;
	fdt = testvm_fdt(t, NULL);
	ck_assert_int_lt(fdt_path_offset(fdt, GIC "/its@8080000"), 0);
	ck_assert_int_lt(prop_len(fdt, PCIE, "msi-map"), 0);
	ck_assert_int_lt(fdt_path_offset(fdt, "/pmu"), 0);
	testvm_free(t);
}
END_TEST

START_TEST(gicv2_with_v2m)
{
	struct testvm *t = testvm_new("cpus=3");
	struct arm64_machine m = { .gic = 2, .v2m = true, .pmu = true };
	t->vm.arch_state = (struct vm_arch *)&m;
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_str_eq(text(fdt, GIC, "compatible"), "arm,cortex-a15-gic");
	ck_assert_uint_eq(cell64(fdt, GIC, "reg", 4), 0x08010000);
	ck_assert_str_eq(text(fdt, GIC "/v2m@8020000", "compatible"), "arm,gic-v2m-frame");
	ck_assert_uint_eq(cell(fdt, PCIE, "msi-parent", 0), cell(fdt, GIC "/v2m@8020000", "phandle", 0));
	ck_assert_int_lt(prop_len(fdt, PCIE, "msi-map"), 0);
	ck_assert_uint_eq(cell(fdt, "/timer", "interrupts", 2), 0x708);
	ck_assert_uint_eq(cell(fdt, "/pmu", "interrupts", 2), 0x704);
	testvm_free(t);
}
END_TEST

START_TEST(firmware_finds_flash_and_fw_cfg)
{
	struct testvm *t = testvm_new("append=quiet");
	const void *fdt = testvm_fdt(t, NULL);
	ck_assert_int_lt(fdt_path_offset(fdt, "/flash@0"), 0);
	ck_assert_int_lt(fdt_path_offset(fdt, "/fw-cfg@9020000"), 0);
	ck_assert_str_eq(text(fdt, "/chosen", "bootargs"), "quiet");
	testvm_free(t);

	t = testvm_new("append=quiet lpc.bootrom=/fw");
	fdt = testvm_fdt(t, NULL);
	ck_assert_str_eq(text(fdt, "/flash@0", "compatible"), "cfi-flash");
	ck_assert_int_eq(prop_len(fdt, "/flash@0", "reg"), 32);
	ck_assert_uint_eq(cell64(fdt, "/flash@0", "reg", 0), 0);
	ck_assert_uint_eq(cell64(fdt, "/flash@0", "reg", 2), 0x04000000);
	ck_assert_uint_eq(cell64(fdt, "/flash@0", "reg", 4), 0x04000000);
	ck_assert_uint_eq(cell64(fdt, "/flash@0", "reg", 6), 0x04000000);
	ck_assert_uint_eq(cell(fdt, "/flash@0", "bank-width", 0), 4);
	ck_assert_str_eq(text(fdt, "/fw-cfg@9020000", "compatible"), "qemu,fw-cfg-mmio");
	ck_assert_int_eq(prop_len(fdt, "/fw-cfg@9020000", "dma-coherent"), 0);
	ck_assert_int_lt(prop_len(fdt, "/fw-cfg@9020000", "interrupts"), 0);
	ck_assert_int_lt(prop_len(fdt, "/chosen", "bootargs"), 0);      /* fw_cfg has it */
	testvm_free(t);
}
END_TEST

UNIT_MAIN("arch/arm64/fdt", board_chips_and_stdout, second_port_when_configured, chosen_has_initrd_and_fresh_seeds,
	  dry_trees_are_equal_bytes, cpus_are_numbered_as_kvm_does, topology_becomes_a_cpu_map, interrupt_map_agrees_with_the_board,
	  pci_windows, gicv3_with_and_without_its, gicv2_with_v2m, firmware_finds_flash_and_fw_cfg)

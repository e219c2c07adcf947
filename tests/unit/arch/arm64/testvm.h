/*
 * A dry virt machine for tests: configuration, memory map and stand-ins for the board's chips; no RAM.
 */
#ifndef TESTS_UNIT_ARCH_ARM64_TESTVM_H
#define TESTS_UNIT_ARCH_ARM64_TESTVM_H

#include <libfdt.h>

#include "arch/arm64/arm64.h"
#include "common/blob.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/vm.h"
#include "tests/unit/unit.h"

static const struct dev_desc uart_desc = { "pl011", "arm,pl011,,arm,primecell", "ARMH0011", "uartclk,,apb_pclk" };
static const struct dev_desc rtc_desc = { "pl031", "arm,pl031,,arm,primecell", NULL, "apb_pclk" };
static const struct dev_desc gpio_desc = { "pl061", "arm,pl061,,arm,primecell", "ARMH0061", "apb_pclk" };
static const struct dev_desc fw_cfg_desc = { "fw-cfg", "qemu,fw-cfg-mmio", "QEMU0002", NULL };
static const struct device_class chip_classes[] = {
	{ .name = "pl011", .desc = &uart_desc }, { .name = "pl031", .desc = &rtc_desc }, { .name = "pl061", .desc = &gpio_desc },
	{ .name = "fw-cfg", .desc = &fw_cfg_desc }, { .name = "pflash" },
};

struct testvm {
	struct vm vm;
	struct device dev[8];
	struct device *list[8];
	struct blob fdt;
};

static inline void testvm_chips(struct testvm *t, const struct board_chip *c)
{
	for (; c->cls; c++) {
		struct device *d = &t->dev[t->vm.ndevs];
		if (c->if_key && !conf_raw(t->vm.conf, c->if_key))
			continue;
		for (size_t i = 0; i < NELEM(chip_classes); i++) {
			if (strcmp(chip_classes[i].name, c->cls) == 0)
				d->cls = &chip_classes[i];
		}
		snprintf(d->id, sizeof(d->id), "%s", c->id);
		d->io_bus = &t->vm.mmio;
		d->io.base = c->base;
		d->io.len = 0x1000;
		d->gsi = c->gsi;
		t->list[t->vm.ndevs++] = d;
	}
}

static const struct board_chip testvm_flash[] = {
	{ "pflash", "flash0", false, 0, DEV_NO_GSI, NULL }, { "pflash", "flash1", false, 0x04000000, DEV_NO_GSI, NULL },
	{ NULL, NULL, false, 0, DEV_NO_GSI, NULL },
};

/* keys: "name=value" entries separated by spaces; with lpc.bootrom the machine has stand-ins for flash and fw_cfg */
static inline struct testvm *testvm_new(const char *keys)
{
	struct testvm *t = calloc(1, sizeof(*t));
	char *copy = strdup(keys), *save = NULL;

	t->vm.conf = conf_new();
	ck_assert_int_eq(conf_set(t->vm.conf, "arch", "arm64", "test"), 0);
	for (char *key = strtok_r(copy, " ", &save); key; key = strtok_r(NULL, " ", &save)) {
		char *value = strchr(key, '=');
		*value++ = '\0';
		ck_assert_int_eq(conf_set(t->vm.conf, key, value, "test"), 0);
	}
	free(copy);
	t->vm.arch = &arch_arm64;
	t->vm.dry = true;
	t->vm.devs = t->list;
	t->vm.nvcpus = (unsigned)conf_u64(t->vm.conf, "cpus");
	ck_assert_int_eq(arch_arm64.memmap(t->vm.conf, &t->vm.map), 0);
	testvm_chips(t, arch_arm64.boards[0]->chips);
	t->vm.firmware = conf_str(t->vm.conf, "lpc.bootrom");
	if (t->vm.firmware) {
		testvm_chips(t, arch_arm64.boards[0]->fw_chips);
		testvm_chips(t, testvm_flash);
		t->dev[t->vm.ndevs - 1].io.len = t->dev[t->vm.ndevs - 2].io.len = FLASH_BANK_LEN;
	}
	return t;
}

static inline void testvm_free(struct testvm *t)
{
	blob_free(&t->fdt);
	conf_free(t->vm.conf);
	free(t);
}

/* Builds the tree into t->fdt and returns it. */
static inline const void *testvm_fdt(struct testvm *t, const struct arm64_layout *l)
{
	static const struct arm64_layout nothing;
	blob_free(&t->fdt);
	ck_assert_int_eq(arm64_fdt_build(&t->vm, l ? l : &nothing, &t->fdt), 0);
	ck_assert_int_eq(fdt_check_full(t->fdt.data, t->fdt.len), 0);
	return t->fdt.data;
}

/* Cell i of a property of the node at path; a missing one fails the test. */
static inline uint32_t cell(const void *fdt, const char *path, const char *prop, int i)
{
	int len, node = fdt_path_offset(fdt, path);
	ck_assert_msg(node >= 0, "no node %s", path);
	const fdt32_t *p = fdt_getprop(fdt, node, prop, &len);
	ck_assert_msg(p && len >= (i + 1) * 4, "no cell %d of %s in %s", i, prop, path);
	return fdt32_ld(p + i);
}

static inline uint64_t cell64(const void *fdt, const char *path, const char *prop, int i)
{
	return (uint64_t)cell(fdt, path, prop, i) << 32 | cell(fdt, path, prop, i + 1);
}

static inline int prop_len(const void *fdt, const char *path, const char *prop)
{
	int len = -1, node = fdt_path_offset(fdt, path);
	if (node >= 0)
		fdt_getprop(fdt, node, prop, &len);
	return len;
}

static inline const char *text(const void *fdt, const char *path, const char *prop)
{
	return prop_len(fdt, path, prop) < 0 ? "" : fdt_getprop(fdt, fdt_path_offset(fdt, path), prop, NULL);
}

#endif

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

static const struct dev_desc uart_desc = { "pl011", "arm,pl011,,arm,primecell", NULL, "uartclk,,apb_pclk" };
static const struct dev_desc rtc_desc = { "pl031", "arm,pl031,,arm,primecell", NULL, "apb_pclk" };
static const struct dev_desc gpio_desc = { "pl061", "arm,pl061,,arm,primecell", NULL, "apb_pclk" };
static const struct device_class chip_classes[] = {
	{ .name = "pl011", .desc = &uart_desc }, { .name = "pl031", .desc = &rtc_desc }, { .name = "pl061", .desc = &gpio_desc },
};

struct testvm {
	struct vm vm;
	struct device dev[8];
	struct device *list[8];
	struct blob fdt;
};

static inline void testvm_chips(struct testvm *t)
{
	for (const struct board_chip *c = arch_arm64.boards[0]->chips; c->cls; c++) {
		struct device *d = &t->dev[t->vm.ndevs];
		if (c->if_key && !conf_raw(t->vm.conf, c->if_key))
			continue;
		for (size_t i = 0; i < NELEM(chip_classes); i++) {
			if (strcmp(chip_classes[i].name, c->cls) == 0)
				d->cls = &chip_classes[i];
		}
		d->io_bus = &t->vm.mmio;
		d->io.base = c->base;
		d->io.len = 0x1000;
		d->gsi = c->gsi;
		t->list[t->vm.ndevs++] = d;
	}
}

/* keys: "name=value" entries separated by spaces */
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
	testvm_chips(t);
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

/*
 * What every device class must pass, in the machines of both architectures: two instances live side by side, reset
 * twice, every offset at every size, save-load-save gives equal records, a truncated record is refused.
 */
#include "devices/classes.h"

#include <errno.h>
#include <stdio.h>

#include "common/vm.h"
#include "devices/pci/pci.h"
#include "tests/unit/unit.h"

static struct vm *vm;
static struct conf *conf;

static void set_up(const struct arch_info *arch)
{
	conf = conf_new();
	conf_set(conf, "memory.size", "64M", "test");
	ck_assert_int_eq(vm_create(conf, arch, true, &vm), 0);
}

static void tear_down(void)
{
	vm_free(vm);
	conf_free(conf);
}

/* An instance at a place of its own; i is 0 or 1. */
static struct device *make(const struct device_class *cls, unsigned i)
{
	char id[32];
	snprintf(id, sizeof(id), cls->pci ? "pci.0.%u.0" : "chip%u", cls->pci ? 8 + i : i);
	if (cls->positional) {          /* what a class cannot do without: an image (which a dry VM does not open), a network */
		char key[48];
		snprintf(key, sizeof(key), "%s.%s", id, cls->positional);
		conf_set(conf, key, "null", "test");
	}
	if (cls->conf_word) {
		char word[32];
		snprintf(word, sizeof(word), opt_find(cls->opts, "port.0.type") ? "cd:" : "name%u=null", i);
		ck_assert_int_ge(cls->conf_word(conf, id, word, "test"), 0);
	}
	struct device *d = device_new(vm, cls, id, NULL);
	ck_assert_msg(d != NULL, "%s: instance %u", cls->name, i);
	if (cls->io_len)
		ck_assert_int_eq(device_place(d, &vm->mmio, 0x3f000000 + i * 0x100000), 0);
	return d;
}

static void enable_bars(struct device *d)
{
	struct pci_dev *p = (struct pci_dev *)d;
	ck_assert_int_eq(pci_assign(vm), 0);
	bus_write(&vm->mmio, vm->map.ecam_base + ((uint64_t)pci_bdf(p) << 12) + PCI_COMMAND, 2, 7);
}

static void poke(struct bus *bus, const struct bus_range *r)
{
	static const uint64_t patterns[] = { 0, ~0ull, 0x0101010101010101, 0x8000000080000001 };
	uint64_t base = r->base, v;
	for (uint64_t off = 0; off < r->len && off < 0x4000; off++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			bus_read(bus, base + off, size, &v);
			ck_assert_uint_eq(v & ~size_mask(size), 0);
			bus_write(bus, base + off, size, patterns[(off + size) % NELEM(patterns)]);
		}
		/* What a write asked of the VM is not carried out: nothing runs the loop. */
	}
}

static void poke_all(struct device *d)
{
	struct pci_dev *p = (struct pci_dev *)d;
	if (d->io.mapped)
		poke(d->io_bus, &d->io);
	for (unsigned n = 0; d->cls->pci && n < PCI_BARS; n++) {
		if (p->bar[n].range.mapped)
			poke(p->bar[n].type == PCI_BAR_IO && vm->arch->has_pio ? &vm->pio : &vm->mmio, &p->bar[n].range);
	}
}

static void check_snapshot(struct device *d)
{
	json_t *a = device_save(d);
	ck_assert_ptr_nonnull(a);
	device_reset(d);
	ck_assert_msg(device_load(d, a) == 0, "%s: load of its own record", d->cls->name);
	json_t *b = device_save(d);
	ck_assert_msg(json_equal(a, b), "%s: save-load-save differs:\n%s\n%s", d->cls->name, json_dumps(a, 0), json_dumps(b, 0));
	json_t *state = json_object_get(b, "state");
	const char *key = json_object_iter_key(json_object_iter(state));
	if (key) {
		json_object_del(state, key);
		ck_assert_msg(device_load(d, b) == -EINVAL, "%s: truncated record accepted", d->cls->name);
	}
	json_object_set_new(a, "version", json_integer(d->cls->snap_version + 1));
	ck_assert_msg(device_load(d, a) == -EINVAL, "%s: record of the future accepted", d->cls->name);
	json_decref(a);
	json_decref(b);
}

/* Clocks have a battery: time and CMOS contents outlive a reset. */
static bool has_battery(const struct device_class *cls)
{
	return cls == &pl031_class || cls == &mc146818_class;
}

static void check_class(const struct device_class *cls)
{
	struct device *first = make(cls, 0), *second = make(cls, 1);
	json_t *fresh = device_save(first);
	for (unsigned round = 0; round < 2; round++) {
		if (cls->pci)
			enable_bars(first);
		poke_all(first);
		check_snapshot(first);
		device_reset(first);
		device_reset(first);
		json_t *again = device_save(first);
		ck_assert_msg(has_battery(cls) || json_equal(fresh, again), "%s: reset does not restore power-on state:\n%s\n%s", cls->name, json_dumps(fresh, 0),
			      json_dumps(again, 0));
		json_decref(again);
	}
	json_decref(fresh);
	if (cls->pause) {
		cls->pause(second);
		cls->pause(second);
	}
	if (cls->resume)
		cls->resume(second);
}

static void check_all(const struct arch_info *arch)
{
	for (const struct device_class *const *c = device_classes; *c; c++) {
		set_up(arch);
		check_class(*c);
		tear_down();
	}
}

START_TEST(test_classes_on_x86)
{
	check_all(&arch_x86);
}
END_TEST

START_TEST(test_classes_on_arm64)
{
	check_all(&arch_arm64);
}
END_TEST

START_TEST(test_tables)
{
	for (const struct device_class *const *c = device_classes; *c; c++) {
		ck_assert_ptr_eq(device_class_find((*c)->name), *c);
		ck_assert_msg((*c)->help != NULL, "%s has no help", (*c)->name);
		for (unsigned i = 1; i < (*c)->nregs; i++)
			ck_assert_msg((*c)->regs[i].off >= (*c)->regs[i - 1].off + (*c)->regs[i - 1].width, "%s: register table order", (*c)->name);
	}
	ck_assert_ptr_null(device_class_find("no-such-class"));
}
END_TEST

UNIT_MAIN("devices/classes", test_tables, test_classes_on_x86, test_classes_on_arm64)

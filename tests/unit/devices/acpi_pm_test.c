/* The power-management block, driven through the port bus as a guest does. */
#include <unistd.h>

#include "devices/acpi_pm.h"
#include "tests/unit/arch/x86/testvm.h"

#define BASE 0x600

static uint64_t in(struct vm *vm, unsigned port, unsigned size)
{
	uint64_t v = 0;

	bus_read(&vm->pio, port, size, &v);
	return v;
}

static void out(struct vm *vm, unsigned port, unsigned size, uint64_t v)
{
	bus_write(&vm->pio, port, size, v);
}

START_TEST(power_button)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct device *pm = vm_device(vm, "pm");

	ck_assert(!acpi_pm_power_button(pm));           /* nobody listens */
	ck_assert_uint_eq(in(vm, BASE, 2), 0x100);
	ck_assert(!pm->irq.level);
	out(vm, BASE + 2, 2, 0xffff);
	ck_assert_uint_eq(in(vm, BASE + 2, 2), 0x721);
	ck_assert(pm->irq.level);
	out(vm, BASE, 2, 0x100);
	ck_assert_uint_eq(in(vm, BASE, 2), 0);
	ck_assert(!pm->irq.level);
	ck_assert(acpi_pm_power_button(pm));
	ck_assert(pm->irq.level);
	out(vm, BASE + 2, 1, 0);                        /* a byte leaves its neighbour alone */
	ck_assert_uint_eq(in(vm, BASE + 2, 2), 0x700);
	ck_assert(pm->irq.level);
	out(vm, BASE, 4, 0x01000100);                   /* status and enable at once */
	ck_assert_uint_eq(in(vm, BASE, 4), 0x01000000);
	ck_assert(!pm->irq.level);
	test_vm_free(vm);
}
END_TEST

START_TEST(soft_off)
{
	struct vm *vm = TEST_VM("cpus", "1");

	ck_assert_uint_eq(in(vm, BASE + 4, 2), 1);      /* SCI_EN */
	out(vm, BASE + 4, 2, 1 << 10 | 0x2000);         /* a type this machine has not */
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	out(vm, BASE + 4, 2, 5 << 10);                  /* the type alone does nothing */
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	ck_assert_uint_eq(in(vm, BASE + 4, 2), 5 << 10 | 1);
	out(vm, BASE + 4, 2, 5 << 10 | 0x2000);
	ck_assert_int_eq(vm->cause, CAUSE_POWEROFF);
	ck_assert_uint_eq(in(vm, BASE + 4, 2) & 0x2000, 0);
	test_vm_free(vm);
}
END_TEST

START_TEST(soft_off_by_bytes)
{
	struct vm *vm = TEST_VM("cpus", "1");

	out(vm, BASE + 5, 1, 5 << 2 | 0x20);
	ck_assert_int_eq(vm->cause, CAUSE_POWEROFF);
	test_vm_free(vm);
}
END_TEST

static uint64_t ticks_of(uint64_t ns)
{
	return ns * 3579545 / 1000000000;
}

/* Bounds come from the host's clock read inside and outside of the timer's reads, so load does no harm. */
START_TEST(timer)
{
	struct vm *vm = TEST_VM("cpus", "1");
	uint64_t outer = now_ns(), a = in(vm, BASE + 8, 4), inner = now_ns();

	usleep(2000);
	inner = now_ns() - inner;
	uint64_t b = in(vm, BASE + 8, 4);

	outer = now_ns() - outer;
	ck_assert_uint_ge(b - a + 2, ticks_of(inner));
	ck_assert_uint_le(b - a, ticks_of(outer) + 2);
	out(vm, BASE + 8, 4, 0);                        /* read-only */
	ck_assert_uint_ge(in(vm, BASE + 8, 4), b);
	test_vm_free(vm);
}
END_TEST

START_TEST(timer_stands_while_paused)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct device *pm = vm_device(vm, "pm");
	uint64_t t0 = now_ns(), before = in(vm, BASE + 8, 4);

	pm->cls->pause(pm);
	uint64_t ran = now_ns() - t0;

	usleep(5000);
	t0 = now_ns();
	pm->cls->resume(pm);
	uint64_t after = in(vm, BASE + 8, 4);

	ran += now_ns() - t0;
	ck_assert_uint_le(after - before, ticks_of(ran) + 3);
	test_vm_free(vm);
}
END_TEST

START_TEST(general_purpose_events)
{
	struct vm *vm = TEST_VM("cpus", "1");

	for (unsigned i = 0; i < 8; i++)
		out(vm, BASE + 0x28 + i, 1, 0x10 + i);
	ck_assert_uint_eq(in(vm, BASE + 0x28, 8), 0x1716151413121110);
	ck_assert_uint_eq(in(vm, BASE + 0x20, 8), 0);
	out(vm, BASE + 0x20, 8, ~0ull);
	ck_assert_uint_eq(in(vm, BASE + 0x20, 8), 0);
	test_vm_free(vm);
}
END_TEST

START_TEST(reset_and_snapshot)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct device *pm = vm_device(vm, "pm");

	out(vm, BASE + 2, 2, 0x100);
	acpi_pm_power_button(pm);
	out(vm, BASE + 0x28, 1, 0x42);
	json_t *rec = device_save(pm);

	pm->cls->reset(pm);
	ck_assert(!pm->irq.level);
	ck_assert_uint_eq(in(vm, BASE, 4), 0);
	ck_assert_uint_eq(in(vm, BASE + 0x28, 1), 0);
	ck_assert_int_eq(device_load(pm, rec), 0);
	ck_assert(pm->irq.level);
	ck_assert_uint_eq(in(vm, BASE, 4), 0x01000100);
	ck_assert_uint_eq(in(vm, BASE + 0x28, 1), 0x42);
	json_decref(rec);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("devices/acpi_pm", power_button, soft_off, soft_off_by_bytes, timer, timer_stands_while_paused, general_purpose_events,
	  reset_and_snapshot)

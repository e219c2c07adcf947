/* The reset ports, driven through the port bus as a guest does. */
#include "tests/unit/arch/x86/testvm.h"

static uint64_t in(struct vm *vm, unsigned port)
{
	uint64_t v = 0;

	bus_read(&vm->pio, port, 1, &v);
	return v;
}

START_TEST(cf9)
{
	struct vm *vm = TEST_VM("cpus", "1");

	ck_assert_uint_eq(in(vm, 0xcf9), 0);
	bus_write(&vm->pio, 0xcf9, 1, 0xf1);            /* reserved bits are not kept */
	ck_assert_uint_eq(in(vm, 0xcf9), 0);
	bus_write(&vm->pio, 0xcf9, 1, 0x02);
	ck_assert_uint_eq(in(vm, 0xcf9), 2);
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	bus_write(&vm->pio, 0xcf9, 1, 0x06);
	ck_assert_int_eq(vm->cause, CAUSE_RESET);
	vm->cause = CAUSE_NONE;
	bus_write(&vm->pio, 0xcf9, 1, 0x06);            /* no edge */
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	struct device *d = vm_device(vm, "cf9");

	d->cls->reset(d);
	bus_write(&vm->pio, 0xcf9, 1, 0x0e);
	ck_assert_int_eq(vm->cause, CAUSE_RESET);
	test_vm_free(vm);
}
END_TEST

/* The register lies inside CONFIG_ADDRESS: a dword there is configuration, not reset. */
START_TEST(config_address_is_not_reset)
{
	struct vm *vm = TEST_VM("cpus", "1");
	uint64_t v = 0;

	bus_write(&vm->pio, 0xcf8, 4, 0x8000ff00);
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	bus_read(&vm->pio, 0xcf8, 4, &v);
	ck_assert_uint_eq(v, 0x8000ff00);
	ck_assert_uint_eq(in(vm, 0xcf9), 0);
	test_vm_free(vm);
}
END_TEST

START_TEST(port92)
{
	struct vm *vm = TEST_VM("cpus", "1");

	ck_assert_uint_eq(in(vm, 0x92), 2);
	bus_write(&vm->pio, 0x92, 1, 0x00);             /* A20 stays on */
	ck_assert_uint_eq(in(vm, 0x92), 2);
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	bus_write(&vm->pio, 0x92, 1, 0x03);
	ck_assert_int_eq(vm->cause, CAUSE_RESET);
	test_vm_free(vm);
}
END_TEST

START_TEST(snapshot)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct device *d = vm_device(vm, "cf9");

	bus_write(&vm->pio, 0xcf9, 1, 0x0a);
	json_t *rec = device_save(d);

	d->cls->reset(d);
	ck_assert_uint_eq(in(vm, 0xcf9), 0);
	ck_assert_int_eq(device_load(d, rec), 0);
	ck_assert_uint_eq(in(vm, 0xcf9), 0x0a);
	json_decref(rec);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("devices/reset_cf9", cf9, config_address_is_not_reset, port92, snapshot)

/* isa-debug-exit: where it is, what it refuses, and the status. */
#include <errno.h>

#include "tests/unit/capture.h"
#include "tests/unit/arch/x86/testvm.h"

static struct capture cap;

START_TEST(status)
{
	static const struct { unsigned size; uint32_t value; int status; } rows[] = {
		{ 1, 0, 1 }, { 1, 0x31, 0x63 }, { 1, 0x80, 1 }, { 2, 0x0110, 0x21 }, { 4, 0xffffffff, 0xff },
	};
	for (size_t i = 0; i < NELEM(rows); i++) {
		struct vm *vm = TEST_VM("lpc.debugexit.port", "0xf4");
		uint64_t v = 1;
		bus_read(&vm->pio, 0xf4, 1, &v);
		ck_assert_uint_eq(v, 0);
		ck_assert_int_eq(vm->cause, CAUSE_NONE);
		bus_write(&vm->pio, 0xf4, rows[i].size, rows[i].value);
		ck_assert_int_eq(vm->cause, CAUSE_GUEST_EXIT);
		ck_assert_int_eq(vm->guest_status, rows[i].status);
		bus_write(&vm->pio, 0xf4, 1, 7);                /* the first one counts */
		ck_assert_int_eq(vm->guest_status, rows[i].status);
		test_vm_free(vm);
	}
}
END_TEST

START_TEST(absent_by_default)
{
	struct vm *vm = TEST_VM("cpus", "1");
	ck_assert_ptr_null(vm_device(vm, "lpc.debugexit"));
	ck_assert_ptr_null(bus_find(&vm->pio, 0x501));
	test_vm_free(vm);
}
END_TEST

START_TEST(collisions)
{
	static const struct { const char *port, *text; } rows[] = {
		{ "0x61", "lpc.debugexit.port: ports 0x61 to 0x64 overlap i8042; choose others, such as 0x501 or 0xf4" },
		{ "0x1e", "lpc.debugexit.port: ports 0x1e to 0x21 overlap the interrupt controller or the timer; choose others" },
		{ "0x3f5", "ports 0x3f5 to 0x3f8 overlap lpc.com1" },
	};
	for (size_t i = 0; i < NELEM(rows); i++) {
		struct conf *c = test_conf((const char *const[]){ "lpc.debugexit.port", rows[i].port, NULL });
		struct vm *vm = NULL;
		capture_start(&cap, STDERR_FILENO);
		ck_assert_int_eq(vm_create(c, &arch_x86, true, &vm), -EEXIST);
		ck_assert_msg(strstr(capture_stop(&cap), rows[i].text) != NULL, "%s", cap.text);
		conf_free(c);
	}
}
END_TEST

UNIT_MAIN("devices/debug_exit", status, absent_by_default, collisions)

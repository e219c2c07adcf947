/*
 * Dry x86 machines for the tests of arch/x86: "cpus=2", "memory.size=3G" and the like, or a bare struct vm
 * with a memory map and no devices.
 */
#ifndef TESTS_UNIT_ARCH_X86_TESTVM_H
#define TESTS_UNIT_ARCH_X86_TESTVM_H

#include <stdio.h>

#include "common/conf.h"
#include "common/vm.h"
#include "tests/unit/unit.h"

/* Settings end with NULL: key, value, key, value, NULL. */
static inline struct conf *test_conf(const char *const *settings)
{
	struct conf *c = conf_new();

	ck_assert_int_eq(conf_set(c, "name", "testvm", "test"), 0);
	ck_assert_int_eq(conf_set(c, "arch", "x86", "test"), 0);
	for (; settings && *settings; settings += 2)
		ck_assert_int_eq(conf_set(c, settings[0], settings[1], "test"), 0);
	ck_assert_int_eq(conf_check(c), 0);
	return c;
}

static inline struct vm *test_vm(const char *const *settings)
{
	struct vm *vm = NULL;

	ck_assert_int_eq(vm_create(test_conf(settings), &arch_x86, true, &vm), 0);
	return vm;
}
#define TEST_VM(...) test_vm((const char *const[]){ __VA_ARGS__, NULL })

static inline void test_vm_free(struct vm *vm)
{
	struct conf *c = vm->conf;

	vm_free(vm);
	conf_free(c);
}

#endif

/*
 * Chips that differ between the machines: one placed in a dry machine of either architecture, its registers at ANY_BASE.
 */
#ifndef TESTS_UNIT_DEVICES_ANYVM_H
#define TESTS_UNIT_DEVICES_ANYVM_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/conf.h"
#include "common/vm.h"
#include "devices/classes.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

#define ANY_BASE 0x3f000000ull          /* free in both */

static inline struct vm *any_vm(const struct arch_info *arch)
{
	struct conf *c = conf_new();
	struct vm *vm = NULL;

	ck_assert_int_eq(conf_set(c, "memory.size", "64M", "test"), 0);
	ck_assert_int_eq(vm_create(c, arch, true, &vm), 0);
	return vm;
}

static inline void any_vm_free(struct vm *vm)
{
	struct conf *c = vm->conf;

	vm_free(vm);
	conf_free(c);
}

static inline uint64_t any_ram(const struct vm *vm)
{
	return vm->map.ram[0].base + 0x100000;
}

static inline uint64_t any_rd(struct vm *vm, uint64_t off, unsigned size)
{
	uint64_t v = 0;

	bus_read(&vm->mmio, ANY_BASE + off, size, &v);
	return v;
}

static inline void any_wr(struct vm *vm, uint64_t off, unsigned size, uint64_t v)
{
	bus_write(&vm->mmio, ANY_BASE + off, size, v);
}

/* Save, change, load, save again: the same record.  One with a field missing is refused. */
static inline void any_round_trip(struct device *d)
{
	struct capture cap;
	json_t *first = device_save(d), *second;

	device_reset(d);
	ck_assert_int_eq(device_load(d, first), 0);
	second = device_save(d);
	ck_assert(json_equal(first, second));
	json_t *state = json_object_get(second, "state");
	json_object_del(state, json_object_iter_key(json_object_iter(state)));
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(device_load(d, second), -EINVAL);
	capture_stop(&cap);
	json_decref(first);
	json_decref(second);
}

#endif

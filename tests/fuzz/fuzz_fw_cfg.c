/*
 * fw_cfg's registers and DMA requests.  Byte 0: the machine.  Then steps of 1 byte what, 1 byte offset, 8 bytes value: what 0 to 3
 * writes a register of 1, 2, 4 or 8 bytes, 4 to 7 reads one, 8 puts the value into guest memory, where requests are.
 * Whatever happens, the signature can be read afterwards.
 */
#include "tests/fuzz/fuzz.h"

#include "devices/classes.h"
#include "devices/fw_cfg.h"

#define BASE 0x3f000000ull
#define STEP 10

static void on_tables(struct vm *vm, struct device *d)
{
	(void)vm;
	fw_cfg_replace(d, "etc/acpi/tables", "rebuilt", 7);
}

static void step(struct vm *vm, const uint8_t *p)
{
	uint64_t v = get_le64(p + 2), ram = vm->map.ram[0].base;
	unsigned size = 1u << (p[0] & 3);

	if ((p[0] & 15) >= 8)
		mem_write(&vm->mem, ram + p[1], &v, 8);
	else if (p[0] & 4)
		bus_read(&vm->mmio, BASE + p[1] % 32, size, &v);
	else
		bus_write(&vm->mmio, BASE + p[1] % 32, size, v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char sign[] = "QEMU";
	uint64_t v;

	if (len < 1)
		return 0;
	struct vm *vm = fuzz_vm(data[0] & 1 ? &arch_arm64 : &arch_x86);
	struct conf *conf = vm->conf;
	struct device *d = device_new(vm, &fw_cfg_class, "fw", NULL);
	MUST(d && device_place(d, &vm->mmio, BASE) == 0);
	fw_cfg_on_tables(d, on_tables);
	fw_cfg_file(d, "etc/acpi/tables", "tables and more tables", 22);
	fw_cfg_file(d, "opt/empty", NULL, 0);
	fw_cfg_u32(d, FW_CFG_KERNEL_SIZE, 0x12345678);
	for (data++, len--; len >= STEP; data += STEP, len -= STEP)
		step(vm, data);
	bus_write(&vm->mmio, BASE + (vm->arch->has_pio ? 0 : 8), 2, 0);
	for (unsigned i = 0; i < 4; i++) {
		bus_read(&vm->mmio, BASE + (vm->arch->has_pio ? 1 : 0), 1, &v);
		MUST(v == (uint64_t)sign[i]);
	}
	vm_free(vm);
	conf_free(conf);
	return 0;
}

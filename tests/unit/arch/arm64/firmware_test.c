/* Firmware files that are refused, what is in fw_cfg, and where firmware starts. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "arch/arm64/arm64.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/place.h"
#include "common/vm.h"
#include "tests/unit/unit.h"

static const char *memory = "128M", *kernel;     /* kernel: for the firmware to start */
static char said[512];           /* the last report */
static char path[] = "/tmp/skep-fw-XXXXXX", other[] = "/tmp/skep-fw-XXXXXX";

/* `head` at the start, `tail` in the last 16 bytes. */
static void write_file(const char *name, off_t size, uint32_t head, const char *tail, size_t tail_len)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	if (size >= 16) {
		ck_assert_int_eq(pwrite(fd, &head, 4, 0), 4);
		ck_assert_int_eq(pwrite(fd, tail, tail_len, size - 16), (ssize_t)tail_len);
	}
	close(fd);
}

static struct vm *try_vm(const char *code, const char *vars, const char *acpi, int *err)
{
	struct conf *c = conf_new();
	struct vm *vm = NULL;

	ck_assert_int_eq(conf_set(c, "arch", "arm64", "test"), 0);
	ck_assert_int_eq(conf_set(c, "memory.size", memory, "test"), 0);
	ck_assert_int_eq(conf_set(c, "lpc.bootrom", code, "test"), 0);
	ck_assert_int_eq(conf_set(c, "acpi_tables", acpi, "test"), 0);
	if (kernel)
		ck_assert_int_eq(conf_set(c, "kernel", kernel, "test"), 0);
	if (vars)
		ck_assert_int_eq(conf_set(c, "lpc.bootvars", vars, "test"), 0);
	*err = vm_create(c, &arch_arm64, true, &vm);
	if (*err)
		conf_free(c);
	return *err ? NULL : vm;
}

static void done(struct vm *vm)
{
	struct conf *c = vm->conf;

	vm_free(vm);
	conf_free(c);
}

#define B_INSN 0x14000400u              /* how EDK2 begins */

START_TEST(files_that_cannot_be)
{
	static const struct { off_t size; uint32_t head; const char *tail; size_t len; int err; const char *says; } t[] = {
		{ 4096, B_INSN, "", 0, 0, "" },
		{ 16, B_INSN, "", 0, 0, "" },
		{ 0x04000000, B_INSN, "", 0, 0, "" },
		{ 0x04000001, B_INSN, "", 0, -EINVAL, "67108865 bytes" },
		{ 15, 0, "", 0, -EINVAL, "too few" },
		{ 0, 0, "", 0, -EINVAL, "0 bytes" },
		{ 4096, 0xd53800a0, "", 0, 0, "" },                         /* mrs: any instruction will do */
		{ 4096, 0, "", 0, -EINVAL, "does not begin with arm64 code" },    /* variables instead of code */
		{ 4096, UINT32_MAX, "", 0, -EINVAL, "does not begin with arm64" },
		{ 4096, 0x464c457f, "", 0, -EINVAL, "does not begin with arm64" },      /* an ELF file */
		{ 4096, 0xea0000b8, "", 0, -EINVAL, "does not begin with arm64" },                   /* 32-bit U-Boot */
		{ 4096, 0, "\x90\x90\xe9\x5b\xff", 5, -EINVAL, "is for x86 machines" },        /* OVMF_CODE_4M */
		{ 4096, 0, "\x0f\x20\xc0\xa8\x01\x74\x05\xe9", 8, -EINVAL, "is for x86 machines" },
		{ 4096, 0xe8e78948, "\xfa\xfc\xe9\x0b\xf8", 5, -EINVAL, "is for x86 machines" },       /* U-Boot for x86-64 */
		{ 4096, B_INSN, "\xfa\xfc\xe9\x0b\xf8", 5, 0, "" },         /* what follows the last byte of code is anything */
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		int err;

		write_file(path, t[i].size, t[i].head, t[i].tail, t[i].len);
		struct vm *vm = try_vm(path, NULL, "true", &err);

		ck_assert_msg(err == t[i].err, "case %zu: %d, '%s'", i, err, said);
		ck_assert_msg(!err || strstr(said, t[i].says), "case %zu: '%s'", i, said);
		if (vm)
			done(vm);
	}
}
END_TEST

START_TEST(uefi_needs_memory)
{
	static const struct { const char *size; bool uefi; int err; } t[] = {
		{ "64M", false, 0 }, { "64M", true, -EINVAL }, { "127M", true, -EINVAL }, { "128M", true, 0 },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		int err, fd;

		write_file(path, 8192, B_INSN, "", 0);
		fd = open(path, O_WRONLY);
		ck_assert_int_eq(pwrite(fd, t[i].uefi ? "_FVH" : "_FVX", 4, 0x1028), 4);
		close(fd);
		memory = t[i].size;
		struct vm *vm = try_vm(path, NULL, "true", &err);

		memory = "128M";
		ck_assert_msg(err == t[i].err, "case %zu: %d, '%s'", i, err, said);
		ck_assert(!err || strstr(said, "too little for the UEFI firmware"));
		if (vm)
			done(vm);
	}
}
END_TEST

START_TEST(kernel_without_efi)
{
	static const struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph;
	} file = {
		{ .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC, .e_machine = EM_AARCH64,
		  .e_version = EV_CURRENT, .e_entry = 0x40200000, .e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr),
		  .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 },
		{ .p_type = PT_LOAD, .p_vaddr = 0x40200000, .p_paddr = 0x40200000, .p_filesz = sizeof(file), .p_memsz = sizeof(file) },
	};
	int err, fd = open(other, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_eq(write(fd, &file, sizeof(file)), (ssize_t)sizeof(file));
	close(fd);
	write_file(path, 4096, B_INSN, "", 0);
	kernel = other;
	try_vm(path, NULL, "true", &err);
	kernel = NULL;
	ck_assert_int_eq(err, -EINVAL);
	ck_assert_msg(strstr(said, "(arm64 ELF kernel): firmware starts arm64 Images only; leave the firmware out") != NULL, "%s", said);
}
END_TEST

START_TEST(no_file_and_no_regular_one)
{
	int err;

	write_file(path, 4096, B_INSN, "", 0);
	try_vm("/nonexistent/fw", NULL, "true", &err);
	ck_assert_int_eq(err, -ENOENT);
	try_vm("/dev/null", NULL, "true", &err);
	ck_assert_int_eq(err, -EINVAL);
	try_vm(path, "/nonexistent/vars", "true", &err);
	ck_assert_int_eq(err, -ENOENT);
	write_file(other, 0x04000001, 0, "", 0);
	try_vm(path, other, "true", &err);
	ck_assert_int_eq(err, -EFBIG);
}
END_TEST

START_TEST(starts_in_the_flash_with_the_tree_in_ram)
{
	int err;

	write_file(path, 4096, B_INSN, "", 0);
	write_file(other, 4096, 0, "", 0);
	struct vm *vm = try_vm(path, other, "true", &err);

	ck_assert_int_eq(err, 0);
	ck_assert_int_eq(vm->entry.mode, ENTRY_ARM64);
	ck_assert_uint_eq(vm->entry.pc, 0);
	ck_assert_uint_eq(vm->entry.arg, 0);
	ck_assert_mem_eq(mem_at(&vm->mem, 0x40000000, 4), "\xd0\x0d\xfe\xed", 4);
	const struct placement *p = boot_placed(vm, PLACE_FDT);

	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(p->gpa, 0x40000000);
	ck_assert_uint_lt(p->len, 0x7c000);             /* below EDK2's stack */
	const struct device *d = vm_device(vm, "flash1");

	ck_assert_uint_eq(vm_device(vm, "flash0")->io.base, 0);
	ck_assert_uint_eq(vm_device(vm, "flash0")->io.len, 0x04000000);
	ck_assert_uint_eq(d->io.base, 0x04000000);
	ck_assert_uint_eq(d->io.len, 0x04000000);
	uint64_t v;

	ck_assert(bus_read(&vm->mmio, 0, 4, &v));
	ck_assert_uint_eq(v, B_INSN);
	done(vm);
}
END_TEST

static char *tables(struct vm *vm)
{
	char *s = NULL;
	size_t len;
	FILE *f = open_memstream(&s, &len);

	ck_assert_int_eq(arch_arm64.print_tables(vm, f), 0);
	fclose(f);
	return s;
}

START_TEST(acpi_unless_switched_off)
{
	static const char *const want[] = {
		"flash@0", "fw-cfg@9020000", "hardware-reduced", "GICv3 distributor", "ITS 0 at 0x8080000", "virtual 27",
		"PCI root complex", "PL011 at 0x9000000, interrupt 33", "device PWRB", "checksum good",
	};
	int err;

	write_file(path, 4096, B_INSN, "", 0);
	struct vm *vm = try_vm(path, NULL, "true", &err);
	char *s = tables(vm);

	ck_assert(arm64_has_acpi(vm));
	for (size_t i = 0; i < NELEM(want); i++)
		ck_assert_msg(strstr(s, want[i]) != NULL, "'%s' is missing", want[i]);
	ck_assert_ptr_null(strstr(s, "WRONG"));
	free(s);
	done(vm);

	vm = try_vm(path, NULL, "false", &err);
	s = tables(vm);
	ck_assert(!arm64_has_acpi(vm));
	ck_assert_ptr_nonnull(strstr(s, "flash@0"));
	ck_assert_ptr_null(strstr(s, "ACPI"));
	free(s);
	done(vm);
}
END_TEST

START_TEST(tables_as_files)
{
	char dir[] = "/tmp/skep-fwdir-XXXXXX", name[80];
	static const char *const files[] = { "virt.dtb", "dsdt.aml", "facp.dat", "apic.dat", "gtdt.dat", "mcfg.dat", "spcr.dat",
					     "iort.dat", "xsdt.dat" };
	int err;

	write_file(path, 4096, B_INSN, "", 0);
	struct vm *vm = try_vm(path, NULL, "true", &err);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(arch_arm64.write_tables(vm, dir), 0);
	for (size_t i = 0; i < NELEM(files); i++) {
		snprintf(name, sizeof(name), "%s/%s", dir, files[i]);
		ck_assert_msg(unlink(name) == 0, "%s", files[i]);
	}
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(arch_arm64.write_tables(vm, "/nonexistent/dir"), -ENOENT);
	done(vm);
}
END_TEST

static void remove_files(void)
{
	unlink(path);
	unlink(other);
}

static void keep_text(void *arg, enum log_level level, const char *text)
{
	(void)arg;
	(void)level;
	snprintf(said, sizeof(said), "%s", text);
}

START_TEST(set_up)
{
	close(mkstemp(path));
	close(mkstemp(other));
	atexit(remove_files);
	log_divert(keep_text, NULL);
}
END_TEST

UNIT_MAIN("arch/arm64/firmware", set_up, files_that_cannot_be, uefi_needs_memory, kernel_without_efi, no_file_and_no_regular_one,
	  starts_in_the_flash_with_the_tree_in_ram, acpi_unless_switched_off, tables_as_files)

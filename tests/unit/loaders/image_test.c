/* Opening kernels and initrds: every file of no use is refused in one sentence that names it, the reason and the remedy. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "common/conf.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/x86image.h"
#include "tests/unit/unit.h"

static struct capture err;
static char dir[64], path[96], initrd[96];
static struct image im;
static struct conf *conf;

static void put(const char *to, const void *data, size_t len)
{
	FILE *f = fopen(to, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

static void set_up(void)
{
	strcpy(dir, "/tmp/skep-image-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/kernel", dir);
	snprintf(initrd, sizeof(initrd), "%s/initrd", dir);
}

static void tear_down(void)
{
	image_release(&im);
	conf_free(conf);
	conf = NULL;
	unlink(path);
	unlink(initrd);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* Keys and values end with NULL; NULL values are left out. */
static int open_keys(const char *want, const char *const *keys)
{
	conf_free(conf);
	conf = conf_new();
	for (; *keys; keys += 2) {
		if (keys[1])
			ck_assert_int_eq(conf_set(conf, keys[0], keys[1], "test"), 0);
	}
	ck_assert_int_eq(conf_check(conf), 0);
	capture_start(&err, 2);
	int r = image_open(&im, conf, want);
	capture_stop(&err);
	ck_assert_int_eq(im.opened, r == 0);
	return r;
}
#define OPEN(want, ...) open_keys(want, (const char *const[]){ __VA_ARGS__, NULL })

static int open_image(const char *kernel, const char *rd, const char *want)
{
	return open_keys(want, (const char *const[]){ "kernel", kernel, rd ? "initrd" : NULL, rd, NULL });
}

static void said(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void said(const char *fmt, ...)
{
	char text[800];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ck_assert_str_eq(err.text, text);
}

/* One line "skep: WHAT 'PATH'" and then the rest; nothing stays mapped. */
static void refused(const char *kernel, const char *rd, const char *want, int code, const char *what, const char *rest)
{
	char text[700];
	snprintf(text, sizeof(text), "skep: %s '%s'%s\n", what, strcmp(what, "kernel") ? rd : kernel, rest);
	ck_assert_int_eq(open_image(kernel, rd, want), code);
	ck_assert_str_eq(err.text, text);
	ck_assert(!im.data && !im.map_len && !im.initrd && !im.initrd_map_len && im.nseg == 0);
}

static void kernel_refused(const char *want, int code, const char *rest)
{
	refused(path, NULL, want, code, "kernel", rest);
}

#define ARM_LEN 4096
static void arm_make(uint8_t f[ARM_LEN])
{
	memset(f, 0, ARM_LEN);
	put_le64(f + 16, 0x10000);
	put_le32(f + 56, 0x644d5241);
}

static size_t gzip(const void *in, size_t len, uint8_t *out, size_t cap)
{
	z_stream z = { .next_in = (Bytef *)in, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)cap };
	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

START_TEST(good)
{
	uint8_t bz[BZ_LEN], arm[ARM_LEN], packed[ARM_LEN];
	struct elf_file elf;
	set_up();
	bz_make(bz);
	put(path, bz, sizeof(bz));
	put(initrd, "cpio", 4);
	ck_assert_int_eq(open_image(path, initrd, "x86"), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(im.kind, IMAGE_BZIMAGE);
	ck_assert_uint_eq(im.initrd_len, 4);
	ck_assert_mem_eq(im.initrd, "cpio", 4);
	image_release(&im);
	ck_assert_int_eq(im.kind, IMAGE_BZIMAGE);       /* what was recognised stays */
	ck_assert_uint_eq(im.initrd_len, 4);
	ck_assert_str_eq(im.path, path);
	image_release(&im);                             /* twice is harmless */
	elf_make(&elf);
	put(path, &elf, sizeof(elf));
	ck_assert_int_eq(open_image(path, NULL, "x86"), 0);
	ck_assert_int_eq(im.kind, IMAGE_PVH);
	image_release(&im);
	arm_make(arm);
	put(path, arm, sizeof(arm));
	ck_assert_int_eq(open_image(path, NULL, "arm64"), 0);
	ck_assert_int_eq(im.kind, IMAGE_ARM64);
	image_release(&im);
	put(path, packed, gzip(arm, sizeof(arm), packed, sizeof(packed)));
	ck_assert_int_eq(open_image(path, NULL, "arm64"), 0);
	ck_assert_uint_eq(im.len, ARM_LEN);
	tear_down();
}
END_TEST

START_TEST(no_file)
{
	char below[128];
	set_up();
	kernel_refused("x86", -ENOENT, ": No such file or directory");
	put(path, "text", 4);
	snprintf(below, sizeof(below), "%s/vmlinuz", path);     /* a file is not a directory, not even for root */
	refused(below, NULL, "x86", -ENOTDIR, "kernel", ": Not a directory");
	refused(dir, NULL, "x86", -EINVAL, "kernel", ": this is no regular file; give a kernel or initrd file");
	refused("/dev/null", NULL, "x86", -EINVAL, "kernel", ": this is no regular file; give a kernel or initrd file");
	chmod(path, 0);
	if (geteuid() != 0)
		kernel_refused("x86", -EACCES, ": Permission denied");
	tear_down();
}
END_TEST

START_TEST(a_pipe_is_refused_at_once)
{
	set_up();
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	alarm(20);                                      /* no writer ever comes */
	kernel_refused("x86", -EINVAL, ": this is no regular file; give a kernel or initrd file");
	alarm(0);
	tear_down();
}
END_TEST

#define UNKNOWN ": not a kernel skep knows (Linux bzImage or arm64 Image, FreeBSD kernel, ELF with a PVH note, Multiboot, arm64 " \
	"ELF); " \
	"files without a header go with --load FILE@ADDR and --entry ADDR"
START_TEST(no_kernel)
{
	set_up();
	put(path, "", 0);
	kernel_refused("x86", -EINVAL, ": the file is empty; give a kernel or initrd file");
	put(path, "M", 1);
	kernel_refused("x86", -ENOEXEC, UNKNOWN);
	put(path, "#!/bin/sh\necho a shell script is no kernel\n", 43);
	kernel_refused("x86", -ENOEXEC, UNKNOWN);
	kernel_refused("arm64", -ENOEXEC, UNKNOWN);
	tear_down();
}
END_TEST

START_TEST(other_architecture)
{
	uint8_t bz[BZ_LEN], arm[ARM_LEN];
	struct elf_file elf;
	set_up();
	bz_make(bz);
	put(path, bz, sizeof(bz));
	kernel_refused("arm64", -ENOEXEC, " is an x86 Linux bzImage, this machine is arm64: give a kernel for arm64, or run it on "
		"an x86 host");
	arm_make(arm);
	put(path, arm, sizeof(arm));
	kernel_refused("x86", -ENOEXEC, " is an arm64 Linux Image, this machine is x86: give a kernel for x86, or run it on an "
		"arm64 host");
	elf_make(&elf);
	put(path, &elf, sizeof(elf));
	kernel_refused("arm64", -ENOEXEC, " is an x86 ELF with a PVH entry, this machine is arm64: give a kernel for arm64, or run "
		"it on an x86 host");
	elf.eh.e_machine = EM_AARCH64;
	put(path, &elf, sizeof(elf));
	elf.eh.e_entry = ELF_LOAD + 16;
	put(path, &elf, sizeof(elf));
	kernel_refused("x86", -ENOEXEC, " is an arm64 ELF kernel, this machine is x86: give a kernel for x86, or run it on an "
		"arm64 host");
	elf.eh.e_machine = EM_RISCV;
	put(path, &elf, sizeof(elf));
	kernel_refused("x86", -ENOEXEC, " is an ELF file of another architecture: give a kernel for x86 or arm64");
	tear_down();
}
END_TEST

START_TEST(truncated)
{
	uint8_t bz[BZ_LEN], arm[ARM_LEN], packed[ARM_LEN];
	struct elf_file elf;
	set_up();
	bz_make(bz);
	put(path, bz, 4000);
	kernel_refused("x86", -ENOEXEC, " is cut off: its header promises 6656 bytes and the file has 4000; get a complete copy");
	put(path, bz, 0x240);
	kernel_refused("x86", -ENOEXEC, " is cut off inside its header: get a complete copy");
	elf_make(&elf);
	put(path, &elf, sizeof(elf) - 1);
	kernel_refused("x86", -ENOEXEC, " is cut off: a segment lies beyond the end of the file; get a complete copy");
	put(path, &elf, sizeof(elf.eh) + 8);
	kernel_refused("x86", -ENOEXEC, " is cut off: its program headers lie beyond the end of the file; get a complete copy");
	put(path, &elf, 40);
	kernel_refused("x86", -ENOEXEC, " is cut off inside its ELF header: get a complete copy");
	arm_make(arm);
	size_t n = gzip(arm, sizeof(arm), packed, sizeof(packed));
	put(path, packed, n - 1);
	kernel_refused("arm64", -EINVAL, " is truncated: its gzip data ends early; fetch the file again");
	put(path, packed, 2);
	kernel_refused("arm64", -EINVAL, " is truncated: its gzip data ends early; fetch the file again");
	packed[n - 8] ^= 1;
	put(path, packed, n);
	kernel_refused("arm64", -EINVAL, " has damaged gzip data (incorrect data check): fetch the file again");
	tear_down();
}
END_TEST

START_TEST(initrd_is_checked_too)
{
	uint8_t bz[BZ_LEN];
	set_up();
	bz_make(bz);
	put(path, bz, sizeof(bz));
	refused(path, initrd, "x86", -ENOENT, "initrd", ": No such file or directory");
	put(initrd, "", 0);
	refused(path, initrd, "x86", -EINVAL, "initrd", ": the file is empty; give a kernel or initrd file");
	refused(path, dir, "x86", -EINVAL, "initrd", ": this is no regular file; give a kernel or initrd file");
	tear_down();
}
END_TEST

START_TEST(other_systems)
{
	struct elf_file elf;
	uint8_t f[0x8100] = { 0 };

	set_up();
	elf_make(&elf);
	elf.note.h.n_type = 17;
	put(path, &elf, sizeof(elf));
	kernel_refused("x86", -ENOEXEC, " is an ELF file without a PVH entry note, a Multiboot header or the marks of a FreeBSD "
		"kernel: "
		       "give a bzImage, or a kernel built with CONFIG_PVH");
	elf.eh.e_machine = EM_386;
	elf.eh.e_ident[EI_OSABI] = ELFOSABI_FREEBSD;
	put(path, &elf, sizeof(elf));
	kernel_refused("x86", -ENOEXEC, " is a 32-bit (i386) FreeBSD kernel or program: give a FreeBSD kernel for amd64 or arm64");
	memcpy(f, "MZ", 2);
	put_le32(f + 60, 64);
	memcpy(f + 64, "PE\0", 4);
	put(path, f, 200);
	kernel_refused("x86", -ENOEXEC, " is a Windows or EFI program: put it on a disk with an EFI system partition and start "
		"that with "
		       "--firmware uefi");
	put_le32(f + 60, 197);          /* "PE" would lie beyond the end */
	put(path, f, 200);
	kernel_refused("x86", -ENOEXEC, UNKNOWN);
	put(path, "\xcf\xfa\xed\xfe....", 8);
	kernel_refused("x86", -ENOEXEC, " is a Mach-O file of macOS: give a kernel for Linux, FreeBSD, PVH or Multiboot");
	memset(f, 0, sizeof(f));
	memcpy(f + 0x8001, "CD001", 5);
	put(path, f, sizeof(f));
	kernel_refused("arm64", -ENOEXEC, " is a CD image: start it with --cdrom and --firmware uefi");
	put_le32(f + 64, 0xe85250d6);
	put_le32(f + 72, 24);
	put_le32(f + 76, -(0xe85250d6 + 24));
	put(path, f, 200);
	kernel_refused("x86", -ENOEXEC, " is a Multiboot 2 kernel: skep knows Multiboot 1; give a kernel with that header, or a "
		"disk and "
		       "--firmware uefi");
	tear_down();
}
END_TEST

START_TEST(protocols)
{
	uint8_t bz[BZ_LEN];
	struct elf_file elf;

	set_up();
	elf_make(&elf);
	put_le32(elf.text, 0x1badb002);         /* with addresses: both protocols */
	put_le32(elf.text + 4, 0x10000);
	put_le32(elf.text + 8, -(0x1badb002 + 0x10000));
	put_le32(elf.text + 12, ELF_LOAD);
	put_le32(elf.text + 16, ELF_LOAD);
	put_le32(elf.text + 20, ELF_LOAD + 0x100);
	put_le32(elf.text + 28, ELF_LOAD + 0x20);
	put(path, &elf, sizeof(elf));
	ck_assert_int_eq(OPEN("x86", "kernel", path), 0);
	ck_assert_int_eq(im.kind, IMAGE_PVH);
	image_release(&im);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "kernel.protocol", "multiboot"), 0);
	ck_assert_int_eq(im.kind, IMAGE_MULTIBOOT);
	ck_assert_uint_eq(im.entry, ELF_LOAD + 0x20);
	image_release(&im);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "kernel.protocol", "linux"), -ENOEXEC);
	said("skep: kernel '%s' has nothing for --protocol linux, only for: pvh, multiboot; choose that, or leave --protocol "
		"out\n", path);
	bz_make(bz);
	put(path, bz, sizeof(bz));
	ck_assert_int_eq(OPEN("x86", "kernel", path, "kernel.protocol", "linux"), 0);
	image_release(&im);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "kernel.protocol", "elf"), -ENOEXEC);
	said("skep: kernel '%s' has nothing for --protocol elf, only for: linux; choose that, or leave --protocol out\n", path);
	put(path, "text", 4);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "kernel.protocol", "elf"), -ENOEXEC);
	said("skep: kernel '%s'" UNKNOWN "\n", path);
	tear_down();
}
END_TEST

START_TEST(modules)
{
	struct elf_file elf;
	uint8_t bz[BZ_LEN];
	char mod[300];

	set_up();
	elf_make(&elf);
	put(path, &elf, sizeof(elf));
	put(initrd, "module", 6);
	snprintf(mod, sizeof(mod), "%s,args=a=b,,c d", initrd);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "module.0", initrd, "module.10", mod, "module.9", initrd), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_uint_eq(im.nmodules, 3);
	ck_assert_str_eq(im.module[0].path, initrd);
	ck_assert_str_eq(im.module[0].args, "");
	ck_assert_str_eq(im.module[2].args, "a=b,c d");         /* in the order of numbers */
	ck_assert_uint_eq(im.module[2].len, 6);
	ck_assert_mem_eq(im.module[2].data, "module", 6);
	image_release(&im);
	ck_assert_uint_eq(im.nmodules, 0);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "module.0", "/no/module"), -ENOENT);
	said("skep: module.0 '/no/module': No such file or directory\n");
	snprintf(mod, sizeof(mod), "%s,type=md_image", initrd);
	ck_assert_int_eq(OPEN("x86", "kernel", path, "module.0", mod), -EINVAL);
	said("skep: module.0: 'type=md_image' is for FreeBSD kernels; leave it out\n");
	bz_make(bz);
	put(path, bz, sizeof(bz));
	ck_assert_int_eq(OPEN("x86", "kernel", path, "module.0", initrd), -EINVAL);
	said("skep: --module '%s' with an x86 Linux bzImage, which takes none: give --initrd, or --load FILE@ADDR\n", initrd);
	tear_down();
}
END_TEST

START_TEST(too_many_files)
{
	struct elf_file elf;
	char keys[40][16];
	const char *list[84] = { "kernel", path };

	set_up();
	elf_make(&elf);
	put(path, &elf, sizeof(elf));
	for (unsigned i = 0; i < 17; i++) {
		snprintf(keys[i], sizeof(keys[i]), "module.%u", i);
		list[2 + 2 * i] = keys[i];
		list[3 + 2 * i] = path;
	}
	ck_assert_int_eq(open_keys("x86", list), -E2BIG);
	said("skep: module.16: a kernel gets at most 16 modules; give fewer\n");
	list[34] = NULL;
	ck_assert_int_eq(open_keys("x86", list), 0);
	tear_down();
}
END_TEST

START_TEST(loads)
{
	char load[200];

	set_up();
	put(path, "code", 4);
	snprintf(load, sizeof(load), "%s@2M", path);
	ck_assert_int_eq(OPEN("x86", "load.0", load, "entry", "0x200003"), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(im.kind, IMAGE_RAW);
	ck_assert_ptr_null(im.path);
	ck_assert_uint_eq(im.nblobs, 1);
	ck_assert_uint_eq(im.blob[0].gpa, MIB(2));
	ck_assert_mem_eq(im.blob[0].data, "code", 4);
	ck_assert_uint_eq(im.entry, 0x200003);
	image_release(&im);
	ck_assert_int_eq(OPEN("x86", "load.0", load), -EINVAL);
	said("skep: --load without --kernel: say with --entry ADDR where the guest starts\n");
	ck_assert_int_eq(OPEN("arm64", "load.0", load, "entry", "2097156"), -EINVAL);
	said("skep: --entry 0x200004 is in none of the files of --load: give the address where one of them has code\n");
	ck_assert_int_eq(OPEN("x86", "load.0", load, "entry", "2M", "initrd", path), -EINVAL);
	said("skep: --initrd '%s' with an image without a header, which takes none: use --load FILE@ADDR\n", path);
	ck_assert_int_eq(OPEN("arm64", "load.0", load, "entry", "2M", "initrd", path), 0);
	image_release(&im);
	ck_assert_int_eq(OPEN("x86", "load.0", "/no/file@0"), -ENOENT);
	said("skep: load.0 '/no/file': No such file or directory\n");
	snprintf(load, sizeof(load), "%s@0xfffffffffffffffe", path);
	ck_assert_int_eq(OPEN("x86", "load.7", load), -EINVAL);
	said("skep: load.7: '%s' would go beyond the last address; choose another\n", path);
	tear_down();
}
END_TEST

START_TEST(entry_is_the_kernels_own)
{
	uint8_t bz[BZ_LEN];

	set_up();
	bz_make(bz);
	put(path, bz, sizeof(bz));
	ck_assert_int_eq(OPEN("x86", "kernel", path, "entry", "1M"), -EINVAL);
	said("skep: --entry with --kernel '%s', which says itself where it starts: leave one of them out\n", path);
	tear_down();
}
END_TEST

START_TEST(variables_are_for_freebsd)
{
	uint8_t bz[BZ_LEN];

	set_up();
	bz_make(bz);
	put(path, bz, sizeof(bz));
	ck_assert_int_eq(OPEN("x86", "kernel", path, "loader.env.0", "a=b"), -EINVAL);
	said("skep: -e 'a=b' with kernel '%s', an %s, which has no such variables: use --append\n", path, image_kind_name(IMAGE_BZIMAGE));
	ck_assert_int_eq(OPEN("x86", "kernel", "host0:/k", "loader.hostdir", dir), -ENOENT);
	put(path, bz, sizeof(bz));
	ck_assert_int_eq(OPEN("x86", "kernel", "host0:/kernel", "loader.hostdir", dir), 0);     /* any kernel may come from there */
	ck_assert_int_eq(im.kind, IMAGE_BZIMAGE);
	tear_down();
}
END_TEST

/* What somebody does to the files while they are open changes nothing, and a short one ends nobody. */
START_TEST(files_change_meanwhile)
{
	uint8_t f[BZ_LEN];

	set_up();
	bz_make(f);
	put(path, f, sizeof(f));
	put(initrd, "initrd", 6);
	ck_assert_int_eq(open_image(path, initrd, "x86"), 0);
	put(path, "", 0);
	put(initrd, "", 0);
	ck_assert_mem_eq(im.data, f, sizeof(f));
	ck_assert_mem_eq(im.initrd, "initrd", 6);
	tear_down();
}
END_TEST

/* Without reading it. */
START_TEST(disk_as_kernel)
{
	set_up();
	put(path, "x", 1);
	ck_assert_int_eq(truncate(path, GIB(5)), 0);
	refused(path, NULL, "x86", -EFBIG, "kernel", " has 5120 MiB, more than any kernel: give a disk image with --disk");
	tear_down();
}
END_TEST

UNIT_MAIN("loaders/image", variables_are_for_freebsd, good, no_file, a_pipe_is_refused_at_once, no_kernel, other_architecture, truncated,
	initrd_is_checked_too,
	  other_systems, protocols, modules, too_many_files, loads, entry_is_the_kernels_own, files_change_meanwhile, disk_as_kernel)

/* Opening kernels and initrds: every file of no use is refused in one sentence that names it, the reason and the remedy. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/unit/capture.h"
#include "tests/unit/loaders/x86image.h"
#include "tests/unit/unit.h"

static struct capture err;
static char dir[64], path[96], initrd[96];
static struct image im;

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
	unlink(path);
	unlink(initrd);
	ck_assert_int_eq(rmdir(dir), 0);
}

static int open_image(const char *kernel, const char *rd, const char *want)
{
	capture_start(&err, 2);
	int r = image_open(&im, kernel, rd, want);
	capture_stop(&err);
	return r;
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

#define UNKNOWN ": not a kernel skep knows (Linux bzImage, ELF with a PVH note, arm64 Image, gzip'd Image)"
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
	kernel_refused("arm64", -ENOEXEC, " is an x86 Linux bzImage, this machine is arm64: give a kernel for arm64, or run it on an x86 host");
	arm_make(arm);
	put(path, arm, sizeof(arm));
	kernel_refused("x86", -ENOEXEC, " is an arm64 Linux Image, this machine is x86: give a kernel for x86, or run it on an arm64 host");
	elf_make(&elf);
	put(path, &elf, sizeof(elf));
	kernel_refused("arm64", -ENOEXEC, " is an x86 ELF with a PVH entry, this machine is arm64: give a kernel for arm64, or run it on an x86 host");
	elf.eh.e_machine = EM_AARCH64;
	put(path, &elf, sizeof(elf));
	kernel_refused("x86", -ENOEXEC, " is an arm64 ELF file: give that kernel's Image on arm64, or an x86 kernel on x86");
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

UNIT_MAIN("loaders/image", good, no_file, a_pipe_is_refused_at_once, no_kernel, other_architecture, truncated, initrd_is_checked_too)

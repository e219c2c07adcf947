/*
 * Raw images: odd sizes, holes, the guard of probed ones, making and resizing, errors of the host.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/img.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/powercut.h"

static char dir[64], path[96];
static struct capture cap;
static uint8_t buf[MIB(1)];

static void dir_make(void)
{
	snprintf(dir, sizeof(dir), "/var/tmp/skep-raw-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a", dir);
}

static void dir_remove(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void file_make(uint64_t size)
{
	dir_make();
	const int fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static struct img *open_as(const char *format, unsigned flags)
{
	const struct img_open o = { .path = path, .format = format, .file_flags = flags };
	int err = -1;
	struct img *img = img_open(&o, &err);
	ck_assert_ptr_nonnull(img);
	ck_assert_int_eq(err, 0);
	ck_assert_ptr_eq(img->drv, &img_raw);
	return img;
}

static uint64_t file_size(void)
{
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

START_TEST(odd_tail)
{
	file_make(4096 + 10);
	struct img *img = open_as("raw", BFILE_WRITE);
	ck_assert_uint_eq(img->size, 4106);
	memset(buf, 0xee, 1024);
	ck_assert_int_eq(img_read_buf(img, 4096, buf, 512), 0);
	ck_assert_uint_eq(buf[9] | buf[10] | buf[511], 0);
	memset(buf, 0x55, 512);
	ck_assert_int_eq(img_write_buf(img, 4096, buf, 512), 0);
	ck_assert_uint_eq(file_size(), 4608);                           /* the sector is whole now */
	memset(buf, 0, 1024);
	ck_assert_int_eq(img_read_buf(img, 4096, buf, 1024), 0);
	ck_assert_uint_eq(buf[9], 0x55);
	ck_assert_uint_eq(buf[511], 0x55);
	ck_assert_uint_eq(buf[512], 0);
	ck_assert_int_eq(img_zero(img, 4096, 512, IMG_UNMAP), 0);
	ck_assert_int_eq(img_read_buf(img, 4096, buf, 512), 0);
	ck_assert_uint_eq(buf[9] | buf[511], 0);
	/* far beyond the end nothing is written */
	ck_assert_int_eq(img_write_buf(img, MIB(1), buf, 512), 0);
	ck_assert_int_eq(img_discard(img, MIB(1), 512), 0);
	ck_assert_uint_eq(file_size(), 4608);
	ck_assert_int_eq(img_close(img), 0);
	dir_remove();
}
END_TEST

START_TEST(mapping)
{
	struct img_seg s;
	file_make(MIB(8));
	struct img *img = open_as("raw", BFILE_WRITE);
	memset(buf, 1, 65536);
	ck_assert_int_eq(img_write_buf(img, MIB(2), buf, 65536), 0);
	/* the fast way does not look */
	ck_assert_int_eq(img_map(img, 512, MIB(8), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.in_place && s.img == img && s.file == img->file && s.file_off == 512);
	ck_assert_uint_eq(s.len, MIB(8) - 512);
	/* tools do */
	ck_assert_int_eq(img_map(img, 0, MIB(8), 0, &s), 0);
	ck_assert(s.kind == IMG_ZERO && !s.in_place);
	ck_assert_uint_eq(s.len, MIB(2));
	ck_assert_int_eq(img_map(img, MIB(2), MIB(6), 0, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.in_place && s.file_off == MIB(2));
	ck_assert_uint_eq(s.len, 65536);
	img_close(img);
	img = open_as("raw", 0);
	ck_assert_int_eq(img_map(img, MIB(2), 512, 0, &s), 0);
	ck_assert(s.kind == IMG_DATA && !s.in_place);
	ck_assert_int_eq(img_write_buf(img, 0, buf, 512), -EROFS);
	ck_assert_int_eq(img_zero(img, 0, 512, 0), -EROFS);
	ck_assert_int_eq(img_discard(img, 0, 512), -EROFS);
	ck_assert_int_eq(img_flush(img), 0);
	ck_assert_int_eq(img_close(img), 0);
	dir_remove();
}
END_TEST

static const struct { const char *name; unsigned off, len; const char *bytes; bool tail; } signatures[] = {
	{ "qcow2", 0, 8, "QFI\xfb\0\0\0\3", false },
	{ "vmdk", 0, 8, "KDMV\1\0\0\0", false },
	{ "vmdk", 0, 32, "# Disk DescriptorFile\nversion=1\n", false },
	{ "vdi", 64, 4, "\x7f\x10\xda\xbe", false },
	{ "vhdx", 0, 8, "vhdxfile", false },
	{ "vpc", 0, 8, "conectix", false },
	{ "vpc", 0, 8, "conectix", true },
};

/* The sector that makes a disk look like that; a fixed VHD's ends in its type and sum [VHD "Hard Disk Footer Format"]. */
static void sector_of(unsigned i, uint8_t sector[512])
{
	memset(sector, 0, 512);
	memcpy(sector + signatures[i].off, signatures[i].bytes, signatures[i].len);
	if (!signatures[i].tail)
		return;
	uint32_t sum = 0;
	put_be32(sector + 60, 2);
	for (unsigned k = 0; k < 512; k++)
		sum += sector[k];
	put_be32(sector + 64, ~sum);
}

static int write_at(struct img *img, uint64_t off, const void *data, size_t len)
{
	capture_start(&cap, STDERR_FILENO);
	const int err = img_write_buf(img, off, data, len);
	capture_stop(&cap);
	return err;
}

START_TEST(guard)
{
	static const uint8_t zeroes[4096];
	struct img_seg s;
	uint8_t sector[1024] = { 0 };
	file_make(MIB(1));
	for (unsigned i = 0; i < NELEM(signatures); i++) {
		const uint64_t at = signatures[i].tail ? MIB(1) - 512 : 0;
		const struct img_driver *d = img_driver_find(signatures[i].name);
		ck_assert_ptr_nonnull(d);
		struct img *img = open_as(NULL, BFILE_WRITE);
		ck_assert(img->probed);
		uint8_t tail[512] = { 0 };
		sector_of(i, signatures[i].tail ? tail : sector);
		ck_assert_msg(d->probe(signatures[i].tail ? zeroes : sector, 1024, tail) > 1, "%s", d->name);
		if (signatures[i].tail)
			memcpy(sector, tail, 512);
		ck_assert_int_eq(write_at(img, at, sector, 512), -EPERM);
		ck_assert_ptr_nonnull(strstr(cap.text, "give format=raw"));
		ck_assert_ptr_nonnull(strstr(cap.text, d->name));
		/* also as a part of something longer, and piece by piece */
		memset(buf, 0, 8192);
		if (!signatures[i].tail) {
			memcpy(buf, sector, 512);
			ck_assert_int_eq(write_at(img, 0, buf, 8192), -EPERM);
			write_at(img, 0, sector, 66);
			write_at(img, 66, sector + 66, 446);
		} else {
			memcpy(buf + 8192 - 512, sector, 512);
			ck_assert_int_eq(write_at(img, MIB(1) - 8192, buf, 8192), -EPERM);
		}
		ck_assert_int_eq(img_zero(img, 0, 4096, 0), 0);
		ck_assert_int_eq(img_close(img), 0);
		img = open_as(NULL, 0);                                 /* still raw */
		img_close(img);
		/* whoever says raw may do what he wants */
		img = open_as("raw", BFILE_WRITE);
		ck_assert_int_eq(img_write_buf(img, at, sector, 512), 0);
		ck_assert_int_eq(img_write_buf(img, at, zeroes, 512), 0);
		img_close(img);
	}
	/* what is asynchronous keeps away from the guarded bytes */
	struct img *img = open_as(NULL, BFILE_WRITE);
	ck_assert_int_eq(img_map(img, 0, MIB(1), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_DATA && !s.in_place && s.len == 4096);
	ck_assert_int_eq(img_map(img, 4096, MIB(1), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.in_place && s.len == MIB(1) - 4096 - 512);
	ck_assert_int_eq(img_map(img, MIB(1) - 512, MIB(1), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_DATA && !s.in_place && s.len == 512);
	img_close(img);
	dir_remove();
}
END_TEST

/* What systems put into their first sectors. */
START_TEST(guard_lets_boot_sectors_pass)
{
	uint8_t s[4096] = { 0xeb, 0x63, 0x90 };
	file_make(MIB(1));
	struct img *img = open_as(NULL, BFILE_WRITE);
	s[510] = 0x55;
	s[511] = 0xaa;
	ck_assert_int_eq(img_write_buf(img, 0, s, 512), 0);             /* MBR, GRUB's first instructions */
	memcpy(s + 512, "EFI PART\0\0\1\0\x5c", 13);
	ck_assert_int_eq(img_write_buf(img, 0, s, 4096), 0);
	ck_assert_int_eq(img_write_buf(img, MIB(1) - 512, s + 512, 512), 0);    /* the GPT's copy */
	memcpy(s, "\xeb\x58\x90mkfs.fat", 11);
	ck_assert_int_eq(img_write_buf(img, 0, s, 512), 0);
	memset(s, 0, 4096);
	memcpy(s + 1080, "\x53\xef", 2);                                /* ext4 without a partition table */
	ck_assert_int_eq(img_write_buf(img, 0, s, 4096), 0);
	memcpy(s, "XFSB", 4);
	ck_assert_int_eq(img_write_buf(img, 0, s, 4096), 0);
	memcpy(s + 512, "LABELONE", 8);                                 /* LVM */
	ck_assert_int_eq(img_write_buf(img, 0, s, 4096), 0);
	memset(s, 0xff, 4096);
	ck_assert_int_eq(img_write_buf(img, 0, s, 4096), 0);
	for (unsigned i = 0; i < 4096; i++)
		s[i] = (uint8_t)(i * 7);
	ck_assert_int_eq(img_write_buf(img, 0, s, 4096), 0);
	ck_assert_int_eq(img_zero(img, 0, MIB(1), IMG_UNMAP), 0);
	ck_assert_int_eq(img_write_buf(img, 0, "# Disk", 6), 0);
	ck_assert_int_eq(img_discard(img, 0, MIB(1)), 0);
	ck_assert_int_eq(img_read_buf(img, 0, s, 6), 0);
	ck_assert_mem_eq(s, "# Disk", 6);                               /* guarded bytes are not discarded */
	img_close(img);
	dir_remove();
}
END_TEST

START_TEST(empty)
{
	const struct img_open ro = { .path = path }, rw = { .path = path, .file_flags = BFILE_WRITE };
	int err;
	file_make(0);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(img_open(&ro, &err));
	ck_assert_int_eq(err, -EINVAL);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "it is empty; give an image with something in it"));
	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(img_open(&rw, &err));
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "it is empty; give it a size with 'truncate -s 10G"));
	dir_remove();
}
END_TEST

static int make(struct img_create c)
{
	c.path = path;
	c.format = "raw";
	capture_start(&cap, STDERR_FILENO);
	const int err = img_create(&c);
	capture_stop(&cap);
	return err;
}

START_TEST(creation)
{
	struct stat st;
	dir_make();
	ck_assert_int_eq(make((struct img_create){ .size = MIB(3) + 1 }), 0);
	ck_assert_uint_eq(file_size(), MIB(3) + 1);
	ck_assert_int_eq(make((struct img_create){ .size = MIB(1) }), -EEXIST);
	ck_assert_int_eq(make((struct img_create){ .size = MIB(1), .overwrite = true, .prealloc = IMG_PREALLOC_FULL }), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, MIB(1));
	ck_assert_int_ge(st.st_blocks * 512, (long)MIB(1));
	unlink(path);
	ck_assert_int_eq(make((struct img_create){ .size = MIB(1), .backing = "b" }), -EINVAL);
	ck_assert_int_eq(make((struct img_create){ .size = MIB(1), .prealloc = IMG_PREALLOC_METADATA }), -EINVAL);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(make((struct img_create){ .size = UINT64_MAX }), -EFBIG);
	ck_assert_int_eq(access(path, F_OK), -1);
	dir_remove();
}
END_TEST

START_TEST(resizing)
{
	file_make(MIB(1));
	struct img *img = open_as("raw", BFILE_WRITE);
	ck_assert_int_eq(img->drv->resize(img, MIB(2)), 0);
	ck_assert_uint_eq(img->size, MIB(2));
	memset(buf, 1, 512);
	ck_assert_int_eq(img_read_buf(img, MIB(2) - 512, buf, 512), 0);
	ck_assert_uint_eq(buf[0], 0);
	ck_assert_int_eq(img->drv->resize(img, 512), 0);
	ck_assert_uint_eq(file_size(), 512);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(img->drv->resize(img, UINT64_MAX), -EFBIG);
	capture_stop(&cap);
	ck_assert_uint_eq(img->size, 512);
	img_close(img);
	dir_remove();
}
END_TEST

START_TEST(full_disk)
{
	dir_make();
	if (mount("none", dir, "tmpfs", 0, "size=256k") < 0) {
		fprintf(stderr, "not tested: no file system can be mounted here (%s)\n", strerror(errno));
		dir_remove();
		return;
	}
	ck_assert_int_eq(make((struct img_create){ .size = MIB(1), .prealloc = IMG_PREALLOC_FALLOC }), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(cap.text, "no room for its 1048576 bytes"));
	ck_assert_int_eq(access(path, F_OK), -1);                       /* nothing half-made is left */
	ck_assert_int_eq(make((struct img_create){ .size = MIB(1) }), 0);
	struct img *img = open_as("raw", BFILE_WRITE);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(img_write_buf(img, 0, buf, sizeof(buf)), -ENOSPC);
	ck_assert_int_eq(img_zero(img, 0, MIB(1), IMG_UNMAP), 0);       /* makes room */
	ck_assert_int_eq(img_write_buf(img, MIB(1) - 4096, buf, 4096), 0);
	ck_assert_int_eq(img_close(img), 0);
	ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
	dir_remove();
}
END_TEST

START_TEST(host_errors)
{
	struct powercut *pc = powercut_new(buf, 65536);
	int err = -1;
	struct img *img = img_open_file(powercut_open(pc, "pc", true), &img_raw, &err);
	ck_assert_ptr_nonnull(img);
	powercut_fail(pc, POWERCUT_READ, 1, -EIO, false);
	ck_assert_int_eq(img_read_buf(img, 0, buf, 512), 0);
	ck_assert_int_eq(img_read_buf(img, 0, buf, 512), -EIO);
	ck_assert_int_eq(img_read_buf(img, 0, buf, 512), 0);
	powercut_fail(pc, POWERCUT_WRITE, 0, -ENOSPC, true);
	ck_assert_int_eq(img_write_buf(img, 0, buf, 512), -ENOSPC);
	ck_assert_int_eq(img_write_buf(img, 0, buf, 512), -ENOSPC);
	powercut_fail(pc, POWERCUT_ZERO, 0, -EIO, false);
	ck_assert_int_eq(img_zero(img, 0, 512, 0), -EIO);
	powercut_fail(pc, POWERCUT_TRUNCATE, 0, -EIO, false);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(img->drv->resize(img, 512), -EIO);
	powercut_fail(pc, POWERCUT_FLUSH, 0, -EIO, false);
	ck_assert_int_eq(img_close(img), -EIO);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "what was written last is not all in it"));
	ck_assert(powercut_failed(pc));
	/* a probe that cannot read says so */
	powercut_fail(pc, POWERCUT_READ, 0, -EIO, true);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(img_open_file(powercut_open(pc, "pc", true), NULL, &err));
	capture_stop(&cap);
	ck_assert_int_eq(err, -EIO);
	ck_assert_ptr_nonnull(strstr(cap.text, "image 'pc': it cannot be read"));
	powercut_free(pc);
}
END_TEST

UNIT_MAIN("devices/block/raw", odd_tail, mapping, guard, guard_lets_boot_sectors_pass, empty, creation, resizing, full_disk,
	  host_errors)

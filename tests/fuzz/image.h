/*
 * Disk images as input: the file's size (4 bytes, at most 16 MiB count), then pieces of it: offset (4), length (2), bytes;
 * what no piece covers is zeroes.  The image is opened, mapped, read and checked; then it is opened for writing, changed,
 * and has to hold what was written last.
 */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "devices/block/img.h"

#define FUZZ_FILE_MAX MIB(16)

/* The file the input stands for, in memory. */
static inline int fuzz_file(const uint8_t *data, size_t len, uint64_t *size)
{
	const int fd = memfd_create("image", 0);
	MUST(fd >= 0);
	*size = len >= 4 ? get_le32(data) % (FUZZ_FILE_MAX + 1) : 0;
	MUST(ftruncate(fd, (off_t)*size) == 0);
	for (size_t at = 4; at + 6 <= len;) {
		const uint64_t off = get_le32(data + at);
		const size_t n = MIN((size_t)get_le16(data + at + 4), len - at - 6);
		if (off < *size && n)
			MUST(pwrite(fd, data + at + 6, MIN(n, *size - off), (off_t)off) > 0);
		at += 6 + n;
	}
	return fd;
}

/* Where a sum has to be right for anything behind it to be looked at. */
static inline void fuzz_patch(int fd, uint64_t off, size_t len, void (*fix)(uint8_t *, size_t))
{
	uint8_t *b = calloc(1, len);
	const ssize_t n = pread(fd, b, len, (off_t)off);
	if (n == (ssize_t)len) {
		fix(b, len);
		MUST(pwrite(fd, b, len, (off_t)off) == n);
	}
	free(b);
}

static inline struct img *fuzz_open(int fd, const struct img_driver *drv, bool writable)
{
	char path[64];
	int err = 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct bfile *f = bfile_open(path, (writable ? BFILE_WRITE : 0) | BFILE_NO_LOCK, &err);
	MUST(f);
	/* Files named in the image are looked for beside it: nowhere. */
	free(f->path);
	f->path = strdup("/nonexistent/image");
	struct img *img = img_open_file(f, drv, &err);
	MUST(img || err < 0);
	return img;
}

/* Segments are within the disk and, data, within the file.  As many as may be looked at in reasonable time. */
static inline void fuzz_map(struct img *img)
{
	struct img_seg s;
	uint64_t off = 0;
	for (unsigned i = 0; i < 300 && off < img->size; i++, off += s.len) {
		const int err = img_map(img, off, img->size - off, i & 1 ? IMG_NOWAIT : 0, &s);
		if (err)
			break;
		MUST(s.len > 0 && s.len <= img->size - off);
		MUST(s.kind != IMG_DATA || (s.file && s.file_off < 1ull << 62));
		MUST(!img->read_only || !s.in_place);
	}
}

static inline void fuzz_read(struct img *img)
{
	static uint8_t buf[70000];
	const uint64_t at[] = { 0, 511, img->size / 3, img->size / 2, img->size > 60000 ? img->size - 60000 : 0, img->size };
	for (unsigned i = 0; i < NELEM(at); i++)
		img_read_buf(img, at[i], buf, sizeof(buf));
}

static inline void fuzz_change(struct img *img)
{
	static uint8_t buf[5000], got[5000];
	const uint64_t step = MAX(img->size / 5, 5000), last = img->size;
	for (uint64_t off = 0, i = 1; off + sizeof(buf) <= last && i < 8; off += step, i++) {
		memset(buf, (int)i, sizeof(buf));
		img_write_buf(img, off, buf, sizeof(buf));
		/* Blocks of the disk may share their place, so only what was written last is known. */
		const uint64_t at = ALIGN_DOWN(off, 512ull);
		if (img_write_buf(img, at, buf, 512) == 0 && img_read_buf(img, at, got, 512) == 0)
			MUST(memcmp(buf, got, 512) == 0);
		img_zero(img, off + 100, 1000, i & 1 ? IMG_UNMAP : 0);
		img_discard(img, off + 2000, 100000);
		if (i == 2)
			img_flush(img);
	}
}

static inline void fuzz_image_file(int fd, const struct img_driver *drv)
{
	struct img *img = fuzz_open(fd, drv, false);
	struct img_check c = { 0 };
	json_t *info = json_object();
	if (img) {
		MUST(img->size > 0 && img->granule > 0 && !(img->granule & (img->granule - 1)));
		fuzz_map(img);
		fuzz_read(img);
		img->drv->check(img, 0, &c);
		img->drv->info(img, info);
		MUST(img_close(img) == 0);
	}
	json_decref(info);
	img = fuzz_open(fd, drv, true);
	if (!img)
		return;
	fuzz_change(img);
	fuzz_map(img);
	img_close(img);
	img = fuzz_open(fd, drv, false);
	if (img)
		fuzz_read(img);
	img_close(img);
}

#endif

/*
 * Compressed grains of VMDKs: a marker with the grain's first sector and its length, then the grain as a zlib stream
 * [VMDK-5.0 Stream-Optimized Compressed Sparse Extents; RFC-1950].  A grain that is written again goes to the end of
 * the file, and its old place is lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "common/iov.h"
#include "devices/block/vmdk.h"

#define MARKER 12u                      /* LBA: 8 bytes, length: 4 */

static uint32_t grain_bytes(const struct vmdk_extent *e)
{
	return 1u << e->b.shift;
}

/* Decompresses to out, a grain.  Without markers the compressed length is not known.  *got: bytes that came out. */
static int inflate_grain(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *got)
{
	z_stream z = { .next_in = (uint8_t *)(uintptr_t)in, .avail_in = (unsigned)len, .next_out = out, .avail_out = (unsigned)size };
	int ret;

	if (inflateInit(&z) != Z_OK)
		return -ENOMEM;
	ret = inflate(&z, Z_FINISH);
	*got = size - z.avail_out;
	inflateEnd(&z);
	return ret == Z_STREAM_END || (ret == Z_BUF_ERROR && *got == size) || (ret == Z_OK && *got == size) ? 0 : -EIO;
}

/* Grain i at off, into out.  0 or -errno; says once what is wrong with it. */
static int load_at(struct vmdk_extent *e, uint32_t i, uint64_t off, uint8_t *out)
{
	const uint64_t lba = ((uint64_t)i << e->b.shift) / 512, used = MIN(grain_bytes(e), e->len - ((uint64_t)i << e->b.shift));
	uint32_t len = 2 * grain_bytes(e);
	uint8_t m[MARKER], *in;
	size_t got = 0;
	int err = 0;

	if (e->markers) {
		err = bfile_read(e->file, off, m, MARKER);
		off += MARKER;
		if (!err && (get_le64(m) != lba || !get_le32(m + 8) || get_le32(m + 8) > len)) {
			guest_warn(&e->v->img.warn, e->file->path, "the grain of sector %llu has no valid marker; the image is damaged",
				   (unsigned long long)lba);
			return -EIO;
		}
		len = err ? 0 : get_le32(m + 8);
	}
	if (err)
		return err;
	in = malloc(len);
	err = in ? bfile_read(e->file, off, in, len) : -ENOMEM;
	if (!err)
		err = inflate_grain(in, len, out, grain_bytes(e), &got);
	free(in);
	if (err == -EIO || (!err && got < used)) {
		guest_warn(&e->v->img.warn, e->file->path, "the grain of sector %llu cannot be decompressed; the image is damaged",
			   (unsigned long long)lba);
		return -EIO;
	}
	return err;
}

/* The grain as the guest sees it. */
static int load(struct vmdk_extent *e, uint32_t i, uint8_t *out)
{
	uint64_t off = 0;
	const enum img_kind kind = blocks_get(&e->b, i, &off);

	if (kind == IMG_OPAQUE)
		return load_at(e, i, off, out);
	if (kind == IMG_NONE && e->v->img.backing)
		return img_read_below(&e->v->img, e->start + ((uint64_t)i << e->b.shift), out, grain_bytes(e));
	memset(out, 0, grain_bytes(e));
	return 0;
}

int vmdk_stream_read(struct vmdk_extent *e, uint64_t off, const struct iovec *iov, unsigned niov)
{
	const uint32_t i = (uint32_t)(off >> e->b.shift), in = (uint32_t)(off & (grain_bytes(e) - 1));
	struct vmdk *v = e->v;
	int err = 0;

	pthread_mutex_lock(&v->z_lock);
	if (!v->z_grain)
		v->z_grain = malloc(v->img.granule);
	if (!v->z_grain)
		err = -ENOMEM;
	else if (v->z_ext != e || v->z_i != i) {
		v->z_ext = NULL;
		err = load(e, i, v->z_grain);
		if (!err) {
			v->z_ext = e;
			v->z_i = i;
		}
	}
	if (!err)
		iov_write(iov, niov, 0, v->z_grain + in, grain_bytes(e) - in);
	pthread_mutex_unlock(&v->z_lock);
	return err;
}

/* A whole grain becomes grain i. */
static int store(struct vmdk_extent *e, uint32_t i, const uint8_t *grain)
{
	uLongf len = compressBound(grain_bytes(e));
	uint8_t *out = calloc(1, MARKER + len + 512);
	uint64_t off;
	int err = 0;

	if (!out)
		return -ENOMEM;
	if (compress(out + MARKER, &len, grain, grain_bytes(e)) != Z_OK) {
		free(out);
		return -ENOMEM;
	}
	put_le64(out, ((uint64_t)i << e->b.shift) / 512);
	put_le32(out + 8, (uint32_t)len);
	const uint8_t *from = e->markers ? out : out + MARKER;
	const size_t total = ALIGN_UP(len + (e->markers ? MARKER : 0), (size_t)512);
	off = blocks_reserve(&e->b, total);
	if (off / 512 > UINT32_MAX)
		err = -EFBIG;
	if (!err)
		err = bfile_write(e->file, off, from, total);
	if (!err) {
		blocks_set(&e->b, i, IMG_DATA, off);
		pthread_mutex_lock(&e->v->z_lock);
		if (e->v->z_ext == e && e->v->z_i == i)
			e->v->z_ext = NULL;
		pthread_mutex_unlock(&e->v->z_lock);
	}
	free(out);
	return err;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* Part of a grain; iov NULL: zeroes. */
static int change(struct vmdk_extent *e, uint64_t off, const struct iovec *iov, unsigned niov, size_t at, size_t len, uint8_t *buf)
{
	const uint32_t i = (uint32_t)(off >> e->b.shift), in = (uint32_t)(off & (grain_bytes(e) - 1));
	uint64_t old;
	int err = 0;

	if (len < grain_bytes(e))
		err = load(e, i, buf);
	if (err)
		return err;
	if (iov)
		iov_read(iov, niov, at, buf + in, len);
	else
		memset(buf + in, 0, len);
	if (!e->v->img.backing && blocks_get(&e->b, i, &old) == IMG_NONE && all_zero(buf, grain_bytes(e)))
		return 0;
	return store(e, i, buf);
}

static int change_all(struct vmdk_extent *e, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
	uint8_t *buf = malloc(grain_bytes(e));
	uint64_t done = 0;
	int err = buf ? 0 : -ENOMEM;

	while (done < len && !err) {
		const size_t n = MIN(len - done, grain_bytes(e) - ((off + done) & (grain_bytes(e) - 1)));

		err = change(e, off + done, iov, niov, done, n, buf);
		done += n;
	}
	free(buf);
	return err;
}

int vmdk_stream_write(struct vmdk_extent *e, uint64_t off, const struct iovec *iov, unsigned niov)
{
	uint64_t len = 0;

	for (unsigned k = 0; k < niov; k++)
		len += iov[k].iov_len;
	return change_all(e, off, iov, niov, len);
}

int vmdk_stream_zero(struct vmdk_extent *e, uint64_t off, uint64_t len)
{
	return change_all(e, off, NULL, 0, len);
}

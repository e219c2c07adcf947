/*
 * Compressed clusters [QCOW2 "Compressed Clusters Descriptor"]: deflate without a header [RFC-1951], or Zstandard [RFC-8878].
 * Written are only deflated ones, packed one behind the other as long as nothing else comes in between; with a window of
 * 4 KiB, which is all that readers of this format are sure to have.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "common/iov.h"
#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define WINDOW_BITS_READ 15
#define WINDOW_BITS_WRITE 12
#define ZSTD_WINDOW_LOG_MAX 23

static unsigned offset_bits(const struct qcow2 *q)
{
	return 62 - (q->h.cluster_bits - 8);
}

void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint64_t *len)
{
	const unsigned bits = offset_bits(q);
	const uint64_t sectors = ((entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> bits) + 1;

	*off = entry & (BIT64(bits) - 1);
	*len = sectors * 512 - (*off & 511);
}

/* --- reading --- */

/* Exactly `out_len` bytes come out; what is left of the input does not matter. */
static int unpack_deflate(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	z_stream z = { .next_in = (uint8_t *)(uintptr_t)in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)out_len };
	int err;

	if (inflateInit2(&z, -WINDOW_BITS_READ) != Z_OK)
		return -ENOMEM;
	err = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return z.avail_out == 0 && (err == Z_STREAM_END || err == Z_BUF_ERROR) ? 0 : -EIO;
}

static int unpack_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	ZSTD_outBuffer to = { .dst = out, .size = out_len };
	ZSTD_inBuffer from = { .src = in, .size = in_len };
	ZSTD_DCtx *z = ZSTD_createDCtx();
	int err = z ? 0 : -ENOMEM;

	if (z)
		ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	while (!err && to.pos < to.size) {
		const size_t in_before = from.pos, out_before = to.pos;
		const size_t ret = ZSTD_decompressStream(z, &to, &from);

		if (ZSTD_isError(ret) || (from.pos == in_before && to.pos == out_before))
			err = -EIO;
	}
	ZSTD_freeDCtx(z);
	return err;
}

/* The cluster that an entry describes, into unz; unz_lock held. */
static int unpack(struct qcow2 *q, uint64_t entry)
{
	struct qcow2_state *st = q->state;
	uint64_t off, len;
	uint8_t *in;
	int err;

	qcow2_compressed_place(q, entry, &off, &len);
	if (!st->unz)
		st->unz = malloc(q->cluster);
	in = malloc(len);
	st->unz_entry = 0;
	err = in && st->unz ? bfile_read(q->img.file, off, in, len) : -ENOMEM;
	if (!err)
		err = q->h.compression ? unpack_zstd(in, len, st->unz, q->cluster) : unpack_deflate(in, len, st->unz, q->cluster);
	free(in);
	if (!err)
		st->unz_entry = entry;
	return err;
}

static int read_one(struct qcow2 *q, uint64_t entry, uint64_t at, size_t len, const struct iovec *v, unsigned niov, size_t pos)
{
	struct qcow2_state *st = q->state;
	int err;

	pthread_mutex_lock(&st->unz_lock);
	err = st->unz_entry == entry ? 0 : unpack(q, entry);
	if (!err)
		iov_write(v, niov, pos, st->unz + at, len);
	pthread_mutex_unlock(&st->unz_lock);
	return err;
}

void qcow2_unz_forget(struct qcow2 *q)
{
	pthread_mutex_lock(&q->state->unz_lock);
	q->state->unz_entry = 0;
	pthread_mutex_unlock(&q->state->unz_lock);
}

/* 0, -EIO when it is not compressed (any more). */
static int entry_at(struct qcow2 *q, uint64_t off, uint64_t *entry)
{
	struct qcow2_slice *s;
	int err;

	pthread_mutex_lock(&q->lock);
	err = qcow2_l2_slice(q, off, &s);
	*entry = !err && s ? qcow2_l2_get(q, s, qcow2_l2_index(q, off)) : 0;
	if (!err && s && s->bad)
		err = qcow2_entry_check(q, *entry, 0, off);
	pthread_mutex_unlock(&q->lock);
	return err ? err : *entry & QCOW2_COMPRESSED ? 0 : -EIO;
}

int qcow2_read(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct qcow2 *q = qcow2_of(img);
	size_t len = 0;
	int err = 0;

	for (unsigned i = 0; i < niov; i++)
		len += v[i].iov_len;
	for (size_t pos = 0; pos < len && !err;) {
		const uint64_t at = (off + pos) & (q->cluster - 1);
		const size_t n = MIN(len - pos, q->cluster - at);
		uint64_t entry;

		err = entry_at(q, off + pos, &entry);
		if (!err)
			err = read_one(q, entry, at, n, v, niov, pos);
		if (err == -EIO)
			guest_warn(&img->warn, img->file->path, "the compressed cluster at 0x%llx of the disk cannot be read or unpacked",
				   (unsigned long long)(off + pos));
		pos += n;
	}
	return err;
}

/* --- writing --- */

/* The packed length; 0 when that is not below a cluster. */
static size_t pack(const struct qcow2 *q, const void *in, uint8_t *out)
{
	z_stream z = { .next_in = (uint8_t *)(uintptr_t)in, .avail_in = q->cluster, .next_out = out, .avail_out = q->cluster - 1 };
	int err;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS_WRITE, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	err = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return err == Z_STREAM_END ? z.total_out : 0;
}

/* Room for packed bytes; each cluster touched has one reference more. */
static int place(struct qcow2 *q, size_t len, uint64_t *off)
{
	struct qcow2_state *st = q->state;
	const uint64_t left = st->comp_next ? q->cluster - (st->comp_next & (q->cluster - 1)) : 0;
	uint64_t at, got, count;
	bool fresh;
	int err = 0;

	if (left) {
		err = qcow2_ref_read(q, st->comp_next >> st->cbits, &count);
		if (!err && count >= st->ref_max)
			st->comp_next = 0;
	}
	*off = st->comp_next;
	if (!err && st->comp_next && len <= left)
		err = qcow2_ref_inc(q, *off >> st->cbits, 1);
	else if (!err) {
		err = qcow2_alloc(q, 1, &at, &got, &fresh);
		if (!err && st->comp_next && st->comp_next + left == at)
			err = qcow2_ref_inc(q, *off >> st->cbits, 1);
		else
			*off = at;
	}
	if (err)
		return err;
	st->comp_next = *off + len;
	if (!(st->comp_next & (q->cluster - 1)))
		st->comp_next = 0;
	return *off + len > BIT64(offset_bits(q)) ? -EFBIG : 0;
}

static void unplace(struct qcow2 *q, uint64_t off, size_t len)
{
	const unsigned bits = q->state->cbits;

	pthread_mutex_lock(&q->lock);
	q->state->comp_next = 0;
	qcow2_ref_dec(q, off >> bits, ((off + len - 1) >> bits) - (off >> bits) + 1);
	pthread_mutex_unlock(&q->lock);
}

static int link_packed(struct qcow2 *q, uint64_t disk_off, uint64_t off, size_t len)
{
	const uint64_t sectors = ((off + len - 1) >> 9) - (off >> 9);
	struct qcow2_slice *s;
	unsigned i;
	int err;

	pthread_mutex_lock(&q->lock);
	err = qcow2_l2_slice_write(q, disk_off, &s);
	if (!err) {
		const uint64_t old = qcow2_l2_get(q, s, i = qcow2_l2_index(q, disk_off));

		qcow2_l2_put(q, s, i, QCOW2_COMPRESSED | sectors << offset_bits(q) | off, 0);
		qcow2_entry_free(q, old, false);
		qcow2_unz_forget(q);
	}
	pthread_mutex_unlock(&q->lock);
	return err;
}

/* -E2BIG: not worth it, or not possible. */
static int write_packed(struct qcow2 *q, uint64_t disk_off, const uint8_t *b, size_t len)
{
	uint64_t off;
	int err;

	if (!len)
		return -E2BIG;
	pthread_mutex_lock(&q->lock);
	err = qcow2_mark_dirty(q);
	if (!err)
		err = place(q, len, &off);
	pthread_mutex_unlock(&q->lock);
	if (err)
		return err == -EFBIG ? -E2BIG : err;
	err = bfile_write(q->img.file, off, b, len);
	if (!err)
		err = link_packed(q, disk_off, off, len);
	if (err)
		unplace(q, off, len);
	return err;
}

int qcow2_write_compressed(struct img *img, uint64_t off, const void *data, size_t len)
{
	struct qcow2 *q = qcow2_of(img);
	const struct iovec plain = { (void *)(uintptr_t)data, len };
	uint8_t *in = calloc(1, q->cluster), *out = malloc(q->cluster);
	int err = in && out ? -E2BIG : -ENOMEM;

	if (err == -E2BIG && !q->h.compression && len <= q->cluster) {
		memcpy(in, data, len);
		err = write_packed(q, off, out, pack(q, in, out));
	}
	free(in);
	free(out);
	return err == -E2BIG ? qcow2_write(img, off, &plain, 1) : err;
}

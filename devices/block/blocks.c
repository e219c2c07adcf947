/*
 * The block tables of VDI, VHD, VHDX and VMDK: mapping, allocation, the order of writes.  See blocks.h.
 */
#include "devices/block/blocks.h"

#include <errno.h>
#include <stdlib.h>

#include "common/iov.h"

#define IOV_LOCAL 64u

static uint64_t block_bytes(const struct blocks *b)
{
	return 1ull << b->shift;
}

/* Bytes of the disk in block i. */
static uint64_t block_used(const struct blocks *b, uint32_t i)
{
	return MIN(block_bytes(b), b->len - ((uint64_t)i << b->shift));
}

static uint64_t table_len(const struct blocks *b)
{
	return b->n ? (blocks_index(b, b->n - 1) + 1) * b->entry_len : 0;
}

int blocks_init(struct blocks *b)
{
	const uint64_t len = ALIGN_UP(table_len(b), BLOCKS_SECTOR);

	if (len > BLOCKS_TABLE_MAX)
		return err_msg(-EFBIG, "image '%s': its block table of %llu MiB is larger than the 64 MiB skep keeps in memory; "
			       "convert it to qcow2 elsewhere", b->path, (unsigned long long)(len >> 20));
	b->nsect = (uint32_t)(len / BLOCKS_SECTOR);
	b->table = calloc(b->nsect ? b->nsect : 1, BLOCKS_SECTOR);
	b->changed = calloc(b->nsect ? b->nsect : 1, 1);
	if (!b->table || !b->changed) {
		free(b->table);
		free(b->changed);
		b->table = b->changed = NULL;
		return err_msg(-ENOMEM, "image '%s': no memory for its block table of %llu KiB", b->path, (unsigned long long)(len >> 10));
	}
	pthread_mutex_init(&b->flush_lock, NULL);
	pthread_mutex_init(&b->grow_lock, NULL);
	pthread_mutex_init(&b->lock, NULL);
	return 0;
}

void blocks_fini(struct blocks *b)
{
	if (!b->table)
		return;
	pthread_mutex_destroy(&b->flush_lock);
	pthread_mutex_destroy(&b->grow_lock);
	pthread_mutex_destroy(&b->lock);
	free(b->table);
	free(b->changed);
	b->table = b->changed = NULL;
}

int blocks_read_table(struct blocks *b)
{
	const uint64_t len = table_len(b);
	int err;

	if (b->table_off > b->file_size || len > b->file_size - b->table_off)
		return err_msg(-EINVAL, "image '%s': its block table lies behind the end of the file; the file is truncated or damaged", b->path);
	err = bfile_read(b->file, b->table_off, b->table, (size_t)b->nsect * BLOCKS_SECTOR);
	return err ? err_msg(err, "image '%s': its block table cannot be read: %s", b->path, strerror(-err)) : 0;
}

int blocks_validate(struct blocks *b, uint64_t data_min)
{
	uint64_t off;

	b->end = MAX(b->end, data_min);
	for (uint32_t i = 0; i < b->n; i++) {
		const enum img_kind kind = b->ops->get(b, i, &off);

		if (kind != IMG_DATA && kind != IMG_OPAQUE)
			continue;
		const uint64_t need = kind == IMG_DATA ? block_used(b, i) : 1;
		if (off < data_min + b->before)
			return err_msg(-EINVAL, "image '%s': block %u would lie in the image's own tables; the image is damaged", b->path, i);
		if (off > b->file_size || need > b->file_size - off)
			return err_msg(-EINVAL, "image '%s': block %u lies behind the end of the file; the file is truncated or damaged",
				       b->path, i);
		if (kind == IMG_DATA)
			b->end = MAX(b->end, off + block_bytes(b));
	}
	return 0;
}

/* --- The table --- */

enum img_kind blocks_get(struct blocks *b, uint32_t i, uint64_t *off)
{
	pthread_mutex_lock(&b->lock);
	const enum img_kind kind = b->ops->get(b, i, off);
	pthread_mutex_unlock(&b->lock);
	return kind;
}

void blocks_set(struct blocks *b, uint32_t i, enum img_kind kind, uint64_t off)
{
	const uint32_t sect = (uint32_t)(blocks_index(b, i) * b->entry_len / BLOCKS_SECTOR);

	pthread_mutex_lock(&b->lock);
	b->ops->set(b, i, kind, off);
	b->nchanged += !b->changed[sect];
	b->changed[sect] = 1;
	pthread_mutex_unlock(&b->lock);
}

static bool is_claimed(const struct blocks *b, uint32_t i)
{
	return !b->ops->claimed || b->ops->claimed(b, i);
}

int blocks_map(struct blocks *b, uint64_t off, uint64_t len, bool in_place, struct img_seg *s)
{
	uint32_t i = (uint32_t)(off >> b->shift);
	const uint64_t in = off & (block_bytes(b) - 1);
	uint64_t at = 0, next;

	*s = (struct img_seg){ .img = b->img };
	len = MIN(len, b->len - off);
	pthread_mutex_lock(&b->lock);
	s->kind = b->ops->get(b, i, &at);
	s->len = block_bytes(b) - in;
	if (s->kind == IMG_DATA) {
		s->in_place = in_place && is_claimed(b, i);
		s->file = b->file;
		s->file_off = at + in;
	}
	/* Neighbours of the same kind, where data goes on in the file. */
	while (s->len < len && s->kind != IMG_OPAQUE) {
		if (b->ops->get(b, ++i, &next) != s->kind)
			break;
		if (s->kind == IMG_DATA && (next != s->file_off + s->len || (in_place && is_claimed(b, i) != s->in_place)))
			break;
		s->len += block_bytes(b);
	}
	pthread_mutex_unlock(&b->lock);
	s->len = MIN(s->len, len);
	return 0;
}

/* --- Space --- */

static int zero_range(struct blocks *b, uint64_t off, uint64_t len, bool unmap)
{
	return len ? b->file->ops->zero(b->file, off, len, unmap) : 0;
}

/* The space of a new block reads as zeroes, unless the whole of it will be written. */
static int make_room(struct blocks *b, uint64_t start, bool zeroed)
{
	const uint64_t want = start + b->before + block_bytes(b) + b->behind;
	int err = 0;

	if (b->file->block_device && want > b->file_size)
		return -ENOSPC;
	if (zeroed && start < b->file_size)
		err = zero_range(b, start, MIN(want, b->file_size) - start, true);
	if (err || want <= b->file_size)
		return err;
	if (zeroed)
		err = b->file->ops->truncate(b->file, want);
	if (!err)
		b->file_size = want;
	return err;
}

/* *off: where the new block's data goes. */
static int alloc_block(struct blocks *b, bool zeroed, uint64_t *off)
{
	int err;

	pthread_mutex_lock(&b->grow_lock);
	const bool again = b->nspare > 0;
	const uint64_t start = again ? b->spare[b->nspare - 1] : b->ops->place ? b->ops->place(b) : b->end;
	err = make_room(b, start, zeroed);
	if (!err && b->ops->prepare && !again)
		err = b->ops->prepare(b, start);
	if (!err && again)
		b->nspare--;
	if (!err) {
		b->end = MAX(b->end, start + b->before + block_bytes(b));
		*off = start + b->before;
	}
	pthread_mutex_unlock(&b->grow_lock);
	return err;
}

/* The block at off was not written after all. */
static void unalloc_block(struct blocks *b, uint64_t off)
{
	pthread_mutex_lock(&b->grow_lock);
	if (b->nspare < BLOCKS_SPARE_MAX)
		b->spare[b->nspare++] = off - b->before;
	pthread_mutex_unlock(&b->grow_lock);
}

uint64_t blocks_reserve(struct blocks *b, uint64_t len)
{
	pthread_mutex_lock(&b->grow_lock);
	const uint64_t off = b->end;
	b->end += len;
	b->file_size = MAX(b->file_size, b->end);
	pthread_mutex_unlock(&b->grow_lock);
	return off;
}

/* --- Writing --- */

/* A block that is written as a whole: what the request does not cover comes from below. */
static int write_whole(struct blocks *b, uint32_t i, uint64_t off, uint64_t in, const struct iovec *v, unsigned niov, size_t len)
{
	const uint64_t at = b->base + ((uint64_t)i << b->shift), used = block_used(b, i);
	uint8_t *buf = calloc(1, block_bytes(b));
	int err = 0;

	if (!buf)
		return -ENOMEM;
	if (b->img->backing && in)
		err = img_read_below(b->img, at, buf, in);
	if (!err && b->img->backing && in + len < used)
		err = img_read_below(b->img, at + in + len, buf + in + len, used - in - len);
	if (!err) {
		iov_read(v, niov, 0, buf + in, len);
		err = bfile_write(b->file, off, buf, block_bytes(b));
	}
	free(buf);
	return err;
}

static int write_new(struct blocks *b, uint32_t i, uint64_t in, const struct iovec *v, unsigned niov, size_t len)
{
	const bool covered = in == 0 && len == block_bytes(b);
	uint64_t off = 0;
	int err = alloc_block(b, !b->whole && !covered, &off);

	if (err)
		return err;
	if (b->whole && !covered)
		err = write_whole(b, i, off, in, v, niov, len);
	else
		err = b->file->ops->write(b->file, off + in, v, niov);
	if (!err)
		blocks_set(b, i, IMG_DATA, off);
	else
		unalloc_block(b, off);
	return err;
}

/* The part of a request that lies in block i. */
static int write_block(struct blocks *b, uint32_t i, uint64_t in, const struct iovec *v, unsigned niov, size_t len)
{
	uint64_t off = 0;
	const enum img_kind kind = blocks_get(b, i, &off);
	int err = 0;

	if (kind == IMG_OPAQUE)
		return -EIO;
	if (kind == IMG_ZERO && b->whole && b->img->backing && len < block_used(b, i)) {
		/* Zeroes, not what is below. */
		uint8_t *buf = calloc(1, block_bytes(b));
		struct iovec all = { buf, block_bytes(b) };

		if (!buf)
			return -ENOMEM;
		iov_read(v, niov, 0, buf + in, len);
		err = write_new(b, i, 0, &all, 1, block_bytes(b));
		free(buf);
		return err;
	}
	if (kind != IMG_DATA)
		return write_new(b, i, in, v, niov, len);
	pthread_mutex_lock(&b->lock);
	const bool claimed = is_claimed(b, i);
	pthread_mutex_unlock(&b->lock);
	if (!claimed)
		err = b->ops->claim(b, i, off);
	return err ? err : b->file->ops->write(b->file, off + in, v, niov);
}

int blocks_write(struct blocks *b, uint64_t off, const struct iovec *iov, unsigned niov)
{
	struct iovec local[IOV_LOCAL], *copy = local;
	size_t done = 0, total = 0;
	int err = 0;

	for (unsigned k = 0; k < niov; k++)
		total += iov[k].iov_len;
	if (niov > IOV_LOCAL && !(copy = malloc(niov * sizeof(*copy))))
		return -ENOMEM;
	while (done < total && !err) {
		const uint64_t in = (off + done) & (block_bytes(b) - 1);
		const size_t n = MIN(total - done, block_bytes(b) - in);
		struct iovec *v = copy;
		unsigned nv;

		memcpy(copy, iov, niov * sizeof(*copy));
		nv = iov_skip(&v, niov, done);
		nv = iov_trim(v, nv, n);
		err = write_block(b, (uint32_t)((off + done) >> b->shift), in, v, nv, n);
		done += n;
	}
	if (copy != local)
		free(copy);
	return err;
}

static int zero_block(struct blocks *b, uint32_t i, uint64_t in, uint64_t len, bool unmap)
{
	uint64_t off = 0;
	const enum img_kind kind = blocks_get(b, i, &off);
	struct iovec v = { NULL, len };
	int err;

	if (kind == IMG_ZERO || (kind == IMG_NONE && !b->img->backing))
		return 0;
	if (kind == IMG_NONE && b->has_zero && in == 0 && len == block_used(b, i)) {
		blocks_set(b, i, IMG_ZERO, 0);
		return 0;
	}
	if (kind == IMG_DATA) {
		pthread_mutex_lock(&b->lock);
		const bool claimed = is_claimed(b, i);
		pthread_mutex_unlock(&b->lock);
		err = claimed ? 0 : b->ops->claim(b, i, off);
		return err ? err : zero_range(b, off + in, len, unmap);
	}
	v.iov_base = calloc(1, len);
	if (!v.iov_base)
		return -ENOMEM;
	err = write_block(b, i, in, &v, 1, len);
	free(v.iov_base);
	return err;
}

int blocks_zero(struct blocks *b, uint64_t off, uint64_t len, unsigned flags)
{
	int err = 0;

	while (len && !err) {
		const uint64_t in = off & (block_bytes(b) - 1), n = MIN(len, block_bytes(b) - in);

		err = zero_block(b, (uint32_t)(off >> b->shift), in, n, flags & IMG_UNMAP);
		off += n;
		len -= n;
	}
	return err;
}

int blocks_discard(struct blocks *b, uint64_t off, uint64_t len)
{
	int err = 0;

	/* Not discarded in the file, whose contents nobody would know then; a device might write all the zeroes. */
	if (b->file->block_device)
		return 0;
	while (len && !err) {
		const uint64_t in = off & (block_bytes(b) - 1), n = MIN(len, block_bytes(b) - in);
		uint64_t at;

		if (blocks_get(b, (uint32_t)(off >> b->shift), &at) == IMG_DATA)
			err = zero_range(b, at + in, n, true);
		off += n;
		len -= n;
	}
	return err;
}

/* --- Flushing --- */

static int write_sectors(struct blocks *b, uint32_t first, const void *buf, uint32_t n)
{
	if (b->ops->write_table)
		return b->ops->write_table(b, first, buf, n);
	return bfile_write(b->file, b->table_off + (uint64_t)first * BLOCKS_SECTOR, buf, (size_t)n * BLOCKS_SECTOR);
}

/* Copies the changed sectors one behind the other, *map says which.  lock is held. */
static int take_changed(struct blocks *b, uint8_t **map, uint8_t **copy)
{
	uint8_t *p;

	*map = malloc(b->nsect);
	*copy = p = malloc((size_t)b->nchanged * BLOCKS_SECTOR);
	if (!*map || !p)
		return -ENOMEM;
	memcpy(*map, b->changed, b->nsect);
	for (uint32_t i = 0; i < b->nsect; i++) {
		if (!b->changed[i])
			continue;
		memcpy(p, b->table + (size_t)i * BLOCKS_SECTOR, BLOCKS_SECTOR);
		p += BLOCKS_SECTOR;
	}
	memset(b->changed, 0, b->nsect);
	b->nchanged = 0;
	b->flushing = true;
	return 0;
}

static int write_changed(struct blocks *b, const uint8_t *map, const uint8_t *copy)
{
	int err = b->file->ops->flush(b->file);

	if (!err && b->ops->before_table)
		err = b->ops->before_table(b);
	for (uint32_t i = 0, n; i < b->nsect && !err; i += n) {
		if (!map[i]) {
			n = 1;
			continue;
		}
		for (n = 1; i + n < b->nsect && map[i + n]; n++)
			;
		err = write_sectors(b, i, copy, n);
		copy += (size_t)n * BLOCKS_SECTOR;
	}
	return err ? err : b->file->ops->flush(b->file);
}

int blocks_flush(struct blocks *b)
{
	uint8_t *map = NULL, *copy = NULL;
	int err = 0;

	pthread_mutex_lock(&b->flush_lock);
	pthread_mutex_lock(&b->lock);
	const bool any = b->nchanged;
	if (any)
		err = take_changed(b, &map, &copy);
	pthread_mutex_unlock(&b->lock);
	if (!any) {
		err = b->file->ops->flush(b->file);
	} else if (!err) {
		err = write_changed(b, map, copy);
		pthread_mutex_lock(&b->lock);
		b->flushing = false;
		for (uint32_t i = 0; err && i < b->nsect; i++) {
			b->nchanged += map[i] && !b->changed[i];
			b->changed[i] |= map[i];
		}
		pthread_mutex_unlock(&b->lock);
	}
	pthread_mutex_unlock(&b->flush_lock);
	free(map);
	free(copy);
	return err;
}

bool blocks_dirty(struct blocks *b)
{
	pthread_mutex_lock(&b->lock);
	const bool dirty = b->nchanged || b->flushing;
	pthread_mutex_unlock(&b->lock);
	return dirty;
}

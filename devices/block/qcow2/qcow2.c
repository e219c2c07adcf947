/*
 * qcow2 images, versions 2 and 3 [QCOW2]: opening, closing, and the driver's table.
 *
 * Not there: encryption, external data files (both are refused), bitmaps (writing makes them invalid, as their
 * autoclear bit wants).  Lazy refcounts are honoured by not being needed: refcounts are always durable before what they
 * count, as that costs no flush beyond the one that guest data needs.
 */
#include "devices/block/qcow2/qcow2.h"

#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define SLICE_MAX 4096u

static int probe(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	return len >= QCOW2_HEADER_V2 && get_be32(head) == QCOW2_MAGIC ? 100 : 0;
}

/* --- tables in memory --- */

/* A table of big-endian numbers, in host order; what lies above the end of the file is 0. */
static int table_read(struct qcow2 *q, uint64_t off, uint32_t n, uint64_t **out)
{
	uint64_t *t = calloc(MAX(n, 1u), sizeof(*t));
	int err = t ? 0 : -ENOMEM;

	if (!err && off < q->state->file_end)
		err = bfile_read(q->img.file, off, t, (size_t)n * 8);
	for (uint32_t i = 0; i < n && !err; i++)
		t[i] = get_be64(&t[i]);
	if (err) {
		free(t);
		t = NULL;
	}
	*out = t;
	return err;
}

static void tables_free(struct qcow2 *q)
{
	free(q->l1);
	free(q->reftable);
	q->l1 = q->reftable = NULL;
	qcow2_cache_free(q->l2);
	qcow2_cache_free(q->refs);
	q->l2 = q->refs = NULL;
}

static int caches_new(struct qcow2 *q)
{
	const struct qcow2_state *st = q->state;
	const uint64_t max = q->img.cache_max;

	q->l2 = qcow2_cache_new(st->slice_bytes, max / 8 * 7);
	q->refs = qcow2_cache_new(st->slice_bytes, max / 8);
	return q->l2 && q->refs ? 0 : -ENOMEM;
}

static int tables_read(struct qcow2 *q)
{
	int err = table_read(q, q->h.l1_off, q->h.l1_entries, &q->l1);

	q->nreftable = (uint32_t)(((uint64_t)q->h.reftable_clusters << q->h.cluster_bits) / 8);
	if (!err)
		err = table_read(q, q->h.reftable_off, q->nreftable, &q->reftable);
	if (!err)
		err = caches_new(q);
	return err ? err : qcow2_filter_new(q);
}

int qcow2_reload(struct qcow2 *q)
{
	struct qcow2_state *st = q->state;
	const int64_t size = q->img.file->ops->size(q->img.file);

	tables_free(q);
	st->pending.n = st->l1_dirty.n = st->ref_dirty.n = 0;
	st->need = false;
	st->hint = 1;
	st->comp_next = 0;
	st->unz_entry = 0;
	q->img.size = q->h.size;
	if (size < 0)
		return (int)size;
	st->file_end = q->img.file->block_device ? UINT64_MAX >> 1 : ALIGN_UP((uint64_t)size, q->cluster);
	return tables_read(q);
}

/* --- opening --- */

static void derive(struct qcow2 *q, struct qcow2_state *st)
{
	q->cluster = 1u << q->h.cluster_bits;
	q->l2_entry = q->h.incompatible & QCOW2_EXTENDED_L2 ? 16 : 8;
	q->l2_per = q->cluster / q->l2_entry;
	q->refs_per = (unsigned)((uint64_t)q->cluster * 8 >> q->h.refcount_order);
	st->cbits = q->h.cluster_bits;
	st->slice_bytes = MIN(q->cluster, SLICE_MAX);
	st->slice_per = st->slice_bytes / q->l2_entry;
	st->refs_slice_per = (uint32_t)((uint64_t)st->slice_bytes * 8 >> q->h.refcount_order);
	st->slice_bits = st->cbits + (unsigned)__builtin_ctz(st->slice_per);
	st->l2_bits = st->cbits + (unsigned)__builtin_ctz(q->l2_per);
	st->sub_bits = q->l2_entry == 16 ? st->cbits - 5 : st->cbits;
	st->ref_max = qcow2_ref_max(q->h.refcount_order);
}

static int state_new(struct qcow2 *q)
{
	struct qcow2_state *st = calloc(1, sizeof(*st));

	if (!st)
		return -ENOMEM;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&st->unz_lock, NULL);
	pthread_cond_init(&st->cond, NULL);
	q->state = st;
	derive(q, st);
	return 0;
}

static void state_free(struct qcow2 *q)
{
	struct qcow2_state *st = q->state;

	if (!st)
		return;
	tables_free(q);
	free(st->pending.v);
	free(st->l1_dirty.v);
	free(st->ref_dirty.v);
	free(st->filter);
	free(st->unz);
	pthread_cond_destroy(&st->cond);
	pthread_mutex_destroy(&st->unz_lock);
	pthread_mutex_destroy(&q->lock);
	free(st);
	q->state = NULL;
}

/* Features that writing makes invalid and that clear themselves so. */
static int clear_auto(struct qcow2 *q)
{
	int err;

	if (q->img.read_only || !q->h.autoclear)
		return 0;
	q->h.autoclear = 0;
	err = qcow2_header_write(q);
	return err ? err : qcow2_flush_held(q);
}

/* It was not closed: space has leaked, or refcounts were written lazily. */
static int repair_dirty(struct qcow2 *q)
{
	struct img_check res = { 0 };
	int err;

	if (q->img.read_only || q->img.check || !(q->h.incompatible & QCOW2_DIRTY))
		return 0;
	q->state->undirty = true;
	log_info("block", "image '%s': it was not closed when it was written last; checking it", q->img.file->path);
	err = qcow2_check(&q->img, IMG_FIX_ALL, &res);
	if (!err && (res.errors || res.corruptions > res.corruptions_fixed))
		err = err_msg(-EIO, "image '%s': it was not closed when it was written last, and its check found damage that is left; look at it "
			      "with 'skep img check'", q->img.file->path);
	return err;
}

static int start(struct qcow2 *q)
{
	struct img *img = &q->img;
	int err = state_new(q);

	if (!err)
		err = qcow2_reload(q);
	if (!err)
		err = clear_auto(q);
	if (err)
		return err_msg(err, "image '%s': open: %s", img->file->path, strerror(-err));
	img->granule = q->cluster;
	err = qcow2_header_backing(img, &q->h);
	return err ? err : repair_dirty(q);
}

static int qcow2_open(struct img *img)
{
	struct qcow2 *q = qcow2_of(img);
	int err = qcow2_header_read(img, &q->h);

	if (!err)
		err = start(q);
	if (err)
		state_free(q);
	return err;
}

/* --- closing --- */

static int undirty(struct qcow2 *q)
{
	int err = qcow2_write_back(q);

	if (err || !q->state->undirty || !(q->h.incompatible & QCOW2_DIRTY))
		return err;
	q->h.incompatible &= ~QCOW2_DIRTY;
	err = qcow2_header_write(q);
	return err ? err : qcow2_flush_held(q);
}

static int qcow2_rest(struct img *img)
{
	struct qcow2 *q = qcow2_of(img);
	int err;

	pthread_mutex_lock(&q->lock);
	err = undirty(q);
	pthread_mutex_unlock(&q->lock);
	return err;
}

static void qcow2_close(struct img *img)
{
	struct qcow2 *q = qcow2_of(img);

	if (!img->read_only && !img->broken) {
		const int err = qcow2_rest(img);

		if (err)
			err_msg(err, "image '%s': it could not be closed in order, and will be checked when it is opened next: %s",
				img->file->path, strerror(-err));
	}
	state_free(q);
}

/* --- */

static int qcow2_flush(struct img *img)
{
	struct qcow2 *q = qcow2_of(img);
	int err;

	pthread_mutex_lock(&q->lock);
	err = qcow2_commit(q);
	pthread_mutex_unlock(&q->lock);
	return err;
}

static bool qcow2_dirty(struct img *img)
{
	return __atomic_load_n(&qcow2_of(img)->state->need, __ATOMIC_ACQUIRE);
}

static int qcow2_info(struct img *img, json_t *o)
{
	const struct qcow2 *q = qcow2_of(img);
	json_t *more = json_pack("{s:s, s:s, s:b, s:b, s:b, s:I}", "compat", q->h.version == 2 ? "0.10" : "1.1", "compression-type",
				 q->h.compression ? "zstd" : "zlib", "lazy-refcounts", !!(q->h.compatible & QCOW2_LAZY_REFCOUNTS), "corrupt",
				 !!(q->h.incompatible & QCOW2_CORRUPT), "extended-l2", qcow2_is_extended(q), "refcount-bits",
				 (json_int_t)1 << q->h.refcount_order);

	json_object_set_new(o, "cluster-size", json_integer(q->cluster));
	json_object_set_new(o, "dirty-flag", json_boolean(q->h.incompatible & QCOW2_DIRTY));
	return more && !json_object_update_new(o, more) ? 0 : -ENOMEM;
}

const struct img_driver img_qcow2 = {
	.name = "qcow2", .help = "QEMU's copy-on-write images, versions 2 and 3", .size = sizeof(struct qcow2), .writes = true, .safe =
			true,
	.probe = probe, .open = qcow2_open, .close = qcow2_close, .map = qcow2_map, .read = qcow2_read, .write = qcow2_write,
	.zero = qcow2_zero, .discard = qcow2_discard, .flush = qcow2_flush, .rest = qcow2_rest, .dirty = qcow2_dirty, .resize = qcow2_resize,
	.create = qcow2_create, .check = qcow2_check, .info = qcow2_info, .set_backing = qcow2_set_backing,
	.write_compressed = qcow2_write_compressed, .discard_all = qcow2_discard_all,
	.snap_list = qcow2_snap_list, .snap_create = qcow2_snap_create, .snap_apply = qcow2_snap_apply, .snap_delete = qcow2_snap_delete,
};

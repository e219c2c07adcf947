/*
 * Writing guest data.  A write is cut into runs that lie in one slice of an L2 table and go on in the same way:
 *
 *   in place     the clusters are there and nobody else's: only the data is written;
 *   new          clusters are allocated, one behind the other, and linked when their data has been written;
 *   reuse        a cluster is there and nobody else's, but not shown (zero cluster, or subclusters that are not allocated).
 *
 * Data is written without the lock.  What a new cluster or subcluster holds beside the data ("fill") comes from what the
 * disk has shown there so far.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define IOV_CHUNK 256u

struct run {
	uint64_t off, len;              /* of the disk: what is written of the request */
	uint64_t from, to;              /* with the fill around it */
	uint64_t host;                  /* where `from` lies in the file */
	bool link;                      /* L2 entries change */
	bool allocated;                 /* clusters were taken for it */
	bool fresh;                     /* they read as zeroes */
	uint64_t clusters;
};

/* --- planning --- */

static bool is_ours(uint64_t e)
{
	return e & QCOW2_COPIED && !(e & QCOW2_COMPRESSED) && e & QCOW2_OFFSET_MASK;
}

static int check_entries(struct qcow2 *q, const struct qcow2_slice *s, uint64_t off, unsigned n)
{
	int err = 0;

	for (unsigned i = qcow2_l2_index(q, off); n && !err; n--, i++, off = ALIGN_DOWN(off, q->cluster) + q->cluster)
		err = qcow2_entry_check(q, qcow2_l2_get(q, s, i), qcow2_is_extended(q) ? qcow2_l2_bitmap(q, s, i) : 0, off);
	return err;
}

/* Widens a run to whole units. */
static void fill_to(struct run *r, uint64_t unit)
{
	r->from = ALIGN_DOWN(r->off, unit);
	r->to = ALIGN_UP(r->off + r->len, unit);
}

/* Entries from i on that lie in the file one behind the other and have the same type. */
static unsigned own_run(const struct qcow2 *q, const struct qcow2_slice *s, unsigned i, unsigned max)
{
	const uint64_t first = qcow2_l2_get(q, s, i);
	unsigned n = 1;

	while (n < max && qcow2_l2_get(q, s, i + n) == first + (uint64_t)n * q->cluster)
		n++;
	return n;
}

/* Clusters, from the first one on, that are there and ours. */
static void plan_own(const struct qcow2 *q, const struct qcow2_slice *s, unsigned max, struct run *r)
{
	const unsigned i = qcow2_l2_index(q, r->off);
	const uint64_t e = qcow2_l2_get(q, s, i), start = ALIGN_DOWN(r->off, q->cluster);

	r->clusters = own_run(q, s, i, max);
	r->len = MIN(r->len, start + (r->clusters << q->state->cbits) - r->off);
	r->link = qcow2_type(q, e) != QCOW2_T_DATA;
	r->from = r->off;
	r->to = r->off + r->len;
	if (r->link)
		fill_to(r, q->cluster);
	r->host = (e & QCOW2_OFFSET_MASK) + (r->from - start);
}

/* One cluster with subclusters: those that are allocated, or else what is to be allocated in it. */
static void plan_own_extended(const struct qcow2 *q, const struct qcow2_slice *s, struct run *r)
{
	const unsigned i = qcow2_l2_index(q, r->off), bits = q->state->sub_bits;
	const uint64_t start = ALIGN_DOWN(r->off, q->cluster);
	const uint32_t alloc = (uint32_t)qcow2_l2_bitmap(q, s, i);
	const uint64_t end = MIN(r->off + r->len, start + q->cluster);
	const unsigned sub = (unsigned)((r->off - start) >> bits), last = (unsigned)((end - 1 - start) >> bits);

	r->clusters = 1;
	r->len = MIN(r->len, start + q->cluster - r->off);
	if (alloc & BIT(sub)) {
		const unsigned n = (unsigned)__builtin_ctzll(~((uint64_t)alloc >> sub));

		r->len = MIN(r->len, start + ((uint64_t)(sub + n) << bits) - r->off);
		r->from = r->off;
		r->to = r->off + r->len;
	} else {
		r->link = true;
		fill_to(r, BIT64(bits));
		if (alloc & BIT(last))
			r->to = r->off + r->len;
	}
	r->host = (qcow2_l2_get(q, s, i) & QCOW2_OFFSET_MASK) + (r->from - start);
}

/* Must all of the cluster be copied, because what it has is somebody else's too, or compressed? */
static bool copies_whole(const struct qcow2 *q, uint64_t e)
{
	return !qcow2_is_extended(q) || e & QCOW2_COMPRESSED || e & QCOW2_OFFSET_MASK;
}

static int plan_new(struct qcow2 *q, const struct qcow2_slice *s, unsigned max, struct run *r)
{
	const unsigned i = qcow2_l2_index(q, r->off);
	const uint64_t start = ALIGN_DOWN(r->off, q->cluster);
	const bool whole = copies_whole(q, qcow2_l2_get(q, s, i));
	unsigned n = 1;
	int err;

	while (n < max && !is_ours(qcow2_l2_get(q, s, i + n)) && copies_whole(q, qcow2_l2_get(q, s, i + n)) == whole)
		n++;
	err = qcow2_alloc(q, n, &r->host, &r->clusters, &r->fresh);
	if (err)
		return err;
	r->link = r->allocated = true;
	r->len = MIN(r->len, start + (r->clusters << q->state->cbits) - r->off);
	fill_to(r, whole ? q->cluster : BIT64(q->state->sub_bits));
	r->host += r->from - start;
	return 0;
}

/* Lock held. */
static int plan(struct qcow2 *q, uint64_t off, uint64_t len, struct run *r)
{
	const unsigned i = qcow2_l2_index(q, off);
	const uint64_t n = (((off & (q->cluster - 1)) + len - 1) >> q->state->cbits) + 1;
	const unsigned max = (unsigned)MIN(n, q->state->slice_per - i);
	struct qcow2_slice *s;
	int err = qcow2_l2_slice_write(q, off, &s);

	*r = (struct run){ .off = off, .len = len };
	if (!err && s->bad)
		err = check_entries(q, s, off, max);
	if (err)
		return err;
	if (!is_ours(qcow2_l2_get(q, s, i)))
		return plan_new(q, s, max, r);
	if (qcow2_is_extended(q))
		plan_own_extended(q, s, r);
	else
		plan_own(q, s, max, r);
	return 0;
}

/* --- linking --- */

static uint64_t sub_bits_of(const struct qcow2 *q, uint64_t cluster_at, const struct run *r)
{
	const unsigned bits = q->state->sub_bits;
	const uint64_t from = MAX(r->from, cluster_at) - cluster_at, to = MIN(r->to, cluster_at + q->cluster) - cluster_at;
	const unsigned first = (unsigned)(from >> bits), last = (unsigned)((to - 1) >> bits);

	return (BIT64(last - first + 1) - 1) << first;
}

/* What the old bitmap says stays for subclusters that were not written. */
static uint64_t new_bitmap(const struct qcow2 *q, uint64_t old_entry, uint64_t old, uint64_t cluster_at, const struct run *r)
{
	const uint64_t now = sub_bits_of(q, cluster_at, r);

	if (!qcow2_is_extended(q))
		return 0;
	if (old_entry & QCOW2_COMPRESSED)
		return now;
	return (old | now) & ~(now << 32);
}

static int link_run(struct qcow2 *q, const struct run *r)
{
	const uint64_t start = ALIGN_DOWN(r->from, q->cluster), host = r->host - (r->from - start);
	struct qcow2_slice *s;
	int err;

	pthread_mutex_lock(&q->lock);
	err = qcow2_l2_slice_write(q, start, &s);
	for (uint64_t k = 0; k < r->clusters && !err; k++) {
		const unsigned i = qcow2_l2_index(q, start) + (unsigned)k;
		const uint64_t old = qcow2_l2_get(q, s, i), bitmap = qcow2_is_extended(q) ? qcow2_l2_bitmap(q, s, i) : 0;

		qcow2_l2_put(q, s, i, (host + (k << q->state->cbits)) | QCOW2_COPIED,
			     new_bitmap(q, old, bitmap, start + (k << q->state->cbits), r));
		if (r->allocated)
			qcow2_entry_free(q, old, false);
	}
	if (!err)
		q->state->file_end = MAX(q->state->file_end, host + (r->clusters << q->state->cbits));
	pthread_mutex_unlock(&q->lock);
	return err;
}

static void give_up(struct qcow2 *q, const struct run *r)
{
	const uint64_t start = ALIGN_DOWN(r->from, q->cluster);

	if (!r->allocated)
		return;
	pthread_mutex_lock(&q->lock);
	qcow2_ref_dec(q, (r->host - (r->from - start)) >> q->state->cbits, r->clusters);
	pthread_mutex_unlock(&q->lock);
}

/* --- the data --- */

/* Writes gathered into few calls */
struct gather {
	struct bfile *file;
	uint64_t off;
	struct iovec v[IOV_CHUNK];
	unsigned n;
	size_t bytes;
	int err;
};

static void gather_write(struct gather *g)
{
	if (g->n && !g->err)
		g->err = g->file->ops->write(g->file, g->off, g->v, g->n);
	g->off += g->bytes;
	g->n = 0;
	g->bytes = 0;
}

static void gather_add(struct gather *g, void *p, size_t len)
{
	if (!len)
		return;
	if (g->n == IOV_CHUNK)
		gather_write(g);
	g->v[g->n++] = (struct iovec){ p, len };
	g->bytes += len;
}

/* A place in the request's iovecs */
struct walk {
	const struct iovec *v;
	size_t skip;
};

static void gather_request(struct gather *g, struct walk *w, uint64_t len)
{
	while (len) {
		const size_t n = MIN(len, w->v->iov_len - w->skip);

		gather_add(g, (uint8_t *)w->v->iov_base + w->skip, n);
		w->skip += n;
		len -= n;
		if (w->skip == w->v->iov_len) {
			w->v++;
			w->skip = 0;
		}
	}
}

static int all_zero(struct img *img, uint64_t off, uint64_t end)
{
	while (off < MIN(end, img->size)) {
		struct img_seg seg;
		const int err = img_map(img, off, MIN(end, img->size) - off, 0, &seg);

		if (err)
			return err;
		if (seg.kind != IMG_ZERO)
			return 0;
		off += seg.len;
	}
	return 1;
}

/* What the disk shows from off to end; NULL in *b when there is no need to write it. */
static int fill_read(struct qcow2 *q, const struct run *r, uint64_t off, uint64_t end, uint8_t **b)
{
	int err;

	*b = NULL;
	if (off == end)
		return 0;
	if (r->fresh) {
		err = all_zero(&q->img, off, end);
		if (err)
			return MIN(err, 0);
	}
	*b = malloc(end - off);
	err = *b ? img_read_buf(&q->img, off, *b, end - off) : -ENOMEM;
	if (err) {
		free(*b);
		*b = NULL;
	}
	return err;
}

static int write_run(struct qcow2 *q, const struct run *r, struct walk *w)
{
	const uint64_t end = r->off + r->len;
	struct gather g = { .file = q->img.file, .off = r->host };
	uint8_t *head, *tail = NULL;
	int err = fill_read(q, r, r->from, r->off, &head);

	if (!err)
		err = fill_read(q, r, end, r->to, &tail);
	if (!err) {
		if (head)
			gather_add(&g, head, r->off - r->from);
		else
			g.off += r->off - r->from;
		gather_request(&g, w, r->len);
		if (tail)
			gather_add(&g, tail, r->to - end);
		gather_write(&g);
		err = g.err;
	}
	free(head);
	free(tail);
	return err;
}

int qcow2_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct qcow2 *q = qcow2_of(img);
	struct walk w = { v, 0 };
	uint64_t left = 0;
	int err = 0;

	for (unsigned i = 0; i < niov; i++)
		left += v[i].iov_len;
	while (left && !err) {
		struct run r;

		pthread_mutex_lock(&q->lock);
		err = plan(q, off, left, &r);
		pthread_mutex_unlock(&q->lock);
		if (err)
			break;
		err = write_run(q, &r, &w);
		if (!err && r.link)
			err = link_run(q, &r);
		if (err)
			give_up(q, &r);
		off += r.len;
		left -= r.len;
	}
	return err;
}

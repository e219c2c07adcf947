/*
 * How a disk's requests are done: the places their bytes lie in, who must wait for whom, what the image's driver has to
 * do itself.
 *
 * A read or write whose bytes all lie plainly in files goes there through the engine, in parts when there are several
 * places.  Everything else is one call of img_*() on a pool thread.  When that call changes the image's map (granule of
 * the image), it has its range, in whole granules, for itself: it waits for what is in flight there, and what comes
 * later waits for it.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/iov.h"
#include "common/util.h"
#include "devices/block/block_int.h"

/* Ranges go in pieces, so that no request holds others up for long. */
#define DISCARD_PIECE MIB(64)
#define ZERO_PIECE MIB(4)               /* may have to be written out */

/* --- Who waits for whom --- */

static bool conflict(const struct blk_req *a, const struct blk_req *b)
{
	return (a->excl || b->excl) && a->lo < b->hi && b->lo < a->hi;
}

static struct blk_req *blocker_find(const struct blk *b, const struct blk_req *r)
{
	for (struct blk_req *x = b->fly; x; x = x->fly_next) {
		if (conflict(x, r))
			return x;
	}
	for (struct blk_req *x = b->waiting.head; x; x = x->next) {
		if (conflict(x, r))
			return x;
	}
	return NULL;
}

/* True: the request now waits for another one. */
static bool must_wait(struct blk *b, struct blk_req *r)
{
	struct blk_req *x;

	if (!r->excl && b->nexcl == 0)
		return false;
	x = blocker_find(b, r);
	if (!x)
		return false;
	r->blocker = x;
	x->blocks++;
	b->nexcl += r->excl;
	blk_list_add(&b->waiting, r);
	return true;
}

static void take_off(struct blk *b, struct blk_req *r)
{
	r->fly_next = b->fly;
	r->fly_prev = &b->fly;
	if (b->fly)
		b->fly->fly_prev = &r->fly_next;
	b->fly = r;
	b->nexcl += r->excl;
}

/* Those that waited for x may go, or have to wait for another one; their order stays. */
static void wake_waiting(struct blk *b, const struct blk_req *x)
{
	struct blk_list old = b->waiting;
	struct blk_req *r, *next;

	blk_list_init(&b->waiting);
	for (r = old.head; r; r = next) {
		next = r->next;
		if (r->blocker != x) {
			blk_list_add(&b->waiting, r);
			continue;
		}
		r->blocker = NULL;
		b->nexcl -= r->excl;
		blk_go(b, r);
	}
}

static void land(struct blk *b, struct blk_req *r)
{
	*r->fly_prev = r->fly_next;
	if (r->fly_next)
		r->fly_next->fly_prev = r->fly_prev;
	b->nexcl -= r->excl;
	if (r->blocks) {
		r->blocks = 0;
		wake_waiting(b, r);
	}
}

/* --- Through the driver, on a pool thread --- */

static int flush_if(const struct blk_req *r, bool last)
{
	return r->fua && last ? img_flush(r->blk->img) : 0;
}

static int work_read(struct blk_req *r)
{
	return img_read(r->blk->img, r->off, r->iov, r->niov);
}

static int work_write(struct blk_req *r)
{
	const int err = img_write(r->blk->img, r->off, r->iov, r->niov);

	return err ? err : flush_if(r, true);
}

static int work_zero(struct blk_req *r)
{
	const int err = img_zero(r->blk->img, r->off, r->piece, r->unmap ? IMG_UNMAP : 0);

	return err ? err : flush_if(r, r->piece == r->len);
}

static int work_discard(struct blk_req *r)
{
	return img_discard(r->blk->img, r->off, r->piece);
}

static int work_flush(struct blk_req *r)
{
	return img_flush(r->blk->img);
}

static void work_go(struct blk *b, struct blk_req *r, int (*work)(struct blk_req *))
{
	r->work = work;
	aio_submit(b->aio, r);
}

/* Alone in its range, which grows to whole granules; or it waits. */
static void work_alone(struct blk *b, struct blk_req *r, int (*work)(struct blk_req *))
{
	const uint64_t granule = b->img->granule;

	r->excl = granule;
	if (granule) {
		r->lo = ALIGN_DOWN(r->lo, granule);
		r->hi = ALIGN_UP(r->hi, granule);
	}
	if (must_wait(b, r))
		return;
	take_off(b, r);
	work_go(b, r, work);
}

/* --- Plain I/O --- */

/* The places of a request's bytes; 0: it is not for plain I/O. */
static unsigned segs_map(struct blk *b, const struct blk_req *r, struct img_seg *seg)
{
	const bool write = r->op == BLK_WRITE;
	uint64_t pos = r->off, end = r->off + r->len;
	unsigned n = 0;

	for (; pos < end && n < BLK_SEGS_MAX; pos += seg[n++].len) {
		struct img_seg *s = &seg[n];

		if (pos >= b->img->size)        /* the odd tail of a raw image, which the file may hold */
			*s = (struct img_seg){ .kind = IMG_DATA, .file = b->img->file, .file_off = pos, .len = end - pos };
		else if (img_map(b->img, pos, MIN(end, b->img->size) - pos, IMG_NOWAIT, s))
			return 0;
		if (s->len == 0)
			return 0;
		if (s->kind == IMG_DATA ? s->file->fd < 0 || (write && !s->in_place) : s->kind != IMG_ZERO || write)
			return 0;
	}
	return pos < end ? 0 : n;
}

static bool aligned(const struct blk_req *r, uint32_t align)
{
	uint64_t bits = r->file_off;

	for (unsigned i = 0; i < r->niov; i++)
		bits |= (uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len;
	return (bits & (align - 1)) == 0;
}

static void plain_io(struct blk *b, struct blk_req *r, const struct bfile *f, uint64_t file_off)
{
	r->file_off = file_off;
	r->fd = f->direct_fd >= 0 && b->conf.nocache && aligned(r, f->direct_align) ? f->direct_fd : f->fd;
	r->work = NULL;
	aio_submit(b->aio, r);
}

static struct blk_part *part_get(struct blk *b)
{
	struct blk_part *p = b->parts;

	if (p) {
		b->parts = p->next;
		return p;
	}
	if (b->nparts == BLK_PARTS_MAX)
		return NULL;
	p = malloc(sizeof(*p));
	b->nparts += p != NULL;
	return p;
}

static void part_put(struct blk *b, struct blk_part *p)
{
	p->next = b->parts;
	b->parts = p;
}

/* Where in a scatter list a request's parts begin. */
struct cursor {
	const struct iovec *iov;
	size_t skip;                    /* bytes of *iov that are behind */
};

/* The next bytes, up to max, as far as the entries of one part reach; how many. */
static uint64_t cursor_take(struct cursor *c, struct iovec *out, unsigned *n, uint64_t max)
{
	uint64_t got = 0;

	for (*n = 0; *n < BLK_PART_IOV && got < max; (*n)++) {
		const uint64_t len = MIN(c->iov->iov_len - c->skip, max - got);

		out[*n] = (struct iovec){ (uint8_t *)c->iov->iov_base + c->skip, len };
		got += len;
		c->skip += len;
		if (c->skip == c->iov->iov_len) {
			c->iov++;
			c->skip = 0;
		}
	}
	return got;
}

/* Parts for one segment at the front of *list; false: there are not so many. */
static bool parts_make(struct blk *b, struct blk_req *r, struct cursor *c, const struct img_seg *s, struct blk_part **list)
{
	for (uint64_t done = 0, len; done < s->len; done += len) {
		struct blk_part *p = part_get(b);

		if (!p)
			return false;
		p->r = (struct blk_req){ .op = r->op, .fua = r->fua && !r->then_flush, .blk = b, .parent = r };
		len = cursor_take(c, p->iov, &p->r.niov, s->len - done);
		p->r.iov = p->iov;
		p->r.len = len;
		p->r.file_off = s->file_off + done;
		p->next = *list;
		*list = p;
	}
	return true;
}

static void seg_zero(struct cursor *c, uint64_t len)
{
	struct iovec iov[BLK_PART_IOV];
	unsigned n;

	while (len) {
		len -= cursor_take(c, iov, &n, len);
		iov_zero(iov, n, 0, SIZE_MAX);
	}
}

/* A request over several places.  False: too many parts; nothing has been started. */
static bool split(struct blk *b, struct blk_req *r, const struct img_seg *seg, unsigned n)
{
	struct cursor c = { r->iov, 0 };
	struct blk_part *list[BLK_SEGS_MAX] = { NULL }, *p;
	bool ok = true;

	for (unsigned i = 0; i < n && ok; i++) {
		if (seg[i].kind == IMG_ZERO)
			seg_zero(&c, seg[i].len);
		else
			ok = parts_make(b, r, &c, &seg[i], &list[i]);
	}
	if (ok)
		take_off(b, r);
	r->parts = 0;
	for (unsigned i = 0; i < n; i++) {
		while ((p = list[i])) {
			list[i] = p->next;
			if (!ok) {
				part_put(b, p);
				continue;
			}
			r->parts++;
			plain_io(b, &p->r, seg[i].file, p->r.file_off);
		}
	}
	if (ok && !r->parts)
		aio_finish(b->aio, r, 0);
	return ok;
}

/* Would a flush have to write metadata, or is the driver's own business in another way? */
static bool flush_is_work(struct img *img)
{
	if (img->file->fd < 0)
		return true;
	return img->drv->flush && (!img->drv->dirty || img_dirty(img));
}

static bool plain_go(struct blk *b, struct blk_req *r)
{
	struct img_seg seg[BLK_SEGS_MAX];
	const unsigned n = segs_map(b, r, seg);

	if (n == 0)
		return false;
	r->then_flush = r->fua && flush_is_work(b->img);
	if (n > 1 || seg[0].kind == IMG_ZERO)
		return split(b, r, seg, n);
	take_off(b, r);
	if (r->then_flush)
		r->fua = false;
	plain_io(b, r, seg[0].file, seg[0].file_off);
	return true;
}

/* --- Each kind of request --- */

static void rw_go(struct blk *b, struct blk_req *r)
{
	r->lo = r->off;
	r->hi = r->off + r->len;
	if (must_wait(b, r))
		return;
	if (plain_go(b, r))
		return;
	if (r->op == BLK_WRITE) {
		work_alone(b, r, work_write);
	} else {
		take_off(b, r);
		work_go(b, r, work_read);
	}
}

static void range_go(struct blk *b, struct blk_req *r)
{
	const uint64_t unit = MAX(r->op == BLK_DISCARD ? DISCARD_PIECE : ZERO_PIECE, (uint64_t)b->img->granule);

	r->piece = MIN(r->len, ALIGN_DOWN(r->off, unit) + unit - r->off);
	r->lo = r->off;
	r->hi = r->off + r->piece;
	if (!must_wait(b, r))
		work_alone(b, r, r->op == BLK_DISCARD ? work_discard : work_zero);
}

static void flush_go(struct blk *b, struct blk_req *r)
{
	r->lo = r->hi = 0;
	take_off(b, r);
	if (b->flush_err) {
		r->work = NULL;
		aio_finish(b->aio, r, b->flush_err);
		return;
	}
	if (flush_is_work(b->img)) {
		work_go(b, r, work_flush);
		return;
	}
	r->fd = b->img->file->fd;
	r->work = NULL;
	aio_submit(b->aio, r);
}

void blk_go(struct blk *b, struct blk_req *r)
{
	r->excl = r->then_flush = false;
	r->fua = r->fua0;
	r->ret = 0;
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		rw_go(b, r);
	else if (r->op == BLK_FLUSH)
		flush_go(b, r);
	else
		range_go(b, r);
}

void blk_go_nowhere(struct blk *b, struct blk_req *r, int ret)
{
	r->lo = r->hi = 0;
	r->excl = r->then_flush = false;
	r->piece = r->len;
	r->work = NULL;
	take_off(b, r);
	aio_finish(b->aio, r, ret);
}

/* --- Done --- */

/* The whole request, or one piece of it. */
static void finished(struct blk *b, struct blk_req *r)
{
	if (!r->ret && r->then_flush) {
		r->then_flush = false;
		work_go(b, r, work_flush);
		return;
	}
	/* The kernel may have dropped what it could not write, and forget that it told us: no later flush can be trusted. */
	if (r->ret && r->op == BLK_FLUSH && r->work != work_flush)
		b->flush_err = r->ret;
	land(b, r);
	if (!r->ret && (r->op == BLK_DISCARD || r->op == BLK_WRITE_ZEROES)) {
		r->off += r->piece;
		r->len -= r->piece;
		if (r->len) {
			blk_go(b, r);
			return;
		}
	}
	blk_landed(r);
}

void blk_transferred(struct blk_req *r)
{
	struct blk_req *whole = r->parent;
	struct blk *b = r->blk;

	if (!whole) {
		finished(b, r);
		return;
	}
	if (r->ret && !whole->ret)
		whole->ret = r->ret;
	part_put(b, (struct blk_part *)r);
	if (--whole->parts == 0)
		finished(b, whole);
}

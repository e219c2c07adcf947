/*
 * Private to the files that use the disk: header.c qcow2.c commit.c cache.c refcount.c alloc.c cluster.c write.c zero.c
 * compressed.c resize.c create.c.  Everything in struct qcow2_state is guarded by q->lock, but for what says otherwise.
 *
 * The lock is held over reads and writes of metadata, never over a flush or guest data (exceptions: growing the refcount
 * table, setting the dirty bit; both are rare).  "May let go of the lock" means that slices got before are no longer valid.
 */
#ifndef DEVICES_BLOCK_QCOW2_STATE_H
#define DEVICES_BLOCK_QCOW2_STATE_H

#include "devices/block/qcow2/qcow2.h"

/* --- cache.c: parts ("slices") of L2 tables and of refcount blocks, as they are in the file --- */

struct qcow2_slice {
	struct qcow2_slice *next, *next_dirty;
	uint64_t key;                   /* L2: which slice of the disk; refcounts: which slice of the file */
	bool dirty, used;
	bool bad;                       /* L2: has entries that cannot be right, look at each before use */
	uint8_t data[];
};

struct qcow2_cache {
	struct qcow2_slice **hash, **all, *dirty;
	uint64_t mask;                  /* of the hash */
	uint32_t n, max, hand, ndirty;
	uint32_t bytes;                 /* of a slice's data */
};

struct qcow2_cache *qcow2_cache_new(uint32_t slice_bytes, uint64_t max_bytes);
void qcow2_cache_free(struct qcow2_cache *);    /* NULL ok */
/* For a key that is not there: a slice to be filled.  NULL: all are dirty (c->ndirty is not 0), or out of memory. */
struct qcow2_slice *qcow2_cache_add(struct qcow2_cache *, uint64_t key);
/* One that could not be filled, clean. */
void qcow2_cache_drop(struct qcow2_cache *, struct qcow2_slice *);
void qcow2_cache_dirty(struct qcow2_cache *, struct qcow2_slice *);
/* Takes the first dirty one off the list; the caller writes it. */
struct qcow2_slice *qcow2_cache_take_dirty(struct qcow2_cache *);

static inline struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *c, uint64_t key)
{
	for (struct qcow2_slice *s = c->hash[key & c->mask]; s; s = s->next)
		if (s->key == key) {
			s->used = true;
			return s;
		}
	return NULL;
}

/* --- state --- */

struct qcow2_free {
	uint64_t off, len;              /* whole clusters */
	bool punch;                     /* give the space back to the host */
};
struct qcow2_frees {
	struct qcow2_free *v;
	size_t n, cap;
};

/* Sectors of the L1 or the refcount table that differ from the file */
struct qcow2_sectors {
	uint32_t *v;
	size_t n, cap;
};

struct qcow2_state {
	pthread_cond_t cond;            /* committing or frozen became false */
	bool committing;                /* somebody is in qcow2_commit() */
	uint64_t commits, commits_done; /* begun; number of the last that succeeded */
	bool frozen;                    /* L2 and L1 entries must not be changed */
	bool need;                      /* atomic: qcow2_commit() has metadata to write */
	bool undirty;                   /* the dirty bit is to be cleared at the end */
	int flush_err;                  /* of a flush that failed: nothing that depends on it may be written any more */
	unsigned cbits;                 /* cluster size, as a power of two */
	unsigned slice_bits, l2_bits;   /* bytes of the disk that a slice, an L2 table describe */
	unsigned sub_bits;              /* unit of allocation: subclusters, or cluster */
	uint32_t slice_bytes, slice_per, refs_slice_per;        /* slices: bytes, L2 entries, refcounts */
	uint64_t ref_max;
	uint64_t hint;                  /* clusters of the file below this one are in use */
	uint64_t file_end;              /* bytes; above it the file has never held anything */
	struct qcow2_frees pending;     /* freed, the entry that named them is not yet gone from the disk */
	struct qcow2_sectors l1_dirty, ref_dirty;
	uint64_t comp_next;             /* where the next compressed cluster may start; 0: in a new cluster */
	uint64_t *filter, filter_mask;  /* tables are in this Bloom filter */
	pthread_mutex_t unz_lock;       /* guards the rest; taken after q->lock, or alone */
	uint64_t unz_entry;             /* what unz holds; 0: nothing */
	uint8_t *unz;                   /* the cluster inflated last */
};

static inline struct qcow2 *qcow2_of(struct img *img)
{
	return (struct qcow2 *)img;
}

/* Unallocated clusters show what is below, or would if it were opened. */
static inline bool qcow2_has_backing(const struct qcow2 *q)
{
	return q->img.backing || q->img.backing_path;
}

static inline bool qcow2_is_extended(const struct qcow2 *q)
{
	return q->l2_entry == 16;
}

static inline void qcow2_need(struct qcow2 *q)
{
	__atomic_store_n(&q->state->need, true, __ATOMIC_RELEASE);
}

/* --- commit.c --- */
/*
 * Makes everything durable that was done before the call, in safe order; lets go of the lock in between.  Afterwards
 * what was freed before it may be used again.
 */
int qcow2_commit(struct qcow2 *);
/* Waits until L2 and L1 entries may be changed; lets go of the lock when it has to wait. */
void qcow2_thaw_wait(struct qcow2 *);
/* Sets the dirty bit if it is not there. */
int qcow2_mark_dirty(struct qcow2 *);
/* Makes q->h the header of the file, durably; else it is *old again, and nothing more is written. */
int qcow2_header_switch(struct qcow2 *, const struct qcow2_header *old);
int qcow2_flush_held(struct qcow2 *);   /* the file, with the lock held; remembers a failure */
int qcow2_sector_dirty(struct qcow2_sectors *, uint64_t entry);

/* --- refcount.c --- */
int qcow2_ref_read(struct qcow2 *, uint64_t cluster, uint64_t *count);
/* Each of n clusters one up; the block that holds their refcounts is there. */
int qcow2_ref_inc(struct qcow2 *, uint64_t cluster, uint64_t n);
/* Each one down at once: nothing in the file names them any more. */
int qcow2_ref_dec(struct qcow2 *, uint64_t cluster, uint64_t n);
/* The slice of a cluster's refcount and its place there.  *s NULL: there is no block for it. */
int qcow2_ref_slice(struct qcow2 *, uint64_t cluster, struct qcow2_slice **s, uint64_t *i);
int qcow2_refs_write(struct qcow2 *);           /* writes back, does not flush */
/* Room for refcounts of n new clusters (the refcount table grows when it has to): *first is the first of them. */
int qcow2_refs_extend(struct qcow2 *, uint64_t n, uint64_t *first);
int qcow2_ref_block_new(struct qcow2 *, uint64_t block);
uint64_t qcow2_ref_get(const void *block, unsigned order, uint64_t i);
void qcow2_ref_put(void *block, unsigned order, uint64_t i, uint64_t v);
uint64_t qcow2_ref_max(unsigned order);

/* --- alloc.c --- */
/* 1 to `want` contiguous clusters with a refcount of 1.  *fresh: above all the file has held, reads as zeroes. */
int qcow2_alloc(struct qcow2 *, uint64_t want, uint64_t *off, uint64_t *got, bool *fresh);
int qcow2_alloc_exactly(struct qcow2 *, uint64_t n, uint64_t *off);
/* For clusters that the file still names until the next commit; without memory they leak. */
void qcow2_free_later(struct qcow2 *, uint64_t off, uint64_t len, bool punch);
void qcow2_frees_add(struct qcow2_frees *, uint64_t off, uint64_t len, bool punch);
int qcow2_filter_new(struct qcow2 *);
void qcow2_filter_add(struct qcow2 *, uint64_t off);
/* Which table lies there, NULL: none known.  What is asked for may be a table of that kind itself. */
enum qcow2_self { QCOW2_SELF_NONE, QCOW2_SELF_L2, QCOW2_SELF_REFS };
const char *qcow2_table_at(const struct qcow2 *, uint64_t off, uint64_t len, enum qcow2_self);

/* --- cluster.c --- */
enum qcow2_type { QCOW2_T_NONE, QCOW2_T_ZERO, QCOW2_T_ZERO_ALLOC, QCOW2_T_DATA, QCOW2_T_COMPRESSED };

static inline enum qcow2_type qcow2_type(const struct qcow2 *q, uint64_t e)
{
	if (e & QCOW2_COMPRESSED)
		return QCOW2_T_COMPRESSED;
	if (e & QCOW2_ZERO && !qcow2_is_extended(q))
		return e & QCOW2_OFFSET_MASK ? QCOW2_T_ZERO_ALLOC : QCOW2_T_ZERO;
	return e & QCOW2_OFFSET_MASK ? QCOW2_T_DATA : QCOW2_T_NONE;
}

/* In its slice */
static inline unsigned qcow2_l2_index(const struct qcow2 *q, uint64_t off)
{
	return (unsigned)(off >> q->state->cbits) & (q->state->slice_per - 1);
}

static inline uint64_t qcow2_l2_get(const struct qcow2 *q, const struct qcow2_slice *s, unsigned i)
{
	return get_be64(s->data + (size_t)i * q->l2_entry);
}

static inline uint64_t qcow2_l2_bitmap(const struct qcow2 *q, const struct qcow2_slice *s, unsigned i)
{
	return get_be64(s->data + (size_t)i * 16 + 8);
}

/* Makes an L2 entry another one; bitmap: of extended entries. */
void qcow2_l2_put(struct qcow2 *, struct qcow2_slice *, unsigned i, uint64_t e, uint64_t bitmap);
/* The slice for a place of the disk; *s NULL: there is no L2 table.  May let go of the lock before it has the slice. */
int qcow2_l2_slice(struct qcow2 *, uint64_t off, struct qcow2_slice **s);
/* The same to be changed: the table exists and is nobody else's.  May let go of the lock before it has the slice. */
int qcow2_l2_slice_write(struct qcow2 *, uint64_t off, struct qcow2_slice **s);
/* Says what is wrong with an entry.  0 or -EIO. */
int qcow2_entry_check(struct qcow2 *, uint64_t e, uint64_t bitmap, uint64_t off);
/* Frees what an entry named, once the entry is gone from the disk. */
void qcow2_entry_free(struct qcow2 *, uint64_t e, bool punch);
int qcow2_map(struct img *, uint64_t off, uint64_t len, unsigned flags, struct img_seg *);

/* --- write.c, zero.c, compressed.c, resize.c, create.c, header.c: see struct img_driver --- */
int qcow2_write(struct img *, uint64_t off, const struct iovec *, unsigned niov);
int qcow2_zero(struct img *, uint64_t off, uint64_t len, unsigned flags);
int qcow2_discard(struct img *, uint64_t off, uint64_t len);
int qcow2_read(struct img *, uint64_t off, const struct iovec *, unsigned niov);
int qcow2_write_compressed(struct img *, uint64_t off, const void *, size_t len);
void qcow2_unz_forget(struct qcow2 *);
int qcow2_resize(struct img *, uint64_t size);
int qcow2_create(const struct img_create *);
int qcow2_prealloc(struct qcow2 *, bool full, bool space);
int qcow2_set_backing(struct img *, const char *backing, const char *format);
/* Fills backing_path and backing_format; 0 or -errno (reported). */
int qcow2_header_backing(struct img *, const struct qcow2_header *);

#endif

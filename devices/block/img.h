/*
 * Disk images: what a file in some format contains, as bytes 0..size-1, with the images it is based on.
 *
 * Calls may block (they read and write metadata), unless IMG_NOWAIT is given: event loop and vCPU threads use nothing
 * else; all the rest runs on a pool thread (devices/block/block.c) or in a tool.
 *
 * Threads: read, write, zero, discard, flush and map may be called on several threads at once; a driver has its own
 * lock for its metadata.  The caller sees to it that, counted in units of img->granule, a range being changed by
 * write (unless map said in_place), zero or discard is used by no other call at that time, also not by plain I/O that
 * an earlier map allowed.  Everything else (resize, snapshots, check, close) has the image for itself.
 *
 * Crash safety (drivers that set `safe`): at any instant the file holds a consistent image in which every write that
 * was followed by a completed flush is there.  Space may have leaked.
 */
#ifndef DEVICES_BLOCK_IMG_H
#define DEVICES_BLOCK_IMG_H

#include <jansson.h>
#include <pthread.h>

#include "common/log.h"
#include "devices/block/bfile.h"

struct img;
struct img_driver;

enum img_kind {
	IMG_DATA,                       /* at file_off of file; plain I/O on it is right */
	IMG_ZERO,                       /* reads as zeroes */
	IMG_NONE,                       /* only from drv->map: the backing image decides; zeroes when there is none */
	IMG_OPAQUE,                     /* only drv->read can tell (compressed) */
};

struct img_seg {
	enum img_kind kind;
	bool in_place;                  /* DATA of the top image: may be written where it is, without changing metadata */
	struct img *img;                /* of the chain, whose answer this is */
	struct bfile *file;             /* DATA */
	uint64_t file_off;              /* DATA, bytes */
	uint64_t len;                   /* bytes from the offset asked for; above 0, at most what was asked for */
};

enum { IMG_NOWAIT = 1, IMG_UNMAP = 2 };

struct img_snapshot {
	char id[32], name[256];         /* UTF-8 */
	uint64_t date_ns;               /* since 1970 */
	uint64_t vm_clock_ns, vm_state_len, disk_size;  /* bytes */
};

struct img_check {
	uint64_t corruptions, leaks, errors;            /* found; errors: could not be looked at */
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t clusters, allocated, compressed, fragmented;   /* of the guest's disk; image_end: bytes used */
	uint64_t image_end;
};
enum { IMG_FIX_LEAKS = 1, IMG_FIX_ALL = 3 };

/* What `create` needs; zero: the default. */
struct img_create {
	const char *path, *format;
	uint64_t size;                  /* bytes */
	const char *backing, *backing_format;           /* as written into the image */
	uint32_t cluster_size;          /* bytes */
	unsigned refcount_bits;
	unsigned version;               /* qcow2: 2 or 3 */
	bool lazy_refcounts, extended_l2, zstd;
	const char *subformat;          /* vmdk, vdi, vpc, vhdx: "dynamic", "fixed", "monolithicFlat" ... */
	enum { IMG_PREALLOC_OFF, IMG_PREALLOC_METADATA, IMG_PREALLOC_FALLOC, IMG_PREALLOC_FULL } prealloc;
	bool overwrite;                 /* an existing file */
};

struct img_driver {
	const char *name;               /* as in format=: "qcow2" */
	const char *help;               /* one line */
	size_t size;                    /* of the instance, which embeds struct img first */
	bool writes;                    /* may be opened for writing */
	bool safe;                      /* as above */
	/*
	 * Is this one?  head: the first `len` (up to 4096) bytes.  tail: the last 512 of the file.  0: no; higher is surer,
	 * up to 100.  Raw says 1.
	 */
	int (*probe)(const uint8_t *head, size_t len, const uint8_t tail[512]);
	/*
	 * img->file is open, the flags are set; fills size, granule, backing_path and the like.  Nothing in the file is to be
	 * believed: every offset, size and count is checked, memory is bounded.  0 or -errno (reported in one sentence that
	 * names the image).  On failure close is not called.
	 */
	int (*open)(struct img *);
	/* img->backing is open: do the two belong together?  0 or -errno (reported).  NULL: nobody knows. */
	int (*attach)(struct img *);
	void (*close)(struct img *);    /* after a flush when it was written; not the file, not the backing */
	/* What is at off (below size).  -EAGAIN with IMG_NOWAIT when that needs I/O or a lock somebody holds. */
	int (*map)(struct img *, uint64_t off, uint64_t len, unsigned flags, struct img_seg *);
	/* OPAQUE bytes of one map answer. */
	int (*read)(struct img *, uint64_t off, const struct iovec *, unsigned niov);
	/*
	 * Any bytes below size, of any alignment; what is not covered of a newly allocated unit is taken from the backing
	 * (img_read_below).  NULL: the driver cannot write.
	 */
	int (*write)(struct img *, uint64_t off, const struct iovec *, unsigned niov);
	/* IMG_UNMAP: may free the space.  The range then reads as zeroes whatever the backing holds.  NULL: zeroes are written. */
	int (*zero)(struct img *, uint64_t off, uint64_t len, unsigned flags);
	/* A hint for whole units of the range; afterwards they read as zeroes or as before.  NULL: nothing happens. */
	int (*discard)(struct img *, uint64_t off, uint64_t len);
	/* Metadata in safe order, then the file.  NULL: bfile flush. */
	int (*flush)(struct img *);
	/* Nothing will be written for now: marks in the file that say otherwise go.  0 or -errno.  NULL: there are none. */
	int (*rest)(struct img *);
	/* Would flush have to write metadata?  Never blocks, may be wrong only in saying true.  NULL: never. */
	bool (*dirty)(struct img *);
	int (*resize)(struct img *, uint64_t size);
	/* Makes the file(s) and closes them again.  0 or -errno (reported). */
	int (*create)(const struct img_create *);
	/* Repairs when `fix` says so (open for writing).  0, or -errno (reported) when it could not be done. */
	int (*check)(struct img *, unsigned fix, struct img_check *);
	/* Adds format-specific fields to the object of `img info --json`.  NULL: none. */
	int (*info)(struct img *, json_t *);
	/* Changes the backing's name and format in the file, not what img->backing is.  NULL backing: none any more. */
	int (*set_backing)(struct img *, const char *backing, const char *format);
	/* Compressed write of one whole granule (the last may be short), for convert -c.  NULL: none. */
	int (*write_compressed)(struct img *, uint64_t off, const void *, size_t len);
	/* Everything the image holds itself is gone: its backing, or zeroes, is what is read.  No snapshots.  NULL: cannot. */
	int (*discard_all)(struct img *);
	/* Internal snapshots; NULL: the format has none.  list: an array from malloc(). */
	int (*snap_list)(struct img *, struct img_snapshot **, unsigned *n);
	int (*snap_create)(struct img *, const char *name);
	int (*snap_apply)(struct img *, const char *id_or_name);
	int (*snap_delete)(struct img *, const char *id_or_name);
};

struct img {
	const struct img_driver *drv;
	struct bfile *file;
	struct img *backing;            /* opened, read-only; NULL: none */
	uint64_t size;                  /* bytes */
	uint32_t granule;               /* bytes, power of two: unit of allocation; 0: nothing is ever allocated (raw) */
	bool read_only;
	unsigned file_flags;            /* BFILE_*, as file was opened: for files beside it */
	bool probed;                    /* nobody named the format */
	bool no_backing;                /* open: backing_path is filled, but never followed */
	bool check;                     /* open: to look for damage; a marked or dirty image is neither refused nor repaired */
	char *backing_path, *backing_format;            /* as in the file; NULL: none */
	uint64_t cache_max;             /* bytes of metadata kept in memory */
	bool broken;                    /* the driver found its metadata damaged while running: only -EIO from now on */
	struct guest_warn warn;
};

extern const struct img_driver img_raw, img_qcow2, img_vmdk, img_vdi, img_vpc, img_vhdx;
extern const struct img_driver *const img_drivers[];            /* NULL-terminated; raw is last */
const struct img_driver *img_driver_find(const char *name);     /* also "vhd" for vpc; NULL: none */

struct img_open {
	const char *path;
	const char *format;             /* NULL: by probe */
	unsigned file_flags;            /* BFILE_*; BFILE_WRITE opens the top image for writing */
	bool no_backing, check;
	/*
	 * Directories, separated by ':', in which backing files may lie beside the directory of the image that names
	 * them (and what is below it): an image may have been written by a guest.  "/" allows all.  NULL: none.
	 */
	const char *backing_dirs;
	uint64_t cache_max;             /* 0: 32 MiB */
	bool share_lock;                /* backing files are not locked either (looking at an image in use) */
};
#define IMG_CHAIN_MAX 64

/*
 * Opens an image and all it is based on; refuses loops, chains above IMG_CHAIN_MAX and backing files elsewhere.
 * NULL on failure (reported), *err gets -errno.
 */
struct img *img_open(const struct img_open *, int *err);
/* The same around a file that is open already, which becomes the image's also on failure; no backing is opened. */
struct img *img_open_file(struct bfile *, const struct img_driver *, int *err);
/* Path of the backing file an image names, checked as img_open() does; to be freed.  NULL: none, or refused (reported). */
char *img_backing_file(const struct img *, const char *backing_dirs);
/* Flushes when written, closes the chain.  0 or -errno of the flush (reported).  NULL ok. */
int img_close(struct img *);
/* A new, empty, nameless qcow2 over `base` (which becomes its backing, and its own on failure too), in $TMPDIR or /var/tmp. */
struct img *img_overlay_temp(struct img *base, int *err);
int img_create(const struct img_create *);
/* The format of an existing file, by its contents.  NULL on failure (reported). */
const struct img_driver *img_probe(struct bfile *, int *err);
/* The same for bytes as struct img_driver's probe gets them; raw when they are nothing else. */
const struct img_driver *img_probe_bytes(const uint8_t *head, size_t len, const uint8_t tail[512]);

/* Through the chain: never IMG_NONE; the segment's img tells whose it is. */
int img_map(struct img *, uint64_t off, uint64_t len, unsigned flags, struct img_seg *);
/* Bytes at and above size read as zeroes.  0 or -errno. */
int img_read(struct img *, uint64_t off, const struct iovec *, unsigned niov);
int img_read_buf(struct img *, uint64_t off, void *, size_t len);
/* What is below this image at off: its backing, zeroes beyond the backing's end or without one.  For drivers' copy on write. */
int img_read_below(struct img *, uint64_t off, void *, size_t len);
int img_write(struct img *, uint64_t off, const struct iovec *, unsigned niov);
int img_write_buf(struct img *, uint64_t off, const void *, size_t len);
int img_zero(struct img *, uint64_t off, uint64_t len, unsigned flags);
int img_discard(struct img *, uint64_t off, uint64_t len);
int img_flush(struct img *);
bool img_dirty(struct img *);
/* Flushes, and leaves the file as if it were closed; it may be written again.  Nothing is in flight. */
int img_rest(struct img *);

/* For drivers: the metadata is damaged in use; says so once, *broken* from then on.  Returns -EIO. */
int img_damaged(struct img *, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif

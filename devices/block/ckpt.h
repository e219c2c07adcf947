/*
 * Checkpoints of disks: what a disk holds at one instant is kept, by whatever the image or the place it lies on can do.
 *
 * A step is one checkpoint of one disk: prepare (the disk is in use), freeze (requests are held, what is in flight is
 * done), take (the image is flushed, then kept), commit when all of an instant were taken, thaw.  The caller freezes and
 * thaws, so that several disks, and later memory and devices, share one instant.  A step that is not wanted after all is
 * undone.
 *
 * Threads: prepare, take, undo, drop and branch block; any thread, the disk's image used by nobody else in take.
 */
#ifndef DEVICES_BLOCK_CKPT_H
#define DEVICES_BLOCK_CKPT_H

#include <stdbool.h>
#include <stddef.h>

struct img;
struct ckpt_store;

struct ckpt_step {
	const struct ckpt_store *store;
	struct img *img;                /* the disk's top image, open for writing */
	const char *name;               /* of the checkpoint: as ckpt_name_check() allows */
	char *where;                    /* prepare: the file, volume or snapshot that keeps the checkpoint; for messages and lists */
	struct img *new_top;            /* take: what becomes the disk's image instead; NULL: it stays */
	bool shared;                    /* another step of the same instant keeps it: two disks on one ZFS dataset */
	bool prepared, flushed, taken;
};

struct ckpt_store {
	const char *name, *help;
	bool shares;                    /* steps with the same `where` are one */
	/* Can it keep this disk?  Looks only.  False: why, half a sentence. */
	bool (*fits)(const struct img *, char *why, size_t len);
	int (*prepare)(struct ckpt_step *, const char *path /* asked for; NULL: chosen */);      /* 0 or -errno (reported) */
	int (*take)(struct ckpt_step *);                /* 0 or -errno (reported); then nothing was taken */
	void (*commit)(struct ckpt_step *);             /* taken, for good.  NULL: nothing to do */
	void (*undo)(struct ckpt_step *);               /* prepared, maybe taken, new_top not in use */
	int (*drop)(struct img *, const char *name);    /* deletes a checkpoint.  0 or -errno (reported) */
	/* A writable disk of its own, at `path`, that begins as the checkpoint.  NULL: the format's own commands do that. */
	int (*branch)(struct img *, const char *name, const char *path);
};
extern const struct ckpt_store ckpt_qcow2, ckpt_overlay, ckpt_reflink, ckpt_zfs, ckpt_lvm;
extern const struct ckpt_store *const ckpt_stores[];    /* best first; NULL-terminated */

/* 1 to 63 letters, digits, '.', '_', '-', beginning with a letter or digit.  0 or -EINVAL (reported). */
int ckpt_name_check(const char *name);
/* By name, or the best that fits (NULL, "auto").  NULL (reported) when there is none. */
const struct ckpt_store *ckpt_store_for(const struct img *, const char *name);

int ckpt_prepare(struct ckpt_step *, struct img *, const struct ckpt_store *, const char *name, const char *path);
int ckpt_flush(struct ckpt_step *);
int ckpt_take(struct ckpt_step *);              /* flushes first */
void ckpt_commit(struct ckpt_step *);
/* Does the second step of an instant keep what the first one keeps?  Then only one of them is taken. */
void ckpt_share(const struct ckpt_step *, struct ckpt_step *);
void ckpt_undo(struct ckpt_step *);             /* what was done; also of a step never prepared */
void ckpt_free(struct ckpt_step *);

/* "DIR/BASE.NAME.SUFFIX" beside an image; SUFFIX NULL: the image's own.  To be freed; NULL: out of memory. */
char *ckpt_path(const struct img *, const char *name, const char *suffix);

struct ctl_call;
/* Method disk-checkpoint: all named disks of a running VM at one instant. */
int ckpt_ctl(struct ctl_call *);

#endif

/*
 * `skep img`: what its commands share.  Main thread, no VM.
 */
#ifndef COMMON_CMD_IMG_CMD_H
#define COMMON_CMD_IMG_CMD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/block/img.h"

/* Exit statuses, as users of qemu-img know them: compare 0 same, 1 different; check 2 corrupt, 3 leaks, 63 has no check. */
enum { IMG_OK = 0, IMG_FAILED = 1, IMG_ERROR = 2, IMG_CORRUPT = 2, IMG_LEAKS = 3, IMG_NO_CHECK = 63 };

#define IMG_OPTIONS_MAX 32

/* The command line, the same for all commands. */
struct img_args {
	const char *cmd;
	const char *format, *out_format, *backing, *backing_format, *backing_dirs, *sparse, *store;
	const char *options[IMG_OPTIONS_MAX];           /* -o, one NAME=VALUE each */
	unsigned noptions;
	char action;                    /* of snapshot: 'l', 'c', 'a', 'd' */
	const char *snapshot;           /* its name */
	unsigned fix;                   /* IMG_FIX_* */
	bool json, progress, compress, quiet, share, shrink, unsafe, strict, no_create, keep, chain;
	char **pos;                     /* what is no option */
	int npos;
};

/* Opens as the command line says; what is opened for writing is always locked.  NULL after a message. */
struct img *img_cmd_open(const struct img_args *, const char *path, const char *format, unsigned file_flags);
/* The same file or block device, whatever their names?  False when one is not there. */
bool img_cmd_same_file(const char *x, const char *y);
/* Is that file part of the chain? */
bool img_cmd_in_chain(const struct img *chain, const char *path);
/* -o and the like into *c; -EINVAL (reported). */
int img_cmd_create_args(const struct img_args *, struct img_create *c);
/* "10G", "+1M"; sign gets '+', '-' or 0.  -EINVAL (reported). */
int img_cmd_size(const char *text, char *sign, uint64_t *out);
const char *img_cmd_size_text(uint64_t bytes, char *buf, size_t len);           /* "1.5 GiB" */

/* --- Progress: a bar on a terminal, lines with -p elsewhere, nothing else --- */
/* From start to end, signals that end the process wait until the work has cleaned up. */
struct img_progress {
	const char *what;
	uint64_t total, done, shown;
	bool bar, lines;
	sigset_t old_mask;
};
void img_progress_start(struct img_progress *, const struct img_args *, const char *what, uint64_t total);
/* done: bytes from the start.  False: interrupted. */
bool img_progress_at(struct img_progress *, uint64_t done);
void img_progress_end(struct img_progress *);   /* also of one that was not started, all 0 */

/* --- Copying (img_convert.c) --- */
struct img_copy {
	struct img *from, *to;
	uint64_t from_off, to_off, len;
	uint32_t sparse;                /* runs of zeroes this long are not written, bytes; 0: all is written */
	bool compress;
	bool to_is_zero;                /* what is not written reads as zeroes */
	bool differs;                   /* write only what `to` does not show already, as new images do that have a backing file */
	/* Is this part to be copied?  *len may be shortened.  NULL: all. */
	bool (*wanted)(struct img *from, uint64_t off, uint64_t *len, void *arg);
	void *arg;
	struct img_progress *progress;
};
int img_copy(const struct img_copy *);          /* 0 or -errno (reported); -EINTR: Ctrl-C */

int img_cmd_create(const struct img_args *);
int img_cmd_info(const struct img_args *);
int img_cmd_map(const struct img_args *);
int img_cmd_convert(const struct img_args *);
int img_cmd_compare(const struct img_args *);
int img_cmd_check(const struct img_args *);
int img_cmd_resize(const struct img_args *);
int img_cmd_rebase(const struct img_args *);
int img_cmd_commit(const struct img_args *);
int img_cmd_snapshot(const struct img_args *);
int img_cmd_checkpoint(const struct img_args *);

#endif

/*
 * What waits for a VM's next start, left in its state directory by another process: what `bhyveload` was told to load, which
 * then holds for the whole run, and what `skep nextboot` says about one start.  Both are configuration keys.  A
 * start that fails leaves them for the next.  Main or loop thread.
 */
#ifndef COMMON_PENDING_H
#define COMMON_PENDING_H

#include <stdbool.h>

struct conf;

enum pending_kind {
	PENDING_LOAD,                   /* bhyveload: for a run without anything to boot */
	PENDING_ONCE,                   /* nextboot: for one start of any run */
	PENDINGS
};

/* --- for those who leave something --- */

int pending_write(const char *name, enum pending_kind, const struct conf *);    /* 0 or -errno (reported) */
/* A copy of what waits, to be conf_free()d; NULL: nothing does.  0 or -errno (reported). */
int pending_read(const char *name, enum pending_kind, struct conf **out);
int pending_clear(const char *name, enum pending_kind);         /* 1: something was there.  0, -errno (reported) */

/* --- for the VM --- */

/* Zero-initialised is ready. */
struct pending {
	struct conf *base;              /* the run's own configuration; whose it is does not change */
	struct conf *once;              /* the same with what is for one start; NULL: nothing is */
	char *text[PENDINGS];           /* files as they were read */
};
/*
 * Before a run is built: adds what bhyveload left to *conf, when that boots nothing by itself, and makes *conf what this start
 * uses.  0 or -errno (reported).
 */
int pending_begin(struct pending *, const char *name, struct conf **conf, bool boots);
/* Before each further start: makes *conf what it uses.  0 or -errno (reported). */
int pending_again(struct pending *, const char *name, struct conf **conf);
/* The settings for one start are of no use: makes *conf what it is without them; false: there were none. */
bool pending_dismiss(struct pending *, const char *name, struct conf **conf);
/* The guest has started: what was used is gone, unless it has been written anew meanwhile. */
void pending_started(struct pending *, const char *name);
void pending_free(struct pending *);

#endif

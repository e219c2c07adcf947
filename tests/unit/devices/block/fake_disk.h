/*
 * A disk over a fake image, and requests on it.  One thread; the disk's loop is stepped by the helpers.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_FAKE_DISK_H
#define TESTS_UNIT_DEVICES_BLOCK_FAKE_DISK_H

#include "common/vm.h"
#include "devices/block/block.h"
#include "tests/unit/devices/block/fake_img.h"

#define JOB_IOV 64

struct disk;
struct job {
	struct blk_req r;               /* first */
	struct disk *d;
	struct iovec iov[JOB_IOV];
	uint8_t *buf;
	unsigned seq;                   /* its place in the order of completion; 0: not done */
};

struct disk {
	struct vm vm;
	struct blk *b;
	struct fake *f;                 /* NULL: the disk is the raw file */
	pthread_mutex_t lock;
	char path[64];
	unsigned done, batches;
};

/* The configuration's path is a new raw file of that size; then a fake image in that state takes its place. */
void disk_new(struct disk *, struct blk_conf, uint64_t size, enum fake_state);
void disk_new_raw(struct disk *, struct blk_conf, uint64_t size);
void disk_end(struct disk *);
/* Submits and kicks; the buffer is cut into niov pieces of uneven length.  Reads begin with 0xee everywhere. */
void job_go(struct disk *, struct job *, enum blk_op, uint64_t off, uint64_t len, unsigned niov);
void job_go_fua(struct disk *, struct job *, uint64_t off, uint64_t len);
void job_wait(struct disk *, struct job *);     /* until it is done, by the loop */
void job_free(struct job *);
void disk_spin(struct disk *, unsigned ms);     /* whatever happens meanwhile */

#endif

/* Disks: transfers, ranges, unmapping, verifying, what they say of themselves. */
#include "tests/unit/devices/scsi/target.h"

#define SIZE (1u << 20)

static struct target *ready(void)
{
	struct target *t = target_new(SCSI_DISK, SIZE, 512, 4096, false);

	target_ready(t);
	return t;
}

START_TEST(read_write)
{
	static const uint8_t ops[4][2] = { { 0x0a, 0x08 }, { 0x2a, 0x28 }, { 0xaa, 0xa8 }, { 0x8a, 0x88 } };
	struct target *t = ready();
	uint8_t disk[16 * 512];

	for (unsigned i = 0; i < 64; i++) {
		const unsigned lba = i * 31 % 2000, n = 1 + i % 16, len = n * 512;
		uint8_t cdb[16] = { 0 };

		for (unsigned w = 0; w < 2; w++) {
			cdb[0] = ops[i % 4][w];
			switch (i % 4) {
			case 0: put_be16(cdb + 2, (uint16_t)lba); cdb[4] = (uint8_t)n; break;
			case 1: put_be32(cdb + 2, lba); put_be16(cdb + 7, (uint16_t)n); break;
			case 2: put_be32(cdb + 2, lba); put_be32(cdb + 6, n); break;
			default: put_be64(cdb + 2, lba); put_be32(cdb + 10, n);
			}
			if (w == 0) {
				target_fill(t->out, len, i);
				/* More room than the command wants is no error. */
				ck_assert_int_eq(target_run(t, 0, len + i, cdb, 16), SCSI_GOOD);
				ck_assert_uint_eq(t->req.moved, len);
				target_file(t, lba * 512, disk, len, false);
				ck_assert_mem_eq(disk, t->out, len);
			} else {
				memset(t->in, 0xee, len + 64);
				ck_assert_int_eq(target_run(t, len + i, 0, cdb, 16), SCSI_GOOD);
				ck_assert_mem_eq(t->in, t->out, len);
				ck_assert_uint_eq(t->in[len], 0xee);
			}
			ck_assert_uint_eq(t->req.wanted, len);
		}
	}
	GOOD(t, SIZE / 8, 0, 0x08, 0, 0, 0, 0);                         /* 256 blocks */
	ck_assert_uint_eq(t->req.moved, 256 * 512);
	GOOD(t, 0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0);
	GOOD(t, 0, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0);
	target_free(t);
}
END_TEST

START_TEST(ranges)
{
	struct target *t = ready();

	FAILS(t, 0x052100, 512, 0, 0x28, 0, 0, 0, 8, 0, 0, 0, 1);       /* one behind the last */
	FAILS(t, 0x052100, 1024, 0, 0x28, 0, 0, 0, 7, 0xff, 0, 0, 2);
	GOOD(t, 512, 0, 0x28, 0, 0, 0, 7, 0xff, 0, 0, 1);
	FAILS(t, 0x052100, 512, 0, 0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1);
	FAILS(t, 0x052100, 0, 512, 0x8a, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1);
	FAILS(t, 0x052100, 512, 0, 0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff);
	FAILS(t, 0x0b4b00, 511, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);       /* less room than data: nothing is done */
	ck_assert_uint_eq(t->req.wanted, 512);
	memset(t->out, 0x55, 1024);
	FAILS(t, 0x0b4b00, 0, 1023, 0x2a, 0, 0, 0, 0, 0, 0, 0, 2);
	ck_assert(target_is(t, 0, 1024, 0));
	FAILS(t, 0x052400, 512, 0, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1);    /* protection information */
	FAILS(t, 0x052400, 0, 512, 0x2a, 0xe0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 0, 512, 0x2a, 0x18, 0, 0, 0, 0, 0, 0, 1);               /* DPO, FUA */
	ck_assert(t->req.blk.fua);
	GOOD(t, 0, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1);
	ck_assert(!t->req.blk.fua);
	t->lun.write_cache = false;
	GOOD(t, 0, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1);
	ck_assert(t->req.blk.fua);
	t->lun.write_cache = true;
	GOOD(t, 0, 512, 0x2e, 0, 0, 0, 0, 0, 0, 0, 1);
	ck_assert(t->req.blk.fua);
	target_free(t);
}
END_TEST

/* An image that ends within a sector: the rest reads as zeroes, writing completes it. */
START_TEST(odd_size)
{
	struct target *t = target_new(SCSI_DISK, 5 * 512 + 100, 512, 512, false);

	target_ready(t);
	GOOD(t, 8, 0, 0x25);
	ck_assert_uint_eq(get_be32(t->in), 5);
	memset(t->in, 0xee, 512);
	GOOD(t, 512, 0, 0x28, 0, 0, 0, 0, 5, 0, 0, 1);
	ck_assert_uint_eq(t->in[511], 0);
	target_fill(t->out, 512, 3);
	GOOD(t, 0, 512, 0x2a, 0, 0, 0, 0, 5, 0, 0, 1);
	GOOD(t, 512, 0, 0x28, 0, 0, 0, 0, 5, 0, 0, 1);
	ck_assert_mem_eq(t->in, t->out, 512);
	target_free(t);
}
END_TEST

START_TEST(capacity)
{
	struct target *t = ready();

	GOOD(t, 8, 0, 0x25);
	ck_assert_uint_eq(get_be32(t->in), 2047);
	ck_assert_uint_eq(get_be32(t->in + 4), 512);
	GOOD(t, 32, 0, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32);
	ck_assert_uint_eq(get_be64(t->in), 2047);
	ck_assert_uint_eq(get_be32(t->in + 8), 512);
	ck_assert_uint_eq(t->in[13], 3);
	ck_assert_uint_eq(t->in[14], 0xc0);
	FAILS(t, 0x052400, 32, 0, 0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32);
	GOOD(t, 64, 0, 0x12, 1, 0xb0, 0, 64);
	ck_assert_uint_eq(get_be16(t->in + 2), 60);
	ck_assert_uint_eq(get_be16(t->in + 6), 8);
	ck_assert_uint_eq(get_be32(t->in + 20), 4u << 20);              /* UNMAP: 2 GiB, 64 ranges */
	ck_assert_uint_eq(get_be32(t->in + 24), 64);
	ck_assert_uint_eq(get_be32(t->in + 28), 8);
	ck_assert_uint_eq(get_be64(t->in + 36), 131072);                /* WRITE SAME: 64 MiB */
	GOOD(t, 64, 0, 0x12, 1, 0xb1, 0, 64);
	ck_assert_uint_eq(get_be16(t->in + 4), 1);
	GOOD(t, 64, 0, 0x12, 1, 0xb2, 0, 64);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 0xb2, 0, 4, 0, 0xe4, 2, 0 }), 8);
	t->lun.nodelete = true;
	GOOD(t, 64, 0, 0x12, 1, 0xb2, 0, 64);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 0xb2, 0, 4, 0, 0, 0, 0 }), 8);
	GOOD(t, 32, 0, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32);
	ck_assert_uint_eq(t->in[14], 0);
	FAILS(t, 0x052000, 0, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	target_free(t);
}
END_TEST

START_TEST(large)
{
	struct target *t = target_new(SCSI_DISK, 5ull << 41, 512, 512, false);

	target_ready(t);
	GOOD(t, 8, 0, 0x25);
	ck_assert_uint_eq(get_be32(t->in), 0xffffffff);
	GOOD(t, 32, 0, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32);
	ck_assert_uint_eq(get_be64(t->in), (5ull << 32) - 1);
	target_fill(t->out, 512, 9);
	GOOD(t, 0, 512, 0x8a, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1);
	GOOD(t, 512, 0, 0x88, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1);
	ck_assert_mem_eq(t->in, t->out, 512);
	target_free(t);
}
END_TEST

START_TEST(verify)
{
	struct target *t = ready();

	target_fill(t->out, 131072, 1);
	target_file(t, 512, t->out, 131072, true);
	GOOD(t, 0, 0, 0x2f, 0, 0, 0, 0, 1, 0, 1, 0);
	ck_assert_uint_eq(t->req.wanted, 0);
	GOOD(t, 0, 131072, 0x2f, 2, 0, 0, 0, 1, 0, 1, 0);
	GOOD(t, 0, 131072, 0x8f, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0);
	t->out[131071] ^= 1;
	FAILS(t, 0x0e1d00, 0, 131072, 0x2f, 2, 0, 0, 0, 1, 0, 1, 0);
	t->out[131071] ^= 1;
	t->out[0] ^= 1;
	FAILS(t, 0x0e1d00, 0, 131072, 0x2f, 2, 0, 0, 0, 1, 0, 1, 0);
	FAILS(t, 0x0b4b00, 0, 512, 0x2f, 2, 0, 0, 0, 1, 0, 0, 2);
	FAILS(t, 0x052100, 0, 0, 0x2f, 0, 0, 0, 8, 0, 0, 0, 1);
	FAILS(t, 0x052400, 0, 512, 0x2f, 4, 0, 0, 0, 1, 0, 0, 1);
	target_free(t);
}
END_TEST

START_TEST(write_same)
{
	struct target *t = ready();
	uint8_t *fill = malloc(SIZE), *disk = malloc(SIZE);

	memset(fill, 0xaa, SIZE);
	target_file(t, 0, fill, SIZE, true);
	target_fill(t->out, 512, 8);
	GOOD(t, 0, 512, 0x41, 0, 0, 0, 0, 3, 0, 3, 0xe8);               /* 1000 blocks from 3 on */
	target_file(t, 0, disk, SIZE, false);
	for (unsigned i = 0; i < 2048; i++)
		ck_assert_mem_eq(disk + i * 512, i >= 3 && i < 1003 ? t->out : fill, 512);
	memset(t->out, 0, 512);
	GOOD(t, 0, 512, 0x93, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2);
	ck_assert(target_is(t, 5 * 512, 1024, 0) && !target_is(t, 7 * 512, 1, 0));
	GOOD(t, 0, 512, 0x93, 8, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 8);   /* unmapping */
	ck_assert(target_is(t, 0x400 * 512, 8 * 512, 0) && target_is(t, 0x408 * 512, 512, 0xaa));
	GOOD(t, 0, 0, 0x93, 9, 0, 0, 0, 0, 0, 0, 4, 8, 0, 0, 0, 8);     /* without data */
	ck_assert(target_is(t, 0x408 * 512, 8 * 512, 0));
	FAILS(t, 0x052400, 0, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 0);       /* no number of blocks */
	FAILS(t, 0x052400, 0, 512, 0x41, 0x10, 0, 0, 0, 0, 0, 0, 1);    /* ANCHOR */
	FAILS(t, 0x052400, 0, 512, 0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1);
	FAILS(t, 0x052100, 0, 512, 0x41, 0, 0, 0, 7, 0xff, 0, 0, 2);
	FAILS(t, 0x0b4b00, 0, 511, 0x41, 0, 0, 0, 0, 0, 0, 0, 1);
	t->lun.nodelete = true;
	FAILS(t, 0x052400, 0, 512, 0x41, 8, 0, 0, 0, 0, 0, 0, 1);
	free(fill);
	free(disk);
	target_free(t);
}
END_TEST

static void range(struct target *t, unsigned i, uint64_t lba, uint32_t n)
{
	put_be64(t->out + 8 + 16 * i, lba);
	put_be32(t->out + 16 + 16 * i, n);
	put_be32(t->out + 20 + 16 * i, 0);
	put_be16(t->out, (uint16_t)(16 * i + 22));
	put_be16(t->out + 2, (uint16_t)(16 * i + 16));
	put_be32(t->out + 4, 0);
}

START_TEST(unmap)
{
	struct target *t = ready();
	uint8_t *fill = malloc(SIZE);

	memset(fill, 0xaa, SIZE);
	target_file(t, 0, fill, SIZE, true);
	range(t, 0, 8, 8);
	range(t, 1, 100, 0);
	range(t, 2, 1024, 1024);
	GOOD(t, 0, 56, 0x42, 0, 0, 0, 0, 0, 0, 0, 56);
	ck_assert(target_is(t, 0, 4096, 0xaa) && target_is(t, 4096, 4096, 0) && target_is(t, 8192, 1024 * 512 - 8192, 0xaa));
	ck_assert(target_is(t, 1024 * 512, 1024 * 512, 0));
	target_file(t, 0, fill, SIZE, true);
	range(t, 1, 2047, 2);                                           /* the second is wrong: the first is not done either */
	FAILS(t, 0x052100, 0, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40);
	ck_assert(target_is(t, 0, SIZE, 0xaa));
	range(t, 0, UINT64_MAX, 1);
	FAILS(t, 0x052100, 0, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	GOOD(t, 0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0);
	FAILS(t, 0x051a00, 0, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 7);
	FAILS(t, 0x0b4b00, 0, 23, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	FAILS(t, 0x052400, 0, 24, 0x42, 1, 0, 0, 0, 0, 0, 0, 24);
	for (unsigned i = 0; i < 65; i++)
		range(t, i, i, 1);
	FAILS(t, 0x052600, 0, 8 + 65 * 16, 0x42, 0, 0, 0, 0, 0, 0, 4, 0x18);
	range(t, 63, 63, 1);
	GOOD(t, 0, 8 + 64 * 16, 0x42, 0, 0, 0, 0, 0, 0, 4, 8);
	ck_assert(target_is(t, 64 * 512, 512, 0xaa));
	GOOD(t, 0, 65535, 0x42, 0, 0, 0, 0, 0, 0, 0xff, 0xff);          /* what is behind the descriptors is of no interest */
	free(fill);
	target_free(t);
	t = target_new(SCSI_DISK, 3ull << 30, 512, 512, false);
	target_ready(t);
	range(t, 0, 0, 4u << 20);
	GOOD(t, 0, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	range(t, 1, 0, 1);
	FAILS(t, 0x052600, 0, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40);       /* above what was announced */
	target_free(t);
}
END_TEST

START_TEST(read_only)
{
	struct target *t = target_new(SCSI_DISK, SIZE, 512, 512, true);

	target_ready(t);
	FAILS(t, 0x072700, 0, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1);
	FAILS(t, 0x072700, 0, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 1);
	FAILS(t, 0x072700, 0, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	GOOD(t, 512, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x35);
	target_free(t);
	t = target_new(SCSI_DISK, 0, 512, 512, false);                  /* without an image */
	target_ready(t);
	FAILS(t, 0x023a01, 512, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 64, 0, 0x12, 1, 0xb0, 0, 64);
	GOOD(t, 255, 0, 0x1a, 0, 0x3f, 0, 255);
	target_free(t);
}
END_TEST

START_TEST(others)
{
	struct target *t = ready();

	GOOD(t, 0, 0, 0x35);
	ck_assert_int_eq(t->req.blk.op, BLK_FLUSH);
	GOOD(t, 0, 0, 0x91, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4);
	FAILS(t, 0x052100, 0, 0, 0x35, 0, 0, 0, 8, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x1b, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x1b, 0, 0, 0, 0);
	GOOD(t, 512, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	FAILS(t, 0x052400, 0, 0, 0x1b, 0, 0, 0, 2);
	GOOD(t, 0, 0, 0x1e, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x1d, 4);
	FAILS(t, 0x052400, 0, 0, 0x1d, 0x20);
	FAILS(t, 0x052000, 0, 0, 0x04);                                 /* FORMAT UNIT */
	FAILS(t, 0x052000, 0, 0, 0x89);                                 /* COMPARE AND WRITE */
	FAILS(t, 0x052000, 0, 0, 0x5f);                                 /* PERSISTENT RESERVE OUT */
	target_free(t);
}
END_TEST

/* Called off between two pieces: the rest is not written. */
START_TEST(aborted)
{
	struct target *t = ready();
	struct iovec out = { t->out, 512 };

	memset(t->out, 0x77, 512);
	t->done = 0;
	t->req = (struct scsi_req){
		.lun = &t->lun, .cdb = { 0x41, 0, 0, 0, 0, 0, 0, 4, 0 }, .out = &out, .nout = 1, .out_len = 512, .done = target_done,
	};
	pthread_mutex_lock(&t->lock);
	scsi_submit(&t->req);
	t->req.aborted = true;
	blk_kick(t->lun.blk);
	pthread_mutex_unlock(&t->lock);
	for (unsigned i = 0; !t->done && i < 1000; i++)
		loop_step(t->vm->loop, 10);
	ck_assert_uint_eq(t->done, 1);
	ck_assert_int_eq(t->req.status, SCSI_TASK_ABORTED);
	ck_assert(target_is(t, 0, 65536, 0x77) && target_is(t, 65536, 65536, 0));
	ck_assert_ptr_null(t->req.buf);
	target_free(t);
}
END_TEST

/* Many commands that need memory of the host at a time: some are told to come again. */
START_TEST(busy)
{
	struct target *t = ready();

	memset(t->out, 1, 512);
	t->lun.bufs = SCSI_BUFS_MAX;
	ck_assert_int_eq(RUN(t, 0, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 8), SCSI_BUSY);
	ck_assert_uint_eq(t->req.moved, 0);
	ck_assert_int_eq(RUN(t, 0, 512, 0x2f, 2, 0, 0, 0, 0, 0, 0, 1), SCSI_BUSY);
	range(t, 0, 0, 1);
	GOOD(t, 0, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	memset(t->out, 0, 512);
	GOOD(t, 0, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 8);
	ck_assert_uint_eq(t->lun.bufs, SCSI_BUFS_MAX);
	t->lun.bufs = SCSI_BUFS_MAX - 1;
	GOOD(t, 0, 512, 0x2f, 2, 0, 0, 0, 0, 0, 0, 1);
	ck_assert_uint_eq(t->lun.bufs, SCSI_BUFS_MAX - 1);
	t->lun.bufs = 0;
	target_free(t);
}
END_TEST

UNIT_MAIN("devices/scsi/scsi_disk", read_write, ranges, odd_size, capacity, large, verify, write_same, unmap, read_only, others,
	aborted, busy)

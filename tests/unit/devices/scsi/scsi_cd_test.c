/* CD and DVD drives: what Linux's sr, FreeBSD's cd(4) and EDK2 ask of one; media that come and go. */
#include "tests/unit/devices/scsi/target.h"

#define SIZE (300u * 2048 + 700)                /* 301 blocks */
#define DVD_SIZE (360001ull * 2048)

static struct target *ready(uint64_t size)
{
	struct target *t = target_new(SCSI_CD, size, 0, 0, true);

	target_ready(t);
	return t;
}

START_TEST(identity)
{
	struct target *t = ready(SIZE);

	GOOD(t, 96, 0, 0x12, 0, 0, 0, 96);
	ck_assert_uint_eq(t->in[0], 5);
	ck_assert_uint_eq(t->in[1], 0x80);
	ck_assert_mem_eq(t->in + 8, "SKEP    CD-ROM", 14);
	GOOD(t, 96, 0, 0x12, 1, 0, 0, 96);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 5, 0, 0, 3, 0, 0x80, 0x83 }), 7);
	GOOD(t, 8, 0, 0x25);
	ck_assert_uint_eq(get_be32(t->in), 300);
	ck_assert_uint_eq(get_be32(t->in + 4), 2048);
	FAILS(t, 0x052000, 0, 2048, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1);
	target_free(t);
}
END_TEST

START_TEST(reading)
{
	struct target *t = ready(SIZE);
	uint8_t disk[8192] = { 0 };

	for (unsigned i = 0; i < 301; i++) {
		target_fill(disk, 2048, i);
		target_file(t, i * 2048, disk, i < 300 ? 2048 : 700, true);
	}
	GOOD(t, 8192, 0, 0x28, 0, 0, 0, 0, 7, 0, 0, 4);
	for (unsigned i = 0; i < 4; i++) {
		target_fill(disk, 2048, 7 + i);
		ck_assert_mem_eq(t->in + i * 2048, disk, 2048);
	}
	memset(t->in, 0xee, 6000);
	GOOD(t, 6000, 0, 0xa8, 0, 0, 0, 1, 0x2b, 0, 0, 0, 2);           /* the last two; the end of the image is within */
	target_fill(disk, 2048, 300);
	ck_assert_mem_eq(t->in + 2048, disk, 700);
	for (unsigned i = 700; i < 2048; i++)
		ck_assert_uint_eq(t->in[2048 + i], 0);
	ck_assert_uint_eq(t->in[4096], 0xee);
	GOOD(t, 2048, 0, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 0x2c, 0, 0, 0, 1);
	FAILS(t, 0x052100, 2048, 0, 0x28, 0, 0, 0, 1, 0x2d, 0, 0, 1);
	FAILS(t, 0x0b4b00, 2047, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 2048, 0, 0xbe, 0x08, 0, 0, 0, 7, 0, 0, 1, 0x10);        /* READ CD: user data */
	target_fill(disk, 2048, 7);
	ck_assert_mem_eq(t->in, disk, 2048);
	GOOD(t, 0, 0, 0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0);                 /* nothing of it */
	FAILS(t, 0x052400, 2352, 0, 0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0xf8);
	FAILS(t, 0x056400, 2352, 0, 0xbe, 0x0c, 0, 0, 0, 7, 0, 0, 1, 0x10);
	FAILS(t, 0x052400, 2352, 0, 0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0x10, 1);
	FAILS(t, 0x052100, 2048, 0, 0xbe, 0, 0, 0, 2, 7, 0, 0, 1, 0x10);
	GOOD(t, 0, 0, 0x2b, 0, 0, 0, 1, 0x2c);
	FAILS(t, 0x052100, 0, 0, 0x2b, 0, 0, 0, 1, 0x2d);
	target_free(t);
}
END_TEST

START_TEST(toc)
{
	struct target *t = ready(SIZE);

	GOOD(t, 804, 0, 0x43, 0, 0, 0, 0, 0, 0, 3, 0x24);
	ck_assert_uint_eq(t->req.moved, 20);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 1, 0x2d }), 20);
	GOOD(t, 12, 0, 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 12);               /* the lead-out, in minutes: 451 frames */
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 6, 1 }), 12);
	GOOD(t, 12, 0, 0x43, 0, 1, 0, 0, 0, 0, 0, 12);                  /* sessions */
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0 }), 12);
	GOOD(t, 12, 0, 0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40);            /* the same in the older way */
	ck_assert_uint_eq(t->in[1], 10);
	GOOD(t, 804, 0, 0x43, 2, 2, 0, 0, 0, 0, 3, 0x24);
	ck_assert_uint_eq(get_be16(t->in), 46);
	ck_assert_mem_eq(t->in + 4, ((const uint8_t[]){ 1, 0x14, 0, 0xa0, 0, 0, 0, 0, 1, 0, 0 }), 11);
	ck_assert_mem_eq(t->in + 26, ((const uint8_t[]){ 1, 0x14, 0, 0xa2, 0, 0, 0, 0, 0, 6, 1 }), 11);
	ck_assert_mem_eq(t->in + 37, ((const uint8_t[]){ 1, 0x14, 0, 1, 0, 0, 0, 0, 0, 2, 0 }), 11);
	GOOD(t, 4, 0, 0x43, 0, 0, 0, 0, 0, 0, 0, 4);                    /* the header alone tells the length */
	ck_assert_uint_eq(t->in[1], 18);
	FAILS(t, 0x052400, 12, 0, 0x43, 0, 0, 0, 0, 0, 2, 0, 12);
	FAILS(t, 0x052400, 12, 0, 0x43, 0, 5, 0, 0, 0, 0, 0, 12);
	target_free(t);
}
END_TEST

START_TEST(disc_and_track)
{
	struct target *t = ready(SIZE);

	GOOD(t, 34, 0, 0x51, 0, 0, 0, 0, 0, 0, 0, 34);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 32, 0x0e, 1, 1, 1, 1, 0x20 }), 8);
	FAILS(t, 0x052400, 34, 0, 0x51, 1, 0, 0, 0, 0, 0, 0, 34);
	GOOD(t, 36, 0, 0x52, 1, 0, 0, 0, 1, 0, 0, 36);
	ck_assert_uint_eq(get_be32(t->in + 24), 301);
	GOOD(t, 36, 0, 0x52, 0, 0, 0, 1, 0x2c, 0, 0, 36);
	FAILS(t, 0x052100, 36, 0, 0x52, 0, 0, 0, 1, 0x2d, 0, 0, 36);
	FAILS(t, 0x052400, 36, 0, 0x52, 1, 0, 0, 0, 2, 0, 0, 36);
	GOOD(t, 4, 0, 0x42, 2, 0, 1, 0, 0, 0, 0, 4);                    /* READ SUB-CHANNEL */
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 0x15, 0, 0 }), 4);
	GOOD(t, 16, 0, 0x42, 2, 0x40, 1, 0, 0, 0, 0, 16);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 0x15, 0, 12, 1, 0x14, 1, 1, 0, 0, 2, 0 }), 12);
	GOOD(t, 24, 0, 0x42, 2, 0x40, 2, 0, 0, 0, 0, 24);
	FAILS(t, 0x052400, 24, 0, 0x42, 2, 0x40, 4, 0, 0, 0, 0, 24);
	GOOD(t, 8, 0, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8);
	ck_assert_uint_eq(t->in[1], 0);
	GOOD(t, 0, 0, 0xbb, 0, 0xff, 0xff, 0xff, 0xff);
	GOOD(t, 24, 0, 0xac, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	ck_assert_uint_eq(get_be32(t->in), 20);
	ck_assert_uint_eq(get_be32(t->in + 16), 300);
	FAILS(t, 0x052400, 24, 0, 0xac, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 1);
	FAILS(t, 0x053002, 2052, 0, 0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4);   /* no DVD */
	target_free(t);
}
END_TEST

/* The features in ascending order, each with its own length. */
static unsigned feature_count(const uint8_t *p, uint16_t want, const uint8_t **found)
{
	const uint32_t len = get_be32(p) + 4;
	unsigned n = 0;
	int last = -1;

	*found = NULL;
	for (uint32_t at = 8; at < len; at += 4u + p[at + 3], n++) {
		ck_assert_int_gt(get_be16(p + at), last);
		last = get_be16(p + at);
		ck_assert_uint_eq(p[at + 3] % 4, 0);
		ck_assert_uint_le(at + 4 + p[at + 3], len);
		if (last == want)
			*found = p + at;
	}
	return n;
}

START_TEST(configuration)
{
	struct target *t = ready(SIZE);
	const uint8_t *f;

	GOOD(t, 512, 0, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);
	ck_assert_uint_eq(get_be16(t->in + 6), 0x0008);
	ck_assert_uint_eq(feature_count(t->in, 0, &f), 10);
	ck_assert_mem_eq(f, ((const uint8_t[]){ 0, 0, 3, 8, 0, 0x10, 0, 0, 0, 8, 1, 0 }), 12);
	feature_count(t->in, 1, &f);
	ck_assert_uint_eq(get_be32(f + 4), 1);
	GOOD(t, 512, 0, 0x46, 2, 0, 3, 0, 0, 0, 2, 0);                  /* one feature */
	ck_assert_uint_eq(feature_count(t->in, 3, &f), 1);
	ck_assert_ptr_nonnull(f);
	GOOD(t, 512, 0, 0x46, 2, 0, 0x2d, 0, 0, 0, 2, 0);
	ck_assert_uint_eq(feature_count(t->in, 3, &f), 0);
	GOOD(t, 512, 0, 0x46, 1, 1, 0, 0, 0, 0, 2, 0);                  /* current, from 0x100 on */
	ck_assert_uint_eq(feature_count(t->in, 0x105, &f), 2);
	GOOD(t, 8, 0, 0x46, 0, 0, 0, 0, 0, 0, 0, 8);
	ck_assert_uint_gt(get_be32(t->in), 8);
	FAILS(t, 0x052400, 512, 0, 0x46, 3, 0, 0, 0, 0, 0, 2, 0);
	t->lun.atapi = true;
	GOOD(t, 512, 0, 0x46, 2, 0, 1, 0, 0, 0, 2, 0);
	ck_assert_uint_eq(get_be32(t->in + 12), 2);
	target_free(t);
	t = target_new(SCSI_CD, 0, 0, 0, true);
	GOOD(t, 512, 0, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);                  /* also with a unit attention pending */
	ck_assert_uint_eq(get_be16(t->in + 6), 0);
	target_free(t);
}
END_TEST

START_TEST(dvd)
{
	struct target *t = ready(DVD_SIZE);

	GOOD(t, 512, 0, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);
	ck_assert_uint_eq(get_be16(t->in + 6), 0x0010);
	GOOD(t, 2052, 0, 0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4);
	ck_assert_uint_eq(get_be16(t->in), 2050);
	ck_assert_uint_eq(get_be32(t->in + 8), 0x30000);
	ck_assert_uint_eq(get_be32(t->in + 12), 0x30000 + 360000);
	GOOD(t, 8, 0, 0xad, 0, 0, 0, 0, 0, 0, 1, 0, 8);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 6, 0, 0, 0, 0, 0, 0 }), 8);
	GOOD(t, 64, 0, 0xad, 0, 0, 0, 0, 0, 0, 0xff, 0, 64);
	ck_assert_uint_eq(get_be16(t->in), 10);
	FAILS(t, 0x052400, 64, 0, 0xad, 0, 0, 0, 0, 0, 1, 0, 0, 64);
	FAILS(t, 0x052400, 64, 0, 0xad, 0, 0, 0, 0, 0, 0, 4, 0, 64);
	target_free(t);
	t = ready(3000000ull * 2048);                                   /* beyond 255 minutes */
	GOOD(t, 12, 0, 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 12);
	ck_assert_mem_eq(t->in + 8, ((const uint8_t[]){ 0, 0xff, 59, 74 }), 4);
	target_free(t);
}
END_TEST

START_TEST(mode)
{
	struct target *t = ready(SIZE);

	GOOD(t, 128, 0, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128);             /* as sr asks */
	ck_assert_uint_eq(get_be16(t->in + 6), 0);
	ck_assert_uint_eq(t->in[8], 0x2a);
	ck_assert_uint_eq(t->in[14] >> 5, 1);                           /* a tray */
	ck_assert_uint_eq(t->in[14] & 2, 0);
	ck_assert_uint_eq(get_be16(t->in + 16), 8467);
	GOOD(t, 0, 0, 0x1e, 0, 0, 0, 1);
	GOOD(t, 128, 0, 0x1a, 0, 0x2a, 0, 128);
	ck_assert_uint_eq(t->in[10] & 2, 2);
	GOOD(t, 128, 0, 0x1a, 0, 0x3f, 0, 128);
	FAILS(t, 0x052400, 128, 0, 0x1a, 0, 0x08, 0, 128);
	memcpy(t->out, ((const uint8_t[]){ 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 8, 0 }), 12);
	GOOD(t, 0, 12, 0x15, 0x10, 0, 0, 12);                           /* 2048 bytes a block, as sr sets it */
	t->out[10] = 2;
	FAILS(t, 0x052600, 0, 12, 0x15, 0x10, 0, 0, 12);
	target_free(t);
}
END_TEST

static unsigned moves;
static void moved(struct scsi_lun *l) { (void)l; moves++; }

static void event(struct target *t, uint8_t code, uint8_t status)
{
	GOOD(t, 8, 0, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 6, 4, 0x10, code, status, 0, 0 }), 8);
}

START_TEST(tray)
{
	struct target *t = ready(SIZE);

	t->lun.tray_moved = moved;
	moves = 0;
	event(t, 0, 2);
	GOOD(t, 8, 0, 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8);                 /* no class of events we have */
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 2, 0x80, 0x10 }), 4);
	FAILS(t, 0x052400, 8, 0, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8);
	GOOD(t, 0, 0, 0x1e, 0, 0, 0, 1);
	FAILS(t, 0x055302, 0, 0, 0x1b, 0, 0, 0, 2);                     /* locked */
	GOOD(t, 0, 0, 0x1e, 0, 0, 0, 0);
	GOOD(t, 0, 0, 0x1b, 0, 0, 0, 2);
	ck_assert_uint_eq(moves, 1);
	event(t, 3, 1);
	event(t, 0, 1);
	GOOD(t, 8, 0, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8);
	ck_assert_uint_eq(t->in[1], 0x10);
	FAILS(t, 0x023a02, 0, 0, 0x00);
	FAILS(t, 0x023a02, 2048, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x1b, 0, 0, 0, 3);                                /* load */
	ck_assert_uint_eq(moves, 2);
	event(t, 2, 2);
	FAILS(t, 0x062800, 0, 0, 0x00);
	GOOD(t, 2048, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x1b, 0, 0, 0, 3);
	ck_assert_uint_eq(moves, 2);
	GOOD(t, 0, 0, 0x1b, 0, 0, 0, 0);                                /* stop: nothing moves */
	GOOD(t, 0, 0, 0x00);
	target_free(t);
}
END_TEST

START_TEST(exchange)
{
	struct target *t = ready(SIZE);
	struct blk *old = t->lun.blk;
	char path[64];

	scsi_medium(&t->lun, NULL);
	blk_close(old);
	event(t, 3, 0);
	FAILS(t, 0x023a01, 0, 0, 0x00);
	GOOD(t, 512, 0, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);
	ck_assert_uint_eq(get_be16(t->in + 6), 0);
	target_image(path, 2048 * 77);
	scsi_medium(&t->lun, target_disk(t, path, 0, 0, true));
	event(t, 2, 2);
	FAILS(t, 0x062800, 8, 0, 0x25);
	GOOD(t, 8, 0, 0x25);
	ck_assert_uint_eq(get_be32(t->in), 76);
	scsi_eject_request(&t->lun);
	event(t, 1, 2);
	scsi_lun_clear(&t->lun, 3);
	old = t->lun.blk;
	scsi_medium(&t->lun, NULL);
	scsi_medium(&t->lun, old);
	FAILS(t, 0x062903, 0, 0, 0x00);                                 /* the reset hides the medium's */
	GOOD(t, 0, 0, 0x00);
	unlink(path);
	target_free(t);
}
END_TEST

UNIT_MAIN("devices/scsi/scsi_cd", identity, reading, toc, disc_and_track, configuration, dvd, mode, tray, exchange)

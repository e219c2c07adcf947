/* What all units share: dispatch, unit attentions, sense data, errors of the host, INQUIRY, mode pages, lists. */
#include "tests/unit/devices/scsi/target.h"

static struct target *ready(void)
{
	struct target *t = target_new(SCSI_DISK, 1 << 20, 512, 512, false);

	target_ready(t);
	return t;
}

START_TEST(attention)
{
	struct target *t = target_new(SCSI_DISK, 1 << 20, 512, 512, false);

	GOOD(t, 96, 0, 0x12, 0, 0, 0, 36);                              /* INQUIRY and REPORT LUNS leave it pending */
	GOOD(t, 16, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16);
	FAILS(t, 0x062900, 512, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 512, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	GOOD(t, 0, 0, 0x00);
	scsi_lun_clear(&t->lun, 3);
	GOOD(t, 18, 0, 0x03, 0, 0, 0, 18);                              /* REQUEST SENSE takes it */
	ck_assert_uint_eq(t->in[0], 0x70);
	ck_assert_uint_eq(t->in[2], 6);
	ck_assert_uint_eq(t->in[12] << 8 | t->in[13], 0x2903);
	GOOD(t, 0, 0, 0x00);
	GOOD(t, 18, 0, 0x03, 0, 0, 0, 18);
	ck_assert_uint_eq(t->in[2], 0);
	FAILS(t, 0x052400, 252, 0, 0x03, 1, 0, 0, 252);                 /* the descriptor format */
	scsi_lun_clear(&t->lun, 0);
	t->req.resumed = true;
	GOOD(t, 0, 0, 0x00);
	ck_assert_uint_eq(t->lun.ua_asc, 0x29);
	t->req.resumed = false;
	FAILS(t, 0x062900, 0, 0, 0xff);
	FAILS(t, 0x052000, 0, 0, 0xff);
	target_free(t);
}
END_TEST

/* Without sense data in the transport REQUEST SENSE gives that of the last command, once. */
START_TEST(kept_sense)
{
	struct target *t = ready();

	t->lun.atapi = true;
	FAILS(t, 0x052000, 0, 0, 0x04);
	GOOD(t, 18, 0, 0x03, 0, 0, 0, 18);
	ck_assert_uint_eq(t->in[2], 5);
	ck_assert_uint_eq(t->in[12], 0x20);
	GOOD(t, 18, 0, 0x03, 0, 0, 0, 18);
	ck_assert_uint_eq(t->in[2], 0);
	FAILS(t, 0x052000, 0, 0, 0x04);
	GOOD(t, 0, 0, 0x00);
	GOOD(t, 18, 0, 0x03, 0, 0, 0, 18);
	ck_assert_uint_eq(t->in[2], 0);
	target_free(t);
}
END_TEST

START_TEST(inquiry)
{
	struct target *t = ready();

	memcpy(t->lun.serial, "SERIAL-0123456789   ", 20);
	GOOD(t, 255, 0, 0x12, 0, 0, 0, 255);
	ck_assert_uint_eq(t->req.moved, 36);
	ck_assert_uint_eq(t->req.wanted, 36);
	ck_assert_mem_eq(t->in + 8, "SKEP    DISK            1   ", 28);
	ck_assert_uint_eq(t->in[0], 0);
	ck_assert_uint_eq(t->in[2], 6);
	ck_assert_uint_eq(t->in[3], 2);
	ck_assert_uint_eq(t->in[4], 31);
	memset(t->in, 0xee, 64);
	GOOD(t, 255, 0, 0x12, 0, 0, 0, 5);                              /* the allocation length cuts */
	ck_assert_uint_eq(t->req.moved, 5);
	ck_assert_uint_eq(t->in[5], 0xee);
	GOOD(t, 10, 0, 0x12, 0, 0, 0, 36);                              /* and so does the transport's room: it sees that from wanted */
	ck_assert_uint_eq(t->req.moved, 10);
	ck_assert_uint_eq(t->req.wanted, 36);
	GOOD(t, 255, 0, 0x12, 1, 0x00, 0, 255);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 0, 0, 6, 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 }), 10);
	GOOD(t, 255, 0, 0x12, 1, 0x80, 0, 255);
	ck_assert_mem_eq(t->in, "\0\x80\0\x14SERIAL-0123456789   ", 24);
	GOOD(t, 255, 0, 0x12, 1, 0x83, 0, 255);
	ck_assert_mem_eq(t->in, "\0\x83\0\x30\x02\x01\0\x2cSKEP    DISK            SERIAL-0123456789   ", 52);
	FAILS(t, 0x052400, 255, 0, 0x12, 1, 0x84, 0, 255);
	FAILS(t, 0x052400, 255, 0, 0x12, 0, 0x80, 0, 255);
	FAILS(t, 0x052400, 255, 0, 0x12, 2, 0, 0, 255);
	GOOD(t, 255, 0, 0x12, 0, 0, 0, 0);
	ck_assert_uint_eq(t->req.moved, 0);
	target_free(t);
}
END_TEST

START_TEST(luns)
{
	struct target *t = ready();

	GOOD(t, 64, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64);
	ck_assert_uint_eq(t->req.moved, 16);
	ck_assert_uint_eq(get_be32(t->in), 8);
	ck_assert_uint_eq(get_be64(t->in + 8), 0);
	GOOD(t, 64, 0, 0xa0, 0, 1, 0, 0, 0, 0, 0, 0, 64);
	ck_assert_uint_eq(get_be32(t->in), 0);
	FAILS(t, 0x052400, 64, 0, 0xa0, 0, 3, 0, 0, 0, 0, 0, 0, 64);
	FAILS(t, 0x052400, 64, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15);
	target_free(t);
}
END_TEST

/* A request set up by a command that was run before. */
static void again(struct target *t, uint8_t op, uint32_t in, void (*submit)(struct scsi_req *))
{
	static struct iovec iov;

	iov = (struct iovec){ t->in, in };
	memset(t->req.cdb, 0, sizeof(t->req.cdb));
	t->req.cdb[0] = op;
	t->req.cdb[4] = op == 0x12 || op == 0x03 ? (uint8_t)in : 0;
	t->req.cdb[9] = op == 0xa0 ? (uint8_t)in : 0;
	t->req.in = &iov;
	t->req.nin = 1;
	t->req.in_len = in;
	t->done = 0;
	submit(&t->req);
	ck_assert_uint_eq(t->done, 1);
}

static const uint8_t two[16] = { 1, 0, 0x40, 0, 0, 0, 0, 0, 1, 7, 0x40 };
static void list_of_two(struct scsi_req *r) { scsi_submit_report_luns(r, two, 2); }

START_TEST(absent_units)
{
	struct target *t = ready();

	GOOD(t, 0, 0, 0x00);
	again(t, 0x12, 36, scsi_submit_absent);
	ck_assert_int_eq(t->req.status, SCSI_GOOD);
	ck_assert_uint_eq(t->in[0], 0x7f);
	again(t, 0xa0, 32, scsi_submit_absent);
	ck_assert_uint_eq(get_be32(t->in), 8);
	again(t, 0x03, 18, scsi_submit_absent);
	ck_assert_uint_eq(t->in[12], 0x25);
	again(t, 0x28, 32, scsi_submit_absent);
	ck_assert_uint_eq(target_sense(t), 0x052500);
	again(t, 0xa0, 32, list_of_two);
	ck_assert_uint_eq(get_be32(t->in), 16);
	ck_assert_mem_eq(t->in + 8, two, 16);
	again(t, 0x12, 36, list_of_two);
	ck_assert_uint_eq(t->in[0], 0x1e);
	again(t, 0x28, 36, list_of_two);
	ck_assert_uint_eq(target_sense(t), 0x052000);
	target_free(t);
}
END_TEST

START_TEST(mode_sense)
{
	struct target *t = ready();

	GOOD(t, 255, 0, 0x1a, 0, 0x08, 0, 255);
	ck_assert_uint_eq(t->req.moved, 4 + 8 + 20);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 31, 0, 0x10, 8, 0, 0, 8, 0, 0, 0, 2, 0, 0x08, 0x12, 4 }), 15);
	GOOD(t, 255, 0, 0x5a, 8, 0x48, 0, 0, 0, 0, 0, 255);             /* changeable, no descriptor */
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 26, 0, 0x10, 0, 0, 0, 0, 0x08, 0x12, 4, 0 }), 12);
	GOOD(t, 255, 0, 0x1a, 8, 0x3f, 0, 255);
	ck_assert_uint_eq(t->req.moved, 4 + 12 + 20 + 12 + 12);
	GOOD(t, 255, 0, 0x1a, 8, 0x3f, 0xff, 255);
	FAILS(t, 0x053900, 255, 0, 0x1a, 0, 0xc8, 0, 255);
	FAILS(t, 0x052400, 255, 0, 0x1a, 0, 0x19, 0, 255);
	FAILS(t, 0x052400, 255, 0, 0x1a, 0, 0x08, 1, 255);
	target_free(t);
	t = target_new(SCSI_DISK, 1 << 20, 512, 512, true);
	target_ready(t);
	GOOD(t, 255, 0, 0x1a, 0, 0x08, 0, 255);
	ck_assert_uint_eq(t->in[2], 0x90);
	target_free(t);
}
END_TEST

/* As Linux does it: the page as it was read, one bit changed. */
START_TEST(mode_select)
{
	struct target *t = ready();

	GOOD(t, 255, 0, 0x1a, 8, 0x08, 0, 24);
	memcpy(t->out, t->in, 24);
	t->out[0] = 0;
	t->out[4] |= 0x80;                                              /* PS */
	t->out[6] = 0;
	GOOD(t, 0, 24, 0x15, 0x10, 0, 0, 24);
	ck_assert(!t->lun.write_cache);
	GOOD(t, 255, 0, 0x1a, 8, 0x08, 0, 24);
	ck_assert_uint_eq(t->in[6], 0);
	GOOD(t, 255, 0, 0x1a, 8, 0x88, 0, 24);                          /* the default stays */
	ck_assert_uint_eq(t->in[6], 4);
	t->out[6] = 4;
	GOOD(t, 0, 24, 0x15, 0x10, 0, 0, 24);
	ck_assert(t->lun.write_cache);
	t->out[7] = 1;                                                  /* not to be changed */
	FAILS(t, 0x052600, 0, 24, 0x15, 0x10, 0, 0, 24);
	t->out[7] = 0;
	t->out[6] = 0;
	FAILS(t, 0x051a00, 0, 24, 0x15, 0x10, 0, 0, 23);                /* cut */
	FAILS(t, 0x051a00, 0, 24, 0x15, 0x10, 0, 0, 3);
	FAILS(t, 0x052400, 0, 24, 0x15, 0x11, 0, 0, 24);                /* to be saved */
	FAILS(t, 0x052400, 0, 24, 0x15, 0x00, 0, 0, 24);
	FAILS(t, 0x0b4b00, 0, 23, 0x15, 0x10, 0, 0, 24);
	ck_assert(t->lun.write_cache);
	GOOD(t, 0, 0, 0x15, 0x10, 0, 0, 0);
	target_free(t);
}
END_TEST

/* Two pages of which the second is wrong: the first is not taken over either.  Block descriptors. */
START_TEST(mode_select_all_or_nothing)
{
	struct target *t = ready();
	uint8_t *p = t->out;

	memset(p, 0, 64);
	p[7] = 8;                                                       /* MODE SELECT(10), one descriptor */
	put_be32(p + 8, 2048);
	put_be32(p + 12, 512);
	p[16] = 0x08, p[17] = 0x12;
	p[36] = 0x0a, p[37] = 0x0a, p[39] = 0x10;
	GOOD(t, 0, 48, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 48);
	ck_assert(!t->lun.write_cache);
	p[18] = 4;
	p[38] = 4;
	FAILS(t, 0x052600, 0, 48, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 48);
	ck_assert(!t->lun.write_cache);
	p[38] = 0;
	put_be32(p + 12, 4096);
	FAILS(t, 0x052600, 0, 48, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 48);
	put_be32(p + 12, 512);
	put_be32(p + 8, 7);
	FAILS(t, 0x052600, 0, 48, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 48);
	put_be32(p + 8, 0);
	p[7] = 16;
	FAILS(t, 0x052600, 0, 48, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 48);
	put_be16(p + 6, 0xfff8);
	FAILS(t, 0x051a00, 0, 48, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 48);
	FAILS(t, 0x051a00, 0, 1000, 0x55, 0x10, 0, 0, 0, 0, 0, 3, 0xe8);
	target_free(t);
}
END_TEST

START_TEST(opcodes)
{
	struct target *t = ready();
	unsigned n;

	GOOD(t, 1024, 0, 0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 4, 0);
	n = get_be32(t->in) / 8;
	ck_assert_uint_gt(n, 25);
	ck_assert_uint_eq(t->req.moved, 4 + 8 * n);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *p = t->in + 4 + 8 * i;

		ck_assert(get_be16(p + 6) == 6 || get_be16(p + 6) == 10 || get_be16(p + 6) == 12 || get_be16(p + 6) == 16);
		for (unsigned k = i + 1; k < n; k++)
			ck_assert(memcmp(p, t->in + 4 + 8 * k, 4) != 0);
	}
	GOOD(t, 1024, 0, 0xa3, 0x0c, 1, 0x42, 0, 0, 0, 0, 4, 0);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 3, 0, 10, 0x42, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0 }), 14);
	GOOD(t, 1024, 0, 0xa3, 0x0c, 1, 0x04, 0, 0, 0, 0, 4, 0);
	ck_assert_uint_eq(t->in[1], 1);
	GOOD(t, 1024, 0, 0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 4, 0);
	ck_assert_mem_eq(t->in, ((const uint8_t[]){ 0, 3, 0, 16, 0x9e, 0x10 }), 6);
	GOOD(t, 1024, 0, 0xa3, 0x0c, 3, 0x9e, 0, 0x11, 0, 0, 4, 0);
	ck_assert_uint_eq(t->in[1], 1);
	FAILS(t, 0x052400, 1024, 0, 0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 4, 0);
	FAILS(t, 0x052400, 1024, 0, 0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 4, 0);
	FAILS(t, 0x052400, 1024, 0, 0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 4, 0);        /* another service action */
	target_free(t);
}
END_TEST

/* What the host's errors become. */
START_TEST(host_errors)
{
	static const struct {
		int err;
		enum blk_op op;
		uint32_t sense;
	} all[] = {
		{ ENOSPC, BLK_WRITE, 0x072707 }, { EDQUOT, BLK_WRITE_ZEROES, 0x072707 }, { EROFS, BLK_WRITE, 0x072700 },
		{ EIO, BLK_READ, 0x031100 }, { EIO, BLK_WRITE, 0x030c00 }, { EIO, BLK_FLUSH, 0x030c00 }, { EINVAL, BLK_DISCARD, 0x030c00 },
	};
	struct target *t = ready();

	GOOD(t, 512, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	for (unsigned i = 0; i < NELEM(all); i++) {
		t->req.blk.op = all[i].op;
		t->req.blk.ret = -all[i].err;
		t->req.blk.done(&t->req.blk);
		ck_assert_int_eq(t->req.status, SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(target_sense(t), all[i].sense);
	}
	t->req.blk.ret = -ECANCELED;
	t->req.sense_len = 0;
	t->req.blk.done(&t->req.blk);
	ck_assert_int_eq(t->req.status, SCSI_TASK_ABORTED);
	target_free(t);
}
END_TEST

START_TEST(fields)
{
	struct scsi_lun a = { .type = SCSI_CD, .block = 2048 }, b = a;

	scsi_lun_reset(&a);
	a.tray_open = a.locked = true;
	a.event = 3;
	a.kept_sense[2] = 5;
	json_t *rec = snap_save(scsi_lun_fields, &a);
	ck_assert_int_eq(snap_load(scsi_lun_fields, 1, &b, rec, "test"), 0);
	json_decref(rec);
	ck_assert(b.tray_open && b.locked && b.event == 3 && b.ua_asc == 0x29 && b.kept_sense[2] == 5);
	ck_assert_int_eq(scsi_lun_loaded(&b), 0);
	b.event = 4;
	ck_assert_int_eq(scsi_lun_loaded(&b), -EINVAL);
	b.type = SCSI_DISK;
	b.event = 0;
	ck_assert_int_eq(scsi_lun_loaded(&b), -EINVAL);
}
END_TEST

UNIT_MAIN("devices/scsi/scsi", attention, kept_sense, inquiry, luns, absent_units, mode_sense, mode_select,
	mode_select_all_or_nothing, opcodes, host_errors, fields)

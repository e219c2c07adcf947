/*
 * SCSI disks [SBC-3]: transfers, WRITE SAME, UNMAP, VERIFY, caching, the pages about limits and provisioning.
 *
 * Thin provisioned: what UNMAP frees reads as zeroes, what it does not free reads as before.  VERIFY without data to
 * compare looks at the range only: the host's file is checked when it is read.
 *
 * Not modelled: FORMAT UNIT, COMPARE AND WRITE, reservations, protection information, the stopped condition (STOP
 * flushes and the disk stays ready).
 */
#include "devices/scsi/scsi_int.h"

#define WRITE_SAME_MAX MIB(64)                  /* bytes: may have to be written out */
#define UNMAP_MAX GIB(2)                        /* bytes of one command */
#define UNMAP_DESCRIPTORS 64u
#define UNMAP_HDR 8u
#define UNMAP_DESCRIPTOR 16u
#define PIECE_MAX 65536u

static bool thin(const struct scsi_lun *l)
{
	return l->blk && !blk_read_only(l->blk) && !l->nodelete;
}

static uint32_t physical(const struct scsi_lun *l)
{
	return l->blk ? MAX(blk_physical(l->blk), l->block) : l->block;
}

/* --- READ and WRITE --- */

/* Protection information was not announced: asking for it is an error [SBC-3 "Protection information model"]. */
static bool unprotected(struct scsi_req *r)
{
	if (cdb_len(r->cdb[0]) == 6 || !(r->cdb[1] >> 5))
		return true;
	scsi_fail(r, SENSE_FIELD_CDB);
	return false;
}

static void do_read(struct scsi_req *r)
{
	const struct scsi_rw f = scsi_rw_fields(r->cdb);

	if (unprotected(r))
		scsi_read(r, f.lba, f.blocks);
}

static void do_write(struct scsi_req *r)
{
	const struct scsi_rw f = scsi_rw_fields(r->cdb);
	const bool verifies = r->cdb[0] == 0x2e || r->cdb[0] == 0x8e;

	if (!unprotected(r) || !scsi_range_ok(r, f.lba, f.blocks))
		return;
	r->wanted = (uint64_t)f.blocks * r->lun->block;
	if (r->wanted > r->out_len) {
		scsi_fail(r, SENSE_DATA_PHASE);
		return;
	}
	if (!f.blocks) {
		scsi_good(r);
		return;
	}
	r->blk.iov = r->out;
	r->blk.niov = iov_trim(r->out, r->nout, r->wanted);
	r->blk.fua = verifies || (cdb_len(r->cdb[0]) > 6 && r->cdb[1] & 8);
	r->moved = r->wanted;
	scsi_block(r, BLK_WRITE, f.lba * r->lun->block, r->wanted);
}

/* --- VERIFY --- */

/* Compares the piece that was read last, reads the next. */
static void verify_next(struct scsi_req *r)
{
	uint8_t *mine = r->buf, *theirs = r->buf + PIECE_MAX;

	if (r->piece) {
		iov_read(r->out, r->nout, r->moved, theirs, r->piece);
		r->moved += r->piece;
		r->pos += r->piece;
		if (memcmp(mine, theirs, r->piece) != 0) {
			scsi_fail(r, SENSE_MISCOMPARE);
			return;
		}
	}
	r->piece = MIN(r->end - r->pos, PIECE_MAX);
	if (!r->piece) {
		scsi_good(r);
		return;
	}
	r->biov = (struct iovec){ mine, r->piece };
	r->blk.iov = &r->biov;
	r->blk.niov = 1;
	scsi_block(r, BLK_READ, r->pos, r->piece);
}

static void do_verify(struct scsi_req *r)
{
	const struct scsi_rw f = scsi_rw_fields(r->cdb);
	const unsigned bytchk = r->cdb[1] >> 1 & 3;

	if (!unprotected(r) || !scsi_range_ok(r, f.lba, f.blocks))
		return;
	if (bytchk > 1) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (!bytchk || !f.blocks) {
		scsi_good(r);
		return;
	}
	r->wanted = (uint64_t)f.blocks * r->lun->block;
	if (r->wanted > r->out_len) {
		scsi_fail(r, SENSE_DATA_PHASE);
		return;
	}
	if (!scsi_alloc(r, 2 * PIECE_MAX))
		return;
	r->pos = f.lba * r->lun->block;
	r->end = r->pos + r->wanted;
	r->piece = 0;
	scsi_pieces(r, verify_next);
}

/* --- WRITE SAME --- */

/* Looks at the guest's memory; what is found non-zero is looked at again, in a copy. */
static bool data_is_zero(const struct scsi_req *r, size_t len)
{
	uint8_t part[512];

	for (size_t at = 0, n; at < len; at += n) {
		n = iov_read(r->out, r->nout, at, part, MIN(sizeof(part), len - at));
		for (size_t i = 0; i < n; i++) {
			if (part[i])
				return false;
		}
	}
	return true;
}

static void same_next(struct scsi_req *r)
{
	r->pos += r->piece;
	r->piece = MIN(r->end - r->pos, PIECE_MAX);
	if (!r->piece) {
		scsi_good(r);
		return;
	}
	r->biov = (struct iovec){ r->buf, r->piece };
	r->blk.iov = &r->biov;
	r->blk.niov = 1;
	scsi_block(r, BLK_WRITE, r->pos, r->piece);
}

/* A block of data that is not zero: so many copies of it as fit into a piece. */
static void same_pattern(struct scsi_req *r, uint64_t off, uint64_t len)
{
	const uint32_t block = r->lun->block;

	if (!scsi_alloc(r, MAX(PIECE_MAX, block)) || !scsi_params(r, r->buf, block))
		return;
	for (uint32_t at = block; at < PIECE_MAX && at < len; at += block)
		memcpy(r->buf + at, r->buf, block);
	r->pos = off;
	r->end = off + len;
	r->piece = 0;
	scsi_pieces(r, same_next);
}

static void do_write_same(struct scsi_req *r)
{
	const struct scsi_rw f = scsi_rw_fields(r->cdb);
	const uint32_t block = r->lun->block;
	const bool sixteen = r->cdb[0] == 0x93, unmap = r->cdb[1] & 8, no_data = sixteen && r->cdb[1] & 1;

	if (!unprotected(r))
		return;
	/* ANCHOR, LBDATA and PBDATA; unmapping where that is not announced; 0: up to the end. */
	if (r->cdb[1] & (sixteen ? 0x16 : 0x17) || (unmap && !thin(r->lun)) || !f.blocks ||
	    (uint64_t)f.blocks * block > WRITE_SAME_MAX) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (!scsi_range_ok(r, f.lba, f.blocks))
		return;
	r->wanted = no_data ? 0 : block;
	if (r->wanted > r->out_len) {
		scsi_fail(r, SENSE_DATA_PHASE);
	} else if (no_data || data_is_zero(r, block)) {
		r->moved = r->wanted;
		r->blk.unmap = unmap;
		scsi_block(r, BLK_WRITE_ZEROES, f.lba * block, (uint64_t)f.blocks * block);
	} else {
		same_pattern(r, f.lba * block, (uint64_t)f.blocks * block);
	}
}

/* --- UNMAP [SBC-3 "UNMAP command"] --- */

static void unmap_next(struct scsi_req *r)
{
	while (r->pos < r->end) {
		const uint8_t *d = r->buf + r->pos;
		const uint64_t lba = get_be64(d), blocks = get_be32(d + 8);

		r->pos += UNMAP_DESCRIPTOR;
		if (blocks) {
			scsi_block(r, BLK_DISCARD, lba * r->lun->block, blocks * r->lun->block);
			return;
		}
	}
	scsi_good(r);
}

/* All descriptors are checked before the first is carried out. */
static bool unmap_ok(struct scsi_req *r)
{
	uint64_t sum = 0;

	for (uint64_t at = r->pos; at < r->end; at += UNMAP_DESCRIPTOR) {
		const uint64_t blocks = get_be32(r->buf + at + 8);

		if (!scsi_range_ok(r, get_be64(r->buf + at), blocks))
			return false;
		sum += blocks;
	}
	if (sum * r->lun->block <= UNMAP_MAX)
		return true;
	scsi_fail(r, SENSE_FIELD_LIST);
	return false;
}

static void do_unmap(struct scsi_req *r)
{
	const unsigned len = get_be16(r->cdb + 7);
	uint8_t hdr[UNMAP_HDR];
	unsigned n;

	if (r->cdb[1] & 1 || !thin(r->lun)) {
		scsi_fail(r, r->cdb[1] & 1 ? SENSE_FIELD_CDB : SENSE_OPCODE);
		return;
	}
	if (len < UNMAP_HDR) {
		if (len)
			scsi_fail(r, SENSE_LIST_LENGTH);
		else
			scsi_good(r);
		return;
	}
	r->wanted = len;
	if (len > r->out_len) {
		scsi_fail(r, SENSE_DATA_PHASE);
		return;
	}
	iov_read(r->out, r->nout, 0, hdr, sizeof(hdr));
	/* Whole descriptors that are there count. */
	n = MIN((unsigned)get_be16(hdr + 2), len - UNMAP_HDR) / UNMAP_DESCRIPTOR;
	if (n > UNMAP_DESCRIPTORS) {
		scsi_fail(r, SENSE_FIELD_LIST);
		return;
	}
	if (!scsi_alloc(r, UNMAP_HDR + n * UNMAP_DESCRIPTOR) || !scsi_params(r, r->buf, UNMAP_HDR + n * UNMAP_DESCRIPTOR))
		return;
	r->wanted = r->moved = len;
	r->pos = UNMAP_HDR;
	r->end = UNMAP_HDR + (uint64_t)n * UNMAP_DESCRIPTOR;
	if (unmap_ok(r))
		scsi_pieces(r, unmap_next);
}

/* --- The rest --- */

static void do_sync_cache(struct scsi_req *r)
{
	const struct scsi_rw f = scsi_rw_fields(r->cdb);

	if (scsi_range_ok(r, f.lba, f.blocks))
		scsi_flush(r);
}

/* There is nothing to load or eject; what is stopped is in order on the host's side. */
static void do_start_stop(struct scsi_req *r)
{
	const uint8_t how = r->cdb[4];

	if (how & 2)
		scsi_fail(r, SENSE_FIELD_CDB);
	else if (how & 1 || how & 4)
		scsi_good(r);
	else
		scsi_flush(r);
}

static void do_prevent(struct scsi_req *r)
{
	scsi_good(r);
}

/* The default self-test [SPC-4 "SEND DIAGNOSTIC command"]. */
static void do_diagnostic(struct scsi_req *r)
{
	if (!(r->cdb[1] & 4) || r->cdb[1] >> 5 || get_be16(r->cdb + 3))
		scsi_fail(r, SENSE_FIELD_CDB);
	else
		scsi_good(r);
}

static void do_read_capacity16(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	uint8_t out[32] = { 0 };

	put_be64(out, scsi_blocks(l) - 1);
	put_be32(out + 8, l->block);
	out[13] = (uint8_t)__builtin_ctz(physical(l) / l->block);
	if (thin(l))
		out[14] = 0xc0;         /* LBPME, LBPRZ */
	scsi_reply(r, out, sizeof(out), get_be32(r->cdb + 10));
}

/* --- VPD pages [SBC-3 "Vital product data parameters"] --- */

static unsigned vpd_limits(const struct scsi_lun *l, uint8_t *out)
{
	const uint32_t granularity = physical(l) / l->block;

	out[0] = 1;                     /* WSNZ: WRITE SAME has a number of blocks */
	put_be16(out + 2, (uint16_t)granularity);
	if (thin(l)) {
		put_be32(out + 16, (uint32_t)(UNMAP_MAX / l->block));
		put_be32(out + 20, UNMAP_DESCRIPTORS);
		put_be32(out + 24, granularity);
		put_be32(out + 28, 0x80000000);         /* aligned to LBA 0 */
	}
	put_be64(out + 32, WRITE_SAME_MAX / l->block);
	return 0x3c;
}

static unsigned disk_vpd(const struct scsi_lun *l, uint8_t page, uint8_t *out)
{
	if (page == 0xb0)
		return vpd_limits(l, out);
	if (page == 0xb1) {
		put_be16(out, 1);       /* does not rotate */
		return 0x3c;
	}
	if (thin(l)) {                  /* 0xb2 */
		out[1] = 0xe4;          /* LBPU, LBPWS, LBPWS10, LBPRZ */
		out[2] = 2;             /* thin */
	}
	return 4;
}

/* --- Mode pages --- */

#define CACHING 0x08
#define WCE 4u

static unsigned disk_mode(const struct scsi_lun *l, uint8_t page, unsigned pc, uint8_t *out)
{
	static const uint8_t len[] = { [0x01] = 0x0a, [CACHING] = 0x12, [0x0a] = 0x0a, [0x1c] = 0x0a };

	out[0] = page;
	out[1] = len[page];
	if (page == CACHING && (pc != PC_CURRENT || l->write_cache))
		out[2] = WCE;           /* changeable, and on by default */
	if (pc == PC_CHANGEABLE)
		return 2u + len[page];
	if (page == 0x01)
		out[2] = 0x80;          /* AWRE */
	else if (page == 0x0a)
		out[3] = 0x10;          /* commands are reordered without restriction */
	return 2u + len[page];
}

static bool disk_select(struct scsi_lun *l, const uint8_t *page)
{
	bool was = l->write_cache;

	if ((page[0] & 0x3f) == CACHING)
		l->write_cache = page[2] & WCE;
	return was && !l->write_cache;
}

#define RW10 { 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff }
#define RW12 { 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }
#define RW16 { 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }

static const struct scsi_cmd disk_cmds[] = {
	SPC_CMDS,
	{ 0x08, SA_NONE, CMD_MEDIUM, do_read, { 0x1f, 0xff, 0xff, 0xff } },
	{ 0x28, SA_NONE, CMD_MEDIUM, do_read, RW10 }, { 0xa8, SA_NONE, CMD_MEDIUM, do_read, RW12 },
	{ 0x88, SA_NONE, CMD_MEDIUM, do_read, RW16 },
	{ 0x0a, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write, { 0x1f, 0xff, 0xff, 0xff } },
	{ 0x2a, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write, RW10 }, { 0xaa, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write, RW12 },
	{ 0x8a, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write, RW16 },
	{ 0x2e, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write, RW10 }, { 0x8e, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write, RW16 },
	{ 0x2f, SA_NONE, CMD_MEDIUM, do_verify, { 0x16, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff } },
	{ 0x8f, SA_NONE, CMD_MEDIUM, do_verify, { 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	{ 0x41, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write_same, { 0x08, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff } },
	{ 0x93, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_write_same,
	  { 0x09, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	{ 0x42, SA_NONE, CMD_MEDIUM | CMD_WRITES, do_unmap, { 0, 0, 0, 0, 0, 0, 0xff, 0xff } },
	{ 0x35, SA_NONE, CMD_MEDIUM, do_sync_cache, { 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff } },
	{ 0x91, SA_NONE, CMD_MEDIUM, do_sync_cache, { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	{ 0x1b, SA_NONE, 0, do_start_stop, { 0, 0, 0, 0x07 } },
	{ 0x1d, SA_NONE, 0, do_diagnostic, { 0x04 } },
	{ 0x1e, SA_NONE, 0, do_prevent, { 0, 0, 0, 0x03 } },
	{ 0x9e, 0x10, CMD_MEDIUM, do_read_capacity16, { 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } },
};

const struct scsi_kind scsi_disk_kind = {
	.cmds = disk_cmds, .ncmds = NELEM(disk_cmds),
	.vpds = (const uint8_t[]){ 0x80, 0x83, 0xb0, 0xb1, 0xb2, 0 }, .vpd = disk_vpd,
	.modes = (const uint8_t[]){ 0x01, CACHING, 0x0a, 0x1c, 0 }, .mode = disk_mode, .select = disk_select,
	.version = 6,                   /* SPC-4 */
};

/*
 * SCSI units, what all commands share: dispatch, unit attentions, sense data, replies, block requests [SPC-4 "Sense data"]
 * [SAM-5 "Unit attention condition"].
 *
 * A command block was copied from the guest by the transport and is used from that copy.  Data of READ and WRITE goes
 * between the transport's iovecs and the disk; everything else is bounded by SCSI_BUF_MAX.
 *
 * One unit attention is kept: a reset hides a change of the medium that came with it.
 */
#include "devices/scsi/scsi_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* --- Sense data, fixed format [SPC-4 "Fixed format sense data"] --- */

void scsi_sense(uint8_t out[SCSI_SENSE_LEN], uint8_t key, uint8_t asc, uint8_t ascq)
{
	memset(out, 0, SCSI_SENSE_LEN);
	out[0] = 0x70;                  /* current */
	out[2] = key;
	out[7] = SCSI_SENSE_LEN - 8;
	out[12] = asc;
	out[13] = ascq;
}

static void finish(struct scsi_req *r, enum scsi_status status)
{
	r->status = status;
	if (r->counted)
		r->lun->bufs--;
	r->counted = false;
	free(r->buf);
	r->buf = NULL;
	r->done(r);
}

static void check_condition(struct scsi_req *r, uint8_t key, uint8_t asc, uint8_t ascq)
{
	r->moved = 0;
	scsi_sense(r->sense, key, asc, ascq);
	r->sense_len = SCSI_SENSE_LEN;
	if (r->lun->atapi)
		memcpy(r->lun->kept_sense, r->sense, SCSI_SENSE_LEN);
	finish(r, SCSI_CHECK_CONDITION);
}

void scsi_good(struct scsi_req *r)
{
	finish(r, r->aborted ? SCSI_TASK_ABORTED : SCSI_GOOD);
}

void scsi_fail(struct scsi_req *r, uint32_t sense)
{
	check_condition(r, (uint8_t)(sense >> 16), (uint8_t)(sense >> 8), (uint8_t)sense);
}

/* --- Data --- */

void scsi_reply(struct scsi_req *r, const void *data, size_t len, size_t alloc)
{
	r->wanted = MIN(len, alloc);
	r->moved = iov_write(r->in, r->nin, 0, data, MIN(r->wanted, r->in_len));
	scsi_good(r);
}

bool scsi_params(struct scsi_req *r, void *buf, size_t len)
{
	r->wanted = len;
	if (len > r->out_len || iov_read(r->out, r->nout, 0, buf, len) != len) {
		scsi_fail(r, SENSE_DATA_PHASE);
		return false;
	}
	r->moved = len;
	return true;
}

bool scsi_alloc(struct scsi_req *r, size_t len)
{
	const bool much = len > SCSI_BUF_SMALL;

	assert(!r->buf && len <= SCSI_BUF_MAX);
	if (much && r->lun->bufs >= SCSI_BUFS_MAX) {
		r->moved = 0;
		finish(r, SCSI_BUSY);
		return false;
	}
	r->counted = much;
	r->lun->bufs += much;
	r->buf = malloc(len);
	if (!r->buf)
		scsi_fail(r, SENSE_INTERNAL);
	return r->buf;
}

uint64_t scsi_blocks(const struct scsi_lun *l)
{
	const uint64_t size = l->blk ? blk_size(l->blk) : 0;

	return size / l->block + (size % l->block != 0);
}

bool scsi_range_ok(struct scsi_req *r, uint64_t lba, uint64_t blocks)
{
	const uint64_t all = scsi_blocks(r->lun);

	if (lba <= all && blocks <= all - lba && (lba < all || !blocks))
		return true;
	scsi_fail(r, SENSE_LBA);
	return false;
}

/* --- Block requests --- */

/* The disk has reported it. */
static void host_failed(struct scsi_req *r)
{
	const int err = -r->blk.ret;

	if (err == ECANCELED) {
		finish(r, SCSI_TASK_ABORTED);
		return;
	}
	if (err == ENOSPC || err == EDQUOT)
		scsi_fail(r, SENSE_NO_SPACE);
	else if (err == EROFS || err == EACCES || err == EPERM)
		scsi_fail(r, SENSE_WRITE_PROTECTED);
	else
		scsi_fail(r, r->blk.op == BLK_READ ? SENSE_MEDIUM_READ : SENSE_MEDIUM_WRITE);
}

/* Never from within blk_submit(); what is submitted here starts by itself. */
static void on_block(struct blk_req *b)
{
	struct scsi_req *r = (struct scsi_req *)b;

	if (b->ret)
		host_failed(r);
	else if (r->next && !r->aborted)
		r->next(r);
	else
		scsi_good(r);
}

void scsi_pieces(struct scsi_req *r, void (*next)(struct scsi_req *))
{
	r->next = next;
	next(r);
}

void scsi_block(struct scsi_req *r, enum blk_op op, uint64_t off, uint64_t len)
{
	r->blk.op = op;
	r->blk.off = off;
	r->blk.len = len;
	r->blk.done = on_block;
	if (!r->lun->write_cache)
		r->blk.fua = true;
	blk_submit(r->lun->blk, &r->blk);
}

void scsi_flush(struct scsi_req *r)
{
	if (r->lun->blk)
		scsi_block(r, BLK_FLUSH, 0, 0);
	else
		scsi_good(r);
}

struct scsi_rw scsi_rw_fields(const uint8_t *cdb)
{
	switch (cdb_len(cdb[0])) {
	case 6: return (struct scsi_rw){ get_be32(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256 };
	case 10: return (struct scsi_rw){ get_be32(cdb + 2), get_be16(cdb + 7) };
	case 12: return (struct scsi_rw){ get_be32(cdb + 2), get_be32(cdb + 6) };
	default: return (struct scsi_rw){ get_be64(cdb + 2), get_be32(cdb + 10) };
	}
}

/* The end of a CD's image may lie within a block, and beyond the disk's last sector: that part reads as zeroes. */
void scsi_read(struct scsi_req *r, uint64_t lba, uint64_t blocks)
{
	const struct scsi_lun *l = r->lun;

	if (!scsi_range_ok(r, lba, blocks))
		return;
	r->wanted = blocks * l->block;
	if (r->wanted > r->in_len) {
		scsi_fail(r, SENSE_DATA_PHASE);
		return;
	}
	if (!blocks) {
		scsi_good(r);
		return;
	}
	const uint64_t off = lba * l->block, end = ALIGN_UP(blk_size(l->blk), blk_logical(l->blk));
	const uint64_t len = MIN(r->wanted, end - off);

	iov_zero(r->in, r->nin, len, r->wanted - len);
	r->blk.iov = r->in;
	r->blk.niov = iov_trim(r->in, r->nin, len);
	r->moved = r->wanted;
	scsi_block(r, BLK_READ, off, len);
}

/* --- Dispatch --- */

static const struct scsi_cmd *find(const struct scsi_kind *k, const uint8_t *cdb)
{
	for (unsigned i = 0; i < k->ncmds; i++) {
		const struct scsi_cmd *c = &k->cmds[i];

		if (c->op == cdb[0] && (c->sa == SA_NONE || c->sa == (cdb[1] & 0x1f)))
			return c;
	}
	return NULL;
}

static bool opcode_known(const struct scsi_kind *k, uint8_t op)
{
	for (unsigned i = 0; i < k->ncmds; i++) {
		if (k->cmds[i].op == op)
			return true;
	}
	return false;
}

static void start(struct scsi_req *r)
{
	r->sense_len = 0;
	r->moved = r->wanted = 0;
	r->buf = NULL;
	r->counted = false;
	r->next = NULL;
	r->blk.fua = r->blk.unmap = false;
	r->blk.iov = NULL;
	r->blk.niov = 0;
	r->aborted = false;
}

void scsi_submit(struct scsi_req *r)
{
	struct scsi_lun *l = r->lun;
	const struct scsi_cmd *c = find(scsi_kind_of(l), r->cdb);

	start(r);
	if (r->cdb[0] != 0x03)
		memset(l->kept_sense, 0, sizeof(l->kept_sense));
	if (l->ua_asc && !r->resumed && !(c && c->flags & CMD_NO_UA)) {
		const uint8_t asc = l->ua_asc, ascq = l->ua_ascq;

		l->ua_asc = l->ua_ascq = 0;
		check_condition(r, 0x06, asc, ascq);
	} else if (!c) {
		scsi_fail(r, opcode_known(scsi_kind_of(l), r->cdb[0]) ? SENSE_FIELD_CDB : SENSE_OPCODE);
	} else if (c->flags & CMD_MEDIUM && l->tray_open) {
		scsi_fail(r, SENSE_NOT_READY_TRAY_OPEN);
	} else if (c->flags & CMD_MEDIUM && !l->blk) {
		scsi_fail(r, SENSE_NOT_READY_NO_MEDIUM);
	} else if (c->flags & CMD_WRITES && blk_read_only(l->blk)) {
		scsi_fail(r, SENSE_WRITE_PROTECTED);
	} else {
		c->run(r);
	}
}

/* A unit the target does not have [SPC-4 "INQUIRY command", "REPORT LUNS command"]. */
void scsi_submit_absent(struct scsi_req *r)
{
	static const uint8_t inquiry[36] = { 0x7f, 0, 6, 2, sizeof(inquiry) - 5 };
	uint8_t sense[SCSI_SENSE_LEN];

	start(r);
	switch (r->cdb[0]) {
	case 0x03:
		scsi_sense(sense, 0x05, 0x25, 0);
		scsi_reply(r, sense, sizeof(sense), r->cdb[4]);
		return;
	case 0x12:
		if (r->cdb[1] & 3 || r->cdb[2])
			break;
		scsi_reply(r, inquiry, sizeof(inquiry), get_be16(r->cdb + 3));
		return;
	case 0xa0:
		scsi_report_luns(r);
		return;
	}
	scsi_fail(r, SENSE_NO_UNIT);
}

void scsi_submit_report_luns(struct scsi_req *r, const uint8_t *luns, unsigned n)
{
	static const uint8_t inquiry[36] = { 0x1e, 0, 6, 2, sizeof(inquiry) - 5 };
	uint8_t list[8 + 8 * SCSI_REPORT_LUNS_MAX] = { 0 };

	assert(n <= SCSI_REPORT_LUNS_MAX);
	start(r);
	if (r->cdb[0] == 0x00) {
		scsi_good(r);
	} else if (r->cdb[0] == 0x12 && !(r->cdb[1] & 3) && !r->cdb[2]) {
		scsi_reply(r, inquiry, sizeof(inquiry), get_be16(r->cdb + 3));
	} else if (r->cdb[0] == 0xa0 && r->cdb[2] <= 2 && get_be32(r->cdb + 6) >= 16) {
		n = r->cdb[2] == 1 ? 0 : n;
		put_be32(list, 8 * n);
		if (n)
			memcpy(list + 8, luns, 8 * n);
		scsi_reply(r, list, 8 + 8 * n, get_be32(r->cdb + 6));
	} else {
		scsi_fail(r, r->cdb[0] == 0x12 || r->cdb[0] == 0xa0 ? SENSE_FIELD_CDB : SENSE_OPCODE);
	}
}

/* --- The unit --- */

static void blanks(char *out, size_t len, const char *text)
{
	memset(out, ' ', len);
	memcpy(out, text, MIN(strlen(text), len));
}

void scsi_lun_init(struct scsi_lun *l, enum scsi_type type, struct device *dev, struct blk *blk)
{
	l->type = type;
	l->dev = dev;
	l->blk = blk;
	l->removable = type == SCSI_CD;
	l->block = type == SCSI_CD ? 2048 : blk ? blk_logical(blk) : 512;
	blanks(l->vendor, sizeof(l->vendor), "SKEP");
	blanks(l->product, sizeof(l->product), type == SCSI_CD ? "CD-ROM" : "DISK");
	blanks(l->revision, sizeof(l->revision), "1");
	blanks(l->serial, sizeof(l->serial), "");
}

void scsi_lun_clear(struct scsi_lun *l, uint8_t ascq)
{
	l->locked = false;
	l->write_cache = l->type == SCSI_DISK;
	l->ua_asc = UA_RESET;
	l->ua_ascq = ascq;
	memset(l->kept_sense, 0, sizeof(l->kept_sense));
}

void scsi_lun_reset(struct scsi_lun *l)
{
	l->tray_open = false;
	l->event = EVENT_NONE;
	scsi_lun_clear(l, 0);
}

int scsi_lun_loaded(struct scsi_lun *l)
{
	if (l->type == SCSI_DISK && (l->tray_open || l->event || l->locked))
		return -EINVAL;
	return l->event > EVENT_REMOVAL ? -EINVAL : 0;
}

void scsi_eject_request(struct scsi_lun *l)
{
	l->event = EVENT_EJECT_REQUEST;
}

void scsi_medium(struct scsi_lun *l, struct blk *blk)
{
	l->blk = blk;
	l->tray_open = false;
	l->event = blk ? EVENT_NEW_MEDIUM : EVENT_REMOVAL;
	if (blk && l->ua_asc != UA_RESET) {
		l->ua_asc = UA_MEDIUM;
		l->ua_ascq = 0;
	}
}

const struct snap_field scsi_lun_fields[] = {
	SNAP_BOOL(struct scsi_lun, tray_open, 1), SNAP_BOOL(struct scsi_lun, locked, 1),
	SNAP_BOOL(struct scsi_lun, write_cache, 1),
	SNAP_U8(struct scsi_lun, ua_asc, 1), SNAP_U8(struct scsi_lun, ua_ascq, 1), SNAP_U8(struct scsi_lun, event, 1),
	SNAP_BYTES(struct scsi_lun, kept_sense, 1),
	SNAP_END
};

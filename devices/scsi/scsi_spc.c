/*
 * Commands that disks and CD drives share: INQUIRY, REQUEST SENSE, REPORT LUNS, MODE SENSE and SELECT, REPORT SUPPORTED
 * OPERATION CODES [SPC-4 "Commands for all device types"], READ CAPACITY(10) [SBC-3 "READ CAPACITY (10) command"].
 *
 * Not modelled: saved mode pages, subpages, the descriptor format of sense data.
 */
#include "devices/scsi/scsi_int.h"

#define VPD_MAX 256
#define MODE_LIST_MAX 512
#define MODE_PAGES_ALL 0x3f

void scsi_test_unit_ready(struct scsi_req *r)
{
	scsi_good(r);
}

/* --- INQUIRY [SPC-4 "INQUIRY command", "Vital product data parameters"] --- */

static unsigned vpd_serial(const struct scsi_lun *l, uint8_t *out)
{
	memcpy(out, l->serial, sizeof(l->serial));
	return sizeof(l->serial);
}

/* One designator of the unit: T10 vendor identification, ASCII. */
static unsigned vpd_identification(const struct scsi_lun *l, uint8_t *out)
{
	uint8_t *p = out + 4;

	memcpy(p, l->vendor, sizeof(l->vendor));
	p += sizeof(l->vendor);
	memcpy(p, l->product, sizeof(l->product));
	p += sizeof(l->product);
	memcpy(p, l->serial, sizeof(l->serial));
	p += sizeof(l->serial);
	out[0] = 2;                     /* ASCII */
	out[1] = 1;                     /* of the logical unit, T10 vendor ID */
	out[2] = 0;
	out[3] = (uint8_t)(p - out - 4);
	return (unsigned)(p - out);
}

static void inquiry_vpd(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const struct scsi_kind *k = scsi_kind_of(l);
	const uint8_t page = r->cdb[2], n = (uint8_t)strlen((const char *)k->vpds);
	uint8_t out[VPD_MAX] = { l->type, page };
	unsigned len;

	if (page && !memchr(k->vpds, page, n)) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (page == 0) {
		memcpy(out + 5, k->vpds, n);    /* after page 0 itself */
		len = 1u + n;
	} else if (page == 0x80) {
		len = vpd_serial(l, out + 4);
	} else if (page == 0x83) {
		len = vpd_identification(l, out + 4);
	} else {
		len = k->vpd(l, page, out + 4);
	}
	put_be16(out + 2, (uint16_t)len);
	scsi_reply(r, out, 4 + len, get_be16(r->cdb + 3));
}

void scsi_inquiry(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	uint8_t out[36] = { l->type, l->removable ? 0x80 : 0, scsi_kind_of(l)->version, 2, sizeof(out) - 5 };

	if (r->cdb[1] & 1) {
		inquiry_vpd(r);
		return;
	}
	if (r->cdb[1] & 2 || r->cdb[2]) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (!l->atapi)
		out[7] = 2;             /* command queuing */
	memcpy(out + 8, l->vendor, sizeof(l->vendor));
	memcpy(out + 16, l->product, sizeof(l->product));
	memcpy(out + 32, l->revision, sizeof(l->revision));
	scsi_reply(r, out, sizeof(out), get_be16(r->cdb + 3));
}

/* --- Sense data on request --- */

void scsi_request_sense(struct scsi_req *r)
{
	struct scsi_lun *l = r->lun;
	uint8_t out[SCSI_SENSE_LEN];

	if (r->cdb[1] & 1) {
		scsi_fail(r, SENSE_FIELD_CDB);  /* the descriptor format */
		return;
	}
	if (l->kept_sense[0]) {
		memcpy(out, l->kept_sense, sizeof(out));
		memset(l->kept_sense, 0, sizeof(l->kept_sense));
	} else {
		scsi_sense(out, l->ua_asc ? 0x06 : 0x00, l->ua_asc, l->ua_ascq);
		l->ua_asc = l->ua_ascq = 0;
	}
	scsi_reply(r, out, sizeof(out), r->cdb[4]);
}

/* A target of one unit; the well-known units belong to the transport [SPC-4 "REPORT LUNS command"]. */
void scsi_report_luns(struct scsi_req *r)
{
	const uint32_t alloc = get_be32(r->cdb + 6);
	uint8_t out[16] = { 0 };

	if (r->cdb[2] > 2 || alloc < sizeof(out)) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	put_be32(out, r->cdb[2] == 1 ? 0 : 8);
	scsi_reply(r, out, r->cdb[2] == 1 ? 8 : 16, alloc);
}

/* --- Mode pages [SPC-4 "Mode parameters"] --- */

static unsigned pages_add(const struct scsi_lun *l, uint8_t page, unsigned pc, uint8_t *out)
{
	const struct scsi_kind *k = scsi_kind_of(l);
	unsigned len = 0;

	for (const uint8_t *p = k->modes; *p; p++) {
		if (page == *p || page == MODE_PAGES_ALL)
			len += k->mode(l, *p, pc, out + len);
	}
	return len;
}

/* A CD drive has no block descriptor and no device-specific parameter [MMC-6 "Mode Parameters"]. */
static unsigned block_descriptor(const struct scsi_lun *l, bool dbd, uint8_t *out)
{
	const uint64_t blocks = scsi_blocks(l);

	if (dbd || l->type == SCSI_CD)
		return 0;
	put_be32(out, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
	put_be32(out + 4, l->block);
	return 8;
}

void scsi_mode_sense(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const bool ten = r->cdb[0] == 0x5a;
	const unsigned pc = r->cdb[2] >> 6, hdr = ten ? 8 : 4;
	const uint8_t page = r->cdb[2] & 0x3f, subpage = r->cdb[3];
	uint8_t out[8 + 8 + 8 * MODE_PAGE_MAX] = { 0 }, specific = 0;

	if (pc == PC_SAVED) {
		scsi_fail(r, SENSE_SAVING);
		return;
	}
	const unsigned bd = block_descriptor(l, r->cdb[1] & 8, out + hdr);
	const unsigned pages = pages_add(l, page, pc, out + hdr + bd), len = hdr + bd + pages;

	if (!pages || (subpage && !(subpage == 0xff && page == MODE_PAGES_ALL))) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (l->type == SCSI_DISK)
		specific = 0x10 | (l->blk && blk_read_only(l->blk) ? 0x80 : 0);         /* DPOFUA, WP */
	if (ten) {
		put_be16(out, (uint16_t)(len - 2));
		out[3] = specific;
		put_be16(out + 6, (uint16_t)bd);
	} else {
		out[0] = (uint8_t)(len - 1);
		out[2] = specific;
		out[3] = (uint8_t)bd;
	}
	scsi_reply(r, out, len, ten ? get_be16(r->cdb + 7) : r->cdb[4]);
}

/* A block descriptor may only say what is so already. */
static bool descriptor_ok(const struct scsi_lun *l, const uint8_t *d)
{
	const uint32_t n = get_be32(d), block = get_be32(d + 4) & 0xffffff;
	const uint64_t blocks = scsi_blocks(l);

	return (block == l->block || !block) && (l->type == SCSI_CD || !n || n == UINT32_MAX || n == blocks);
}

/* The page at p, of `left` bytes; 0 or a sense code.  Bits that are not changeable must be as they are. */
static uint32_t page_check(const struct scsi_lun *l, const uint8_t *p, unsigned left)
{
	const struct scsi_kind *k = scsi_kind_of(l);
	uint8_t now[MODE_PAGE_MAX] = { 0 }, mask[MODE_PAGE_MAX] = { 0 };
	unsigned len;

	if (left < 2 || left < 2u + p[1])
		return SENSE_LIST_LENGTH;
	if (p[0] & 0x40 || !(p[0] & 0x3f) || !strchr((const char *)k->modes, p[0] & 0x3f))
		return SENSE_FIELD_LIST;
	len = k->mode(l, p[0] & 0x3f, PC_CURRENT, now);
	k->mode(l, p[0] & 0x3f, PC_CHANGEABLE, mask);
	if (len != 2u + p[1])
		return SENSE_FIELD_LIST;
	for (unsigned i = 2; i < len; i++) {
		if ((p[i] ^ now[i]) & ~mask[i])
			return SENSE_FIELD_LIST;
	}
	return 0;
}

/* All pages are checked before the first is taken over. */
static void select_pages(struct scsi_req *r, const uint8_t *p, unsigned len)
{
	struct scsi_lun *l = r->lun;
	bool flush = false;
	uint32_t sense;

	for (unsigned at = 0; at < len; at += 2u + p[at + 1]) {
		sense = page_check(l, p + at, len - at);
		if (sense) {
			scsi_fail(r, sense);
			return;
		}
	}
	for (unsigned at = 0; at < len; at += 2u + p[at + 1])
		flush |= scsi_kind_of(l)->select(l, p + at);
	if (flush)
		scsi_flush(r);
	else
		scsi_good(r);
}

void scsi_mode_select(struct scsi_req *r)
{
	const bool ten = r->cdb[0] == 0x55;
	const unsigned hdr = ten ? 8 : 4, len = ten ? get_be16(r->cdb + 7) : r->cdb[4];
	uint8_t list[MODE_LIST_MAX];

	if (r->cdb[1] & 1 || (!(r->cdb[1] & 0x10) && len)) {
		scsi_fail(r, SENSE_FIELD_CDB);  /* to be saved, or in a vendor's format */
		return;
	}
	if (len == 0) {
		scsi_good(r);
		return;
	}
	if (len < hdr || len > sizeof(list)) {
		scsi_fail(r, SENSE_LIST_LENGTH);
		return;
	}
	if (!scsi_params(r, list, len))
		return;
	const unsigned bd = ten ? get_be16(list + 6) : list[3];

	if (hdr + bd > len)
		scsi_fail(r, SENSE_LIST_LENGTH);
	else if ((bd && bd != 8) || (ten && list[4] & 1) || (bd && !descriptor_ok(r->lun, list + hdr)))
		scsi_fail(r, SENSE_FIELD_LIST);
	else
		select_pages(r, list + hdr + bd, len - hdr - bd);
}

/* --- REPORT SUPPORTED OPERATION CODES --- */

#define OPCODES_MAX 64

static void opcodes_all(struct scsi_req *r, uint32_t alloc)
{
	const struct scsi_kind *k = scsi_kind_of(r->lun);
	uint8_t out[4 + 8 * OPCODES_MAX] = { 0 };
	unsigned n = 0;

	for (; n < k->ncmds && n < OPCODES_MAX; n++) {
		uint8_t *p = out + 4 + 8 * n;

		p[0] = k->cmds[n].op;
		p[3] = k->cmds[n].sa == SA_NONE ? 0 : k->cmds[n].sa;
		p[5] = k->cmds[n].sa != SA_NONE;
		put_be16(p + 6, (uint16_t)cdb_len(p[0]));
	}
	put_be32(out, 8 * n);
	scsi_reply(r, out, 4 + 8 * n, alloc);
}

static void opcode_one(struct scsi_req *r, uint8_t op, unsigned sa, uint32_t alloc)
{
	const struct scsi_kind *k = scsi_kind_of(r->lun);
	uint8_t out[4 + 16] = { 0, 1 };         /* not supported */
	unsigned len = 4;

	for (unsigned i = 0; i < k->ncmds; i++) {
		const struct scsi_cmd *c = &k->cmds[i];

		if (c->op != op || (c->sa != SA_NONE && c->sa != sa))
			continue;
		out[1] = 3;                     /* as the standard has it */
		put_be16(out + 2, (uint16_t)cdb_len(op));
		out[4] = op;
		memcpy(out + 5, c->use, sizeof(c->use));
		if (c->sa != SA_NONE)
			out[5] = (uint8_t)((out[5] & 0xe0) | c->sa);
		len = 4 + cdb_len(op);
	}
	scsi_reply(r, out, len, alloc);
}

void scsi_report_opcodes(struct scsi_req *r)
{
	const struct scsi_kind *k = scsi_kind_of(r->lun);
	const unsigned option = r->cdb[2] & 7, sa = get_be16(r->cdb + 4);
	const uint32_t alloc = get_be32(r->cdb + 6);
	bool has_sa = false;

	for (unsigned i = 0; i < k->ncmds; i++)
		has_sa |= k->cmds[i].op == r->cdb[3] && k->cmds[i].sa != SA_NONE;
	if (r->cdb[2] & 0x80 || option > 3 || (option == 1 && has_sa) || (option == 2 && !has_sa))
		scsi_fail(r, SENSE_FIELD_CDB);
	else if (option == 0)
		opcodes_all(r, alloc);
	else
		opcode_one(r, r->cdb[3], has_sa ? sa : 0, alloc);
}

/* --- READ CAPACITY(10) --- */

void scsi_read_capacity10(struct scsi_req *r)
{
	const uint64_t last = scsi_blocks(r->lun) - 1;
	uint8_t out[8];

	put_be32(out, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
	put_be32(out + 4, r->lun->block);
	scsi_reply(r, out, sizeof(out), sizeof(out));
}

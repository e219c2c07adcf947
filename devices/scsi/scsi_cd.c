/*
 * CD and DVD drives [MMC-6]: one data track (mode 1) over an image, 2048 bytes a block; which of both it is follows
 * from its size.
 *
 * Not modelled: audio, raw sectors (READ CD gives user data), writing, DVD authentication, "becoming ready": a medium
 * is ready as soon as it is there.
 */
#include "devices/scsi/scsi_int.h"

#define CD_BLOCKS_MAX (80u * 60 * 75)           /* a larger image is a DVD */
#define CTRL_DATA 0x14                          /* ADR 1, a data track */
#define LEAD_OUT 0xaa
#define PROFILE_CD 0x0008
#define PROFILE_DVD 0x0010
#define DVD_FIRST 0x30000u                      /* physical address of the first block */
#define SPEED_CD 8467u                          /* kB/s: 48 times 176.4 */
#define SPEED_DVD 22160u                        /* 16 times 1385 */

static bool present(const struct scsi_lun *l)
{
	return l->blk && !l->tray_open;
}

static bool is_dvd(const struct scsi_lun *l)
{
	return scsi_blocks(l) > CD_BLOCKS_MAX;
}

static uint32_t blocks32(const struct scsi_lun *l)
{
	return (uint32_t)MIN(scsi_blocks(l), (uint64_t)UINT32_MAX);
}

/* Minutes, seconds, frames of an address, 150 frames after the start; beyond 255 minutes the largest. */
static void put_msf(uint8_t out[3], uint32_t lba)
{
	const uint64_t f = (uint64_t)lba + 150;

	if (f / 75 / 60 > 0xff) {
		out[0] = 0xff;
		out[1] = 59;
		out[2] = 74;
		return;
	}
	out[0] = (uint8_t)(f / 75 / 60);
	out[1] = (uint8_t)(f / 75 % 60);
	out[2] = (uint8_t)(f % 75);
}

static void put_address(uint8_t out[4], uint32_t lba, bool msf)
{
	if (!msf) {
		put_be32(out, lba);
		return;
	}
	out[0] = 0;
	put_msf(out + 1, lba);
}

static uint32_t get_be24(const uint8_t *p)
{
	return get_be32(p) >> 8;
}

/* --- Reading --- */

static void do_read(struct scsi_req *r)
{
	const struct scsi_rw f = scsi_rw_fields(r->cdb);

	scsi_read(r, f.lba, f.blocks);
}

/* READ CD [MMC-6 "READ CD Command"]: of the parts of a sector only the user data of mode 1, or nothing. */
static void do_read_cd(struct scsi_req *r)
{
	const uint8_t type = r->cdb[1] >> 2 & 7, parts = r->cdb[9] & 0xfe;
	const uint32_t lba = get_be32(r->cdb + 2), n = get_be24(r->cdb + 6);

	if (type > 2 || r->cdb[10] & 7) {
		scsi_fail(r, type > 2 && type < 6 ? SENSE_WRONG_MODE : SENSE_FIELD_CDB);
		return;
	}
	if (parts == 0 || n == 0) {
		if (scsi_range_ok(r, lba, n))
			scsi_good(r);
		return;
	}
	if (parts != 0x10)
		scsi_fail(r, SENSE_FIELD_CDB);
	else
		scsi_read(r, lba, n);
}

static void do_seek(struct scsi_req *r)
{
	if (scsi_range_ok(r, get_be32(r->cdb + 2), 1))
		scsi_good(r);
}

/* --- Contents of the disc --- */

static unsigned toc_entry(uint8_t *out, uint8_t track, uint32_t lba, bool msf)
{
	out[0] = 0;
	out[1] = CTRL_DATA;
	out[2] = track;
	out[3] = 0;
	put_address(out + 4, lba, msf);
	return 8;
}

/* POINT and what it points to [MMC-6 "READ TOC/PMA/ATIP Command"]. */
static unsigned full_toc_entry(uint8_t *out, uint8_t point, const uint8_t value[3])
{
	memset(out, 0, 11);
	out[0] = 1;
	out[1] = CTRL_DATA;
	out[3] = point;
	memcpy(out + 8, value, 3);
	return 11;
}

static unsigned full_toc(const struct scsi_lun *l, uint8_t *out)
{
	uint8_t msf[3];
	unsigned n = full_toc_entry(out, 0xa0, (const uint8_t[]){ 1, 0, 0 });

	n += full_toc_entry(out + n, 0xa1, (const uint8_t[]){ 1, 0, 0 });
	put_msf(msf, blocks32(l));
	n += full_toc_entry(out + n, 0xa2, msf);
	put_msf(msf, 0);
	return n + full_toc_entry(out + n, 1, msf);
}

static void do_read_toc(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const bool msf = r->cdb[1] & 2;
	/* Older ATAPI drivers give the format in the control byte. */
	const uint8_t format = r->cdb[2] & 0xf ? r->cdb[2] & 0xf : r->cdb[9] >> 6, start = r->cdb[6];
	uint8_t out[4 + 4 * 11] = { 0, 0, 1, 1 };
	unsigned len = 4;

	if (format > 2 || (format == 0 && start > 1 && start != LEAD_OUT) || (format == 2 && start > 1)) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (format == 0 && start != LEAD_OUT)
		len += toc_entry(out + len, 1, 0, msf);
	if (format == 0)
		len += toc_entry(out + len, LEAD_OUT, blocks32(l), msf);
	else if (format == 1)
		len += toc_entry(out + len, 1, 0, msf);
	else
		len += full_toc(l, out + len);
	put_be16(out, (uint16_t)(len - 2));
	scsi_reply(r, out, len, get_be16(r->cdb + 7));
}

static void do_disc_information(struct scsi_req *r)
{
	uint8_t out[34] = { 0, 32, 0x0e, 1, 1, 1, 1, 0x20 };     /* complete, one session, one track; unrestricted use */

	if (r->cdb[1] & 7) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	memset(out + 16, 0xff, 8);      /* no lead-in, no lead-out to come */
	scsi_reply(r, out, sizeof(out), get_be16(r->cdb + 7));
}

/* By block, by track, by session: there is one of each. */
static void do_track_information(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const uint8_t by = r->cdb[1] & 3;
	const uint32_t which = get_be32(r->cdb + 2);
	uint8_t out[36] = { 0, 34, 1, 1, 0, CTRL_DATA & 0xf, 1, 2 };    /* mode 1; the last address recorded is valid */

	if (by == 3 || (by == 0 ? which >= scsi_blocks(l) : which != 1)) {
		scsi_fail(r, by == 0 ? SENSE_LBA : SENSE_FIELD_CDB);
		return;
	}
	put_be32(out + 24, blocks32(l));
	put_be32(out + 28, blocks32(l) - 1);
	scsi_reply(r, out, sizeof(out), get_be16(r->cdb + 7));
}

/* No audio is being played; position: the start of the track [MMC-6 "READ SUB-CHANNEL Command"]. */
static void do_sub_channel(struct scsi_req *r)
{
	const bool msf = r->cdb[1] & 2;
	const uint8_t format = r->cdb[3];
	uint8_t out[24] = { 0, 0x15, 0, 0, format };
	unsigned len = 4;

	if (r->cdb[2] & 0x40) {
		if (format < 1 || format > 3) {
			scsi_fail(r, SENSE_FIELD_CDB);
			return;
		}
		len = format == 1 ? 16 : 24;
		if (format == 1) {
			out[5] = CTRL_DATA;
			out[6] = out[7] = 1;
			put_address(out + 8, 0, msf);
		} else if (format == 3) {
			out[5] = CTRL_DATA;
			out[6] = 1;
		}
	}
	put_be16(out + 2, (uint16_t)(len - 4));
	scsi_reply(r, out, len, get_be16(r->cdb + 7));
}

/* [MMC-6 "READ DISC STRUCTURE Command"]: physical format, copyright (none), list of these. */
static void do_dvd_structure(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const uint8_t format = r->cdb[7];
	uint8_t out[4 + 2048] = { 0 };
	unsigned len;

	if (r->cdb[1] & 0xf || (format > 1 && format != 0xff) || (format < 1 && r->cdb[6])) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (!is_dvd(l)) {
		scsi_fail(r, SENSE_WRONG_FORMAT);
		return;
	}
	if (format == 0) {
		out[4] = 0x01;          /* DVD-ROM, version 1 */
		out[5] = 0x0f;          /* 120 mm, no maximum rate */
		out[6] = 0x01;          /* one layer, embossed */
		put_be32(out + 8, DVD_FIRST);
		put_be32(out + 12, DVD_FIRST + blocks32(l) - 1);
		len = sizeof(out);
	} else if (format == 1) {
		len = 8;
	} else {
		static const uint8_t list[] = { 0x00, 0x40, 0x08, 0x04, 0x01, 0x40, 0x00, 0x08 };

		memcpy(out + 4, list, sizeof(list));
		len = 4 + sizeof(list);
	}
	put_be16(out, (uint16_t)(len - 2));
	scsi_reply(r, out, len, get_be16(r->cdb + 8));
}

/* --- Features [MMC-6 "Features and Profiles"] --- */

struct feature {
	uint16_t code;
	uint8_t flags;                  /* version << 2, persistent, current */
	uint8_t len;
	uint8_t data[8];
};

static void features(const struct scsi_lun *l, struct feature out[10], unsigned *n)
{
	const bool dvd = present(l) && is_dvd(l), cd = present(l) && !dvd;
	const struct feature all[] = {
		{ 0x0000, 0x03, 8, { 0, PROFILE_DVD, dvd, 0, 0, PROFILE_CD, cd, 0 } },
		{ 0x0001, 0x0b, 8, { 0, 0, 0, l->atapi ? 2 : 1, 1 } },          /* core; DBE */
		{ 0x0002, 0x07, 4, { 2 } },                                     /* morphing: OCEVENT */
		{ 0x0003, 0x03, 4, { 0x29 } },                                  /* tray, ejects, locks */
		{ 0x0010, dvd || cd, 8, { 0, 0, 0x08, 0, 0, 1, 0, 0 } },        /* random access, 2048 bytes */
		{ 0x001d, dvd || cd, 0, { 0 } },                                /* multi-read */
		{ 0x001e, 0x08 | cd, 4, { 0 } },                                /* CD */
		{ 0x001f, 0x04 | dvd, 4, { 0 } },                               /* DVD */
		{ 0x0100, 0x03, 0, { 0 } },                                     /* power management */
		{ 0x0105, 0x07, 4, { 0 } },                                     /* timeout */
	};

	memcpy(out, all, sizeof(all));
	*n = NELEM(all);
}

static void do_configuration(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const unsigned rt = r->cdb[1] & 3, from = get_be16(r->cdb + 2);
	struct feature f[10];
	uint8_t out[8 + sizeof(f)] = { 0 };
	unsigned n, len = 8;

	if (rt == 3) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	features(l, f, &n);
	for (unsigned i = 0; i < n; i++) {
		if (rt == 2 ? f[i].code != from : f[i].code < from || (rt == 1 && !(f[i].flags & 1)))
			continue;
		put_be16(out + len, f[i].code);
		out[len + 2] = f[i].flags;
		out[len + 3] = f[i].len;
		memcpy(out + len + 4, f[i].data, f[i].len);
		len += 4u + f[i].len;
	}
	put_be32(out, len - 4);
	put_be16(out + 6, !present(l) ? 0 : is_dvd(l) ? PROFILE_DVD : PROFILE_CD);
	scsi_reply(r, out, len, get_be16(r->cdb + 7));
}

/* --- The medium comes and goes --- */

#define CLASS_MEDIA 4

static void do_event_status(struct scsi_req *r)
{
	struct scsi_lun *l = r->lun;
	uint8_t out[8] = { 0, 2, 0x80, 1 << CLASS_MEDIA };       /* no event available */

	if (!(r->cdb[1] & 1)) {
		scsi_fail(r, SENSE_FIELD_CDB);  /* asynchronous */
		return;
	}
	if (!(r->cdb[4] & 1 << CLASS_MEDIA)) {
		scsi_reply(r, out, 4, get_be16(r->cdb + 7));
		return;
	}
	out[1] = 6;
	out[2] = CLASS_MEDIA;
	out[4] = l->event;
	out[5] = (uint8_t)(l->tray_open | (present(l) ? 2 : 0));
	if (get_be16(r->cdb + 7) > 4)
		l->event = EVENT_NONE;
	scsi_reply(r, out, sizeof(out), get_be16(r->cdb + 7));
}

static void tray(struct scsi_lun *l, bool open)
{
	if (l->tray_open == open)
		return;
	l->tray_open = open;
	if (open || l->blk)
		l->event = open ? EVENT_REMOVAL : EVENT_NEW_MEDIUM;
	if (!open && l->blk && l->ua_asc != UA_RESET) {
		l->ua_asc = UA_MEDIUM;
		l->ua_ascq = 0;
	}
	if (l->tray_moved)
		l->tray_moved(l);
}

static void do_start_stop(struct scsi_req *r)
{
	const uint8_t how = r->cdb[4];

	if (!(how >> 4) && how & 2) {
		if (!(how & 1) && r->lun->locked) {
			scsi_fail(r, SENSE_PREVENTED);
			return;
		}
		tray(r->lun, !(how & 1));
	}
	scsi_good(r);
}

static void do_prevent(struct scsi_req *r)
{
	r->lun->locked = r->cdb[4] & 1;
	scsi_good(r);
}

static void do_mechanism(struct scsi_req *r)
{
	uint8_t out[8] = { 0, r->lun->tray_open ? 0x10 : 0, 0, 0, 0, 1 };

	scsi_reply(r, out, sizeof(out), get_be16(r->cdb + 8));
}

/* --- Speed --- */

static uint32_t speed(const struct scsi_lun *l)
{
	return present(l) && is_dvd(l) ? SPEED_DVD : SPEED_CD;
}

static void do_set_speed(struct scsi_req *r)
{
	scsi_good(r);
}

/* Nominal read performance, from the first to the last block [MMC-6 "GET PERFORMANCE Command"]; there is none in writing. */
static void do_performance(struct scsi_req *r)
{
	const struct scsi_lun *l = r->lun;
	const uint8_t type = r->cdb[10], what = r->cdb[1];
	uint8_t out[8 + 16] = { 0 };
	unsigned len = 8;

	if ((type != 0 && type != 3) || (type == 0 && what >> 3 != 2)) {
		scsi_fail(r, SENSE_FIELD_CDB);
		return;
	}
	if (type == 0 && !(what & 4) && !(what & 3) && get_be16(r->cdb + 8)) {
		put_be32(out + 12, speed(l));
		put_be32(out + 16, blocks32(l) - 1);
		put_be32(out + 20, speed(l));
		len += 16;
	}
	out[4] = type == 0 && what & 4 ? 2 : 0;
	put_be32(out, len - 4);
	scsi_reply(r, out, len, sizeof(out));
}

/* --- Mode pages --- */

#define CAPABILITIES 0x2a

static unsigned cd_mode(const struct scsi_lun *l, uint8_t page, unsigned pc, uint8_t *out)
{
	static const uint8_t len[] = { [0x01] = 0x0a, [0x1a] = 0x0a, [CAPABILITIES] = 0x14 };

	out[0] = page;
	out[1] = len[page];
	if (page == CAPABILITIES && pc != PC_CHANGEABLE) {
		out[2] = 0x0f;          /* CD-R, CD-RW, method 2, DVD-ROM */
		out[4] = 0x70;          /* several sessions, mode 2 forms */
		out[6] = 0x29 | (l->locked ? 2 : 0);    /* tray, ejects, locks */
		put_be16(out + 8, (uint16_t)speed(l));
		put_be16(out + 12, 2048);       /* KiB of buffer */
		put_be16(out + 14, (uint16_t)speed(l));
	}
	return 2u + len[page];
}

static bool cd_select(struct scsi_lun *l, const uint8_t *page)
{
	(void)l;
	(void)page;
	return false;
}

#define CD CMD_MEDIUM
static const struct scsi_cmd cd_cmds[] = {
	SPC_CMDS,
	{ 0x28, SA_NONE, CD, do_read, { 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff } },
	{ 0xa8, SA_NONE, CD, do_read, { 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	{ 0x88, SA_NONE, CD, do_read, { 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	{ 0xbe, SA_NONE, CD, do_read_cd, { 0x1c, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf8, 0x07 } },
	{ 0x2b, SA_NONE, CD, do_seek, { 0, 0xff, 0xff, 0xff, 0xff } },
	{ 0x43, SA_NONE, CD, do_read_toc, { 0x02, 0x0f, 0, 0, 0, 0xff, 0xff, 0xff, 0xc0 } },
	{ 0x51, SA_NONE, CD, do_disc_information, { 0x07, 0, 0, 0, 0, 0, 0xff, 0xff } },
	{ 0x52, SA_NONE, CD, do_track_information, { 0x03, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff } },
	{ 0x42, SA_NONE, CD, do_sub_channel, { 0x02, 0x40, 0xff, 0, 0, 0xff, 0xff, 0xff } },
	{ 0xad, SA_NONE, CD, do_dvd_structure, { 0x0f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } },
	{ 0x46, SA_NONE, CMD_NO_UA, do_configuration, { 0x03, 0xff, 0xff, 0, 0, 0, 0xff, 0xff } },
	{ 0x4a, SA_NONE, CMD_NO_UA, do_event_status, { 0x01, 0, 0, 0xff, 0, 0, 0xff, 0xff } },
	{ 0x1b, SA_NONE, 0, do_start_stop, { 0, 0, 0, 0xf3 } },
	{ 0x1e, SA_NONE, 0, do_prevent, { 0, 0, 0, 0x03 } },
	{ 0xbd, SA_NONE, 0, do_mechanism, { 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } },
	{ 0xbb, SA_NONE, 0, do_set_speed, { 0x03, 0xff, 0xff, 0xff, 0xff } },
	{ 0xac, SA_NONE, CD, do_performance, { 0x1f, 0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff } },
};

const struct scsi_kind scsi_cd_kind = {
	.cmds = cd_cmds, .ncmds = NELEM(cd_cmds),
	.vpds = (const uint8_t[]){ 0x80, 0x83, 0 },
	.modes = (const uint8_t[]){ 0x01, 0x1a, CAPABILITIES, 0 }, .mode = cd_mode, .select = cd_select,
	.version = 5,                   /* SPC-3, as MMC-6 drives say */
};

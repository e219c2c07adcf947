/*
 * The disk behind an AHCI port: ATA commands [ACS-3 "Command descriptions"] over devices/block/.
 *
 * Modelled: what current systems and firmware use, in PIO, DMA and queued form; TRIM; the queued error log.  Not modelled: SMART,
 * security, host protected area, streaming, CHS addresses (refused), queued TRIM.  A long transfer goes to the disk in pieces of
 * at most AHCI_IOV_MAX runs of guest memory, so the memory a command may cost is bounded.
 */
#include <stdlib.h>

#include "common/util.h"
#include "devices/ahci/ahci.h"

enum {
	OP_HD = BIT(0), OP_CD = BIT(1), OP_EXT = BIT(2), OP_WRITE = BIT(3), OP_PIO = BIT(4), OP_FUA = BIT(5), OP_NCQ = BIT(6),
	OP_MULT = BIT(7), OP_VERIFY = BIT(8), OP_ASLEEP = BIT(9),
};
struct ata_op {
	void (*run)(struct ahci_cmd *);
	unsigned flags;
	unsigned arg;
};

#define TRIM_PAGES_MAX 8u               /* IDENTIFY word 105 */
#define SCRATCH_LEN KIB(64)             /* for READ VERIFY */
#define LOG_DIRECTORY 0x00
#define LOG_NCQ_ERROR 0x10

static uint64_t lba28(const uint8_t *f)
{
	return f[4] | f[5] << 8 | (uint32_t)f[6] << 16 | (uint32_t)(f[7] & 15) << 24;
}

static uint64_t lba48(const uint8_t *f)
{
	return f[4] | f[5] << 8 | (uint64_t)f[6] << 16 | (uint64_t)f[8] << 24 | (uint64_t)f[9] << 32 | (uint64_t)f[10] << 40;
}

static void refuse(struct ahci_cmd *c)
{
	cmd_fail(c, ATA_DRDY | ATA_ERR, ATA_ABRT);
}

/* A PIO command's answer. */
static void reply(struct ahci_cmd *c, const void *data, uint64_t len)
{
	c->proto = PROTO_PIO_IN;
	if (cmd_put(c, data, len) != UINT64_MAX)
		cmd_good(c);
}

static void submit(struct ahci_cmd *c, enum blk_op op, uint64_t off, uint64_t len, void (*done)(struct blk_req *))
{
	struct blk_req *b = &c->scsi.blk;

	b->op = op;
	b->off = off;
	b->len = len;
	b->done = done;
	cmd_start(c);
	blk_submit(c->port->blk, b);
}

/* False: the request has failed, which the block layer has reported, and with it the command. */
static bool host_ok(struct ahci_cmd *c)
{
	const struct blk_req *b = &c->scsi.blk;

	if (!b->ret)
		return true;
	cmd_fail(c, ATA_DRDY | ATA_ERR, b->op == BLK_READ ? ATA_UNC : ATA_ABRT);
	return false;
}

static void on_plain(struct blk_req *b)
{
	struct ahci_cmd *c = (struct ahci_cmd *)b;

	if (cmd_landed(c) && host_ok(c))
		cmd_good(c);
}

/* --- Reading and writing --- */

/* As cmd_map(), but whole sectors. */
static uint64_t map_sectors(struct ahci_cmd *c, uint64_t max, unsigned *niov)
{
	const uint32_t sector = blk_logical(c->port->blk), prd = c->prd, prd_off = c->prd_off;
	uint64_t n = cmd_map(c, max, niov);

	if (n == UINT64_MAX || n % sector == 0)
		return n;
	c->prd = prd;
	c->prd_off = prd_off;
	n -= n % sector;
	return n && cmd_map(c, n, niov) == n ? n : 0;
}

/* READ VERIFY moves nothing to the guest: all of it lands in one buffer. */
static uint64_t map_scratch(struct ahci_cmd *c, uint64_t max, unsigned *niov)
{
	if (!c->buf) {
		c->buf = malloc(SCRATCH_LEN);
		free(c->iov);
		c->iov = calloc(AHCI_IOV_MAX, sizeof(*c->iov));
		c->iov_cap = c->iov ? AHCI_IOV_MAX : 0;
	}
	if (!c->buf || !c->iov)
		return 0;
	const uint64_t n = MIN(max, AHCI_IOV_MAX * SCRATCH_LEN);

	for (*niov = 0; *niov * SCRATCH_LEN < n; (*niov)++)
		c->iov[*niov] = (struct iovec){ c->buf, MIN(SCRATCH_LEN, n - *niov * SCRATCH_LEN) };
	return n;
}

static void on_piece(struct blk_req *b);

static void next_piece(struct ahci_cmd *c)
{
	struct blk_req *b = &c->scsi.blk;
	const uint64_t n = c->op->flags & OP_VERIFY ? map_scratch(c, c->left, &b->niov) : map_sectors(c, c->left, &b->niov);

	if (n == UINT64_MAX)
		return;
	if (n == 0) {           /* the data has no place to go to, or come from */
		c->port->is |= IS_OFS;
		refuse(c);
		return;
	}
	b->iov = c->iov;
	submit(c, c->op->flags & OP_WRITE ? BLK_WRITE : BLK_READ, c->off, n, on_piece);
}

static void on_piece(struct blk_req *b)
{
	struct ahci_cmd *c = (struct ahci_cmd *)b;

	if (!cmd_landed(c) || !host_ok(c))
		return;
	if (!(c->op->flags & OP_VERIFY))
		c->moved += b->len;
	c->off += b->len;
	c->left -= b->len;
	if (c->left)
		next_piece(c);
	else
		cmd_good(c);
}

/* Whether the disk has these sectors; false: the command has failed. */
static bool range_ok(struct ahci_cmd *c, uint64_t lba, uint64_t count)
{
	const uint64_t total = ata_sectors(c->port);

	if (count <= total && lba <= total - count)
		return true;
	cmd_fail(c, ATA_DRDY | ATA_ERR, ATA_IDNF);
	return false;
}

static void run_rw(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;
	const unsigned flags = c->op->flags;
	const uint8_t *f = c->fis;
	const uint64_t lba = flags & (OP_EXT | OP_NCQ) ? lba48(f) : lba28(f);
	uint64_t count = flags & OP_NCQ ? f[3] | f[11] << 8 : flags & OP_EXT ? f[12] | f[13] << 8 : f[12];
	bool fua = flags & OP_FUA;

	if (count == 0)
		count = flags & (OP_EXT | OP_NCQ) ? 65536 : 256;
	if (flags & OP_NCQ) {
		fua = f[7] & 0x80;
		cmd_queued(c);
	}
	if (!p->blk || !(f[7] & 0x40) || (flags & OP_MULT && !p->multiple) || (flags & OP_WRITE && blk_read_only(p->blk)) ||
	    (flags & OP_NCQ && f[12] >> 3 != c->slot)) {
		refuse(c);
		return;
	}
	if (!range_ok(c, lba, count))
		return;
	if (flags & OP_PIO && !(flags & OP_WRITE))
		c->proto = PROTO_PIO_IN;
	c->off = lba * blk_logical(p->blk);
	c->left = count * blk_logical(p->blk);
	c->scsi.blk.fua = flags & OP_WRITE && (fua || !p->write_cache);
	next_piece(c);
}

static void run_flush(struct ahci_cmd *c)
{
	if (c->port->blk)
		submit(c, BLK_FLUSH, 0, 0, on_plain);
	else
		refuse(c);
}

/* --- [ACS-3 DATA SET MANAGEMENT], TRIM: 64-bit entries of a 48-bit address and a 16-bit length --- */

static uint64_t trim_lba(const struct ahci_cmd *c, uint32_t i)
{
	return get_le64(c->buf + 8 * i) & 0xffffffffffffull;
}

static uint32_t trim_len(const struct ahci_cmd *c, uint32_t i)
{
	return get_le16(c->buf + 8 * i + 6);
}

static void on_trimmed(struct blk_req *b);

/* The next entry, with those that continue it. */
static void trim_next(struct ahci_cmd *c)
{
	const uint32_t n = c->npages * ATA_LOG_LEN / 8;
	const uint64_t sector = blk_logical(c->port->blk);

	while (c->range < n && trim_len(c, c->range) == 0)
		c->range++;
	if (c->range == n) {
		cmd_good(c);
		return;
	}
	const uint64_t lba = trim_lba(c, c->range);
	uint64_t len = trim_len(c, c->range++);

	while (c->range < n && trim_len(c, c->range) && trim_lba(c, c->range) == lba + len)
		len += trim_len(c, c->range++);
	submit(c, BLK_DISCARD, lba * sector, len * sector, on_trimmed);
}

static void on_trimmed(struct blk_req *b)
{
	struct ahci_cmd *c = (struct ahci_cmd *)b;

	if (cmd_landed(c) && host_ok(c))
		trim_next(c);
}

static void run_trim(struct ahci_cmd *c)
{
	const struct ahci_port *p = c->port;
	const uint64_t total = ata_sectors(p);

	c->npages = c->fis[12] | c->fis[13] << 8;
	if (!p->blk || !p->trim || c->fis[3] != 1 || c->npages == 0 || c->npages > TRIM_PAGES_MAX) {
		refuse(c);
		return;
	}
	const uint64_t len = c->npages * ATA_LOG_LEN;

	c->buf = malloc(len);
	const uint64_t got = c->buf ? cmd_get(c, c->buf, len) : 0;

	if (got == UINT64_MAX)
		return;
	if (got != len) {
		refuse(c);
		return;
	}
	for (uint32_t i = 0; i < len / 8; i++) {
		if (trim_len(c, i) && (trim_lba(c, i) >= total || trim_len(c, i) > total - trim_lba(c, i))) {
			cmd_fail(c, ATA_DRDY | ATA_ERR, ATA_IDNF);
			return;
		}
	}
	c->range = 0;
	trim_next(c);
}

/* --- What the device is and how it is set --- */

void ata_signature(const struct ahci_port *p, uint8_t fis[ATA_FIS_LEN])
{
	fis[4] = fis[12] = 1;
	fis[5] = p->type == AHCI_CD ? 0x14 : 0;
	fis[6] = p->type == AHCI_CD ? 0xeb : 0;
	fis[7] = fis[8] = fis[9] = fis[10] = fis[13] = 0;
}

static void run_identify(struct ahci_cmd *c)
{
	uint8_t data[512];

	ata_identify(c->port, data);
	reply(c, data, sizeof(data));
}

static void run_identify_packet(struct ahci_cmd *c)
{
	uint8_t data[512];

	ata_identify_packet(c->port, data);
	reply(c, data, sizeof(data));
}

/* What a CD drive says to a disk's IDENTIFY or READ SECTORS [ACS-3 IDENTIFY DEVICE, outputs for PACKET devices]. */
static void run_not_disk(struct ahci_cmd *c)
{
	ata_signature(c->port, c->fis);
	refuse(c);
}

/* EXECUTE DEVICE DIAGNOSTIC; a CD drive's DEVICE RESET, whose status is 0 [ACS-3 DEVICE RESET]. */
static void run_signature(struct ahci_cmd *c)
{
	ata_signature(c->port, c->fis);
	cmd_good_status(c, c->port->type == AHCI_CD ? 0 : ATA_GOOD, 1);
}

static bool xfer_ok(uint8_t mode)
{
	return mode <= 0x01 || (mode >= 0x08 && mode <= 0x0c) || (mode >= 0x20 && mode <= 0x22) || (mode >= 0x40 && mode <= 0x46);
}

static void run_set_features(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;
	const bool hd = p->type == AHCI_HD;
	bool ok = true;

	switch (c->fis[3]) {
	case 0x02: p->write_cache |= ok = hd; break;
	case 0x82:
		ok = hd;
		p->write_cache &= !hd;
		break;
	case 0x03:
		ok = xfer_ok(c->fis[12]);
		if (ok)
			p->xfer = c->fis[12];
		break;
	case 0xaa: p->look_ahead = true; break;
	case 0x55: p->look_ahead = false; break;
	case 0x66: case 0xcc: break;    /* settings outlive a software reset; they always do */
	default: ok = false;
	}
	if (!ok) {
		refuse(c);
	} else if (c->fis[3] == 0x82 && p->blk) {
		run_flush(c);           /* what is in the cache becomes stable */
	} else {
		cmd_good(c);
	}
}

static void run_set_multiple(struct ahci_cmd *c)
{
	const uint8_t n = c->fis[12];

	if (n > 16 || (n & (n - 1))) {
		refuse(c);
		return;
	}
	c->port->multiple = n;
	cmd_good(c);
}

/* Logs of one page each [ACS-3 "General Purpose Log Directory", "NCQ Command Error log"]. */
static void run_read_log(struct ahci_cmd *c)
{
	const struct ahci_port *p = c->port;
	const uint32_t page = c->fis[5] | c->fis[9] << 8, count = c->fis[12] | c->fis[13] << 8;
	uint8_t log[ATA_LOG_LEN] = { 0 };

	if (page != 0 || count != 1 || (c->fis[4] != LOG_DIRECTORY && c->fis[4] != LOG_NCQ_ERROR)) {
		refuse(c);
		return;
	}
	if (c->fis[4] == LOG_DIRECTORY) {
		put_le16(log, 1);
		put_le16(log + 2 * LOG_NCQ_ERROR, 1);
	} else if (p->ncq_error[1]) {
		memcpy(log, p->ncq_error, sizeof(p->ncq_error));
		log[1] = 0;
		log[511] = (uint8_t)-byte_sum(log, 511);
	} else {
		log[0] = 0x80;          /* no queued command has failed */
		log[511] = 0x80;
	}
	reply(c, log, sizeof(log));
}

/* --- [ACS-3 "Power Management feature set"] --- */

static void run_power(struct ahci_cmd *c)
{
	c->port->power = (uint8_t)c->op->arg;
	cmd_good(c);
}

static void run_check_power(struct ahci_cmd *c)
{
	c->fis[12] = c->port->power;
	cmd_good(c);
}

/* --- The table; what is not in it is refused --- */

#define ROW(more) { run_rw, OP_HD | (more), 0 }
#define BOTH (OP_HD | OP_CD)
static const struct ata_op ops[256] = {
	[0x08] = { run_signature, OP_CD | OP_ASLEEP, 0 },
	[0x06] = { run_trim, OP_HD, 0 },
	[0x20] = ROW(OP_PIO), [0x21] = ROW(OP_PIO), [0x24] = ROW(OP_PIO | OP_EXT),
	[0x25] = ROW(OP_EXT), [0x29] = ROW(OP_PIO | OP_EXT | OP_MULT),
	[0x2f] = { run_read_log, OP_HD, 0 },
	[0x30] = ROW(OP_PIO | OP_WRITE), [0x31] = ROW(OP_PIO | OP_WRITE), [0x34] = ROW(OP_PIO | OP_EXT | OP_WRITE),
	[0x35] = ROW(OP_EXT | OP_WRITE), [0x39] = ROW(OP_PIO | OP_EXT | OP_MULT | OP_WRITE),
	[0x3d] = ROW(OP_EXT | OP_WRITE | OP_FUA),
	[0x40] = ROW(OP_VERIFY), [0x41] = ROW(OP_VERIFY), [0x42] = ROW(OP_VERIFY | OP_EXT),
	[0x60] = ROW(OP_NCQ), [0x61] = ROW(OP_NCQ | OP_WRITE),
	[0x90] = { run_signature, BOTH, 0 },
	[0xa0] = { atapi_packet, OP_CD, 0 },
	[0xa1] = { run_identify_packet, OP_CD, 0 },
	[0xc4] = ROW(OP_PIO | OP_MULT), [0xc5] = ROW(OP_PIO | OP_MULT | OP_WRITE),
	[0xc6] = { run_set_multiple, OP_HD, 0 },
	[0xc8] = ROW(0), [0xc9] = ROW(0), [0xca] = ROW(OP_WRITE), [0xcb] = ROW(OP_WRITE),
	[0xce] = ROW(OP_PIO | OP_EXT | OP_MULT | OP_WRITE | OP_FUA),
	[0x94] = { run_power, BOTH, POWER_STANDBY }, [0xe0] = { run_power, BOTH, POWER_STANDBY },
	[0x95] = { run_power, BOTH, POWER_IDLE }, [0xe1] = { run_power, BOTH, POWER_IDLE },
	[0x96] = { run_power, OP_HD, POWER_STANDBY }, [0xe2] = { run_power, OP_HD, POWER_STANDBY },
	[0x97] = { run_power, OP_HD, POWER_IDLE }, [0xe3] = { run_power, OP_HD, POWER_IDLE },
	[0x98] = { run_check_power, BOTH, 0 }, [0xe5] = { run_check_power, BOTH, 0 },
	[0x99] = { run_power, BOTH, POWER_SLEEP }, [0xe6] = { run_power, BOTH, POWER_SLEEP },
	[0xe7] = { run_flush, OP_HD, 0 }, [0xea] = { run_flush, OP_HD, 0 },
	[0xec] = { run_identify, OP_HD, 0 },
	[0xef] = { run_set_features, BOTH, 0 },
};
static const struct ata_op not_disk = { run_not_disk, OP_CD, 0 };

void ata_command(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;
	const uint8_t code = c->fis[2];
	const struct ata_op *op = &ops[code];

	if (p->type == AHCI_CD && (code == 0xec || code == 0x20))
		op = &not_disk;
	c->op = op;
	if (op->flags & OP_NCQ && op->flags & OP_HD && p->type == AHCI_HD)
		c->proto = PROTO_NCQ;
	else
		p->tfd |= ATA_BSY;
	if (!(op->flags & (p->type == AHCI_CD ? OP_CD : OP_HD)) || (p->power == POWER_SLEEP && !(op->flags & OP_ASLEEP)) ||
	    (c->proto != PROTO_NCQ && p->busy)) {
		refuse(c);              /* the last: plain commands do not mix with queued ones */
		return;
	}
	if (op->run == run_rw || op->run == atapi_packet)
		p->power = POWER_ACTIVE;
	op->run(c);
}

/*
 * What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE answer [ACS-3 IDENTIFY DEVICE, IDENTIFY PACKET DEVICE].
 */
#include "common/util.h"
#include "devices/ahci/ahci.h"

#define W(n) (out + 2 * (n))
#define VALID 0x4000u                   /* bit 14 set, 15 clear: the word means something */
#define CYLINDERS_MAX 16383u

/* Text goes with its bytes swapped in each word. */
static void text(uint8_t *out, const char *s, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		out[i ^ 1] = (uint8_t)s[i];
}

static void checksum(uint8_t out[512])
{
	out[510] = 0xa5;
	out[511] = (uint8_t)-byte_sum(out, 511);
}

uint64_t ata_sectors(const struct ahci_port *p)
{
	return p->blk ? ALIGN_UP(blk_size(p->blk), (uint64_t)blk_logical(p->blk)) / blk_logical(p->blk) : 0;
}

/* Transfer modes: which there are, and which is selected [ACS-3 IDENTIFY DEVICE words 53, 63, 64, 88]. */
static void modes(const struct ahci_port *p, uint8_t *out)
{
	put_le16(W(53), 0x6);
	put_le16(W(63), (uint16_t)(0x07 | (p->xfer >> 3 == 0x20 >> 3 ? 0x100 << (p->xfer & 7) : 0)));
	put_le16(W(64), 0x03);
	for (unsigned n = 65; n <= 68; n++)
		put_le16(W(n), 120);    /* ns */
	put_le16(W(88), (uint16_t)(0x7f | (p->xfer >> 3 == 0x40 >> 3 ? 0x100 << (p->xfer & 7) : 0)));
}

static void names(const struct ahci_port *p, uint8_t *out)
{
	text(W(10), p->serial, DISK_SERIAL_LEN);
	text(W(23), p->rev, ATA_REV_LEN);
	text(W(27), p->model, ATA_MODEL_LEN);
}

/* NAA 3, locally assigned [ACS-3 IDENTIFY DEVICE words 108-111]: FNV-1a over serial number and model. */
static void wwn(const struct ahci_port *p, uint8_t *out)
{
	uint64_t h = 0xcbf29ce484222325;

	for (unsigned i = 0; i < DISK_SERIAL_LEN; i++)
		h = (h ^ (uint8_t)p->serial[i]) * 0x100000001b3;
	for (unsigned i = 0; i < ATA_MODEL_LEN; i++)
		h = (h ^ (uint8_t)p->model[i]) * 0x100000001b3;
	h = h >> 4 | 3ull << 60;
	for (unsigned i = 0; i < 4; i++)
		put_le16(W(108 + i), (uint16_t)(h >> (48 - 16 * i)));
}

static void geometry(const struct ahci_port *p, uint8_t *out)
{
	const uint64_t sectors = ata_sectors(p);
	const uint32_t logical = p->blk ? blk_logical(p->blk) : 512, physical = MAX(p->blk ? blk_physical(p->blk) : 512, logical);
	const unsigned exp = (unsigned)__builtin_ctz(physical / logical);

	put_le16(W(1), (uint16_t)MIN(sectors / (16 * 63), CYLINDERS_MAX));
	put_le16(W(3), 16);
	put_le16(W(6), 63);
	put_le32(W(60), (uint32_t)MIN(sectors, 0xfffffffu));
	put_le64(W(100), sectors);
	put_le16(W(106), (uint16_t)(VALID | (exp ? 0x2000 | MIN(exp, 15u) : 0) | (logical > 512 ? 0x1000 : 0)));
	if (logical > 512)
		put_le32(W(117), logical / 2);
	put_le16(W(209), VALID);
}

static void features(const struct ahci_port *p, uint8_t *out)
{
	const uint16_t have82 = 0x4068;         /* NOP, look-ahead, write cache, power management */
	const uint16_t on = (uint16_t)((p->look_ahead ? 0x40 : 0) | (p->write_cache ? 0x20 : 0));

	put_le16(W(82), have82);
	put_le16(W(83), VALID | 0x3400);        /* FLUSH CACHE (EXT), 48-bit */
	put_le16(W(84), VALID | 0x0160);        /* WWN, FUA EXT, general purpose logs */
	put_le16(W(85), (uint16_t)((have82 & ~0x60) | on));
	put_le16(W(86), 0xb400);                /* as word 83; words 119 and 120 are valid */
	put_le16(W(87), VALID | 0x0160);
	put_le16(W(119), VALID);
	put_le16(W(120), VALID);
	if (p->trim) {
		put_le16(W(69), 0x4000);        /* what is trimmed reads the same every time */
		put_le16(W(105), 8);
		put_le16(W(169), 1);
	}
}

static void sata(uint8_t *out)
{
	put_le16(W(77), 3 << 1);                /* 6 Gbit/s now */
	put_le16(W(80), 0x07f0);                /* up to ACS-3 */
	put_le16(W(222), 0x107f);               /* serial, up to SATA 3.0 */
}

void ata_identify(const struct ahci_port *p, uint8_t out[512])
{
	memset(out, 0, 512);
	put_le16(W(0), 0x0040);
	names(p, out);
	put_le16(W(47), 0x8010);                /* READ MULTIPLE of up to 16 sectors */
	put_le16(W(49), 0x0f00);                /* DMA, LBA, IORDY */
	put_le16(W(50), VALID);
	modes(p, out);
	put_le16(W(59), (uint16_t)(p->multiple ? 0x100 | p->multiple : 0));
	geometry(p, out);
	put_le16(W(75), AHCI_SLOTS - 1);
	put_le16(W(76), 0x010e);                /* NCQ; all three speeds */
	features(p, out);
	sata(out);
	wwn(p, out);
	put_le16(W(217), p->nmrr);
	checksum(out);
}

void ata_identify_packet(const struct ahci_port *p, uint8_t out[512])
{
	memset(out, 0, 512);
	put_le16(W(0), 0x85c0);                 /* CD drive, removable, DRQ within 50 us, packets of 12 bytes */
	names(p, out);
	put_le16(W(49), 0x0f00);
	put_le16(W(50), VALID);
	modes(p, out);
	put_le16(W(76), 0x000e);
	put_le16(W(82), 0x4218);                /* NOP, DEVICE RESET, PACKET, power management */
	put_le16(W(83), VALID);
	put_le16(W(84), VALID);
	put_le16(W(85), 0x4218);
	put_le16(W(87), VALID);
	sata(out);
	checksum(out);
}

/*
 * NVMe Identify [NVME-1.4 5.15]: the controller, its one namespace, lists of both.
 *
 * Names: the serial number is the disk's.  Unless the option eui64 gives one, the EUI-64 is 02h (locally administered)
 * and the low 56 bits of FNV-1a (64 bits) over the 20 characters of the serial number; the NGUID is a second such hash and
 * the EUI-64; the UUID is version 8 [RFC 9562 5.8] of both hashes.  The same serial number always gives the same names.
 */
#include <stdio.h>

#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define IDENTIFY_LEN 4096
#define NOWS_BYTES (64u << 10)          /* good size of a write */

const char nvme_firmware[9] = "1.0     ";

/* --- Names --- */

static uint64_t fnv(const char *s, size_t n, uint64_t h)
{
	while (n--)
		h = (h ^ (uint8_t)*s++) * 0x100000001b3;
	return h;
}

void nvme_names(struct nvme *c, uint64_t eui64)
{
	const uint64_t a = fnv(c->serial, NVME_SERIAL_LEN, 0xcbf29ce484222325), b = fnv(c->serial, NVME_SERIAL_LEN, ~a);

	put_be64(c->eui64, eui64 ? eui64 : (a & 0xffffffffffffff) | 0x0200000000000000);
	put_be64(c->nguid, b);
	memcpy(c->nguid + 8, c->eui64, 8);
	put_be64(c->uuid, a);
	put_be64(c->uuid + 8, b);
	c->uuid[6] = (uint8_t)((c->uuid[6] & 0x0f) | 0x80);
	c->uuid[8] = (uint8_t)((c->uuid[8] & 0x3f) | 0x80);
}

static void pad(uint8_t *p, size_t len, const char *s)
{
	memset(p, ' ', len);
	memcpy(p, s, strnlen(s, len));
}

/* --- Controller [NVME-1.4 5.15.2.2] --- */

/* Compare, dataset management, write zeroes, save and select in features, verify. */
unsigned nvme_oncs(const struct nvme *c)
{
	return 0x01 | (c->dsm ? 0x04 : 0) | 0x08 | 0x10 | 0x80;
}

static void subnqn(const struct nvme *c, char *p, size_t len)
{
	const uint8_t *u = c->uuid;
	int n = snprintf(p, len, "nqn.2014-08.org.nvmexpress:uuid:");

	for (unsigned i = 0; i < 16; i++)
		n += snprintf(p + n, len - (size_t)n, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

static void controller(const struct nvme *c, uint8_t *p)
{
	memcpy(p, &c->pci.cfg[PCI_VENDOR], 2);
	memcpy(p + 2, &c->pci.cfg[PCI_SUBVENDOR], 2);
	memcpy(p + 4, c->serial, NVME_SERIAL_LEN);
	pad(p + 24, 40, "skep NVMe Disk");
	pad(p + 64, 8, nvme_firmware);
	p[72] = 4;                              /* RAB: bursts of 16 */
	p[77] = NVME_MDTS;
	put_le32(p + 80, NVME_VERSION);
	p[111] = 1;                             /* CNTRLTYPE: I/O */
	put_le16(p + 256, 0x100);               /* OACS: Doorbell Buffer Config */
	p[258] = NVME_ABORTS - 1;
	p[259] = NVME_AERS - 1;
	p[260] = 0x03;                          /* FRMW: one slot, read-only */
	p[261] = 0x07;                          /* LPA: SMART per namespace, effects, offsets in log pages */
	p[262] = NVME_ERRORS - 1;
	put_le16(p + 266, 343);                 /* WCTEMP, CCTEMP: kelvins */
	put_le16(p + 268, 373);
	put_le32(p + 328, 1u << 30);            /* SANICAP: none; media not modified after it */
	p[512] = 0x66;                          /* SQES, CQES: 64 and 16 bytes */
	p[513] = 0x44;
	put_le32(p + 516, 1);                   /* NN */
	put_le16(p + 520, (uint16_t)nvme_oncs(c));
	p[525] = 0x07;                          /* VWC: there is one; a flush of all namespaces is known */
	put_le32(p + 536, 0x00050001);          /* SGLS: any alignment, bit buckets, longer than the data */
	subnqn(c, (char *)p + 768, 256);
	put_le16(p + 2048, 500);                /* PSD0: at most 5 W */
}

/* --- Namespace [NVME-1.4 5.15.2.1] --- */

static void namespace(const struct nvme *c, uint8_t *p)
{
	const uint32_t logical = 1u << c->lbads, physical = c->blk ? blk_physical(c->blk) : logical;
	const uint16_t unit = (uint16_t)(physical / logical - 1);

	for (unsigned off = 0; off <= 16; off += 8)     /* NSZE, NCAP, NUSE */
		put_le64(p + off, c->blocks);
	p[24] = 0x10;                           /* NSFEAT: NPWG to NOWS are given */
	p[33] = c->read_only ? 0 : 0x09;        /* DLFEAT: deallocated blocks read as zeroes; also by Write Zeroes */
	put_le64(p + 48, c->blocks << c->lbads);        /* NVMCAP */
	for (unsigned off = 64; off <= 70; off += 2)    /* NPWG, NPWA, NPDG, NPDA */
		put_le16(p + off, unit);
	put_le16(p + 72, (uint16_t)(MAX(NOWS_BYTES, physical) / logical - 1));
	p[99] = c->read_only;                   /* NSATTR: write protected */
	memcpy(p + 104, c->nguid, 16);
	memcpy(p + 120, c->eui64, 8);
	p[128 + 2] = (uint8_t)c->lbads;
}

/* Namespace identification descriptors [NVME-1.4 5.15.2.4] */
static void descriptors(const struct nvme *c, uint8_t *p)
{
	const struct { uint8_t type, len; const uint8_t *id; } ids[] = {
		{ 1, 8, c->eui64 }, { 2, 16, c->nguid }, { 3, 16, c->uuid },
	};

	for (size_t i = 0; i < NELEM(ids); i++) {
		p[0] = ids[i].type;
		p[1] = ids[i].len;
		memcpy(p + 4, ids[i].id, ids[i].len);
		p += 4 + ids[i].len;
	}
}

static uint16_t fill(const struct nvme *c, const uint8_t *cmd, uint8_t *p)
{
	const uint32_t nsid = nvme_nsid(cmd);

	switch (nvme_dw(cmd, 10) & 0xff) {
	case 0x00:                              /* the namespace; if active, if allocated */
	case 0x11:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE | NVME_DNR;
		namespace(c, p);
		return NVME_SUCCESS;
	case 0x01:
		controller(c, p);
		return NVME_SUCCESS;
	case 0x02:                              /* namespaces above nsid: active, allocated */
	case 0x10:
		if (nsid >= 0xfffffffe)
			return NVME_INVALID_NAMESPACE | NVME_DNR;
		put_le32(p, nsid == 0);
		return NVME_SUCCESS;
	case 0x03:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE | NVME_DNR;
		descriptors(c, p);
		return NVME_SUCCESS;
	case 0x12:                              /* controllers, from a number on: of the namespace, of all */
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE | NVME_DNR;
		/* fallthrough */
	case 0x13:
		put_le16(p, nvme_dw(cmd, 10) >> 16 == 0);       /* one, whose number is 0 */
		return NVME_SUCCESS;
	default:
		return NVME_INVALID_FIELD | NVME_DNR;
	}
}

uint16_t nvme_identify(struct nvme *c, const uint8_t *cmd)
{
	uint8_t page[IDENTIFY_LEN] = { 0 };
	const uint16_t status = fill(c, cmd, page);

	return status ? status : nvme_admin_write(c, cmd, page, sizeof(page), sizeof(page));
}

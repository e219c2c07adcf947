/*
 * The least that makes an ITS turn one PCI function's message into an interrupt of the boot CPU [GICv3 IHI0069 5, 6]: flat
 * tables, one collection, one event.
 */
#include "tests/guest/guest.h"

#define GITS 0x08080000ull
#define GITS_CTLR 0x000
#define GITS_CBASER 0x080
#define GITS_CWRITER 0x088
#define GITS_CREADR 0x090
#define GITS_BASER 0x100
#define GITS_TRANSLATER 0x10040
#define GICR 0x080a0000ull
#define GICR_CTLR 0x00
#define GICR_PROPBASER 0x70
#define GICR_PENDBASER 0x78
#define BASER_VALID (1ull << 63)
#define BASER_TYPE(v) ((v) >> 56 & 7)
#define BASER_64K (2ull << 8)           /* page size; one page */
#define BASER_SHARED (1ull << 10 | 7ull << 59)  /* inner shareable, write-back */
#define REDIST_SHARED (1ull << 10 | 7ull << 7)
enum { TYPE_DEVICES = 1, TYPE_COLLECTIONS = 4 };
enum { CMD_SYNC = 0x05, CMD_MAPD = 0x08, CMD_MAPC = 0x09, CMD_MAPTI = 0x0a, CMD_INV = 0x0c };
#define CMD_VALID (1ull << 63)
#define ID_BITS 14                      /* of LPIs: 8192 of them */
#define LPI_ON 0x81                     /* priority 0x80, enabled */
#define EVENT_BITS 2
#define PAGE_64K 65536
#define WAIT_US 1000000

static uint64_t queue[512] __attribute__((aligned(PAGE_64K)));
static uint8_t devices[PAGE_64K] __attribute__((aligned(PAGE_64K)));
static uint8_t collections[PAGE_64K] __attribute__((aligned(PAGE_64K)));
static uint8_t pending[PAGE_64K] __attribute__((aligned(PAGE_64K)));
static uint8_t properties[1 << ID_BITS] __attribute__((aligned(4096)));
static uint64_t events[256] __attribute__((aligned(256)));

static void command(unsigned *at, uint64_t a, uint64_t b, uint64_t c)
{
	queue[(*at)++] = a;
	queue[(*at)++] = b;
	queue[(*at)++] = c;
	queue[(*at)++] = 0;
}

static void place_tables(void)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t at = GITS + GITS_BASER + 8 * i, v = mmio_read(at, 8);

		if (BASER_TYPE(v) == TYPE_DEVICES)
			mmio_write(at, 8, BASER_VALID | BASER_SHARED | BASER_64K | (uintptr_t)devices);
		else if (BASER_TYPE(v) == TYPE_COLLECTIONS)
			mmio_write(at, 8, BASER_VALID | BASER_SHARED | BASER_64K | (uintptr_t)collections);
	}
	mmio_write(GITS + GITS_CBASER, 8, BASER_VALID | BASER_SHARED | (uintptr_t)queue);
	mmio_write(GITS + GITS_CWRITER, 8, 0);
}

bool its_message(unsigned device, uint64_t *addr, uint32_t *data, unsigned *n)
{
	uint64_t start = clock_us();
	unsigned at = 0;

	properties[0] = LPI_ON;
	memory_barrier();
	mmio_write(GICR + GICR_PROPBASER, 8, REDIST_SHARED | (uintptr_t)properties | (ID_BITS - 1));
	mmio_write(GICR + GICR_PENDBASER, 8, REDIST_SHARED | (uintptr_t)pending);
	mmio_write(GICR + GICR_CTLR, 4, 1);
	place_tables();
	mmio_write(GITS + GITS_CTLR, 4, 1);
	command(&at, CMD_MAPC, 0, CMD_VALID);
	command(&at, CMD_MAPD | (uint64_t)device << 32, EVENT_BITS - 1, CMD_VALID | (uintptr_t)events);
	command(&at, CMD_MAPTI | (uint64_t)device << 32, (uint64_t)LPI_FIRST << 32, 0);
	command(&at, CMD_INV | (uint64_t)device << 32, 0, 0);
	command(&at, CMD_SYNC, 0, 0);
	memory_barrier();
	mmio_write(GITS + GITS_CWRITER, 8, 8 * at);
	while (mmio_read(GITS + GITS_CREADR, 8) != 8 * at) {
		if (clock_us() - start > WAIT_US)
			return false;
	}
	*addr = GITS + GITS_TRANSLATER;
	*data = 0;
	*n = LPI_COUNT;
	return true;
}

/*
 * PL011 UART, revision r1p5 with 32-entry FIFOs [PL011 DDI0183G].
 *
 * Modelled: all registers, receive FIFO with trigger levels, loopback with modem lines, break, overrun.
 * DEVIATION: characters take no time.  The transmit FIFO is always empty and its interrupt is raised by every
 * write; the receive time-out interrupt comes at once below the trigger level; divisors are only stored.
 * DEVIATION: data moves whether or not UARTCR enables the UART: early consoles and firmware write to ports nobody
 * has enabled, and expect to be seen.
 * Not modelled: DMA (the register reads back), IrDA, parity and framing errors.  CTS, DSR and DCD are always on.
 */
#include <errno.h>
#include <string.h>

#include "common/device.h"
#include "common/util.h"
#include "common/vm.h"
#include "devices/char/chardev.h"

#define FIFO_DEPTH 32

enum {                                  /* [DDI0183G 3.3], names of chapter 3 */
	DR_BE = 0x400, DR_OE = 0x800, DR_ERRORS = 0xf00,
	FR_CTS = 0x001, FR_DSR = 0x002, FR_DCD = 0x004, FR_RXFE = 0x010, FR_RXFF = 0x040, FR_TXFE = 0x080, FR_RI = 0x100,
	FR_MODEM = FR_CTS | FR_DSR | FR_DCD | FR_RI,
	LCR_H_BRK = 0x01, LCR_H_FEN = 0x10,
	CR_LBE = 0x0080, CR_TXE = 0x0100, CR_RXE = 0x0200, CR_DTR = 0x0400, CR_RTS = 0x0800, CR_OUT1 = 0x1000, CR_OUT2 = 0x2000,
	INT_RI = 0x001, INT_CTS = 0x002, INT_DCD = 0x004, INT_DSR = 0x008, INT_RX = 0x010, INT_TX = 0x020, INT_RT = 0x040,
	INT_BE = 0x200, INT_OE = 0x400, INT_ALL = 0x7ff,
};

struct pl011 {
	struct device dev;
	struct chardev *chr;
	uint16_t rsr, ilpr, ibrd, fbrd, lcr_h, cr, ifls, imsc, ris, dmacr;
	uint16_t modem;                 /* FR_MODEM bits as last seen */
	uint16_t rx[FIFO_DEPTH];        /* data and error bits as UARTDR shows them; rx[0] is the oldest */
	uint32_t rx_len;
};

static uint32_t rx_depth(const struct pl011 *p)
{
	return p->lcr_h & LCR_H_FEN ? FIFO_DEPTH : 1;
}

/* UARTIFLS RXIFLSEL: 1/8, 1/4, 1/2, 3/4, 7/8 of the FIFO; reserved values behave as the last. */
static uint32_t rx_trigger(const struct pl011 *p)
{
	static const uint8_t level[] = { 4, 8, 16, 24, 28, 28, 28, 28 };
	return p->lcr_h & LCR_H_FEN ? level[p->ifls >> 3 & 7] : 1;
}

static void pl011_update(struct pl011 *p)
{
	irq_set(&p->dev.irq, p->ris & p->imsc);
}

/* --- receiver --- */

static void rx_push(struct pl011 *p, uint16_t ch)
{
	if (p->rx_len == rx_depth(p)) {
		/* The FIFO keeps its contents; the flag travels with the newest entry [DDI0183G 3.3.1]. */
		p->rx[p->rx_len - 1] |= DR_OE;
		p->ris |= INT_OE;
		return;
	}
	p->rx[p->rx_len++] = ch;
	p->ris |= p->rx_len >= rx_trigger(p) ? INT_RX : INT_RT;
	if (ch & DR_BE)
		p->ris |= INT_BE;
}

static uint16_t rx_pop(struct pl011 *p)
{
	if (p->rx_len == 0)
		return 0;
	uint16_t ch = p->rx[0];
	p->rx_len--;
	memmove(p->rx, p->rx + 1, p->rx_len * sizeof(p->rx[0]));
	p->rsr = (ch & DR_ERRORS) >> 8;
	if (p->rx_len < rx_trigger(p))
		p->ris &= (uint16_t)~INT_RX;
	if (p->rx_len == 0)
		p->ris &= (uint16_t)~INT_RT;
	else if (p->rx_len < rx_trigger(p))
		p->ris |= INT_RT;
	if (p->rx_len == 0)
		chardev_rx_ready(p->chr);       /* when empty: the loop refills the FIFO in one go */
	return ch;
}

static void rx_clear(struct pl011 *p)
{
	p->rx_len = 0;
	p->ris &= (uint16_t)~(INT_RX | INT_RT);
	chardev_rx_ready(p->chr);
}

static size_t pl011_can_rx(void *arg)
{
	struct pl011 *p = arg;
	dev_lock(&p->dev);
	size_t n = p->cr & CR_LBE ? 0 : rx_depth(p) - MIN(p->rx_len, rx_depth(p));
	dev_unlock(&p->dev);
	return n;
}

static void pl011_rx(void *arg, const uint8_t *buf, size_t len)
{
	struct pl011 *p = arg;
	dev_lock(&p->dev);
	for (size_t i = 0; i < len; i++)
		rx_push(p, buf[i]);
	pl011_update(p);
	dev_unlock(&p->dev);
}

static void pl011_event(void *arg, enum chardev_event ev)
{
	struct pl011 *p = arg;
	if (ev != CHR_BREAK)
		return;
	dev_lock(&p->dev);
	if (!(p->cr & CR_LBE))
		rx_push(p, DR_BE);
	pl011_update(p);
	dev_unlock(&p->dev);
}

static const struct chardev_ops pl011_chr_ops = { pl011_can_rx, pl011_rx, pl011_event };

/* --- modem lines --- */

static uint16_t modem_lines(const struct pl011 *p)
{
	if (!(p->cr & CR_LBE))
		return FR_CTS | FR_DSR | FR_DCD;
	return (p->cr & CR_RTS ? FR_CTS : 0) | (p->cr & CR_DTR ? FR_DSR : 0) | (p->cr & CR_OUT1 ? FR_DCD : 0) |
	       (p->cr & CR_OUT2 ? FR_RI : 0);
}

static void modem_update(struct pl011 *p)
{
	uint16_t now = modem_lines(p), changed = now ^ p->modem;
	p->modem = now;
	p->ris |= (changed & FR_CTS ? INT_CTS : 0) | (changed & FR_DSR ? INT_DSR : 0) | (changed & FR_DCD ? INT_DCD : 0) |
		  (changed & FR_RI ? INT_RI : 0);
}

/* --- registers --- */

static uint64_t rd_dr(void *dev, const struct reg *r)
{
	struct pl011 *p = dev;
	(void)r;
	uint16_t ch = rx_pop(p);
	pl011_update(p);
	return ch;
}

static void wr_dr(void *dev, const struct reg *r, uint64_t val)
{
	struct pl011 *p = dev;
	uint8_t byte = (uint8_t)val;
	(void)r;
	if (p->cr & CR_LBE)
		rx_push(p, byte);
	else
		chardev_write(p->chr, &byte, 1);
	p->ris |= INT_TX;
	pl011_update(p);
}

static uint64_t rd_rsr(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct pl011 *)dev)->rsr;
}

static void wr_ecr(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	(void)val;
	((struct pl011 *)dev)->rsr = 0;
}

static uint64_t rd_fr(void *dev, const struct reg *r)
{
	const struct pl011 *p = dev;
	(void)r;
	return FR_TXFE | p->modem | (p->rx_len == 0 ? FR_RXFE : 0) | (p->rx_len >= rx_depth(p) ? FR_RXFF : 0);
}

/* Registers that only hold their bits: arg is the index here. */
enum { R_ILPR, R_IBRD, R_FBRD, R_DMACR, R_IMSC, R_IFLS, R_LCR_H, R_CR };

static uint16_t *plain_reg(struct pl011 *p, unsigned arg, uint16_t *mask)
{
	switch (arg) {
	case R_ILPR: *mask = 0xff; return &p->ilpr;
	case R_IBRD: *mask = 0xffff; return &p->ibrd;
	case R_FBRD: *mask = 0x3f; return &p->fbrd;
	case R_DMACR: *mask = 0x7; return &p->dmacr;
	case R_IMSC: *mask = INT_ALL; return &p->imsc;
	case R_IFLS: *mask = 0x3f; return &p->ifls;
	case R_LCR_H: *mask = 0xff; return &p->lcr_h;
	default: *mask = 0xff87; return &p->cr;
	}
}

static uint64_t rd_plain(void *dev, const struct reg *r)
{
	uint16_t mask;
	return *plain_reg(dev, r->arg, &mask);
}

static void wr_plain(void *dev, const struct reg *r, uint64_t val)
{
	uint16_t mask, *reg = plain_reg(dev, r->arg, &mask);
	*reg = (uint16_t)val & mask;
	pl011_update(dev);
}

static void wr_lcr_h(void *dev, const struct reg *r, uint64_t val)
{
	struct pl011 *p = dev;
	uint16_t changed = p->lcr_h ^ (uint16_t)val;
	wr_plain(dev, r, val);
	if (changed & LCR_H_FEN)
		rx_clear(p);
	if (changed & LCR_H_BRK)
		chardev_break(p->chr, val & LCR_H_BRK);
	pl011_update(p);
}

static void wr_cr(void *dev, const struct reg *r, uint64_t val)
{
	struct pl011 *p = dev;
	bool left_loop = p->cr & CR_LBE && !(val & CR_LBE);
	wr_plain(dev, r, val);
	modem_update(p);
	pl011_update(p);
	if (left_loop)
		chardev_rx_ready(p->chr);
}

static uint64_t rd_ris(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct pl011 *)dev)->ris;
}

static uint64_t rd_mis(void *dev, const struct reg *r)
{
	const struct pl011 *p = dev;
	(void)r;
	return p->ris & p->imsc;
}

static void wr_icr(void *dev, const struct reg *r, uint64_t val)
{
	struct pl011 *p = dev;
	(void)r;
	p->ris &= (uint16_t)~val;
	pl011_update(p);
}

static uint64_t rd_id(void *dev, const struct reg *r)
{
	(void)dev;
	return r->arg;
}

static const struct reg pl011_regs[] = {
	{ 0x000, 4, "UARTDR", rd_dr, wr_dr, 0 },
	{ 0x004, 4, "UARTRSR/UARTECR", rd_rsr, wr_ecr, 0 },
	{ 0x018, 4, "UARTFR", rd_fr, NULL, 0 },
	{ 0x020, 4, "UARTILPR", rd_plain, wr_plain, R_ILPR },
	{ 0x024, 4, "UARTIBRD", rd_plain, wr_plain, R_IBRD },
	{ 0x028, 4, "UARTFBRD", rd_plain, wr_plain, R_FBRD },
	{ 0x02c, 4, "UARTLCR_H", rd_plain, wr_lcr_h, R_LCR_H },
	{ 0x030, 4, "UARTCR", rd_plain, wr_cr, R_CR },
	{ 0x034, 4, "UARTIFLS", rd_plain, wr_plain, R_IFLS },
	{ 0x038, 4, "UARTIMSC", rd_plain, wr_plain, R_IMSC },
	{ 0x03c, 4, "UARTRIS", rd_ris, NULL, 0 },
	{ 0x040, 4, "UARTMIS", rd_mis, NULL, 0 },
	{ 0x044, 4, "UARTICR", NULL, wr_icr, 0 },
	{ 0x048, 4, "UARTDMACR", rd_plain, wr_plain, R_DMACR },
	{ 0xfe0, 4, "UARTPeriphID0", rd_id, NULL, 0x11 },
	{ 0xfe4, 4, "UARTPeriphID1", rd_id, NULL, 0x10 },
	{ 0xfe8, 4, "UARTPeriphID2", rd_id, NULL, 0x34 },       /* revision 3: r1p5 */
	{ 0xfec, 4, "UARTPeriphID3", rd_id, NULL, 0x00 },
	{ 0xff0, 4, "UARTPCellID0", rd_id, NULL, 0x0d },
	{ 0xff4, 4, "UARTPCellID1", rd_id, NULL, 0xf0 },
	{ 0xff8, 4, "UARTPCellID2", rd_id, NULL, 0x05 },
	{ 0xffc, 4, "UARTPCellID3", rd_id, NULL, 0xb1 },
};

/* --- life --- */

static int pl011_init(struct device *d)
{
	struct pl011 *p = (struct pl011 *)d;
	p->chr = chardev_open(d->vm, d->id, dev_opt_str(d, "path"), &pl011_chr_ops, p);
	if (!p->chr)
		return errno ? -errno : -EIO;
	chardev_set_history(p->chr, (size_t)dev_opt_u64(d, "history"));
	return 0;
}

static struct chardev *pl011_chardev(struct device *d)
{
	return ((struct pl011 *)d)->chr;
}

static void pl011_fini(struct device *d)
{
	chardev_close(((struct pl011 *)d)->chr);
}

static void pl011_reset(struct device *d)       /* values of [DDI0183G Table 3-1] */
{
	struct pl011 *p = (struct pl011 *)d;
	p->rsr = p->ilpr = p->ibrd = p->fbrd = p->lcr_h = p->imsc = p->ris = p->dmacr = 0;
	p->cr = CR_RXE | CR_TXE;
	p->ifls = 0x12;
	memset(p->rx, 0, sizeof(p->rx));
	rx_clear(p);
	p->modem = modem_lines(p);
	pl011_update(p);
}

static int pl011_loaded(struct device *d)
{
	struct pl011 *p = (struct pl011 *)d;
	p->rx_len = MIN(p->rx_len, rx_depth(p));
	p->modem &= FR_MODEM;
	p->ris &= INT_ALL;
	pl011_update(p);
	chardev_rx_ready(p->chr);
	return 0;
}

static const struct snap_field pl011_fields[] = {
	SNAP_U16(struct pl011, rsr, 1), SNAP_U16(struct pl011, ilpr, 1), SNAP_U16(struct pl011, ibrd, 1),
	SNAP_U16(struct pl011, fbrd, 1), SNAP_U16(struct pl011, lcr_h, 1), SNAP_U16(struct pl011, cr, 1),
	SNAP_U16(struct pl011, ifls, 1), SNAP_U16(struct pl011, imsc, 1), SNAP_U16(struct pl011, ris, 1),
	SNAP_U16(struct pl011, dmacr, 1), SNAP_U16(struct pl011, modem, 1),
	SNAP_U32(struct pl011, rx_len, 1), SNAP_ARRAY(SNAP_T_U16, struct pl011, rx, 1),
	SNAP_END
};

static const struct opt pl011_opts[] = { CHARDEV_OPT_PATH, CHARDEV_OPT_HISTORY, OPT_LAST };
static const struct dev_desc pl011_desc = {
	.fdt_name = "pl011", .compatible = "arm,pl011,,arm,primecell", .hid = "ARMH0011", .clock_names = "uartclk,,apb_pclk",
};

const struct device_class pl011_class = {
	.name = "pl011", .help = "Arm PL011 serial port", .size = sizeof(struct pl011), .io_len = 0x1000,
	.regs = pl011_regs, .nregs = NELEM(pl011_regs), .opts = pl011_opts, .positional = "path", .desc = &pl011_desc,
	.init = pl011_init, .fini = pl011_fini, .reset = pl011_reset, .chardev = pl011_chardev,
	.snap = pl011_fields, .snap_version = 1, .loaded = pl011_loaded,
};

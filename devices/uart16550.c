/*
 * 16550A serial port [PC16550D].
 *
 * Modelled: all registers, FIFOs with trigger levels, loopback with modem lines, MSR deltas, line status
 * errors (overrun, break), interrupt identification and priorities, break.
 * DEVIATION: characters take no time.  The transmitter is always empty, the character time-out interrupt comes
 * at once when fewer bytes than the trigger level arrived, and the divisor is only stored.
 * Not modelled: parity and framing errors, DMA modes, OUT2 as a gate of the interrupt (board wiring, not chip).
 * The host's end is always ready: CTS, DSR and DCD are on whether or not somebody is attached, since a guest with
 * flow control would otherwise hang on a console nobody reads.
 */
#include <errno.h>
#include <string.h>

#include "common/device.h"
#include "common/util.h"
#include "common/vm.h"
#include "devices/char/chardev.h"

#define FIFO_DEPTH 16

enum {                                  /* [PC16550D 8.0], names of Table II */
	IER_ERBFI = 0x01, IER_ETBEI = 0x02, IER_ELSI = 0x04, IER_EDSSI = 0x08, IER_MASK = 0x0f,
	IIR_NONE = 0x01, IIR_MSR = 0x00, IIR_THRE = 0x02, IIR_RDA = 0x04, IIR_RLS = 0x06, IIR_TIMEOUT = 0x0c, IIR_FIFO = 0xc0,
	FCR_ENABLE = 0x01, FCR_RX_RESET = 0x02, FCR_TRIGGER = 0xc0, FCR_KEPT = 0xc9,
	LCR_BREAK = 0x40, LCR_DLAB = 0x80,
	MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10, MCR_MASK = 0x1f,
	LSR_DR = 0x01, LSR_OE = 0x02, LSR_PE = 0x04, LSR_FE = 0x08, LSR_BI = 0x10, LSR_THRE = 0x20, LSR_TEMT = 0x40,
	LSR_FIFO_ERR = 0x80, LSR_ERRORS = LSR_OE | LSR_PE | LSR_FE | LSR_BI,
	MSR_DCTS = 0x01, MSR_DDSR = 0x02, MSR_TERI = 0x04, MSR_DDCD = 0x08, MSR_DELTAS = 0x0f,
	MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_LINES = 0xf0,
};

struct uart {
	struct device dev;
	struct chardev *chr;
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t lsr_err;                /* OE, PE, FE, BI not yet read */
	uint8_t msr;
	bool thre_pending;              /* THRE interrupt not yet identified */
	uint8_t rx[FIFO_DEPTH];         /* rx[0] is the oldest */
	uint8_t rx_err[FIFO_DEPTH];     /* LSR bits of each, shown when it gets to the front */
	uint32_t rx_len;
};

static bool fifo_on(const struct uart *u)
{
	return u->fcr & FCR_ENABLE;
}

static uint32_t rx_depth(const struct uart *u)
{
	return fifo_on(u) ? FIFO_DEPTH : 1;
}

/* --- interrupts [PC16550D 8.6, Table V] --- */

static uint8_t uart_iir(const struct uart *u)
{
	static const uint8_t trigger[] = { 1, 4, 8, 14 };
	if (u->ier & IER_ELSI && u->lsr_err)
		return IIR_RLS;
	if (u->ier & IER_ERBFI && u->rx_len > 0)
		return fifo_on(u) && u->rx_len < trigger[u->fcr >> 6] ? IIR_TIMEOUT : IIR_RDA;
	if (u->ier & IER_ETBEI && u->thre_pending)
		return IIR_THRE;
	if (u->ier & IER_EDSSI && u->msr & MSR_DELTAS)
		return IIR_MSR;
	return IIR_NONE;
}

static void uart_update(struct uart *u)
{
	irq_set(&u->dev.irq, uart_iir(u) != IIR_NONE);
}

/* --- receiver --- */

/* The byte now in front shows its errors in LSR. */
static void rx_front(struct uart *u)
{
	if (u->rx_len == 0)
		return;
	u->lsr_err |= u->rx_err[0];
	u->rx_err[0] = 0;
}

/* On overrun the FIFO keeps what it has, the single holding register takes the new byte [PC16550D 8.4 bit 1]. */
static void rx_push(struct uart *u, uint8_t byte, uint8_t err)
{
	if (u->rx_len == rx_depth(u)) {
		u->lsr_err |= LSR_OE;
		if (fifo_on(u))
			return;
		u->rx_len = 0;
	}
	u->rx[u->rx_len] = byte;
	u->rx_err[u->rx_len++] = err;
	rx_front(u);
}

static uint8_t rx_pop(struct uart *u)
{
	if (u->rx_len == 0)
		return 0;
	uint8_t byte = u->rx[0];
	u->rx_len--;
	memmove(u->rx, u->rx + 1, u->rx_len);
	memmove(u->rx_err, u->rx_err + 1, u->rx_len);
	rx_front(u);
	/* Asked only when empty: the loop then refills the whole FIFO in one go. */
	if (u->rx_len == 0)
		chardev_rx_ready(u->chr);
	return byte;
}

static void rx_clear(struct uart *u)
{
	u->rx_len = 0;
	chardev_rx_ready(u->chr);
}

static size_t uart_can_rx(void *arg)
{
	struct uart *u = arg;
	dev_lock(&u->dev);
	/* In loopback the receiver is cut off from its pin: input waits outside. */
	size_t n = u->mcr & MCR_LOOP ? 0 : rx_depth(u) - MIN(u->rx_len, rx_depth(u));
	dev_unlock(&u->dev);
	return n;
}

static void uart_rx(void *arg, const uint8_t *buf, size_t len)
{
	struct uart *u = arg;
	dev_lock(&u->dev);
	for (size_t i = 0; i < len; i++)
		rx_push(u, buf[i], 0);
	uart_update(u);
	dev_unlock(&u->dev);
}

static void uart_event(void *arg, enum chardev_event ev)
{
	struct uart *u = arg;
	if (ev != CHR_BREAK)
		return;
	dev_lock(&u->dev);
	if (!(u->mcr & MCR_LOOP))
		rx_push(u, 0, LSR_BI);
	uart_update(u);
	dev_unlock(&u->dev);
}

static const struct chardev_ops uart_chr_ops = { uart_can_rx, uart_rx, uart_event };

/* --- modem lines [PC16550D 8.8, 8.9] --- */

static uint8_t modem_lines(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) | (u->mcr & MCR_OUT1 ? MSR_RI : 0) |
	       (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void modem_update(struct uart *u)
{
	uint8_t now = modem_lines(u), changed = now ^ (u->msr & MSR_LINES);
	uint8_t delta = u->msr & MSR_DELTAS;
	delta |= (changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) | (changed & MSR_DCD ? MSR_DDCD : 0);
	delta |= changed & MSR_RI && !(now & MSR_RI) ? MSR_TERI : 0;
	u->msr = now | delta;
}

/* --- registers --- */

static uint64_t rd_data(void *dev, const struct reg *r)
{
	struct uart *u = dev;
	(void)r;
	if (u->lcr & LCR_DLAB)
		return u->dll;
	uint8_t byte = rx_pop(u);
	uart_update(u);
	return byte;
}

static void wr_data(void *dev, const struct reg *r, uint64_t val)
{
	struct uart *u = dev;
	uint8_t byte = (uint8_t)val;
	(void)r;
	if (u->lcr & LCR_DLAB) {
		u->dll = byte;
		return;
	}
	if (u->mcr & MCR_LOOP)
		rx_push(u, byte, 0);
	else
		chardev_write(u->chr, &byte, 1);
	u->thre_pending = true;         /* the byte is gone already */
	uart_update(u);
}

static uint64_t rd_ier(void *dev, const struct reg *r)
{
	const struct uart *u = dev;
	(void)r;
	return u->lcr & LCR_DLAB ? u->dlm : u->ier;
}

static void wr_ier(void *dev, const struct reg *r, uint64_t val)
{
	struct uart *u = dev;
	(void)r;
	if (u->lcr & LCR_DLAB) {
		u->dlm = (uint8_t)val;
		return;
	}
	/* Enabling the interrupt while the transmitter is empty raises it: drivers start sending that way. */
	if (val & IER_ETBEI && !(u->ier & IER_ETBEI))
		u->thre_pending = true;
	u->ier = val & IER_MASK;
	uart_update(u);
}

static uint64_t rd_iir(void *dev, const struct reg *r)
{
	struct uart *u = dev;
	uint8_t iir = uart_iir(u);
	(void)r;
	if (iir == IIR_THRE) {
		u->thre_pending = false;
		uart_update(u);
	}
	return iir | (fifo_on(u) ? IIR_FIFO : 0);
}

static void wr_fcr(void *dev, const struct reg *r, uint64_t val)
{
	struct uart *u = dev;
	(void)r;
	if ((val ^ u->fcr) & FCR_ENABLE || val & FCR_RX_RESET)
		rx_clear(u);
	/* The other bits are taken only along with the enable bit [PC16550D 8.5 bit 0]. */
	u->fcr = val & FCR_ENABLE ? val & FCR_KEPT : 0;
	uart_update(u);
}

static uint64_t rd_lcr(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct uart *)dev)->lcr;
}

static void wr_lcr(void *dev, const struct reg *r, uint64_t val)
{
	struct uart *u = dev;
	(void)r;
	if ((val ^ u->lcr) & LCR_BREAK)
		chardev_break(u->chr, val & LCR_BREAK);
	u->lcr = (uint8_t)val;
}

static uint64_t rd_mcr(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct uart *)dev)->mcr;
}

static void wr_mcr(void *dev, const struct reg *r, uint64_t val)
{
	struct uart *u = dev;
	bool left_loop = u->mcr & MCR_LOOP && !(val & MCR_LOOP);
	(void)r;
	u->mcr = val & MCR_MASK;
	modem_update(u);
	uart_update(u);
	if (left_loop)
		chardev_rx_ready(u->chr);
}

static uint64_t rd_lsr(void *dev, const struct reg *r)
{
	struct uart *u = dev;
	uint8_t lsr = u->lsr_err | LSR_THRE | LSR_TEMT | (u->rx_len ? LSR_DR : 0);
	bool later_err = false;
	(void)r;
	for (uint32_t i = 1; i < u->rx_len; i++)
		later_err |= u->rx_err[i] != 0;
	if (fifo_on(u) && (later_err || u->lsr_err & (LSR_PE | LSR_FE | LSR_BI)))
		lsr |= LSR_FIFO_ERR;
	u->lsr_err = 0;
	uart_update(u);
	return lsr;
}

static uint64_t rd_msr(void *dev, const struct reg *r)
{
	struct uart *u = dev;
	uint8_t msr = u->msr;
	(void)r;
	u->msr &= MSR_LINES;
	uart_update(u);
	return msr;
}

static uint64_t rd_scr(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct uart *)dev)->scr;
}

static void wr_scr(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	((struct uart *)dev)->scr = (uint8_t)val;
}

/* LSR and MSR writes are for factory tests and dropped [PC16550D 8.4]. */
static const struct reg uart_regs[] = {
	{ 0, 1, "RBR/THR/DLL", rd_data, wr_data, 0 },
	{ 1, 1, "IER/DLM", rd_ier, wr_ier, 0 },
	{ 2, 1, "IIR/FCR", rd_iir, wr_fcr, 0 },
	{ 3, 1, "LCR", rd_lcr, wr_lcr, 0 },
	{ 4, 1, "MCR", rd_mcr, wr_mcr, 0 },
	{ 5, 1, "LSR", rd_lsr, NULL, 0 },
	{ 6, 1, "MSR", rd_msr, NULL, 0 },
	{ 7, 1, "SCR", rd_scr, wr_scr, 0 },
};

/* --- life --- */

static int uart_init(struct device *d)
{
	struct uart *u = (struct uart *)d;
	u->chr = chardev_open(d->vm, d->id, dev_opt_str(d, "path"), &uart_chr_ops, u);
	if (!u->chr)
		return errno ? -errno : -EIO;
	chardev_set_history(u->chr, (size_t)dev_opt_u64(d, "history"));
	return 0;
}

static struct chardev *uart_chardev(struct device *d)
{
	return ((struct uart *)d)->chr;
}

static void uart_fini(struct device *d)
{
	chardev_close(((struct uart *)d)->chr);
}

/* Master reset [PC16550D Table III].  It leaves the divisor and scratch undefined: 115200 baud and zero here. */
static void uart_reset(struct device *d)
{
	struct uart *u = (struct uart *)d;
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->dlm = u->lsr_err = 0;
	u->dll = 1;
	u->thre_pending = false;
	memset(u->rx, 0, sizeof(u->rx));
	memset(u->rx_err, 0, sizeof(u->rx_err));
	rx_clear(u);
	u->msr = modem_lines(u);
	uart_update(u);
}

static int uart_loaded(struct device *d)
{
	struct uart *u = (struct uart *)d;
	u->ier &= IER_MASK;
	u->mcr &= MCR_MASK;
	u->fcr &= FCR_KEPT;
	u->lsr_err &= LSR_ERRORS;
	u->rx_len = MIN(u->rx_len, rx_depth(u));
	uart_update(u);
	chardev_rx_ready(u->chr);
	return 0;
}

static const struct snap_field uart_fields[] = {
	SNAP_U8(struct uart, ier, 1), SNAP_U8(struct uart, fcr, 1), SNAP_U8(struct uart, lcr, 1), SNAP_U8(struct uart, mcr, 1),
	SNAP_U8(struct uart, scr, 1), SNAP_U8(struct uart, dll, 1), SNAP_U8(struct uart, dlm, 1), SNAP_U8(struct uart, lsr_err, 1),
	SNAP_U8(struct uart, msr, 1), SNAP_BOOL(struct uart, thre_pending, 1), SNAP_U32(struct uart, rx_len, 1),
	SNAP_BYTES(struct uart, rx, 1), SNAP_BYTES(struct uart, rx_err, 1),
	SNAP_END
};

static const struct opt uart_opts[] = { CHARDEV_OPT_PATH, CHARDEV_OPT_HISTORY, OPT_LAST };
static const struct dev_desc uart_desc = { .fdt_name = "serial", .compatible = "ns16550a", .hid = "PNP0501" };

const struct device_class uart16550_class = {
	.name = "uart16550", .help = "16550A serial port", .size = sizeof(struct uart), .io_len = 8,
	.regs = uart_regs, .nregs = NELEM(uart_regs), .opts = uart_opts, .positional = "path", .desc = &uart_desc,
	.init = uart_init, .fini = uart_fini, .reset = uart_reset, .chardev = uart_chardev,
	.snap = uart_fields, .snap_version = 1, .loaded = uart_loaded,
};

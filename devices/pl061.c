/*
 * PL061 GPIO with eight pins [PL061 DDI0190B].
 *
 * Modelled: data with its address mask, direction, edge and level interrupts, IDs.  Inputs are low unless a
 * button is held (pl061_press).  Outputs and the alternate-function select only read back: nothing is wired to them.
 */
#include "devices/pl061.h"

#include <assert.h>
#include <errno.h>

#include "common/device.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/vm.h"

/* Drivers debounce for some milliseconds and then look at the level again. */
#define PRESS_NS 100000000u

struct pl061 {
	struct device dev;
	struct ev *timer;               /* releases buttons; NULL without a loop */
	uint8_t out, in;                /* what the guest drives; what the board drives */
	uint8_t dir, is, ibe, iev, ie, afsel;
	uint8_t latched;                /* edges seen */
};

static uint8_t pins(const struct pl061 *p)
{
	return (p->out & p->dir) | (p->in & (uint8_t)~p->dir);
}

/* GPIORIS: levels as they are, edges as latched; inputs only [DDI0190B 3.3.4 to 3.3.8]. */
static uint8_t raw_status(const struct pl061 *p)
{
	uint8_t level = (uint8_t)~(pins(p) ^ p->iev) & (uint8_t)~p->dir;
	return (p->is & level) | ((uint8_t)~p->is & p->latched);
}

static void pl061_update(struct pl061 *p)
{
	irq_set(&p->dev.irq, raw_status(p) & p->ie);
}

static void set_inputs(struct pl061 *p, uint8_t in)
{
	uint8_t changed = (p->in ^ in) & (uint8_t)~p->dir, rising = changed & in, falling = changed & (uint8_t)~in;
	p->in = in;
	uint8_t chosen = (p->iev & rising) | ((uint8_t)~p->iev & falling);
	p->latched |= (uint8_t)~p->is & ((p->ibe & changed) | ((uint8_t)~p->ibe & chosen));
	pl061_update(p);
}

void pl061_press(struct device *d, unsigned pin)
{
	struct pl061 *p = (struct pl061 *)d;
	assert(pin < 8);
	dev_lock(d);
	set_inputs(p, p->in | (uint8_t)BIT(pin));
	if (p->timer)
		ev_arm(p->timer, PRESS_NS);
	dev_unlock(d);
}

static void release(void *arg, uint32_t events)
{
	struct pl061 *p = arg;
	(void)events;
	dev_lock(&p->dev);
	set_inputs(p, 0);
	dev_unlock(&p->dev);
}

/* --- registers --- */

enum { R_DIR, R_IS, R_IBE, R_IEV, R_IE, R_AFSEL };

static uint8_t *plain_reg(struct pl061 *p, unsigned arg)
{
	switch (arg) {
	case R_DIR: return &p->dir;
	case R_IS: return &p->is;
	case R_IBE: return &p->ibe;
	case R_IEV: return &p->iev;
	case R_IE: return &p->ie;
	default: return &p->afsel;
	}
}

static uint64_t rd_plain(void *dev, const struct reg *r)
{
	return *plain_reg(dev, r->arg);
}

static void wr_plain(void *dev, const struct reg *r, uint64_t val)
{
	*plain_reg(dev, r->arg) = (uint8_t)val;
	pl061_update(dev);
}

static uint64_t rd_ris(void *dev, const struct reg *r)
{
	(void)r;
	return raw_status(dev);
}

static uint64_t rd_mis(void *dev, const struct reg *r)
{
	(void)r;
	return raw_status(dev) & ((const struct pl061 *)dev)->ie;
}

static void wr_ic(void *dev, const struct reg *r, uint64_t val)
{
	struct pl061 *p = dev;
	(void)r;
	p->latched &= (uint8_t)~val;
	pl061_update(p);
}

static uint64_t rd_id(void *dev, const struct reg *r)
{
	(void)dev;
	return r->arg;
}

static const struct reg pl061_regs[] = {        /* behind GPIODATA */
	{ 0x400, 4, "GPIODIR", rd_plain, wr_plain, R_DIR },
	{ 0x404, 4, "GPIOIS", rd_plain, wr_plain, R_IS },
	{ 0x408, 4, "GPIOIBE", rd_plain, wr_plain, R_IBE },
	{ 0x40c, 4, "GPIOIEV", rd_plain, wr_plain, R_IEV },
	{ 0x410, 4, "GPIOIE", rd_plain, wr_plain, R_IE },
	{ 0x414, 4, "GPIORIS", rd_ris, NULL, 0 },
	{ 0x418, 4, "GPIOMIS", rd_mis, NULL, 0 },
	{ 0x41c, 4, "GPIOIC", NULL, wr_ic, 0 },
	{ 0x420, 4, "GPIOAFSEL", rd_plain, wr_plain, R_AFSEL },
	{ 0xfe0, 4, "GPIOPeriphID0", rd_id, NULL, 0x61 },
	{ 0xfe4, 4, "GPIOPeriphID1", rd_id, NULL, 0x10 },
	{ 0xfe8, 4, "GPIOPeriphID2", rd_id, NULL, 0x04 },
	{ 0xfec, 4, "GPIOPeriphID3", rd_id, NULL, 0x00 },
	{ 0xff0, 4, "GPIOPCellID0", rd_id, NULL, 0x0d },
	{ 0xff4, 4, "GPIOPCellID1", rd_id, NULL, 0xf0 },
	{ 0xff8, 4, "GPIOPCellID2", rd_id, NULL, 0x05 },
	{ 0xffc, 4, "GPIOPCellID3", rd_id, NULL, 0xb1 },
};

/* GPIODATA is 256 words: address bits [9:2] say which pins an access means [DDI0190B 3.3.1]. */
static uint64_t pl061_read(void *dev, uint64_t off, unsigned size)
{
	if (off >= 0x400)
		return regs_read(pl061_regs, NELEM(pl061_regs), dev, off, size);
	uint64_t word = off & 3 ? 0 : pins(dev) & (off >> 2 & 0xff);
	if (size == 8 && !(off & 4))
		word |= (uint64_t)(pins(dev) & ((off + 4) >> 2 & 0xff)) << 32;
	return word;
}

static void data_write(struct pl061 *p, uint64_t off, uint8_t val)
{
	uint8_t mask = (uint8_t)(off >> 2 & 0xff) & p->dir;
	p->out = (p->out & (uint8_t)~mask) | (val & mask);
}

static void pl061_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	if (off >= 0x400) {
		regs_write(pl061_regs, NELEM(pl061_regs), dev, off, size, val);
		return;
	}
	if (off & 3)
		return;
	data_write(dev, off, (uint8_t)val);
	if (size == 8 && !(off & 4))
		data_write(dev, off + 4, (uint8_t)(val >> 32));
}

static const struct io_ops pl061_ops = { pl061_read, pl061_write };

/* --- life --- */

static int pl061_init(struct device *d)
{
	struct pl061 *p = (struct pl061 *)d;
	if (d->vm->dry || !d->vm->loop)
		return 0;
	p->timer = ev_timer(d->vm->loop, release, p);
	return p->timer ? 0 : -EMFILE;
}

static void pl061_fini(struct device *d)
{
	ev_del(((struct pl061 *)d)->timer);
}

static void pl061_reset(struct device *d)       /* all zero [DDI0190B Table 3-1] */
{
	struct pl061 *p = (struct pl061 *)d;
	p->out = p->in = p->dir = p->is = p->ibe = p->iev = p->ie = p->afsel = p->latched = 0;
	if (p->timer)
		ev_arm(p->timer, 0);
	pl061_update(p);
}

static int pl061_loaded(struct device *d)
{
	struct pl061 *p = (struct pl061 *)d;
	if (p->timer)
		ev_arm(p->timer, p->in ? PRESS_NS : 0);
	pl061_update(p);
	return 0;
}

static const struct snap_field pl061_fields[] = {
	SNAP_U8(struct pl061, out, 1), SNAP_U8(struct pl061, in, 1), SNAP_U8(struct pl061, dir, 1), SNAP_U8(struct pl061, is, 1),
	SNAP_U8(struct pl061, ibe, 1), SNAP_U8(struct pl061, iev, 1), SNAP_U8(struct pl061, ie, 1), SNAP_U8(struct pl061, afsel, 1),
	SNAP_U8(struct pl061, latched, 1),
	SNAP_END
};

static const struct dev_desc pl061_desc = {
	.fdt_name = "pl061", .compatible = "arm,pl061,,arm,primecell", .hid = "ARMH0061", .clock_names = "apb_pclk",
};

const struct device_class pl061_class = {
	.name = "pl061", .help = "Arm PL061 GPIO", .size = sizeof(struct pl061), .io_len = 0x1000,
	.ops = &pl061_ops, .desc = &pl061_desc,
	.init = pl061_init, .fini = pl061_fini, .reset = pl061_reset,
	.snap = pl061_fields, .snap_version = 1, .loaded = pl061_loaded,
};

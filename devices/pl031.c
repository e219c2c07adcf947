/*
 * PL031 real-time clock [PL031 DDI0224C].
 *
 * Modelled: all registers, match interrupt.  The counter follows the host's clock plus an offset, so that after
 * a pause or a restore the guest finds the time of day, as with a battery-backed clock.
 * DEVIATION: at power-on the counter shows the host's time and runs, where the data sheet has 0 and stopped: the
 * board's clock is taken to have been set before.
 */
#include <errno.h>
#include <time.h>

#include "common/conf.h"
#include "common/device.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/vm.h"

#define RTC_INT 1u
#define NS_PER_S 1000000000u

struct pl031 {
	struct device dev;
	struct ev *timer;               /* NULL without a loop: matches are then noticed when a register is read */
	uint32_t offset;                /* counter minus the host's seconds, modulo 2^32 */
	uint32_t mr, lr, imsc, ris;
	bool armed;                     /* a match is awaited */
};

static struct timespec host_time(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

static uint32_t counter(const struct pl031 *p)
{
	return (uint32_t)host_time().tv_sec + p->offset;
}

/* The match is an event: at or past it, by at most half the counter's range. */
static void match_check(struct pl031 *p)
{
	uint32_t past = counter(p) - p->mr;
	if (p->armed && past < 0x80000000u) {
		p->armed = false;
		p->ris = RTC_INT;
	}
	irq_set(&p->dev.irq, p->ris & p->imsc);
}

/* To the beginning of the second that matches. */
static void match_arm(struct pl031 *p)
{
	struct timespec ts = host_time();
	uint32_t seconds = p->mr - ((uint32_t)ts.tv_sec + p->offset);
	match_check(p);
	if (!p->timer)
		return;
	ev_arm(p->timer, p->armed ? seconds * (uint64_t)NS_PER_S - (uint64_t)ts.tv_nsec : 0);
}

static void match_timer(void *arg, uint32_t events)
{
	struct pl031 *p = arg;
	(void)events;
	dev_lock(&p->dev);
	match_arm(p);           /* again, when the host's clock was set back meanwhile */
	dev_unlock(&p->dev);
}

/* --- registers [DDI0224C 3.3] --- */

static uint64_t rd_dr(void *dev, const struct reg *r)
{
	(void)r;
	return counter(dev);
}

static uint64_t rd_mr(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct pl031 *)dev)->mr;
}

static void wr_mr(void *dev, const struct reg *r, uint64_t val)
{
	struct pl031 *p = dev;
	(void)r;
	p->mr = (uint32_t)val;
	/* Equality only: a match in the past is 136 years away. */
	p->armed = p->mr - counter(p) < 0x80000000u;
	match_arm(p);
}

static uint64_t rd_lr(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct pl031 *)dev)->lr;
}

static void wr_lr(void *dev, const struct reg *r, uint64_t val)
{
	struct pl031 *p = dev;
	(void)r;
	p->lr = (uint32_t)val;
	p->offset += p->lr - counter(p);
	p->armed = p->armed && p->mr - p->lr < 0x80000000u;
	match_arm(p);
}

/* Started for good: once enabled, writes have no effect until reset. */
static uint64_t rd_cr(void *dev, const struct reg *r)
{
	(void)dev;
	(void)r;
	return 1;
}

static uint64_t rd_imsc(void *dev, const struct reg *r)
{
	(void)r;
	return ((const struct pl031 *)dev)->imsc;
}

static void wr_imsc(void *dev, const struct reg *r, uint64_t val)
{
	struct pl031 *p = dev;
	(void)r;
	p->imsc = val & RTC_INT;
	match_check(p);
}

static uint64_t rd_ris(void *dev, const struct reg *r)
{
	struct pl031 *p = dev;
	(void)r;
	match_check(p);
	return p->ris;
}

static uint64_t rd_mis(void *dev, const struct reg *r)
{
	struct pl031 *p = dev;
	(void)r;
	match_check(p);
	return p->ris & p->imsc;
}

static void wr_icr(void *dev, const struct reg *r, uint64_t val)
{
	struct pl031 *p = dev;
	(void)r;
	p->ris &= ~(uint32_t)val;
	match_check(p);
}

static uint64_t rd_id(void *dev, const struct reg *r)
{
	(void)dev;
	return r->arg;
}

static const struct reg pl031_regs[] = {
	{ 0x000, 4, "RTCDR", rd_dr, NULL, 0 },
	{ 0x004, 4, "RTCMR", rd_mr, wr_mr, 0 },
	{ 0x008, 4, "RTCLR", rd_lr, wr_lr, 0 },
	{ 0x00c, 4, "RTCCR", rd_cr, NULL, 0 },
	{ 0x010, 4, "RTCIMSC", rd_imsc, wr_imsc, 0 },
	{ 0x014, 4, "RTCRIS", rd_ris, NULL, 0 },
	{ 0x018, 4, "RTCMIS", rd_mis, NULL, 0 },
	{ 0x01c, 4, "RTCICR", NULL, wr_icr, 0 },
	{ 0xfe0, 4, "RTCPeriphID0", rd_id, NULL, 0x31 },
	{ 0xfe4, 4, "RTCPeriphID1", rd_id, NULL, 0x10 },
	{ 0xfe8, 4, "RTCPeriphID2", rd_id, NULL, 0x04 },
	{ 0xfec, 4, "RTCPeriphID3", rd_id, NULL, 0x00 },
	{ 0xff0, 4, "RTCPCellID0", rd_id, NULL, 0x0d },
	{ 0xff4, 4, "RTCPCellID1", rd_id, NULL, 0xf0 },
	{ 0xff8, 4, "RTCPCellID2", rd_id, NULL, 0x05 },
	{ 0xffc, 4, "RTCPCellID3", rd_id, NULL, 0xb1 },
};

/* --- life --- */

static uint32_t local_offset(const struct vm *vm)
{
	time_t now = host_time().tv_sec;
	struct tm tm;
	if (!vm->conf || !conf_bool(vm->conf, "rtc.use_localtime") || !localtime_r(&now, &tm))
		return 0;
	return (uint32_t)tm.tm_gmtoff;
}

static int pl031_init(struct device *d)
{
	struct pl031 *p = (struct pl031 *)d;
	p->offset = local_offset(d->vm);
	if (d->vm->dry || !d->vm->loop)
		return 0;
	p->timer = ev_timer(d->vm->loop, match_timer, p);
	return p->timer ? 0 : -EMFILE;
}

static void pl031_fini(struct device *d)
{
	ev_del(((struct pl031 *)d)->timer);
}

/* The time the guest has set survives, as on a board whose power stays on. */
static void pl031_reset(struct device *d)
{
	struct pl031 *p = (struct pl031 *)d;
	p->mr = p->lr = p->imsc = p->ris = 0;
	p->armed = false;
	match_arm(p);
}

static int pl031_loaded(struct device *d)
{
	struct pl031 *p = (struct pl031 *)d;
	p->imsc &= RTC_INT;
	p->ris &= RTC_INT;
	match_arm(p);
	return 0;
}

static const struct snap_field pl031_fields[] = {
	SNAP_U32(struct pl031, offset, 1), SNAP_U32(struct pl031, mr, 1), SNAP_U32(struct pl031, lr, 1),
	SNAP_U32(struct pl031, imsc, 1), SNAP_U32(struct pl031, ris, 1), SNAP_BOOL(struct pl031, armed, 1),
	SNAP_END
};

static const struct dev_desc pl031_desc = {
	.fdt_name = "pl031", .compatible = "arm,pl031,,arm,primecell", .clock_names = "apb_pclk",
};

const struct device_class pl031_class = {
	.name = "pl031", .help = "Arm PL031 real-time clock", .size = sizeof(struct pl031), .io_len = 0x1000,
	.regs = pl031_regs, .nregs = NELEM(pl031_regs), .desc = &pl031_desc,
	.init = pl031_init, .fini = pl031_fini, .reset = pl031_reset,
	.snap = pl031_fields, .snap_version = 1, .loaded = pl031_loaded,
};

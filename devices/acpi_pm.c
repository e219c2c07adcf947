/*
 * ACPI fixed hardware: PM1a event and control blocks, 32-bit power-management timer and one general-purpose
 * event block, at the offsets of the ICH9's PMBASE [ICH9 316972-004 13.8.3] [ACPI-6.4 4.8.3].
 *
 * Modelled: power button, soft-off through SLP_TYP/SLP_EN, the timer, status and enable bits with SCI.
 * Not modelled: sleep states other than S5, SMI (SCI_EN is always set, there is no SMI_CMD port).
 * DEVIATION: TMR_STS never sets.  Operating systems read the 32-bit timer and leave TMR_EN clear; a
 * periodic host timer for a bit nobody reads would cost wake-ups.
 */
#include "devices/acpi_pm.h"

#include "common/device.h"
#include "common/loop.h"
#include "common/vm.h"
#include "devices/classes.h"

#define PM1_PWRBTN 0x0100               /* PWRBTN_STS, PWRBTN_EN */
#define PM1_EN_MASK 0x0721              /* RTC_EN, SLPBTN_EN, PWRBTN_EN, GBL_EN, TMR_EN */
#define CNT_SCI_EN 0x0001
#define CNT_SLP_TYP_SHIFT 10
#define CNT_SLP_EN 0x2000
#define CNT_MASK 0x1c03                 /* SLP_TYP, BM_RLD, SCI_EN; SLP_EN and GBL_RLS read as 0 */
#define PM_TMR_HZ 3579545u
#define GPE0_BYTES (ACPI_GPE0_LEN / 2)

struct acpi_pm {
	struct device dev;
	uint8_t sts[2], en[2], cnt[2];  /* PM1, little-endian halves */
	uint8_t gpe_sts[GPE0_BYTES], gpe_en[GPE0_BYTES];
	uint32_t tmr;                   /* timer while paused */
	uint32_t tmr_base;              /* host ticks when the timer stood at 0 */
};

static uint32_t host_ticks(void)
{
	uint64_t ns = now_ns();

	return (uint32_t)(ns / 1000000000 * PM_TMR_HZ + ns % 1000000000 * PM_TMR_HZ / 1000000000);
}

static void update_sci(struct acpi_pm *s)
{
	unsigned pending = get_le16(s->sts) & get_le16(s->en);

	for (unsigned i = 0; i < GPE0_BYTES; i++)
		pending |= s->gpe_sts[i] & s->gpe_en[i];
	irq_set(&s->dev.irq, pending != 0);
}

/*
 * All registers but the timer are byte rows: guests write them in bytes and in words, and a byte written
 * must leave its neighbour alone.  `arg` is the byte's index.
 */
static uint64_t rd_sts(void *dev, const struct reg *r)
{
	return ((struct acpi_pm *)dev)->sts[r->arg];
}

static void wr_sts(void *dev, const struct reg *r, uint64_t v)
{
	struct acpi_pm *s = dev;

	s->sts[r->arg] &= (uint8_t)~v;
	update_sci(s);
}

static uint64_t rd_en(void *dev, const struct reg *r)
{
	return ((struct acpi_pm *)dev)->en[r->arg];
}

static void wr_en(void *dev, const struct reg *r, uint64_t v)
{
	struct acpi_pm *s = dev;

	s->en[r->arg] = (uint8_t)(v & (PM1_EN_MASK >> (8 * r->arg)));
	update_sci(s);
}

static uint64_t rd_cnt(void *dev, const struct reg *r)
{
	return ((struct acpi_pm *)dev)->cnt[r->arg];
}

static void go_to_sleep(struct acpi_pm *s)
{
	unsigned type = get_le16(s->cnt) >> CNT_SLP_TYP_SHIFT & 7;

	if (type == ACPI_S5_TYPE)
		vm_request(s->dev.vm, CAUSE_POWEROFF, NULL, "ACPI soft-off");
	else
		dev_warn(&s->dev, "sleep type %u asked for; the machine has soft-off (%u) only", type, ACPI_S5_TYPE);
}

static void wr_cnt(void *dev, const struct reg *r, uint64_t v)
{
	struct acpi_pm *s = dev;
	unsigned shift = 8 * r->arg;

	s->cnt[r->arg] = (uint8_t)(v & (CNT_MASK >> shift));
	s->cnt[0] |= CNT_SCI_EN;
	if ((v << shift) & CNT_SLP_EN)
		go_to_sleep(s);
}

static uint64_t rd_tmr(void *dev, const struct reg *r)
{
	struct acpi_pm *s = dev;

	(void)r;
	return host_ticks() - s->tmr_base;
}

static uint64_t rd_gpe_sts(void *dev, const struct reg *r)
{
	return ((struct acpi_pm *)dev)->gpe_sts[r->arg];
}

static void wr_gpe_sts(void *dev, const struct reg *r, uint64_t v)
{
	struct acpi_pm *s = dev;

	s->gpe_sts[r->arg] &= (uint8_t)~v;
	update_sci(s);
}

static uint64_t rd_gpe_en(void *dev, const struct reg *r)
{
	return ((struct acpi_pm *)dev)->gpe_en[r->arg];
}

static void wr_gpe_en(void *dev, const struct reg *r, uint64_t v)
{
	struct acpi_pm *s = dev;

	s->gpe_en[r->arg] = (uint8_t)v;
	update_sci(s);
}

#define GPE_STS(i) { ACPI_GPE0 + (i), 1, "GPE0_STS" #i, rd_gpe_sts, wr_gpe_sts, i }
#define GPE_EN(i) { ACPI_GPE0 + GPE0_BYTES + (i), 1, "GPE0_EN" #i, rd_gpe_en, wr_gpe_en, i }
static const struct reg pm_regs[] = {
	{ 0x00, 1, "PM1_STS", rd_sts, wr_sts, 0 },
	{ 0x01, 1, "PM1_STS+1", rd_sts, wr_sts, 1 },
	{ 0x02, 1, "PM1_EN", rd_en, wr_en, 0 },
	{ 0x03, 1, "PM1_EN+1", rd_en, wr_en, 1 },
	{ 0x04, 1, "PM1_CNT", rd_cnt, wr_cnt, 0 },
	{ 0x05, 1, "PM1_CNT+1", rd_cnt, wr_cnt, 1 },
	{ 0x08, 4, "PM_TMR", rd_tmr, NULL, 0 },
	GPE_STS(0), GPE_STS(1), GPE_STS(2), GPE_STS(3), GPE_STS(4), GPE_STS(5), GPE_STS(6), GPE_STS(7),
	GPE_EN(0), GPE_EN(1), GPE_EN(2), GPE_EN(3), GPE_EN(4), GPE_EN(5), GPE_EN(6), GPE_EN(7),
};

bool acpi_pm_power_button(struct device *dev)
{
	struct acpi_pm *s = (struct acpi_pm *)dev;

	dev_lock(dev);
	put_le16(s->sts, get_le16(s->sts) | PM1_PWRBTN);
	bool heard = get_le16(s->en) & PM1_PWRBTN;

	update_sci(s);
	dev_unlock(dev);
	return heard;
}

static void pm_reset(struct device *dev)
{
	struct acpi_pm *s = (struct acpi_pm *)dev;

	memset(s->sts, 0, sizeof(s->sts));
	memset(s->en, 0, sizeof(s->en));
	memset(s->gpe_sts, 0, sizeof(s->gpe_sts));
	memset(s->gpe_en, 0, sizeof(s->gpe_en));
	put_le16(s->cnt, CNT_SCI_EN);
	s->tmr = 0;
	s->tmr_base = host_ticks();
	update_sci(s);
}

static void pm_pause(struct device *dev)
{
	struct acpi_pm *s = (struct acpi_pm *)dev;

	s->tmr = host_ticks() - s->tmr_base;
}

static void pm_resume(struct device *dev)
{
	struct acpi_pm *s = (struct acpi_pm *)dev;

	s->tmr_base = host_ticks() - s->tmr;
}

static int pm_loaded(struct device *dev)
{
	update_sci((struct acpi_pm *)dev);
	return 0;
}

static const struct snap_field pm_fields[] = {
	SNAP_BYTES(struct acpi_pm, sts, 1),
	SNAP_BYTES(struct acpi_pm, en, 1),
	SNAP_BYTES(struct acpi_pm, cnt, 1),
	SNAP_BYTES(struct acpi_pm, gpe_sts, 1),
	SNAP_BYTES(struct acpi_pm, gpe_en, 1),
	SNAP_U32(struct acpi_pm, tmr, 1),
	SNAP_END
};

const struct device_class acpi_pm_class = {
	.name = "acpi-pm",
	.help = "ACPI power-management block: power button, soft-off, timer",
	.size = sizeof(struct acpi_pm),
	.io_len = ACPI_PM_LEN,
	.regs = pm_regs,
	.nregs = NELEM(pm_regs),
	.reset = pm_reset,
	.pause = pm_pause,
	.resume = pm_resume,
	.snap = pm_fields,
	.snap_version = 1,
	.loaded = pm_loaded,
};

/*
 * MC146818 real-time clock with 128 bytes of CMOS memory [MC146818A], as PCs have it.
 *
 * Modelled: time and alarm in BCD or binary, 12 or 24 hours, century byte, UIP, alarm, update-ended and periodic
 * interrupts, SET and the divider's reset.  The clock is the host's plus an offset, so a restored guest finds the
 * time of day.  Flags are worked out when somebody looks; a timer runs only while an interrupt is enabled
 * and its flag is clear, so a guest that does not listen costs nothing.
 * The memory-size bytes follow what SeaBIOS and OVMF read, and the IBM PC/AT before them.
 * DEVIATION: setting the time keeps the host's fraction of the second.  Not modelled: square wave, daylight saving.
 * The NMI mask in bit 7 of the index is ignored.
 */
#include <errno.h>
#include <limits.h>
#include <time.h>

#include "common/conf.h"
#include "common/device.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/vm.h"

enum {                                  /* [MC146818A, figure "Address Map"] */
	R_SEC = 0x00, R_SEC_ALARM = 0x01, R_MIN = 0x02, R_MIN_ALARM = 0x03, R_HOUR = 0x04, R_HOUR_ALARM = 0x05,
	R_WDAY = 0x06, R_MDAY = 0x07, R_MONTH = 0x08, R_YEAR = 0x09, R_A = 0x0a, R_B = 0x0b, R_C = 0x0c, R_D = 0x0d,
	R_CENTURY = 0x32,
	A_UIP = 0x80, A_DV = 0x70, A_DV_RUN = 0x20, A_DV_RESET = 0x60, A_RS = 0x0f,
	B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_SQWE = 0x08, B_BINARY = 0x04, B_24H = 0x02,
	C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10, C_FLAGS = C_PF | C_AF | C_UF,
	D_VRT = 0x80,
	HOUR_PM = 0x80, ALARM_ANY = 0xc0,
};

#define US_PER_S 1000000
#define DAY_S 86400
#define UIP_US 244                      /* UIP leads the update by this much [MC146818A, "UIP"] */
#define BASE_HZ 32768

struct rtc {
	struct device dev;
	struct ev *timer;               /* NULL without a loop */
	uint8_t index;
	uint8_t ram[128];               /* time bytes are current only while SET */
	uint64_t offset_us;             /* guest's clock minus the host's, two's complement */
	uint64_t seen_us;               /* guest time up to which the flags are worked out */
};

/* --- the clock --- */

static int64_t guest_us(const struct rtc *r)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	uint64_t us = (uint64_t)ts.tv_sec * US_PER_S + (uint64_t)ts.tv_nsec / 1000 + r->offset_us;
	return (int64_t)us;
}

static int64_t floor_s(int64_t us)
{
	return us >= 0 ? us / US_PER_S : -((-us + US_PER_S - 1) / US_PER_S);
}

static unsigned fraction_us(int64_t us)
{
	return (unsigned)(us - floor_s(us) * US_PER_S);
}

static bool stopped(const struct rtc *r)
{
	return r->ram[R_B] & B_SET || (r->ram[R_A] & A_DV_RESET) == A_DV_RESET;
}

/* --- number formats --- */

static uint8_t encode(const struct rtc *r, unsigned v)
{
	return (uint8_t)(r->ram[R_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10);
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
	return r->ram[R_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 0xf);
}

static uint8_t encode_hour(const struct rtc *r, unsigned h)
{
	if (r->ram[R_B] & B_24H)
		return encode(r, h);
	return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->ram[R_B] & B_24H)
		return decode(r, v);
	return decode(r, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* Time bytes from the clock. */
static void time_to_ram(struct rtc *r)
{
	time_t t = (time_t)floor_s(guest_us(r));
	struct tm tm;
	if (!gmtime_r(&t, &tm))
		return;
	unsigned year = (unsigned)(tm.tm_year + 1900) % 10000;
	r->ram[R_SEC] = encode(r, (unsigned)tm.tm_sec);
	r->ram[R_MIN] = encode(r, (unsigned)tm.tm_min);
	r->ram[R_HOUR] = encode_hour(r, (unsigned)tm.tm_hour);
	r->ram[R_WDAY] = encode(r, (unsigned)tm.tm_wday + 1);
	r->ram[R_MDAY] = encode(r, (unsigned)tm.tm_mday);
	r->ram[R_MONTH] = encode(r, (unsigned)tm.tm_mon + 1);
	r->ram[R_YEAR] = encode(r, year % 100);
	r->ram[R_CENTURY] = encode(r, year / 100);
}

/* The clock from the time bytes, whatever the guest has put there; the day of the week is computed anyway. */
static void ram_to_time(struct rtc *r)
{
	struct tm tm = {
		.tm_sec = (int)decode(r, r->ram[R_SEC]), .tm_min = (int)decode(r, r->ram[R_MIN]),
		.tm_hour = (int)decode_hour(r, r->ram[R_HOUR]),
		.tm_mday = (int)decode(r, r->ram[R_MDAY]), .tm_mon = (int)decode(r, r->ram[R_MONTH]) - 1,
		.tm_year = (int)(decode(r, r->ram[R_CENTURY]) * 100 + decode(r, r->ram[R_YEAR])) - 1900,
	};
	int64_t seconds = (int64_t)timegm(&tm) - floor_s(guest_us(r));
	r->offset_us += (uint64_t)seconds * US_PER_S;
	r->seen_us = (uint64_t)guest_us(r);
}

/* --- flags --- */

/* One field of the alarm: ALARM_WILD matches everything. */
#define ALARM_WILD UINT_MAX

static unsigned alarm_field(const struct rtc *r, unsigned reg)
{
	if ((r->ram[reg] & ALARM_ANY) == ALARM_ANY)
		return ALARM_WILD;
	return reg == R_HOUR_ALARM ? decode_hour(r, r->ram[reg]) : decode(r, r->ram[reg]);
}

/* Seconds, 1 to a day, from `from_s` to the next match; 0 when the alarm can never match. */
static unsigned alarm_distance(const struct rtc *r, int64_t from_s)
{
	unsigned day = (unsigned)(((from_s + 1) % DAY_S + DAY_S) % DAY_S);
	unsigned hour = alarm_field(r, R_HOUR_ALARM), min = alarm_field(r, R_MIN_ALARM), sec = alarm_field(r, R_SEC_ALARM);
	if ((hour > 23 && hour != ALARM_WILD) || (min > 59 && min != ALARM_WILD) || (sec > 59 && sec != ALARM_WILD))
		return 0;
	/* Skips to the next hour or minute on a mismatch: at most 24 + 60 + 60 steps. */
	for (unsigned dist = 1; dist <= DAY_S;) {
		unsigned s = (day + dist - 1) % DAY_S;
		if (hour != ALARM_WILD && s / 3600 != hour)
			dist += 3600 - s % 3600;
		else if (min != ALARM_WILD && s / 60 % 60 != min)
			dist += 60 - s % 60;
		else if (sec != ALARM_WILD && s % 60 != sec)
			dist++;
		else
			return dist;
	}
	return 0;
}

/* Periods of the periodic interrupt in ticks of 32768 Hz; 0: off [MC146818A, table "Periodic Interrupt Rate"]. */
static unsigned period_ticks(const struct rtc *r)
{
	unsigned rs = r->ram[R_A] & A_RS;
	if (rs == 0)
		return 0;
	return rs <= 2 ? 1u << (rs + 6) : 1u << (rs - 1);
}

static uint64_t ticks_at(int64_t us)
{
	return (uint64_t)floor_s(us) * BASE_HZ + (uint64_t)fraction_us(us) * BASE_HZ / US_PER_S;
}

/* Brings the flags of register C up to now. */
static void catch_up(struct rtc *r)
{
	int64_t now = guest_us(r), seen = (int64_t)r->seen_us;
	unsigned period = period_ticks(r);
	r->seen_us = (uint64_t)now;
	if (stopped(r) || now <= seen)  /* the host's clock may have been set back */
		return;
	if (floor_s(now) != floor_s(seen)) {
		unsigned dist = alarm_distance(r, floor_s(seen));
		r->ram[R_C] |= C_UF | (dist && floor_s(now) - floor_s(seen) >= (int64_t)dist ? C_AF : 0);
	}
	if (period && ticks_at(now) / period != ticks_at(seen) / period)
		r->ram[R_C] |= C_PF;
}

static uint64_t until_s(int64_t now, uint64_t seconds)
{
	return (seconds * US_PER_S - fraction_us(now)) * 1000;
}

/* Nanoseconds to the next flag whose interrupt is enabled and which is not up already; UINT64_MAX: none. */
static uint64_t next_event_ns(const struct rtc *r)
{
	int64_t now = guest_us(r);
	uint8_t want = r->ram[R_B] & (uint8_t)~r->ram[R_C];
	uint64_t ns = UINT64_MAX;
	unsigned period = period_ticks(r), dist = alarm_distance(r, floor_s(now));
	if (stopped(r))
		return ns;
	if (want & B_UIE)
		ns = until_s(now, 1);
	if (want & B_AIE && dist)
		ns = MIN(ns, until_s(now, dist));
	if (want & B_PIE && period)
		ns = MIN(ns, (period - ticks_at(now) % period) * (1000000000u / BASE_HZ + 1));
	return ns;
}

static void rtc_update(struct rtc *r)
{
	bool level = r->ram[R_C] & r->ram[R_B] & C_FLAGS;
	r->ram[R_C] = (r->ram[R_C] & C_FLAGS) | (level ? C_IRQF : 0);
	irq_set(&r->dev.irq, level);
	if (!r->timer)
		return;
	uint64_t ns = r->ram[R_B] & (B_PIE | B_AIE | B_UIE) ? next_event_ns(r) : UINT64_MAX;
	ev_arm(r->timer, ns == UINT64_MAX ? 0 : ns + 1000);
}

static void rtc_timer(void *arg, uint32_t events)
{
	struct rtc *r = arg;
	(void)events;
	dev_lock(&r->dev);
	catch_up(r);
	rtc_update(r);
	dev_unlock(&r->dev);
}

/* --- registers --- */

static bool is_time(unsigned reg)
{
	return reg <= R_YEAR ? reg >= R_WDAY || !(reg & 1) : reg == R_CENTURY;
}

static uint8_t cmos_read(struct rtc *r)
{
	unsigned reg = r->index;
	if (is_time(reg) && !(r->ram[R_B] & B_SET))
		time_to_ram(r);
	if (reg == R_A)
		return r->ram[R_A] | (!stopped(r) && fraction_us(guest_us(r)) >= US_PER_S - UIP_US ? A_UIP : 0);
	if (reg != R_C)
		return r->ram[reg];
	catch_up(r);
	uint8_t c = r->ram[R_C] & C_FLAGS;
	if (c & r->ram[R_B])
		c |= C_IRQF;
	r->ram[R_C] = 0;                /* reading acknowledges */
	rtc_update(r);
	return c;
}

static void write_b(struct rtc *r, uint8_t val)
{
	uint8_t old = r->ram[R_B];
	catch_up(r);
	if (val & B_SET && !(old & B_SET))
		time_to_ram(r);                 /* in the old format: the bytes freeze as they are */
	if (val & B_SET)
		val &= (uint8_t)~B_UIE;         /* [MC146818A, "SET"] */
	r->ram[R_B] = val;
	if (old & B_SET && !(val & B_SET))
		ram_to_time(r);
	rtc_update(r);
}

static void write_time(struct rtc *r, unsigned reg, uint8_t val)
{
	if (r->ram[R_B] & B_SET) {
		r->ram[reg] = val;
		return;
	}
	time_to_ram(r);
	r->ram[reg] = val;
	ram_to_time(r);
	rtc_update(r);
}

static void cmos_write(struct rtc *r, uint8_t val)
{
	unsigned reg = r->index;
	if (is_time(reg)) {
		write_time(r, reg, val);
	} else if (reg == R_B) {
		write_b(r, val);
	} else if (reg != R_C && reg != R_D) {
		catch_up(r);
		r->ram[reg] = reg == R_A ? val & (uint8_t)~A_UIP : val;
		if (reg <= R_A)         /* alarm or rate */
			rtc_update(r);
	}
}

static uint64_t rd_index(void *dev, const struct reg *r)
{
	(void)dev;
	(void)r;
	return 0xff;                    /* write-only on the board */
}

static void wr_index(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	((struct rtc *)dev)->index = val & 0x7f;
}

static uint64_t rd_data(void *dev, const struct reg *r)
{
	(void)r;
	return cmos_read(dev);
}

static void wr_data(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	cmos_write(dev, (uint8_t)val);
}

static const struct reg rtc_regs[] = {
	{ 0, 1, "CMOS index", rd_index, wr_index, 0 },
	{ 1, 1, "CMOS data", rd_data, wr_data, 0 },
};

/* --- life --- */

static void ram_set16(struct rtc *r, unsigned reg, uint64_t v)
{
	put_le16(&r->ram[reg], (uint16_t)MIN(v, (uint64_t)UINT16_MAX));
}

/* Base memory and memory above 1 MiB in KiB [IBM-AT]; above 16 MiB and above 4 GiB in units of 64 KiB (firmware's). */
static void memory_bytes(struct rtc *r)
{
	const struct memmap *m = &r->dev.vm->map;
	uint64_t low = 0, high = 0;
	for (unsigned i = 0; i < m->nram; i++) {
		if (m->ram[i].base == 0)
			low = m->ram[i].len;
		else if (m->ram[i].base >= GIB(4))
			high += m->ram[i].len;
	}
	ram_set16(r, 0x15, MIN(low, KIB(640)) / KIB(1));
	ram_set16(r, 0x17, low > MIB(1) ? (low - MIB(1)) / KIB(1) : 0);
	ram_set16(r, 0x30, low > MIB(1) ? (low - MIB(1)) / KIB(1) : 0);
	ram_set16(r, 0x34, low > MIB(16) ? (low - MIB(16)) / KIB(64) : 0);
	high = MIN(high / KIB(64), (uint64_t)0xffffff);
	r->ram[0x5b] = (uint8_t)high;
	r->ram[0x5c] = (uint8_t)(high >> 8);
	r->ram[0x5d] = (uint8_t)(high >> 16);
}

static uint64_t local_offset_us(const struct vm *vm)
{
	time_t now = time(NULL);
	struct tm tm;
	if (!vm->conf || !conf_bool(vm->conf, "rtc.use_localtime") || !localtime_r(&now, &tm))
		return 0;
	return (uint64_t)tm.tm_gmtoff * US_PER_S;
}

static int rtc_init(struct device *d)
{
	struct rtc *r = (struct rtc *)d;
	r->offset_us = local_offset_us(d->vm);
	r->ram[R_A] = A_DV_RUN | 0x06;          /* 1024 Hz, as firmware leaves it */
	r->ram[R_B] = B_24H;
	r->ram[R_D] = D_VRT;
	if (d->vm->dry || !d->vm->loop)
		return 0;
	r->timer = ev_timer(d->vm->loop, rtc_timer, r);
	return r->timer ? 0 : -EMFILE;
}

static void rtc_fini(struct device *d)
{
	ev_del(((struct rtc *)d)->timer);
}

/* The battery keeps time and memory; reset turns interrupts off [MC146818A, "RESET"]. */
static void rtc_reset(struct device *d)
{
	struct rtc *r = (struct rtc *)d;
	bool was_set = r->ram[R_B] & B_SET;
	r->index = 0;
	r->ram[R_B] &= (uint8_t)~(B_SET | B_PIE | B_AIE | B_UIE | B_SQWE);
	r->ram[R_C] = 0;
	if (was_set)
		ram_to_time(r);         /* a guest that died while setting the clock must not leave it stopped */
	r->seen_us = (uint64_t)guest_us(r);
	memory_bytes(r);
	rtc_update(r);
}

static int rtc_loaded(struct device *d)
{
	struct rtc *r = (struct rtc *)d;
	r->index &= 0x7f;
	r->seen_us = (uint64_t)guest_us(r);
	rtc_update(r);
	return 0;
}

static const struct snap_field rtc_fields[] = {
	SNAP_U8(struct rtc, index, 1), SNAP_BYTES(struct rtc, ram, 1), SNAP_U64(struct rtc, offset_us, 1),
	SNAP_END
};

static const struct dev_desc rtc_desc = { .fdt_name = "rtc", .compatible = "motorola,mc146818", .hid = "PNP0B00" };

const struct device_class mc146818_class = {
	.name = "mc146818", .help = "MC146818 real-time clock and CMOS memory", .size = sizeof(struct rtc), .io_len = 2,
	.regs = rtc_regs, .nregs = NELEM(rtc_regs), .desc = &rtc_desc,
	.init = rtc_init, .fini = rtc_fini, .reset = rtc_reset,
	.snap = rtc_fields, .snap_version = 1, .loaded = rtc_loaded,
};

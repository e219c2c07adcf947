/*
 * exits: what makes a guest leave to its hypervisor, one kind of reason at a time, the same on both architectures.  The command
 * line chooses: work=NAME, or all of them; count=N is how often.  "WORK NAME count=N ok" is the end of each, "WORK NAME FAIL ..."
 * of one whose results are wrong.
 */
#include "tests/guest/exits.h"
#include "tests/guest/virtio.h"

#define SPINS_MAX 2000000000u
#define PAGE 4096ull
#define LARGE (2ull << 20)
#define TICK_US 100
#define REQUEST_LEN 64

static const char *why;                 /* what the running workload has found wrong */
static struct vdev devs[VDEVS_MAX];
static unsigned ndevs;

static bool wrong(const char *what)
{
	why = what;
	return false;
}

/* Runs on until irq_count[n] is not `before`; false: it does not come. */
static bool spin_count(unsigned n, unsigned before)
{
	for (unsigned i = 0; i < SPINS_MAX; i++) {
		if (irq_count[n] != before)
			return true;
		cpu_relax();
	}
	return wrong("no interrupt");
}

static bool count_is(unsigned n, unsigned before, uint64_t count)
{
	return irq_count[n] - before == count || wrong("too many interrupts");
}

static struct vdev *rnd(void)
{
	if (!ndevs)
		ndevs = vdev_find(devs);
	for (unsigned i = 0; i < ndevs; i++) {
		if (devs[i].type == VIRTIO_RND)
			return &devs[i];
	}
	return NULL;
}

/* --- devices --- */

/* Bytes to the first serial port; their number is for who reads the console. */
static bool work_uart(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		console_putc(i % 64 == 63 || i + 1 == count ? '\n' : '#');
	return true;
}

/* Registers of a device, a write and what is read back, in all four widths in turn. */
static bool work_mmio(uint64_t count)
{
	static const uint8_t at[] = { C_STATUS, C_QUEUE_SEL, C_FEATURE_SEL, C_QUEUE_DESC };
	struct vdev *d = rnd();
	bool ok = true;

	if (!d)
		return wrong("no virtio-rnd");
	vdev_reset(d);
	for (uint64_t i = 0; ok && i < count; i++) {
		unsigned width = (unsigned)(i / 2 % NELEM(at));
		uint64_t val = width == 0 ? S_ACKNOWLEDGE : width == 3 ? i / 2 << 12 : 0;

		if (i % 2)
			ok = vdev_get(d, at[width], 1u << width) == val;
		else
			vdev_put(d, at[width], 1u << width, val);
	}
	return ok || wrong("a register does not keep what is written");
}

/* Requests to a virtio device, each with its notification, its interrupt slept for, before the next. */
static bool work_kick(uint64_t count)
{
	static uint64_t bytes[REQUEST_LEN / 8];
	static unsigned message;
	struct vdev *d = rnd();
	uint64_t addr;
	uint32_t data;

	if (!d)
		return wrong("no virtio-rnd");
	vdev_reset(d);
	if (!message && (!irq_message(&d->pci, &addr, &data, &message) || !vdev_msix(d, addr, data)))
		return wrong("no message");
	if (!vdev_negotiate(d, VIRTIO_ALL_FEATURES))
		return wrong("features are refused");
	struct vring *r = vq_enable(d, 0);
	volatile struct vused *used = &r->used;
	unsigned before = irq_count[message];

	vdev_put(d, C_STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
	r->desc[0] = (struct vdesc){ .addr = (uintptr_t)bytes, .len = REQUEST_LEN, .flags = DESC_WRITE };
	for (uint64_t i = 0; i < count; i++) {
		uint16_t seen = used->idx;
		unsigned now = irq_count[message];
		uint64_t last = *(volatile uint64_t *)bytes;

		vq_add(d, 0, 0);
		vq_kick(d, 0);
		sleep_count(message, now);
		if (used->idx == seen)
			return wrong("no answer");
		memory_barrier();
		if (used->ring[seen % d->len[0]].len != REQUEST_LEN || *(volatile uint64_t *)bytes == last)
			return wrong("no random bytes");
	}
	vdev_reset(d);
	return count_is(message, before, count);
}

/* --- interrupts --- */

/* Timer interrupts of a CPU that goes on computing. */
static bool work_timer(uint64_t count)
{
	unsigned n = timer_init(), before = irq_count[n];

	for (uint64_t i = 0; i < count; i++) {
		unsigned now = irq_count[n];

		timer_arm(TICK_US);
		if (!spin_count(n, now))
			return false;
	}
	return count_is(n, before, count);
}

/* A CPU that sleeps until its timer wakes it. */
static bool work_idle(uint64_t count)
{
	unsigned n = timer_init(), before = irq_count[n];
	uint64_t us = arg_u64("us", 1000);

	for (uint64_t i = 0; i < count; i++) {
		unsigned now = irq_count[n];

		timer_arm(us);
		sleep_count(n, now);
	}
	return count_is(n, before, count);
}

/* The second CPU answers every interrupt with one. */
static void answer(void)
{
	unsigned in = ipi_input(1);

	for (unsigned seen = 0;; seen++) {
		sleep_count(in, seen);
		ipi_send(0);
	}
}

static bool work_ipi(uint64_t count)
{
	static bool started;
	unsigned in = ipi_input(0), before = irq_count[in], there = irq_count[ipi_input(1)];

	if (!started && !cpu_start(answer))
		return wrong("no second CPU");
	started = true;
	for (uint64_t i = 0; i < count; i++) {
		unsigned now = irq_count[in];

		ipi_send(1);
		sleep_count(in, now);
	}
	return count_is(in, before, count) && count_is(ipi_input(1), there, count);
}

/* --- memory --- */

/* [first, end): RAM that nothing uses. */
static uint64_t pool_first, pool_end;

static void pool_init(void)
{
	extern const char image_end[];

	pool_first = ((uintptr_t)image_end + PAGE - 1) & -PAGE;
	pool_end = (machine.ram + machine.ram_len / 2) & -PAGE;
}

static uint64_t *pt_tables(void)
{
	static uint64_t tables[3][512] __attribute__((aligned(4096)));
	uint64_t *root = pt_root();

	tables[0][0] = pt_table((uintptr_t)tables[1]);
	tables[1][0] = pt_table((uintptr_t)tables[2]);
	root[PT_FREE_ENTRY] = pt_table((uintptr_t)tables[0]);
	pt_made();
	return tables[2];
}

/* Page i of the pool, one of each large page first: a host that backs guests with large pages is asked for many all the same. */
static uint64_t pool_page(uint64_t i)
{
	uint64_t first = (pool_first + LARGE - 1) & -LARGE, blocks = (pool_end - first) / LARGE;

	return first + i % blocks * LARGE + i / blocks % (LARGE / PAGE) * PAGE;
}

/* A page is mapped where another was a moment ago, written there, read at its own address, unmapped.  Pages are fresh. */
static bool work_pgtable(uint64_t count)
{
	volatile uint64_t *table = pt_tables();
	uint64_t va0 = (uint64_t)PT_FREE_ENTRY << 39;

	for (uint64_t i = 0; i < count; i++) {
		unsigned slot = i % 8;
		uint64_t va = va0 + slot * PAGE, pa = pool_page(i);
		volatile uint64_t *there = (uint64_t *)va, *here = (uint64_t *)pa;

		table[slot] = pt_page(pa);
		pt_made();
		there[0] = ~i;
		there[PAGE / 8 - 1] = i;
		if (here[0] != ~i || here[PAGE / 8 - 1] != i)
			return wrong("a write went to another page");
		table[slot] = 0;
		pt_flush(va);
	}
	return true;
}

/* --- registers --- */

static uint8_t fp_areas[2][FP_AREA] __attribute__((aligned(64)));
static unsigned fp_owner, fp_wanted;    /* whose registers are in the CPU, and whose should be */
static uint64_t fp_traps;

static void fp_switch(void)
{
	fp_traps++;
	fp_unlock();
	fp_save(fp_areas[fp_owner]);
	fp_load(fp_areas[fp_wanted]);
	fp_owner = fp_wanted;
}

static uint64_t fp_pattern(unsigned context, unsigned reg)
{
	return 0x0123456789abcdefull * (2 * reg + context + 1);
}

/* Two contexts that use the same registers in turn; the first use after a switch traps, inside the guest, and swaps them. */
static bool work_fp(uint64_t count)
{
	uint64_t uses[2] = { 0, 0 };

	fp_init();
	fp_hook = fp_switch;
	fp_save(fp_areas[0]);
	fp_save(fp_areas[1]);
	fp_owner = fp_traps = 0;
	for (unsigned c = 0; c < 2; c++) {
		for (unsigned r = 0; r < fp_regs; r++)
			fp_reg(fp_areas[c], r)[0] = r ? fp_pattern(c, r) : 0;
	}
	fp_load(fp_areas[0]);
	for (uint64_t i = 0; i < count; i++) {
		fp_wanted = !fp_owner;
		fp_lock();
		if (fp_bump() != ++uses[fp_owner])
			return wrong("one context has the other's registers");
	}
	fp_save(fp_areas[fp_owner]);
	for (unsigned c = 0; c < 2; c++) {
		for (unsigned r = 2; r < fp_regs; r++) {
			if (fp_reg(fp_areas[c], r)[0] != fp_pattern(c, r))
				return wrong("a register is lost");
		}
	}
	return fp_traps == count || wrong("too few traps");
}

static bool work_sysreg(uint64_t count)
{
	uint64_t first = sysreg_read();

	for (uint64_t i = 0; i < count; i++) {
		if (sysreg_read() != first)
			return wrong("it changes");
	}
	return true;
}

static bool work_hypercall(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		if (!hypercall())
			return wrong("a strange answer");
	}
	return true;
}

/* --- reset --- */

#define STATE_MAGIC 0x736b657065786974ull

/* In RAM that no loader touches, so that it survives resets. */
static volatile struct state {
	uint64_t magic, resets;
} *state(void)
{
	return (void *)(uintptr_t)pool_end;
}

static bool work_reset(uint64_t count)
{
	if (state()->magic != STATE_MAGIC)
		state()->resets = 0;
	state()->magic = STATE_MAGIC;
	if (state()->resets < count) {
		state()->resets++;
		power_reset();
	}
	state()->magic = 0;
	return state()->resets == count || wrong("too many resets");
}

/* --- choosing --- */

static const struct work {
	const char *name;
	bool (*run)(uint64_t count);
	uint64_t count;
} works[] = {
	{ "uart", work_uart, 1024 },
	{ "mmio", work_mmio, 1024 },
	{ "kick", work_kick, 1000 },
	{ "timer", work_timer, 500 },
	{ "idle", work_idle, 200 },
	{ "ipi", work_ipi, 500 },
	{ "pgtable", work_pgtable, 2000 },
	{ "fp", work_fp, 10000 },
	{ "sysreg", work_sysreg, 1000 },
	{ "hypercall", work_hypercall, 1000 },
	{ "reset", work_reset, 3 },
};

static void run(const struct work *w)
{
	uint64_t count = arg_u64("count", w->count), start = clock_us();

	why = "";
	if (w->run(count))
		print("WORK %s count=%lu ok us=%lu\n", w->name, count, clock_us() - start);
	else
		print("WORK %s FAIL %s\n", w->name, why);
}

void guest_main(void)
{
	bool found = false, again;

	pool_init();
	again = state()->magic == STATE_MAGIC;  /* in the middle of resets, all else being done */
	irq_enable();
	for (unsigned i = 0; i < NELEM(works); i++) {
		if (!arg_is("work", "all") && !arg_is("work", works[i].name))
			continue;
		found = true;
		if (!again || works[i].run == work_reset)
			run(&works[i]);
	}
	if (!found)
		print("WORK none: give work=NAME or work=all\n");
	print("WORK done\n");
}

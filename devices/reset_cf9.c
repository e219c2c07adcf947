/*
 * The two one-byte reset ports of a PC chipset: the reset control register at 0xcf9 and port 0x92
 * [ICH9 316972-004 13.7.5, 13.7.3].
 *
 * Modelled: a reset request on the rising edge of RST_CPU or INIT_NOW; the remaining bits read back.
 * Not modelled: the difference between soft, hard and full reset (each restarts the machine), A20 gating
 * (A20 is always on).
 */
#include "common/device.h"
#include "common/vm.h"
#include "devices/classes.h"

#define CF9_SYS_RST 0x02
#define CF9_RST_CPU 0x04
#define CF9_FULL_RST 0x08
#define P92_INIT_NOW 0x01
#define P92_A20 0x02

struct reset_port {
	struct device dev;
	uint8_t val;
};

static uint64_t rd_val(void *dev, const struct reg *r)
{
	(void)r;
	return ((struct reset_port *)dev)->val;
}

/* RST_CPU is kept so that only its rising edge counts; the machine's reset clears it. */
static void wr_rst_cnt(void *dev, const struct reg *r, uint64_t v)
{
	struct reset_port *s = dev;
	bool rising = v & ~(uint64_t)s->val & CF9_RST_CPU;

	(void)r;
	s->val = v & (CF9_SYS_RST | CF9_RST_CPU | CF9_FULL_RST);
	if (rising)
		vm_request(s->dev.vm, CAUSE_RESET, NULL, "reset control register (port 0xcf9)");
}

static void wr_port92(void *dev, const struct reg *r, uint64_t v)
{
	struct reset_port *s = dev;
	bool rising = v & ~(uint64_t)s->val & P92_INIT_NOW;

	(void)r;
	s->val = (v & P92_INIT_NOW) | P92_A20;
	if (rising)
		vm_request(s->dev.vm, CAUSE_RESET, NULL, "fast reset (port 0x92)");
}

static const struct reg cf9_regs[] = {
	{ 0, 1, "RST_CNT", rd_val, wr_rst_cnt, 0 },
};
static const struct reg port92_regs[] = {
	{ 0, 1, "PORT92", rd_val, wr_port92, 0 },
};

static void cf9_reset(struct device *dev)
{
	((struct reset_port *)dev)->val = 0;
}

static void port92_reset(struct device *dev)
{
	((struct reset_port *)dev)->val = P92_A20;
}

static const struct snap_field reset_port_fields[] = {
	SNAP_U8(struct reset_port, val, 1),
	SNAP_END
};

const struct device_class cf9_class = {
	.name = "cf9",
	.help = "reset control register of a PC (port 0xcf9)",
	.size = sizeof(struct reset_port),
	.io_len = 1,
	.regs = cf9_regs,
	.nregs = NELEM(cf9_regs),
	.reset = cf9_reset,
	.snap = reset_port_fields,
	.snap_version = 1,
};

const struct device_class port92_class = {
	.name = "port92",
	.help = "fast reset port of a PC (port 0x92)",
	.size = sizeof(struct reset_port),
	.io_len = 1,
	.regs = port92_regs,
	.nregs = NELEM(port92_regs),
	.reset = port92_reset,
	.snap = reset_port_fields,
	.snap_version = 1,
};

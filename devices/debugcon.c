/*
 * The debug console of emulated PCs, one port [QEMU-DEBUGCON]: firmware writes its messages there, and reading 0xe9
 * tells it that somebody listens.  Complete lines go to the log at level debug.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "common/device.h"
#include "devices/classes.h"

#define DEBUGCON_PRESENT 0xe9
#define LINE_MAX_LEN 240                /* a longer one is continued in the next message */

struct debugcon {
	struct device dev;
	uint32_t len;
	uint8_t line[LINE_MAX_LEN];     /* printable, without an end */
};

static void flush(struct debugcon *c)
{
	log_debug(c->dev.id, "%.*s", (int)c->len, (const char *)c->line);
	c->len = 0;
}

static void put(struct debugcon *c, const char *text, uint32_t n)
{
	if (c->len + n > sizeof(c->line))
		flush(c);
	memcpy(c->line + c->len, text, n);
	c->len += n;
}

static uint64_t rd_present(void *dev, const struct reg *r)
{
	return DEBUGCON_PRESENT;
}

static void wr_char(void *dev, const struct reg *r, uint64_t val)
{
	struct debugcon *c = dev;
	unsigned char ch = (unsigned char)val;
	char text[8];

	if (ch == '\n') {
		flush(c);
	} else if (ch == '\t') {
		put(c, " ", 1);
	} else if (ch >= 0x20 && ch < 0x7f) {
		put(c, (const char *)&ch, 1);
	} else if (ch != '\r') {
		snprintf(text, sizeof(text), "\\x%02x", ch);
		put(c, text, 4);
	}
}

static const struct reg debugcon_regs[] = {
	{ 0, 1, "DEBUGCON", rd_present, wr_char, 0 },
};

static void debugcon_reset(struct device *d)
{
	struct debugcon *c = (struct debugcon *)d;
	if (c->len)
		flush(c);               /* what the machine said last */
}

/* Nothing unprintable may come into the log by way of a checkpoint. */
static int debugcon_loaded(struct device *d)
{
	struct debugcon *c = (struct debugcon *)d;
	for (uint32_t i = 0; i < c->len; i++) {
		if (!isprint(c->line[i])) {
			c->len = 0;
			return err_msg(-EINVAL, "snapshot of %s: its text is damaged", d->id);
		}
	}
	return 0;
}

static const struct snap_field debugcon_fields[] = {
	SNAP_BUF(struct debugcon, line, len, 1),
	SNAP_END
};

const struct device_class debugcon_class = {
	.name = "debugcon",
	.help = "debug console of firmware (port 0x402), to the log",
	.size = sizeof(struct debugcon),
	.io_len = 1,
	.regs = debugcon_regs,
	.nregs = NELEM(debugcon_regs),
	.fini = debugcon_reset,
	.reset = debugcon_reset,
	.snap = debugcon_fields,
	.snap_version = 1,
	.loaded = debugcon_loaded,
};

/*
 * Keyboard controller without keyboard or mouse [IBM-AT, "Keyboard Controller"; 8042 commands as PCs have them].
 *
 * Modelled: status, command byte, self-test and port tests, output port with the reset line, loop-back commands.
 * Bytes meant for a device are answered at once with "resend" and the time-out flag, as a controller does that finds
 * nobody on its wire: drivers then give up quickly instead of waiting.
 * Not modelled: A20 (always open), translation, the input port's jumpers.
 * Ports 0x61 to 0x63 lie in the range but belong to others; they read all-ones here and swallow writes.
 */
#include "common/device.h"
#include "common/util.h"
#include "common/vm.h"

enum {
	PORT_DATA = 0, PORT_CMD = 4, IO_LEN = 5,
	STR_OBF = 0x01, STR_SYS = 0x04, STR_CMD = 0x08, STR_UNLOCKED = 0x10, STR_AUX = 0x20, STR_TIMEOUT = 0x40,
	CTR_KBD_INT = 0x01, CTR_SYS = 0x04, CTR_KBD_OFF = 0x10, CTR_AUX_OFF = 0x20, CTR_XLATE = 0x40,
	CMD_READ_RAM = 0x20, CMD_WRITE_RAM = 0x60, CMD_AUX_OFF = 0xa7, CMD_AUX_ON = 0xa8, CMD_AUX_TEST = 0xa9, CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab, CMD_KBD_OFF = 0xad, CMD_KBD_ON = 0xae, CMD_READ_INPUT = 0xc0, CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1, CMD_KBD_LOOP = 0xd2, CMD_AUX_LOOP = 0xd3, CMD_AUX_SEND = 0xd4, CMD_PULSE = 0xf0,
	OUT_RESET = 0x01, OUT_A20 = 0x02,
	ANSWER_RESEND = 0xfe,
};

struct i8042 {
	struct device dev;
	uint8_t status, data;
	uint8_t pending;                /* command that waits for its data byte; 0: none */
	uint8_t ram[32];                /* ram[0] is the command byte */
};

static void i8042_update(struct i8042 *k)
{
	bool kbd_byte = (k->status & (STR_OBF | STR_AUX)) == STR_OBF;
	irq_set(&k->dev.irq, kbd_byte && k->ram[0] & CTR_KBD_INT);
}

static void answer(struct i8042 *k, uint8_t data, uint8_t flags)
{
	k->data = data;
	k->status = (k->status & (uint8_t)~(STR_AUX | STR_TIMEOUT)) | STR_OBF | flags;
}

static void reset_line(struct i8042 *k)
{
	vm_request(k->dev.vm, CAUSE_RESET, NULL, "i8042 reset");
}

static void run_command(struct i8042 *k, uint8_t cmd)
{
	k->status |= STR_CMD;
	k->pending = 0;
	switch (cmd) {
	case CMD_READ_RAM ... CMD_READ_RAM + 0x1f: answer(k, k->ram[cmd & 0x1f], 0); break;
	case CMD_AUX_OFF: k->ram[0] |= CTR_AUX_OFF; break;
	case CMD_AUX_ON: k->ram[0] &= (uint8_t)~CTR_AUX_OFF; break;
	case CMD_AUX_TEST: answer(k, 0x01, 0); break;           /* clock line stuck low: no second port */
	case CMD_SELF_TEST:
		k->status |= STR_SYS;
		answer(k, 0x55, 0);
		break;
	case CMD_KBD_TEST: answer(k, 0x00, 0); break;
	case CMD_KBD_OFF: k->ram[0] |= CTR_KBD_OFF; break;
	case CMD_KBD_ON: k->ram[0] &= (uint8_t)~CTR_KBD_OFF; break;
	case CMD_READ_INPUT: answer(k, 0x80, 0); break;         /* keyboard not locked */
	case CMD_READ_OUTPUT: answer(k, OUT_RESET | OUT_A20 | (k->status & STR_OBF ? 0x10 : 0), 0); break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 0x1f:
	case CMD_WRITE_OUTPUT ... CMD_AUX_SEND: k->pending = cmd; break;
	case CMD_PULSE ... 0xff:
		if (!(cmd & OUT_RESET))
			reset_line(k);
		break;
	}
}

static void take_data(struct i8042 *k, uint8_t val)
{
	uint8_t cmd = k->pending;
	k->status &= (uint8_t)~STR_CMD;
	k->pending = 0;
	switch (cmd) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 0x1f: k->ram[cmd & 0x1f] = val; break;
	case CMD_WRITE_OUTPUT:
		if (!(val & OUT_RESET))
			reset_line(k);
		break;
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP: answer(k, val, 0); break;    /* never as from the second port, which there is not */
	case CMD_AUX_SEND: answer(k, ANSWER_RESEND, STR_AUX | STR_TIMEOUT); break;
	default: answer(k, ANSWER_RESEND, STR_TIMEOUT); break;
	}
}

static uint8_t read_port(struct i8042 *k, uint64_t port)
{
	if (port == PORT_CMD)
		return k->status | STR_UNLOCKED;
	if (port != PORT_DATA)
		return 0xff;
	k->status &= (uint8_t)~(STR_OBF | STR_AUX | STR_TIMEOUT);
	i8042_update(k);
	return k->data;
}

static uint64_t i8042_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t val = 0;
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)read_port(dev, off + i) << (8 * i);
	return val;
}

static void i8042_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8042 *k = dev;
	for (unsigned i = 0; i < size; i++) {
		if (off + i == PORT_DATA)
			take_data(k, (uint8_t)(val >> (8 * i)));
		else if (off + i == PORT_CMD)
			run_command(k, (uint8_t)(val >> (8 * i)));
	}
	i8042_update(k);
}

static const struct io_ops i8042_ops = { i8042_read, i8042_write };

/* As firmware leaves it: self-tested, both ports off. */
static void i8042_reset(struct device *d)
{
	struct i8042 *k = (struct i8042 *)d;
	k->status = STR_SYS;
	k->data = k->pending = 0;
	memset(k->ram, 0, sizeof(k->ram));
	k->ram[0] = CTR_XLATE | CTR_AUX_OFF | CTR_KBD_OFF | CTR_SYS;
	i8042_update(k);
}

static int i8042_loaded(struct device *d)
{
	i8042_update((struct i8042 *)d);
	return 0;
}

static const struct snap_field i8042_fields[] = {
	SNAP_U8(struct i8042, status, 1), SNAP_U8(struct i8042, data, 1), SNAP_U8(struct i8042, pending, 1),
	SNAP_BYTES(struct i8042, ram, 1),
	SNAP_END
};

const struct device_class i8042_class = {
	.name = "i8042", .help = "keyboard controller, for its reset line", .size = sizeof(struct i8042), .io_len = IO_LEN,
	.ops = &i8042_ops, .reset = i8042_reset,
	.snap = i8042_fields, .snap_version = 1, .loaded = i8042_loaded,
};

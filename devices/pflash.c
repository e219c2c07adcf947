/*
 * Parallel NOR flash: the command state machine in front of a bank of bytes [INTEL-P30], and the query table that
 * describes it [JEDEC-CFI].
 *
 * Modelled: read array, status and its clearing, ID, CFI query, word program, buffered program, block erase, lock
 * commands.  Operations are done at once.  Chips side by side get every command together; a wider access is split as the
 * bus would, a narrower one has its byte lanes.  Not modelled: timing, suspend, block locks (unlocked, whatever is asked:
 * firmware for emulated flash never unlocks), protection registers.
 * DEVIATION: clear status leaves the ready bit 0 until the next operation and returns to the array: OVMF takes the device
 * for flash only if it does.
 */
#include "devices/pflash.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/device.h"
#include "common/kvm.h"
#include "common/loop.h"
#include "common/vm.h"
#include "devices/classes.h"
#include "devices/pflash_bank.h"

enum {                                  /* [INTEL-P30 "Command Codes and Definitions"] */
	CMD_PROGRAM_ALT = 0x10, CMD_ERASE = 0x20, CMD_PROGRAM = 0x40, CMD_CLEAR_STATUS = 0x50, CMD_LOCK_SETUP = 0x60,
	CMD_STATUS = 0x70, CMD_ID = 0x90, CMD_QUERY = 0x98, CMD_BUFFER = 0xe8, CMD_CONFIRM = 0xd0, CMD_ARRAY = 0xff,
	LOCK_LOCK = 0x01, LOCK_LOCK_DOWN = 0x2f, LOCK_CONFIGURATION = 0x03,

	/* Status register */
	SR_READY = 0x80, SR_ERASE = 0x20, SR_PROGRAM = 0x10, SR_LOCKED = 0x02,
	SR_SEQUENCE = SR_ERASE | SR_PROGRAM,

	ID_MAKER = 0x89, ID_DEVICE = 0x18,      /* Intel; as QEMU's boards answer */
};

/* What reads show between commands. */
enum { SHOW_ARRAY, SHOW_STATUS, SHOW_ID, SHOW_QUERY, SHOWS };
/* What the next write is. */
enum { NEXT_COMMAND, NEXT_PROGRAM, NEXT_ERASE, NEXT_LOCK, NEXT_COUNT, NEXT_DATA, NEXT_CONFIRM, NEXTS };

#define CFI_LEN 0x44
#define BUFFER_NARROW 8                 /* log2 of a chip's write buffer in bytes: 8-bit chips */
#define BUFFER_WIDE 11                  /* 16-bit chips */
#define SYNC_DELAY_NS 200000000u
#define BLANK_LEN KIB(64)
#define BLANK_BLOCK 4096u

struct pflash {
	struct device dev;
	struct pflash_bank bank;
	bool readonly;
	uint8_t width, chips;           /* bytes of the bus; chips side by side */
	unsigned slot;
	uint8_t cfi[CFI_LEN];
	uint32_t buffer_len;            /* bytes, all chips */
	struct ev *timer;               /* brings the file to the disk; NULL: no file */
	bool armed;
	bool mapped;                    /* the memslot is there */
	bool told;                      /* a refused memslot has been reported */

	uint8_t show, next, status;
	/* Buffered program: words to come; the aligned piece of the device it is for, and the bytes of it that were written. */
	uint32_t words;
	uint64_t base;
	uint32_t low, high;
	bool base_known, bad;
	uint8_t buffer[PFLASH_BUFFER_MAX];
	/* For snapshots: blocks of a bank without a file of its own. */
	uint8_t *changes;
	uint32_t changes_len;
};

static struct pflash *pf_of(struct device *d)
{
	assert(d->cls == &pflash_class);
	return (struct pflash *)d;
}

/* --- array mode --- */

/* Puts the memslot where the mode wants it.  Without one, reads of the array are exits: slow, but right. */
static void update_slot(struct pflash *p)
{
	bool want = p->show == SHOW_ARRAY && p->next == NEXT_COMMAND && p->dev.io.mapped;
	if (want == p->mapped)
		return;
	int err = want ? kvm_rom_map(p->dev.vm, p->slot, p->dev.io.base, p->bank.data, p->bank.map_len)
		       : kvm_rom_unmap(p->dev.vm, p->slot, p->dev.io.base);
	if (err && !p->told)
		err_msg(err, "%s: the host refuses to %s its memory: %s", p->dev.id, want ? "map" : "unmap", strerror(-err));
	p->told |= err != 0;
	p->mapped = err ? p->mapped : want;
}

/* --- the query table [JEDEC-CFI "Query Structure"], one byte for each address --- */

static uint8_t log2_up(uint64_t v)
{
	uint8_t n = 0;
	while (BIT64(n) < v)
		n++;
	return n;
}

static void build_cfi(struct pflash *p)
{
	uint64_t blocks = p->bank.len / p->bank.block, chip_len = p->bank.len / p->chips;
	uint32_t chip_block = p->bank.block / p->chips;
	bool wide = p->width > 1;
	uint8_t *t = p->cfi;

	memset(t, 0, sizeof(p->cfi));
	memcpy(t + 0x10, "QRY", 3);
	put_le16(t + 0x13, 0x0001);             /* Intel extended command set */
	put_le16(t + 0x15, 0x31);               /* its table */
	t[0x1b] = 0x45;                         /* Vcc, BCD: 4.5 V to 5.5 V; no Vpp pin */
	t[0x1c] = 0x55;
	t[0x1f] = 7;                            /* typical times, log2 of microseconds: word, buffer */
	t[0x20] = 7;
	t[0x21] = 10;                           /* block erase, of milliseconds */
	t[0x23] = t[0x24] = t[0x25] = 4;        /* at most so many times more, log2 */
	t[0x27] = log2_up(chip_len);
	put_le16(t + 0x28, wide ? 2 : 0);       /* x8/x16, or x8 */
	put_le16(t + 0x2a, wide ? BUFFER_WIDE : BUFFER_NARROW);
	t[0x2c] = 1;                            /* one region of equal blocks */
	put_le16(t + 0x2d, (uint16_t)(blocks - 1));
	put_le16(t + 0x2f, (uint16_t)(chip_block >> 8));
	memcpy(t + 0x31, "PRI10", 5);           /* extended table 1.0: no optional features */
	t[0x3f] = 1;                            /* protection fields: one, empty */
}

/* --- reading --- */

/* One bus word of the shown mode other than the array; every chip answers the same. */
static uint32_t shown_word(const struct pflash *p, uint64_t index)
{
	uint32_t v = 0;
	index &= 0xff;
	if (p->next != NEXT_COMMAND || p->show == SHOW_STATUS)
		v = p->status;
	else if (p->show == SHOW_QUERY)
		v = index < CFI_LEN ? p->cfi[index] : 0;
	else if (index <= 1)
		v = index == 0 ? ID_MAKER : ID_DEVICE;  /* index 2, the lock status: unlocked */
	return p->chips == 2 ? v | v << 16 : v;
}

static uint64_t pflash_read(void *dev, uint64_t off, unsigned size)
{
	const struct pflash *p = dev;
	uint8_t bytes[8] = { 0 };
	if (p->next == NEXT_COMMAND && p->show == SHOW_ARRAY) {
		memcpy(bytes, p->bank.data + off, size);
		return get_le64(bytes);
	}
	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)(shown_word(p, (off + i) / p->width) >> (off + i) % p->width * 8);
	return get_le64(bytes);
}

/* --- commands --- */

/* An operation has ended: its status is what reads show. */
static void done(struct pflash *p, uint8_t errors)
{
	p->status |= SR_READY | errors;
	p->show = SHOW_STATUS;
	p->next = NEXT_COMMAND;
}

static void changed(struct pflash *p)
{
	if (p->timer && !p->armed)
		ev_arm(p->timer, SYNC_DELAY_NS);
	p->armed = p->timer != NULL;
}

static void program(struct pflash *p, uint64_t off, const uint8_t *bits, uint32_t len)
{
	if (p->readonly) {
		done(p, SR_PROGRAM | SR_LOCKED);
		return;
	}
	int err = pflash_bank_program(&p->bank, off, bits, len);
	changed(p);
	done(p, err ? SR_PROGRAM : 0);
}

static void erase(struct pflash *p, uint64_t off)
{
	if (p->readonly) {
		done(p, SR_ERASE | SR_LOCKED);
		return;
	}
	int err = pflash_bank_erase(&p->bank, off - off % p->bank.block, p->bank.block);
	changed(p);
	done(p, err ? SR_ERASE : 0);
}

static void expect(struct pflash *p, uint8_t next)
{
	p->show = SHOW_STATUS;
	p->next = next;
}

static void command(struct pflash *p, uint8_t cmd)
{
	switch (cmd) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_ALT:
		expect(p, NEXT_PROGRAM);
		break;
	case CMD_ERASE:
		expect(p, NEXT_ERASE);
		break;
	case CMD_LOCK_SETUP:
		expect(p, NEXT_LOCK);
		break;
	case CMD_BUFFER:
		p->status |= SR_READY;          /* the buffer is free */
		expect(p, NEXT_COUNT);
		break;
	case CMD_STATUS:
		p->show = SHOW_STATUS;
		break;
	case CMD_ID:
		p->show = SHOW_ID;
		break;
	case CMD_QUERY:
		p->show = SHOW_QUERY;
		break;
	case CMD_CLEAR_STATUS:
		p->status = 0;
		p->show = SHOW_ARRAY;
		break;
	default:                                /* CMD_ARRAY, other makers' resets (0xf0), and what this one does not know */
		p->show = SHOW_ARRAY;
		break;
	}
}

/* The second write did not fit the first. */
static void broken(struct pflash *p, uint8_t cmd)
{
	p->next = NEXT_COMMAND;
	if (cmd == CMD_ARRAY)
		p->show = SHOW_ARRAY;
	else
		done(p, SR_SEQUENCE);
}

static void buffer_count(struct pflash *p, uint64_t val)
{
	uint32_t count = (uint32_t)(val & size_mask(p->width / p->chips));
	if (((uint64_t)count + 1) * p->width > p->buffer_len) {
		done(p, SR_SEQUENCE);
		return;
	}
	memset(p->buffer, 0xff, sizeof(p->buffer));
	p->words = count + 1;
	p->low = p->buffer_len;
	p->high = 0;
	p->base_known = p->bad = false;
	p->next = NEXT_DATA;
}

static void buffer_data(struct pflash *p, uint64_t off, unsigned size, uint64_t val)
{
	if (!p->base_known)
		p->base = ALIGN_DOWN(off, (uint64_t)p->buffer_len);
	p->base_known = true;
	uint64_t at = off - p->base;
	if (off < p->base || at + size > p->buffer_len) {
		p->bad = true;
	} else {
		memcpy(p->buffer + at, &val, size);
		p->low = MIN(p->low, (uint32_t)at);
		p->high = MAX(p->high, (uint32_t)at + size);
	}
	if (--p->words == 0)
		p->next = NEXT_CONFIRM;
}

/* One cycle of the bus: at most its width, inside one word. */
static void cycle(struct pflash *p, uint64_t off, unsigned size, uint64_t val)
{
	uint8_t cmd = (uint8_t)val, bytes[8];
	switch (p->next) {
	case NEXT_COMMAND:
		command(p, cmd);
		break;
	case NEXT_PROGRAM:
		put_le64(bytes, val);
		program(p, off, bytes, size);
		break;
	case NEXT_ERASE:
		if (cmd == CMD_CONFIRM)
			erase(p, off);
		else
			broken(p, cmd);
		break;
	case NEXT_LOCK:
		if (cmd == CMD_CONFIRM || cmd == LOCK_LOCK || cmd == LOCK_LOCK_DOWN || cmd == LOCK_CONFIGURATION)
			done(p, 0);
		else
			broken(p, cmd);
		break;
	case NEXT_COUNT:
		buffer_count(p, val);
		break;
	case NEXT_DATA:
		buffer_data(p, off, size, val);
		break;
	default:
		if (cmd == CMD_CONFIRM && !p->bad)
			program(p, p->base + p->low, p->buffer + p->low, p->high - p->low);
		else
			broken(p, cmd);
		break;
	}
}

static void pflash_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pflash *p = dev;
	while (size) {
		unsigned n = (unsigned)MIN((uint64_t)size, p->width - off % p->width);
		cycle(p, off, n, val & size_mask(n));
		val = n < 8 ? val >> n * 8 : 0;
		off += n;
		size -= n;
	}
	update_slot(p);
}

static const struct io_ops pflash_ops = { pflash_read, pflash_write };

/* --- life --- */

static void sync_timer(void *arg, uint32_t events)
{
	struct pflash *p = arg;
	(void)events;
	dev_lock(&p->dev);
	p->armed = false;
	dev_unlock(&p->dev);
	pflash_bank_sync(&p->bank);     /* without the lock: it may take long */
}

static void describe(struct pflash *p, const struct pflash_spec *s)
{
	assert((s->width == 1 || s->width == 2 || s->width == 4) && s->block % (256u * s->width) == 0 && s->block < MIB(32));
	p->readonly = s->readonly;
	p->width = s->width;
	p->chips = s->width == 4 ? 2 : 1;
	p->slot = s->slot;
	p->buffer_len = p->chips << (s->width > 1 ? BUFFER_WIDE : BUFFER_NARROW);
	p->dev.io.len = p->bank.len;
	build_cfi(p);
}

/* A device that nobody described (the class's tests): small and blank. */
static int pflash_init(struct device *d)
{
	struct pflash *p = pf_of(d);
	struct pflash_spec blank = { .len = BLANK_LEN, .block = BLANK_BLOCK, .width = d->vm->arch->has_pio ? 1 : 4 };
	int err = pflash_bank_open(&p->bank, &blank, true);
	if (!err)
		describe(p, &blank);
	return err;
}

struct device *pflash_new(struct vm *vm, const struct pflash_spec *s, int *err)
{
	struct pflash_bank bank;
	int ignored;
	err = err ? err : &ignored;
	*err = pflash_bank_open(&bank, s, vm->dry);
	if (*err)
		return NULL;
	struct device *d = device_new(vm, &pflash_class, s->id, err);
	if (!d) {
		pflash_bank_close(&bank);
		return NULL;
	}
	struct pflash *p = pf_of(d);
	pflash_bank_close(&p->bank);
	p->bank = bank;
	describe(p, s);
	if (p->bank.fd >= 0)
		p->timer = ev_timer(vm->loop, sync_timer, p);
	if (p->bank.fd >= 0 && !p->timer) {
		*err = -EMFILE;         /* the blank device stays, and ends with the VM */
		return NULL;
	}
	return d;
}

static void pflash_fini(struct device *d)
{
	struct pflash *p = pf_of(d);
	if (p->mapped)
		kvm_rom_unmap(d->vm, p->slot, d->io.base);
	ev_del(p->timer);
	pflash_bank_close(&p->bank);
	free(p->changes);
}

/* The content stays: that is what flash is for. */
static void pflash_reset(struct device *d)
{
	struct pflash *p = pf_of(d);
	p->show = SHOW_ARRAY;
	p->next = NEXT_COMMAND;
	p->status = SR_READY;
	p->words = p->low = p->high = 0;
	p->base = 0;
	p->base_known = p->bad = false;
	memset(p->buffer, 0xff, sizeof(p->buffer));
	update_slot(p);
}

static void pflash_placed(struct device *d)
{
	update_slot(pf_of(d));
}

static void pflash_pause(struct device *d)
{
	pflash_bank_sync(&pf_of(d)->bank);
}

static void pflash_saving(struct device *d)
{
	struct pflash *p = pf_of(d);
	free(p->changes);
	p->changes = pflash_bank_changes(&p->bank, &p->changes_len);
}

static int pflash_loaded(struct device *d)
{
	struct pflash *p = pf_of(d);
	bool buffering = p->next == NEXT_DATA || p->next == NEXT_CONFIRM;
	bool fits = p->show < SHOWS && p->next < NEXTS && (uint64_t)p->words * p->width <= p->buffer_len && p->base < p->bank.len &&
		    p->base % p->buffer_len == 0 && p->high <= p->buffer_len && p->high <= p->bank.len - p->base &&
		    (p->base_known || p->high == 0);
	if (buffering)
		fits &= (p->words > 0) == (p->next == NEXT_DATA) && (p->next == NEXT_DATA || p->bad || p->low < p->high);
	if (!fits || pflash_bank_apply(&p->bank, p->changes, p->changes_len)) {
		pflash_reset(d);
		return err_msg(-EINVAL, "snapshot of %s: it is of another flash device, or damaged", d->id);
	}
	update_slot(p);
	return 0;
}

/*
 * The content of a persistent bank is its file's.  Of the others, what was changed since the start: it is put back
 * into a machine that was just made from the same file.
 */
static const struct snap_field pflash_fields[] = {
	SNAP_U8(struct pflash, show, 1),
	SNAP_U8(struct pflash, next, 1),
	SNAP_U8(struct pflash, status, 1),
	SNAP_U32(struct pflash, words, 1),
	SNAP_U64(struct pflash, base, 1),
	SNAP_U32(struct pflash, low, 1),
	SNAP_U32(struct pflash, high, 1),
	SNAP_BOOL(struct pflash, base_known, 1),
	SNAP_BOOL(struct pflash, bad, 1),
	SNAP_BYTES(struct pflash, buffer, 1),
	SNAP_HEAP(struct pflash, changes, changes_len, 1),
	SNAP_END
};

const struct device_class pflash_class = {
	.name = "pflash",
	.help = "parallel NOR flash with the Intel command set",
	.size = sizeof(struct pflash),
	.io_len = BLANK_LEN,
	.ops = &pflash_ops,
	.init = pflash_init,
	.fini = pflash_fini,
	.reset = pflash_reset,
	.placed = pflash_placed,
	.pause = pflash_pause,
	.snap = pflash_fields,
	.snap_version = 1,
	.saving = pflash_saving,
	.loaded = pflash_loaded,
};

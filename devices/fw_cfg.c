/*
 * QEMU's firmware configuration device [QEMU-FWCFG]: numbered items the guest reads, some with names in a directory.
 *
 * Modelled: the selector, the data register and the DMA interface; every item is read-only.  x86 has them on ports,
 * arm64 in memory, where numbers are big-endian [QEMU-FWCFG "Register Locations"].  The directory is sorted by name,
 * so that it does not depend on the order of creation.
 * DEVIATION: a DMA transfer that does not lie in RAM as a whole moves nothing.
 */
#include "devices/fw_cfg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/device.h"
#include "common/vm.h"
#include "devices/classes.h"

enum {
	/* Offsets on x86, from port 0x510; and in memory. */
	PIO_SELECTOR = 0, PIO_DATA = 1, PIO_DMA = 4, PIO_LEN = 12,
	MMIO_DATA = 0, MMIO_SELECTOR = 8, MMIO_DMA = 16, MMIO_LEN = 24,

	ID_TRADITIONAL = 1, ID_DMA = 2,
	KEY_WRITE_MODE = 0x4000,        /* no effect: nothing can be written */

	DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16,

	DIR_ENTRY = 64, DIR_NAME = 8,   /* bytes of a directory entry; where its name is */
};
#define ITEMS_MAX (FW_CFG_FILES_MAX + 64)
static const char dma_signature[8] = "QEMU CFG";

struct item {
	uint16_t key;
	char name[FW_CFG_NAME_MAX + 1]; /* "": no file */
	uint8_t *data;
	uint32_t len;
};

struct fw_cfg {
	struct device dev;
	uint16_t selector;
	uint32_t offset;                /* of the next byte; stays at the end of the item */
	uint64_t dma_addr;
	struct item items[ITEMS_MAX];   /* in order of creation */
	unsigned n, files;
	void (*on_tables)(struct vm *, struct device *);
	bool tables_done;               /* on_tables has been called since the last fw_cfg_clear() */
};

static struct fw_cfg *fw_of(struct device *d)
{
	assert(d->cls == &fw_cfg_class);
	return (struct fw_cfg *)d;
}

/* --- items --- */

static struct item *by_key(struct fw_cfg *f, uint16_t key)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (f->items[i].key == key)
			return &f->items[i];
	}
	return NULL;
}

static struct item *by_name(struct fw_cfg *f, const char *name)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (f->items[i].name[0] && strcmp(f->items[i].name, name) == 0)
			return &f->items[i];
	}
	return NULL;
}

/* A new item without data; NULL (reported) when there are too many. */
static struct item *item_new(struct fw_cfg *f, uint16_t key)
{
	if (f->n == ITEMS_MAX) {
		err_msg(-ENOSPC, "%s: more than %d items; leave some out", f->dev.id, ITEMS_MAX);
		return NULL;
	}
	struct item *it = &f->items[f->n++];
	*it = (struct item){ .key = key };
	return it;
}

static int item_set(struct fw_cfg *f, struct item *it, const void *data, size_t len)
{
	if (len > UINT32_MAX)
		return err_msg(-EFBIG, "%s: item '%s' has %zu bytes; 4 GiB is the limit", f->dev.id, it->name, len);
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy)
		return err_msg(-ENOMEM, "%s: out of memory for an item of %zu bytes", f->dev.id, len);
	if (len)
		memcpy(copy, data, len);
	free(it->data);
	it->data = copy;
	it->len = (uint32_t)len;
	return 0;
}

int fw_cfg_key(struct device *d, uint16_t key, const void *data, size_t len)
{
	struct fw_cfg *f = fw_of(d);
	assert(!(key & KEY_WRITE_MODE));
	struct item *it = by_key(f, key);
	if (!it)
		it = item_new(f, key);
	return it ? item_set(f, it, data, len) : -ENOSPC;
}

int fw_cfg_u16(struct device *d, uint16_t key, uint16_t v)
{
	uint8_t le[2];
	put_le16(le, v);
	return fw_cfg_key(d, key, le, sizeof(le));
}

int fw_cfg_u32(struct device *d, uint16_t key, uint32_t v)
{
	uint8_t le[4];
	put_le32(le, v);
	return fw_cfg_key(d, key, le, sizeof(le));
}

/* --- the directory [QEMU-FWCFG "File Directory"] --- */

static int name_order(const void *a, const void *b)
{
	return strcmp((const char *)a + DIR_NAME, (const char *)b + DIR_NAME);
}

static int directory_update(struct fw_cfg *f)
{
	uint8_t dir[4 + FW_CFG_FILES_MAX * DIR_ENTRY] = { 0 }, *e = dir + 4;
	for (unsigned i = 0; i < f->n; i++) {
		const struct item *it = &f->items[i];
		if (!it->name[0])
			continue;
		put_be32(e, it->len);
		put_be16(e + 4, it->key);
		memcpy(e + DIR_NAME, it->name, sizeof(it->name));
		e += DIR_ENTRY;
	}
	qsort(dir + 4, f->files, DIR_ENTRY, name_order);
	put_be32(dir, f->files);
	return fw_cfg_key(&f->dev, FW_CFG_FILE_DIR, dir, (size_t)(e - dir));
}

int fw_cfg_file(struct device *d, const char *name, const void *data, size_t len)
{
	struct fw_cfg *f = fw_of(d);
	if (!name[0] || strlen(name) > FW_CFG_NAME_MAX)
		return err_msg(-ENAMETOOLONG, "%s: '%s' is no name for an item; give 1 to %d characters", d->id, name, FW_CFG_NAME_MAX);
	if (by_name(f, name))
		return err_msg(-EEXIST, "%s: there are two items named '%s'; rename one or leave it out", d->id, name);
	if (f->files == FW_CFG_FILES_MAX)
		return err_msg(-ENOSPC, "%s: no room for item '%s': %d files are the limit; leave some out", d->id, name, FW_CFG_FILES_MAX);
	struct item *it = item_new(f, (uint16_t)(FW_CFG_FILE_FIRST + f->files));
	int err = it ? item_set(f, it, data, len) : -ENOSPC;
	if (err) {
		f->n -= it != NULL;
		return err;
	}
	memcpy(it->name, name, strlen(name));
	f->files++;
	return directory_update(f);
}

int fw_cfg_replace(struct device *d, const char *name, const void *data, size_t len)
{
	struct fw_cfg *f = fw_of(d);
	struct item *it = by_name(f, name);
	int err = it ? item_set(f, it, data, len) : -ENOENT;
	return err ? err : directory_update(f);
}

static void items_free(struct fw_cfg *f)
{
	for (unsigned i = 0; i < f->n; i++)
		free(f->items[i].data);
	f->n = f->files = 0;
	f->tables_done = false;
}

/* What is always there. */
static int items_init(struct fw_cfg *f)
{
	int err = fw_cfg_key(&f->dev, FW_CFG_SIGNATURE, "QEMU", 4);
	if (!err)
		err = fw_cfg_u32(&f->dev, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
	return err ? err : directory_update(f);
}

void fw_cfg_clear(struct device *d)
{
	struct fw_cfg *f = fw_of(d);
	items_free(f);
	items_init(f);          /* on failure (reported) firmware finds no device */
}

void fw_cfg_on_tables(struct device *d, void (*fn)(struct vm *, struct device *))
{
	fw_of(d)->on_tables = fn;
}

/* --- what the guest does --- */

static bool is_table(const char *name)
{
	return strncmp(name, "etc/acpi/", 9) == 0 || strcmp(name, "etc/table-loader") == 0;
}

static void select_key(struct fw_cfg *f, uint16_t key)
{
	f->selector = key & (uint16_t)~KEY_WRITE_MODE;
	f->offset = 0;
	const struct item *it = by_key(f, f->selector);
	if (f->on_tables && !f->tables_done && it && is_table(it->name)) {
		f->tables_done = true;
		f->on_tables(f->dev.vm, &f->dev);
	}
}

/* The next bytes of the selected item, at most max; the offset moves behind them. */
static const uint8_t *take(struct fw_cfg *f, uint32_t max, uint32_t *len)
{
	const struct item *it = by_key(f, f->selector);
	*len = it && f->offset < it->len ? MIN(max, it->len - f->offset) : 0;
	const uint8_t *p = *len ? it->data + f->offset : NULL;
	f->offset += *len;
	return p;
}

/* Bytes in the order of the item, whatever the width; zeroes behind its end. */
static uint64_t data_read(struct fw_cfg *f, unsigned size)
{
	uint8_t bytes[8] = { 0 };
	uint32_t len;
	const uint8_t *p = take(f, size, &len);
	if (len)
		memcpy(bytes, p, len);
	return get_le64(bytes);
}

static bool dma_read(struct fw_cfg *f, uint64_t addr, uint32_t len)
{
	uint8_t *to = mem_at(&f->dev.vm->mem, addr, len);
	uint32_t n;
	if (!to && len)
		return false;
	const uint8_t *from = take(f, len, &n);
	if (n)
		memcpy(to, from, n);
	if (len > n)
		memset(to + n, 0, len - n);
	return true;
}

/* [QEMU-FWCFG "Guest-side DMA Interface"] */
static void dma_run(struct fw_cfg *f)
{
	struct { uint32_t control, length; uint64_t address; } req;
	const struct guest_mem *mem = &f->dev.vm->mem;
	uint64_t at = f->dma_addr;
	bool ok = true;
	uint32_t len;

	f->dma_addr = 0;
	if (!mem_read(mem, at, &req, sizeof(req))) {
		dev_warn(&f->dev, "DMA request at 0x%llx, which is not RAM", (unsigned long long)at);
		return;
	}
	uint32_t control = __builtin_bswap32(req.control);
	if (control & DMA_SELECT)
		select_key(f, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		ok = dma_read(f, __builtin_bswap64(req.address), __builtin_bswap32(req.length));
	else if (control & DMA_WRITE)
		ok = false;
	else if (control & DMA_SKIP)
		take(f, __builtin_bswap32(req.length), &len);
	if (!ok)
		dev_warn(&f->dev, "DMA %s refused: %u bytes at 0x%llx, item 0x%x", control & DMA_READ ? "read" : "write",
			 __builtin_bswap32(req.length), (unsigned long long)__builtin_bswap64(req.address), f->selector);
	req.control = __builtin_bswap32(ok ? 0 : DMA_ERROR);
	mem_write(mem, at, &req.control, sizeof(req.control));
}

/* The address register, big-endian: writing its lower half, or all of it, starts the request. */
static void dma_write(struct fw_cfg *f, uint64_t off, unsigned size, uint64_t val)
{
	if (size == 8 && off == 0) {
		f->dma_addr = __builtin_bswap64(val);
	} else if (size == 4 && off == 4) {
		f->dma_addr |= __builtin_bswap32((uint32_t)val);
	} else {
		if (size == 4 && off == 0)
			f->dma_addr = (uint64_t)__builtin_bswap32((uint32_t)val) << 32;
		return;
	}
	dma_run(f);
}

static uint64_t dma_signature_read(uint64_t off, unsigned size)
{
	uint8_t bytes[8] = { 0 };
	for (unsigned i = 0; i < size && off + i < sizeof(dma_signature); i++)
		bytes[i] = (uint8_t)dma_signature[off + i];
	return get_le64(bytes);
}

static uint64_t fw_cfg_read(void *dev, uint64_t off, unsigned size)
{
	struct fw_cfg *f = dev;
	bool pio = f->dev.vm->arch->has_pio;
	uint64_t dma = pio ? PIO_DMA : MMIO_DMA;

	if (off >= dma)
		return dma_signature_read(off - dma, size);
	if (pio)
		return off == PIO_DATA ? data_read(f, 1) : 0;
	return off == MMIO_DATA ? data_read(f, size) : 0;
}

static void fw_cfg_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fw_cfg *f = dev;
	bool pio = f->dev.vm->arch->has_pio;
	uint64_t dma = pio ? PIO_DMA : MMIO_DMA;

	if (off >= dma)
		dma_write(f, off - dma, size, val);
	else if (off == (pio ? PIO_SELECTOR : MMIO_SELECTOR) && size == 2)
		select_key(f, pio ? (uint16_t)val : __builtin_bswap16((uint16_t)val));
}

static const struct io_ops fw_cfg_ops = { fw_cfg_read, fw_cfg_write };

/* --- life --- */

static int fw_cfg_init(struct device *d)
{
	struct fw_cfg *f = fw_of(d);
	d->io.len = d->vm->arch->has_pio ? PIO_LEN : MMIO_LEN;
	int err = items_init(f);
	if (err)
		items_free(f);
	return err;
}

static void fw_cfg_fini(struct device *d)
{
	items_free(fw_of(d));
}

static void fw_cfg_reset(struct device *d)
{
	struct fw_cfg *f = fw_of(d);
	f->selector = FW_CFG_SIGNATURE;
	f->offset = 0;
	f->dma_addr = 0;
}

/* Items are made anew at each boot, so an offset behind the end of one is no reason to refuse: it reads zeroes. */
static const struct snap_field fw_cfg_fields[] = {
	SNAP_U16(struct fw_cfg, selector, 1),
	SNAP_U32(struct fw_cfg, offset, 1),
	SNAP_U64(struct fw_cfg, dma_addr, 1),
	SNAP_END
};

static const struct dev_desc fw_cfg_desc = {
	.fdt_name = "fw-cfg",
	.compatible = "qemu,fw-cfg-mmio",
	.hid = "QEMU0002",
};

const struct device_class fw_cfg_class = {
	.name = "fw-cfg",
	.help = "QEMU's firmware configuration device",
	.size = sizeof(struct fw_cfg),
	.io_len = PIO_LEN,
	.ops = &fw_cfg_ops,
	.desc = &fw_cfg_desc,
	.init = fw_cfg_init,
	.fini = fw_cfg_fini,
	.reset = fw_cfg_reset,
	.snap = fw_cfg_fields,
	.snap_version = 1,
};

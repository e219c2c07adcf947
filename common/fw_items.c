/*
 * The items of fw_cfg both architectures have.
 *
 * The boot order names devices by OpenFirmware paths [IEEE-1275 2.2.1.3] as QEMU writes them and EDK2 and SeaBIOS read
 * them; both architectures' PCI root is "/pci@i0cf8" there, as EDK2 looks at the name only.
 */
#include "common/fw_items.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bootorder.h"
#include "common/conf.h"
#include "common/image.h"
#include "common/log.h"
#include "common/smbios.h"
#include "common/vm.h"
#include "devices/fw_cfg.h"
#include "devices/nvme/nvme_boot.h"
#include "devices/pci/pci.h"

#define USER_FILE_MAX MIB(64)
#define USER_PREFIX "opt/"

/* --- boot order --- */

/*
 * A "%x" in what is below stands for the disk's port or target.  EDK2 knows a namespace below this node only, whatever
 * the controller is, and by its EUI-64.
 */
static const struct {
	const char *cls, *node, *below;
} boot_nodes[] = {
	{ "virtio-blk", "scsi", "/disk@0,0" },
	{ "virtio-scsi", "scsi", "/channel@0/disk@%x,0" },
	{ "ahci", "pci8086,2922", "/drive@%x/disk@0" },
	{ "ahci-hd", "pci8086,2922", "/drive@0/disk@0" },
	{ "ahci-cd", "pci8086,2922", "/drive@0/disk@0" },
	{ "nvme", "pci8086,5845", NULL },
	{ "virtio-net", "ethernet", "/ethernet-phy@0" },
};

/* "/drive@%x/disk@0" with its number. */
static void below_fill(char *out, size_t len, const char *below, const struct boot_entry *e)
{
	const char *at = below ? strstr(below, "%x") : NULL;

	if (!below)
		snprintf(out, len, "/namespace@1,%" PRIx64, nvme_boot_eui64(e->dev));
	else if (at)
		snprintf(out, len, "%.*s%x%s", (int)(at - below), below, e->unit, at + 2);
	else
		snprintf(out, len, "%s", below);
}

static void add_path(struct blob *b, const struct boot_entry *e)
{
	const struct device *d = e->dev;
	const struct pci_dev *pci = (const struct pci_dev *)d;
	char path[128], below[64], fn[8] = "";

	if (pci->fn)
		snprintf(fn, sizeof(fn), ",%x", pci->fn);
	for (unsigned i = 0; i < NELEM(boot_nodes); i++) {
		if (strcmp(d->cls->name, boot_nodes[i].cls) != 0)
			continue;
		below_fill(below, sizeof(below), boot_nodes[i].below, e);
		int n = snprintf(path, sizeof(path), "%s/pci@i0cf8/%s@%x%s%s", b->len ? "\n" : "", boot_nodes[i].node, pci->slot, fn, below);
		blob_add(b, path, (size_t)n);
	}
}

void fw_items_bootorder(const struct vm *vm, struct blob *out)
{
	struct boot_entry order[BOOT_ORDER_MAX];
	unsigned n = boot_order(vm, order, BOOT_ORDER_MAX);

	for (unsigned i = 0; i < n; i++)
		add_path(out, &order[i]);
	if (out->len)
		blob_u8(out, 0);
}

/* --- the machine --- */

static int add_bootorder(struct vm *vm, struct device *fw_cfg)
{
	struct blob b = { 0 };
	int err = 0;

	fw_items_bootorder(vm, &b);
	if (b.len)
		err = fw_cfg_file(fw_cfg, "bootorder", b.data, b.len);
	blob_free(&b);
	return err;
}

static int add_smbios(struct vm *vm, struct device *fw_cfg)
{
	struct blob structs = { 0 };
	uint8_t entry[SM3_LEN];

	smbios_build(vm, 0, &structs, entry);   /* firmware copies them and makes an entry point of its own */
	int err = fw_cfg_file(fw_cfg, "etc/smbios/smbios-anchor", entry, sizeof(entry));

	if (!err)
		err = fw_cfg_file(fw_cfg, "etc/smbios/smbios-tables", structs.data, structs.len);
	blob_free(&structs);
	return err;
}

int fw_items_machine(struct vm *vm, struct device *fw_cfg)
{
	/* A byte for each of S0 to S5, bit 7: offered.  S0 is running, S5 off. */
	static const uint8_t states[6] = { 0x80, 0, 0, 0, 0, 0x80 };
	uint8_t uuid[16], ram[8];

	vm_uuid(vm, uuid);
	put_le64(ram, mem_total(&vm->mem));
	int err = fw_cfg_key(fw_cfg, FW_CFG_UUID, uuid, sizeof(uuid));

	if (!err)
		err = fw_cfg_key(fw_cfg, FW_CFG_RAM_SIZE, ram, sizeof(ram));
	if (!err)
		err = fw_cfg_u16(fw_cfg, FW_CFG_NOGRAPHIC, 1);
	if (!err)
		err = fw_cfg_u16(fw_cfg, FW_CFG_NB_CPUS, (uint16_t)vm->nvcpus);
	if (!err)
		err = fw_cfg_u16(fw_cfg, FW_CFG_MAX_CPUS, (uint16_t)vm->nvcpus);
	if (!err)
		err = fw_cfg_u16(fw_cfg, FW_CFG_BOOT_MENU, 0);
	if (!err)
		err = fw_cfg_file(fw_cfg, "etc/system-states", states, sizeof(states));
	if (!err)
		err = add_bootorder(vm, fw_cfg);
	return err ? err : add_smbios(vm, fw_cfg);
}

/* --- a kernel --- */

static int add_sized(struct device *fw_cfg, uint16_t size_key, uint16_t data_key, const void *data, size_t len)
{
	int err = fw_cfg_u32(fw_cfg, size_key, (uint32_t)len);

	return err ? err : fw_cfg_key(fw_cfg, data_key, data, len);
}

int fw_items_kernel(struct device *fw_cfg, const struct image *im, const char *cmdline, size_t setup_len)
{
	if (im->len > UINT32_MAX || im->initrd_len > UINT32_MAX)
		return err_msg(-EFBIG, "%s '%s': %zu bytes are too many for firmware, which takes less than 4 GiB",
			       im->len > UINT32_MAX ? "kernel" : "initrd", im->len > UINT32_MAX ? im->path : im->initrd_path,
			       im->len > UINT32_MAX ? im->len : im->initrd_len);
	int err = add_sized(fw_cfg, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA, im->data, setup_len);

	if (!err)
		err = add_sized(fw_cfg, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, im->data + setup_len, im->len - setup_len);
	if (!err)
		err = add_sized(fw_cfg, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, im->initrd, im->initrd_len);
	return err ? err : add_sized(fw_cfg, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA, cmdline, strlen(cmdline) + 1);
}

/* --- the user's --- */

/* All of a file.  0 or -errno (reported). */
static int read_file(const char *key, const char *path, struct blob *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	uint8_t buf[16384];
	ssize_t n = 0;

	if (fd < 0)
		return err_sys("%s: file '%s'", key, path);
	int err = fstat(fd, &st) < 0 ? err_sys("%s: file '%s'", key, path) : 0;

	if (!err && !S_ISREG(st.st_mode))
		err = err_msg(-EINVAL, "%s: '%s' is no regular file; name a file to hand over", key, path);
	while (!err && out->len <= USER_FILE_MAX && (n = read(fd, buf, sizeof(buf))) > 0)
		blob_add(out, buf, (size_t)n);
	if (!err && n < 0)
		err = err_sys("%s: file '%s': read", key, path);
	if (!err && out->len > USER_FILE_MAX)
		err = err_msg(-EFBIG, "%s: file '%s' has more than %u MiB; hand it over on a disk", key, path, (unsigned)(USER_FILE_MAX >> 20));
	close(fd);
	return err;
}

static int add_user_content(const char *key, const char *what, struct blob *content)
{
	if (strncmp(what, "string=", 7) == 0) {
		blob_add(content, what + 7, strlen(what + 7));
		return 0;
	}
	return read_file(key, what + strlen("file="), content);
}

/* "[name=]NAME,string=TEXT" or "[name=]NAME,file=PATH", as conf_check() has seen it: up to the end, commas and all. */
static int add_user_item(struct device *fw_cfg, const char *key, const char *value)
{
	const char *name = strncmp(value, "name=", 5) == 0 ? value + 5 : value;
	size_t len = strcspn(name, ",");
	char file[FW_CFG_NAME_MAX + 1];
	struct blob content = { 0 };

	if (len > FW_CFG_NAME_MAX)
		return err_msg(-ENAMETOOLONG, "%s: name '%.*s' has %zu characters; give at most %u", key, (int)len, name, len, FW_CFG_NAME_MAX);
	snprintf(file, sizeof(file), "%.*s", (int)len, name);
	if (strncmp(file, USER_PREFIX, strlen(USER_PREFIX)) != 0)
		log_warn("fwcfg", "%s: names of your own should begin with '%s'; '%s' may mean something else to firmware", key,
			 USER_PREFIX, file);
	int err = add_user_content(key, name + len + 1, &content);

	if (!err)
		err = fw_cfg_file(fw_cfg, file, content.data ? (const void *)content.data : "", content.len);
	blob_free(&content);
	return err;
}

struct user_scan {
	struct device *fw_cfg;
	int err;
};

static void user_key(const char *key, const char *value, const char *origin, void *arg)
{
	struct user_scan *s = arg;

	(void)origin;
	if (!s->err && strncmp(key, "fwcfg.", 6) == 0)
		s->err = add_user_item(s->fw_cfg, key, value);
}

int fw_items_user(struct vm *vm, struct device *fw_cfg)
{
	struct user_scan s = { fw_cfg, 0 };

	if (vm->conf)
		conf_walk(vm->conf, user_key, &s);
	return s.err;
}

/* --- plan --- */

static uint64_t be_read(struct bus *bus, uint64_t addr, unsigned n)
{
	uint64_t v = 0, byte = 0;

	while (n--) {
		bus_read(bus, addr, 1, &byte);
		v = v << 8 | (byte & 0xff);
	}
	return v;
}

/* Selector and data registers are at different offsets where the chip is in memory [QEMU-FWCFG "Register Locations"]. */
void fw_items_print(struct vm *vm, FILE *f)
{
	struct device *d = vm->fw_cfg;
	bool pio = d->io_bus == &vm->pio;
	uint64_t data = d->io.base + (pio ? 1 : 0);

	bus_write(d->io_bus, d->io.base + (pio ? 0 : 8), 2, pio ? FW_CFG_FILE_DIR : __builtin_bswap16(FW_CFG_FILE_DIR));
	uint64_t n = be_read(d->io_bus, data, 4);

	fprintf(f, "fw_cfg files\n");
	for (uint64_t i = 0; i < n && i < FW_CFG_FILES_MAX; i++) {
		char name[FW_CFG_NAME_MAX + 1];
		uint64_t size = be_read(d->io_bus, data, 4), key = be_read(d->io_bus, data, 2);

		be_read(d->io_bus, data, 2);
		for (size_t c = 0; c < sizeof(name); c++)
			name[c] = (char)be_read(d->io_bus, data, 1);
		fprintf(f, "  0x%02x %8" PRIu64 " bytes  %.*s\n", (unsigned)key, size, FW_CFG_NAME_MAX, name);
	}
	fputc('\n', f);
}

/*
 * SMBIOS structures and 64-bit entry point [SMBIOS-3.4 5.2.2, 7]: types 0, 1, 3, 4, 16, 17, 19, 32 and 127.
 *
 * The UUID is the configuration's; unset, it is made from the VM's name alone, so that the same VM has the
 * same one at every start, on every host, and in `plan`.  Strings come from the keys of bhyve_config(5).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "common/smbios.h"
#include "common/vm.h"

enum { HANDLE_BIOS = 0, HANDLE_SYSTEM = 0x100, HANDLE_CHASSIS = 0x300, HANDLE_CPU = 0x400, HANDLE_ARRAY = 0x1000,
       HANDLE_DIMM = 0x1100, HANDLE_MAPPED = 0x1300, HANDLE_BOOT = 0x2000, HANDLE_END = 0xfeff };
#define MAX_SOCKETS 64                  /* one structure each; larger machines show one socket */
#define SIZE_EXTENDED 0x7fff            /* type 17: look at Extended Size */
#define KIB_EXTENDED 0x80000000u        /* type 16: look at Extended Maximum Capacity */

/* A structure being written: its strings follow its formatted part. */
struct smb {
	struct blob *out;
	size_t start;
	struct blob strings;
	uint8_t nstrings;
};

static void smb_begin(struct smb *s, uint8_t type, uint16_t handle)
{
	s->start = s->out->len;
	s->nstrings = 0;
	memset(&s->strings, 0, sizeof(s->strings));
	blob_u8(s->out, type);
	blob_u8(s->out, 0);             /* length, by smb_end() */
	blob_u16(s->out, handle);
}

/* Appends the number of a string; NULL and "" are number 0: none. */
static void smb_str(struct smb *s, const char *text)
{
	if (!text || !*text) {
		blob_u8(s->out, 0);
		return;
	}
	blob_str(&s->strings, text);
	blob_u8(s->out, ++s->nstrings);
}

static void smb_end(struct smb *s)
{
	s->out->data[s->start + 1] = (uint8_t)(s->out->len - s->start);
	blob_add(s->out, s->strings.data, s->strings.len);
	blob_zero(s->out, s->nstrings ? 1 : 2);
	blob_free(&s->strings);
}

static const char *text_of(const struct vm *vm, const char *key, const char *def)
{
	const char *v = vm->conf ? conf_raw(vm->conf, key) : NULL;

	return v ? v : def;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool uuid_parse(const char *text, uint8_t out[16])
{
	unsigned n = 0;

	for (; *text; text++) {
		int d = hex_value(*text);

		if (*text == '-')
			continue;
		if (d < 0 || n == 32)
			return false;
		out[n / 2] = n % 2 ? (uint8_t)(out[n / 2] | d) : (uint8_t)(d << 4);
		n++;
	}
	return n == 32;
}

/* Version 8 [RFC 9562 5.8]: two 64-bit FNV-1a hashes of the name. */
static void uuid_from_name(const char *name, uint8_t out[16])
{
	for (unsigned half = 0; half < 2; half++) {
		uint64_t h = 0xcbf29ce484222325u ^ half;

		for (const char *p = "skep VM "; *p; p++)
			h = (h ^ (uint8_t)*p) * 0x100000001b3u;
		for (const char *p = name; *p; p++)
			h = (h ^ (uint8_t)*p) * 0x100000001b3u;
		put_le64(out + 8 * half, h);
	}
	out[6] = (out[6] & 0x0f) | 0x80;
	out[8] = (out[8] & 0x3f) | 0x80;
}

void vm_uuid(const struct vm *vm, uint8_t out[16])
{
	const char *text = text_of(vm, "uuid", NULL);

	if (!text || !uuid_parse(text, out))
		uuid_from_name(vm->name, out);
}

/* Wire form: the first three fields are little-endian [SMBIOS-3.4 7.2.1]. */
static void uuid_bytes(const struct vm *vm, uint8_t out[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	uint8_t u[16];

	vm_uuid(vm, u);
	for (unsigned i = 0; i < 16; i++)
		out[i] = u[order[i]];
}

static void add_bios(const struct vm *vm, struct smb *s)
{
	smb_begin(s, 0, HANDLE_BIOS);
	smb_str(s, text_of(vm, "bios.vendor", "skep"));
	smb_str(s, text_of(vm, "bios.version", "1"));
	blob_u16(s->out, 0xe000);       /* where it would start */
	smb_str(s, text_of(vm, "bios.release_date", "01/01/2025"));
	blob_u8(s->out, 0);             /* ROM size: 64 KiB */
	blob_u64(s->out, BIT64(3));     /* no characteristics given */
	blob_u8(s->out, 1);             /* ACPI */
	blob_u8(s->out, 0x10);          /* virtual machine */
	blob_u32(s->out, 0xffffffff);   /* no release numbers */
	blob_u16(s->out, 0);            /* extended ROM size: unused */
	smb_end(s);
}

static void add_system(const struct vm *vm, struct smb *s)
{
	uint8_t uuid[16];

	uuid_bytes(vm, uuid);
	smb_begin(s, 1, HANDLE_SYSTEM);
	smb_str(s, text_of(vm, "system.manufacturer", "skep"));
	smb_str(s, text_of(vm, "system.product_name", vm->arch->boards[0]->name));
	smb_str(s, text_of(vm, "system.version", "1"));
	smb_str(s, text_of(vm, "system.serial_number", NULL));
	blob_add(s->out, uuid, sizeof(uuid));
	blob_u8(s->out, 6);             /* woken by the power switch */
	smb_str(s, text_of(vm, "system.sku", NULL));
	smb_str(s, text_of(vm, "system.family_name", "Virtual Machine"));
	smb_end(s);
}

static void add_chassis(const struct vm *vm, struct smb *s)
{
	smb_begin(s, 3, HANDLE_CHASSIS);
	smb_str(s, text_of(vm, "chassis.manufacturer", "skep"));
	blob_u8(s->out, 1);             /* other */
	smb_str(s, text_of(vm, "chassis.version", NULL));
	smb_str(s, text_of(vm, "chassis.serial_number", NULL));
	smb_str(s, text_of(vm, "chassis.asset_tag", NULL));
	blob_u8(s->out, 3);             /* boot-up, power supply and thermal state: safe */
	blob_u8(s->out, 3);
	blob_u8(s->out, 3);
	blob_u8(s->out, 3);             /* security: none */
	blob_u32(s->out, 0);
	blob_u8(s->out, 0);             /* height, power cords: unspecified */
	blob_u8(s->out, 0);
	blob_u8(s->out, 0);             /* no contained elements of length 0 */
	blob_u8(s->out, 0);
	smb_str(s, text_of(vm, "chassis.sku", NULL));
	smb_end(s);
}

struct topology {
	unsigned sockets, cores, threads;       /* cores and threads of one socket */
};

/* As configured; one socket of single-threaded cores when that does not multiply out. */
static struct topology topology_of(const struct vm *vm)
{
	struct topology t = { 1, vm->nvcpus, vm->nvcpus };

	if (!vm->conf)
		return t;
	unsigned sockets = (unsigned)conf_u64(vm->conf, "sockets");
	unsigned cores = (unsigned)conf_u64(vm->conf, "cores"), threads = (unsigned)conf_u64(vm->conf, "threads");

	if (sockets <= MAX_SOCKETS && (uint64_t)sockets * cores * threads == vm->nvcpus)
		t = (struct topology){ sockets, cores, cores * threads };
	return t;
}

static void add_cpu(struct smb *s, unsigned socket, const struct topology *t)
{
	char name[16];

	snprintf(name, sizeof(name), "CPU %u", socket);
	smb_begin(s, 4, (uint16_t)(HANDLE_CPU + socket));
	smb_str(s, name);
	blob_u8(s->out, 3);             /* central processor */
	blob_u8(s->out, 1);             /* family: other; CPUID tells */
	smb_str(s, "skep");
	blob_u64(s->out, 0);            /* processor ID */
	smb_str(s, NULL);
	blob_u8(s->out, 0);             /* voltage, clocks: unknown */
	blob_u16(s->out, 0);
	blob_u16(s->out, 0);
	blob_u16(s->out, 0);
	blob_u8(s->out, 0x41);          /* socket populated, CPU enabled */
	blob_u8(s->out, 1);             /* upgrade: other */
	blob_u16(s->out, 0xffff);       /* no cache structures */
	blob_u16(s->out, 0xffff);
	blob_u16(s->out, 0xffff);
	smb_str(s, NULL);               /* serial, asset tag, part number */
	smb_str(s, NULL);
	smb_str(s, NULL);
	blob_u8(s->out, (uint8_t)MIN(t->cores, 255u));
	blob_u8(s->out, (uint8_t)MIN(t->cores, 255u));
	blob_u8(s->out, (uint8_t)MIN(t->threads, 255u));
	blob_u16(s->out, 0x0004);       /* 64-bit capable */
	blob_u16(s->out, 1);            /* family 2 */
	blob_u16(s->out, (uint16_t)t->cores);
	blob_u16(s->out, (uint16_t)t->cores);
	blob_u16(s->out, (uint16_t)t->threads);
	smb_end(s);
}

static void add_memory_array(struct smb *s, uint64_t total)
{
	uint64_t kib = total >> 10;

	smb_begin(s, 16, HANDLE_ARRAY);
	blob_u8(s->out, 1);             /* location: other */
	blob_u8(s->out, 3);             /* system memory */
	blob_u8(s->out, 6);             /* multi-bit ECC */
	blob_u32(s->out, kib < KIB_EXTENDED ? (uint32_t)kib : KIB_EXTENDED);
	blob_u16(s->out, 0xfffe);       /* no error information */
	blob_u16(s->out, 1);            /* one device */
	blob_u64(s->out, kib < KIB_EXTENDED ? 0 : total);
	smb_end(s);
}

static void add_memory_device(struct smb *s, uint64_t total)
{
	uint64_t mib = total >> 20;

	smb_begin(s, 17, HANDLE_DIMM);
	blob_u16(s->out, HANDLE_ARRAY);
	blob_u16(s->out, 0xfffe);
	blob_u16(s->out, 0xffff);       /* widths unknown */
	blob_u16(s->out, 0xffff);
	blob_u16(s->out, mib < SIZE_EXTENDED ? (uint16_t)mib : SIZE_EXTENDED);
	blob_u8(s->out, 9);             /* DIMM */
	blob_u8(s->out, 0);
	smb_str(s, "DIMM 0");
	smb_str(s, NULL);
	blob_u8(s->out, 7);             /* RAM */
	blob_u16(s->out, 2);            /* other */
	blob_u16(s->out, 0);            /* speed unknown */
	smb_str(s, "skep");
	smb_str(s, NULL);
	smb_str(s, NULL);
	smb_str(s, NULL);
	blob_u8(s->out, 0);
	blob_u32(s->out, mib < SIZE_EXTENDED ? 0 : (uint32_t)mib);
	blob_u16(s->out, 0);
	blob_u16(s->out, 0);            /* voltages unknown */
	blob_u16(s->out, 0);
	blob_u16(s->out, 0);
	smb_end(s);
}

static void add_mapped(struct smb *s, uint16_t handle, uint64_t base, uint64_t len)
{
	uint64_t first = base >> 10, last = ((base + len) >> 10) - 1;
	bool wide = last >= UINT32_MAX;

	smb_begin(s, 19, handle);
	blob_u32(s->out, wide ? UINT32_MAX : (uint32_t)first);
	blob_u32(s->out, wide ? UINT32_MAX : (uint32_t)last);
	blob_u16(s->out, HANDLE_ARRAY);
	blob_u8(s->out, 1);
	blob_u64(s->out, wide ? base : 0);
	blob_u64(s->out, wide ? base + len - 1 : 0);
	smb_end(s);
}

static void add_boot_info(struct smb *s)
{
	smb_begin(s, 32, HANDLE_BOOT);
	blob_zero(s->out, 6);
	blob_u8(s->out, 0);             /* no errors detected */
	smb_end(s);
}

static void fill_entry_point(uint8_t e[SM3_LEN], uint64_t base, size_t len)
{
	memset(e, 0, SM3_LEN);
	memcpy(e, "_SM3_", 5);
	e[6] = SM3_LEN;
	e[7] = 3;                       /* 3.4 */
	e[8] = 4;
	e[10] = 1;                      /* entry point revision */
	put_le32(e + 12, (uint32_t)len);
	put_le64(e + 16, base);
	e[5] = (uint8_t)-byte_sum(e, SM3_LEN);
}

void smbios_build(const struct vm *vm, uint64_t base, struct blob *out, uint8_t entry[SM3_LEN])
{
	struct smb s = { .out = out };
	struct topology t = topology_of(vm);
	uint64_t total = 0;

	memset(out, 0, sizeof(*out));
	add_bios(vm, &s);
	add_system(vm, &s);
	add_chassis(vm, &s);
	for (unsigned i = 0; i < t.sockets; i++)
		add_cpu(&s, i, &t);
	for (unsigned i = 0; i < vm->map.nram; i++)
		total += vm->map.ram[i].len;
	add_memory_array(&s, total);
	add_memory_device(&s, total);
	for (unsigned i = 0; i < vm->map.nram; i++)
		add_mapped(&s, (uint16_t)(HANDLE_MAPPED + i), vm->map.ram[i].base, vm->map.ram[i].len);
	add_boot_info(&s);
	smb_begin(&s, 127, HANDLE_END);
	smb_end(&s);
	fill_entry_point(entry, base, out->len);
}

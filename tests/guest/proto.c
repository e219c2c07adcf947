/*
 * What a kernel is handed by PVH [PVH] and by Multiboot [MULTIBOOT 3.2, 3.3], looked at from inside.  One guest for both: EAX says
 * which it is.  The command line says what must be there: mods=N, and for each module K its length lenK, the sum of its
 * bytes sumK and its command line argK; ram=BYTES in all; resets=N: so often it starts anew first;
 * syms=1: an ELF file's symbols are there.
 */
#include "tests/guest/guest.h"

#define MB_MAGIC 0x2badb002u
#define PVH_MAGIC 0x336ec578u
#define USABLE 1
#define CR0_PE 1u
#define CR0_PG 0x80000000u
#define EFLAGS_IF 0x200u
#define EFLAGS_VM 0x20000u

extern const uint32_t start_info, start_magic, start_eflags, start_cr0;
extern const char image_end[];

struct module {
	uint64_t start, len;
	const char *args;
};

static unsigned wrong;

static void check(bool ok, const char *what)
{
	print("%s %s\n", ok ? "ok" : "WRONG", what);
	wrong += !ok;
}

static const void *at(uint64_t addr)
{
	return (const void *)(uintptr_t)addr;
}

/* "lenK" and the like */
static const char *key(const char *name, unsigned k)
{
	static char buf[16];
	size_t n = strlen(name);

	memcpy(buf, name, n);
	buf[n] = (char)('0' + k);
	buf[n + 1] = '\0';
	return buf;
}

static void check_module(unsigned k, const struct module *m)
{
	const uint8_t *p = at(m->start);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < m->len; i++)
		sum += p[i];
	print("module %u at %lx, %lu bytes, sum %lu, '%s'\n", k, m->start, m->len, sum, m->args ? m->args : "(none)");
	check(m->start % 4096 == 0 && m->start >= (uintptr_t)image_end, "module is on its own pages behind the kernel");
	check(m->len == arg_u64(key("len", k), 0) && sum == arg_u64(key("sum", k), 0), "module has its bytes");
	check(m->args ? arg_is(key("arg", k), m->args) : arg_is(key("arg", k), ""), "module has its command line");
}

/* --- PVH --- */

struct pvh_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};
struct pvh_module {
	uint64_t addr, size, cmdline, reserved;
};
struct pvh_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

static void check_pvh_memory(const struct pvh_info *info)
{
	const struct pvh_memmap *m = at(info->memmap);
	uint64_t end = 0, ram = 0;
	bool sorted = true;

	for (unsigned i = 0; i < info->memmap_entries; i++) {
		sorted = sorted && m[i].addr >= end && m[i].size && !m[i].reserved;
		end = m[i].addr + m[i].size;
		if (m[i].type == USABLE)
			ram += m[i].size;
	}
	check(info->memmap_entries && sorted, "memory map rises");
	/* All but the first megabyte's holes. */
	check(ram <= arg_u64("ram", 0) && arg_u64("ram", 0) - ram < 0x70000, "memory map has the machine's memory");
}

static void check_pvh(void)
{
	const struct pvh_info *info = at(start_info);
	const struct pvh_module *m = at(info->modlist);
	const uint8_t *rsdp = at(info->rsdp);
	uint8_t sum = 0;

	check(info->version == 1 && !info->flags && !info->reserved, "start info is version 1");
	check_pvh_memory(info);
	for (unsigned i = 0; i < 20; i++)
		sum = (uint8_t)(sum + rsdp[i]);
	check(info->rsdp && memcmp(rsdp, "RSD PTR ", 8) == 0 && sum == 0, "RSDP");
	check(info->nr_modules == arg_u64("mods", 0), "number of modules");
	for (unsigned i = 0; i < info->nr_modules && i < 10; i++) {
		struct module mod = { m[i].addr, m[i].size, m[i].cmdline ? at(m[i].cmdline) : NULL };

		check_module(i, &mod);
		check(m[i].reserved == 0, "module's last field is zero");
	}
}

/* --- Multiboot --- */

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};
struct mb_module {
	uint32_t start, end, string, reserved;
};
struct mb_mmap {
	uint32_t size;
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

static void check_mb_memory(const struct mb_info *info)
{
	uint64_t ram = 0, upper = 0, end = 0;
	bool sorted = true, sizes = info->mmap_length > 0;

	for (uint32_t off = 0; off < info->mmap_length && sizes;) {
		const struct mb_mmap *m = at(info->mmap_addr + off);

		sizes = m->size == 20;
		sorted = sorted && m->addr >= end && m->len;
		end = m->addr + m->len;
		if (m->type == USABLE)
			ram += m->len;
		if (m->type == USABLE && m->addr == 0x100000)
			upper = m->len;
		off += m->size + 4;
		sizes = sizes && off <= info->mmap_length;
	}
	check(sizes && sorted, "memory map rises in steps of its sizes");
	check(ram <= arg_u64("ram", 0) && arg_u64("ram", 0) - ram < 0x70000, "memory map has the machine's memory");
	check(info->mem_lower == 639 && info->mem_upper == upper / 1024, "memory sizes");
}

struct section {
	uint32_t name, type, flags, addr, offset, size, link, info, align, entsize;
};

/* The section's bytes begin with, or hold behind a NUL, the text. */
static bool holds(const struct section *s, const char *text)
{
	const char *p = at(s->addr);

	for (uint32_t i = 0; s->addr && i + strlen(text) < s->size; i++) {
		if (p[i] == '\0' && str_starts(p + i + 1, text))
			return true;
	}
	return false;
}

/* The names of sections, and the name of a function of this file in the table its symbols are linked to. */
static void check_sections(const struct mb_info *info)
{
	const struct section *s = at(info->syms[2]);
	bool found = false;

	check(info->flags & 0x20 && info->syms[1] == sizeof(*s) && info->syms[3] < info->syms[0], "section headers");
	for (uint32_t i = 0; i < info->syms[0]; i++) {
		if (s[i].type == 2 && s[i].addr && s[i].link < info->syms[0])
			found = holds(&s[s[i].link], "guest_main");
	}
	check(holds(&s[info->syms[3]], ".shstrtab"), "names of sections");
	check(found, "symbols");
}

static void check_multiboot(void)
{
	const struct mb_info *info = at(start_info);
	const struct mb_module *m = at(info->mods_addr);

	check((info->flags & 0x4d) == 0x4d, "flags say what is there");
	machine.cmdline = at(info->cmdline);
	check(str_starts(machine.cmdline, "proto "), "command line");
	check_mb_memory(info);
	check(info->flags & 0x200 && memcmp(at(info->boot_loader_name), "skep", 5) == 0, "boot loader's name");
	if (arg_is("syms", "1"))
		check_sections(info);
	else
		check(!(info->flags & 0x30), "no symbols");
	check(info->mods_count == arg_u64("mods", 0), "number of modules");
	for (unsigned i = 0; i < info->mods_count && i < 10; i++) {
		struct module mod = { m[i].start, m[i].end - m[i].start, at(m[i].string) };

		check_module(i, &mod);
		check(m[i].reserved == 0 && m[i].string, "module's other fields");
	}
}

static uint32_t bss_word;

/* RAM keeps what is in it when the machine is reset. */
static void maybe_reset(void)
{
	volatile uint32_t *count = (volatile uint32_t *)0x70000;

	if (*count < arg_u64("resets", 0)) {
		bss_word = ++*count;
		power_reset();
	}
}

void guest_main(void)
{
	check((start_cr0 & (CR0_PE | CR0_PG)) == CR0_PE, "protected mode without paging");
	check(!(start_eflags & (EFLAGS_IF | EFLAGS_VM)), "interrupts off");
	check(bss_word == 0, "memory behind the file is clear");
	if (start_magic == MB_MAGIC) {
		print("PROTO multiboot\n");
		check_multiboot();
	} else if (*(const uint32_t *)at(start_info) == PVH_MAGIC) {
		print("PROTO pvh\n");
		check_pvh();
	} else {
		check(false, "no protocol's magic");
	}
	print("PROTO done, %u wrong\n", wrong);
	maybe_reset();
}

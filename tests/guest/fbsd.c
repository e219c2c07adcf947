/*
 * A stand-in for FreeBSD's kernel: walks what the loader left, checks it and says what it found; "FBSD ok" is the last line.
 */
#include "tests/guest/fbsd.h"
#include "tests/guest/fbsd_mod.h"

MOD_PROVIDES(kernel, FBSD_VERSION);

struct file files[FILES_MAX];
unsigned nfiles;
static const char *envp;
static uint8_t untouched[0x30000];              /* .bss: nobody has written here */
static volatile uint32_t pattern = 0x600df00d;  /* .data */
extern const Elf64_Dyn _DYNAMIC[];

int fbsd_kernel_value(int n)
{
	return FBSD_KERNEL_VALUE(n);
}

bool str_same(const char *a, const char *b)
{
	return str_starts(a, b) && !a[strlen(b)];
}

/* --- metadata --- */

static bool at_end(const uint32_t *hdr)
{
	return hdr[0] == 0 && hdr[1] == 0;
}

static uint32_t *next(const uint32_t *hdr)
{
	return (uint32_t *)((uintptr_t)hdr + ((8 + (uint64_t)hdr[1] + 7) & ~7ul));
}

const void *md_find(const void *mod, uint32_t type, uint32_t *len)
{
	const uint32_t *p = mod;

	do {
		if (p[0] == type) {
			if (len)
				*len = p[1];
			return p + 2;
		}
		p = next(p);
	} while (!at_end(p) && p[0] != MD_NAME);
	return NULL;
}

uint64_t md_u64(const void *mod, uint32_t type)
{
	uint32_t len = 0;
	const uint64_t *v = md_find(mod, type, &len);

	if (!v || len != 8)
		DIE("record %x is missing or has %u bytes", type, len);
	return *v;
}

/* Every record, twice is an error; addresses become virtual ones, as the kernel does it. */
static uint64_t walk(uint32_t *p)
{
	uint64_t start = (uintptr_t)p;
	bool seen[2][32] = { { false } };

	MUST(p[0] == MD_NAME);
	for (; !at_end(p); p = next(p)) {
		uint32_t type = p[0];
		bool *was = &seen[type >> 15 & 1][(type & 0x1000) ? 16 + (type & 0xf) : type & 0xf];

		if ((uintptr_t)p - start > 1 << 20)
			DIE("no end of the metadata after 1 MiB");
		if (type == MD_NAME)
			memset(seen, 0, sizeof(seen));
		else if (*was)
			DIE("record %x comes twice", type);
		*was = true;
		if (arch_relocates(type)) {
			MUST(p[1] == 8);
			*(uint64_t *)(p + 2) = arch_virt(*(uint64_t *)(p + 2));
		}
	}
	return (uintptr_t)p + 8;
}

static const char *md_str(const void *mod, uint32_t type)
{
	uint32_t len = 0;
	const char *s = md_find(mod, type, &len);

	if (s && strlen(s) + 1 != len)
		DIE("text of record %x has %lu characters, its length is %u", type, strlen(s), len);
	return s;
}

static void read_file(const void *mod)
{
	struct file *f = &files[nfiles++];
	uint32_t len = 0;
	uint64_t dyn;

	MUST(nfiles <= FILES_MAX);
	*f = (struct file){ .name = md_str(mod, MD_NAME), .type = md_str(mod, MD_TYPE), .args = md_str(mod, MD_ARGS) };
	MUST(f->name && f->type);
	f->addr = md_u64(mod, MD_ADDR);
	f->size = md_u64(mod, MD_SIZE);
	MUST(f->size && f->addr + f->size > f->addr);
	f->eh = md_find(mod, MD_ELFHDR, &len);
	if (!f->eh) {
		print("FBSD raw %s type=%s size=%lu first=%c\n", f->name, f->type, f->size, *(const char *)f->addr);
		return;
	}
	MUST(len == sizeof(*f->eh) && memcmp(f->eh, ELFMAG, SELFMAG) == 0 && f->eh->e_shentsize == sizeof(Elf64_Shdr));
	f->sh = (Elf64_Shdr *)md_find(mod, MD_SHDR, &len);
	MUST(f->sh && len == f->eh->e_shnum * sizeof(Elf64_Shdr));
	if (f->eh->e_type != ET_REL) {
		const uint64_t *sym = (const uint64_t *)md_u64(mod, MD_SSYM);

		f->nsyms = (unsigned)(sym[0] / sizeof(Elf64_Sym));
		f->sym = (const void *)(sym + 1);
		sym += 1 + (sym[0] + 7) / 8;
		f->str_len = sym[0];
		f->str = (const char *)(sym + 1);
		sym += 1 + (sym[0] + 7) / 8;
		MUST((uintptr_t)sym == md_u64(mod, MD_ESYM) && (uintptr_t)sym == f->addr + f->size);
		dyn = md_u64(mod, MD_DYNAMIC);
		f->dynamic = (const void *)(f->eh->e_type == ET_DYN ? f->addr + dyn : dyn);
	}
	print("FBSD file %s type=%s size=%lu args=%s\n", f->name, f->type, f->size, f->args ? f->args : "");
}

/* --- environment --- */

const char *env_find(const char *name)
{
	for (const char *p = envp; *p; p += strlen(p) + 1) {
		if (str_starts(p, name) && p[strlen(name)] == '=')
			return p + strlen(name) + 1;
	}
	return NULL;
}

/* Returns its end. */
static uint64_t read_env(const void *kernel)
{
	const char *p = envp = (const char *)arch_virt(md_u64(kernel, MD_ENVP));

	MUST(((uintptr_t)p & (FBSD_PAGE - 1)) == 0);
	for (; *p; p += strlen(p) + 1) {
		unsigned i = 0;

		while (p[i] && p[i] != '=')
			i++;
		if (!i || p[i] != '=')
			DIE("'%s' in the environment is no NAME=VALUE", p);
		print("FBSD env %s\n", p);
	}
	return (uintptr_t)p + 1;
}

/* --- the kernel's own file --- */

static void check_kernel(void)
{
	const struct file *k = &files[0];
	unsigned symtab = 0;

	MUST(str_same(k->type, "elf kernel") && k->eh->e_type == ET_EXEC);
	MUST(k->addr == (uintptr_t)fbsd_begin && k->addr + k->size > (uintptr_t)fbsd_end);
	MUST(memcmp(k->eh, fbsd_begin, sizeof(*k->eh)) == 0);           /* the first segment begins with it */
	MUST(k->dynamic == _DYNAMIC);
	for (unsigned i = 0; i < k->eh->e_shnum; i++) {
		if (k->sh[i].sh_type == SHT_SYMTAB) {
			symtab++;
			MUST(k->sh[i].sh_size == k->nsyms * sizeof(Elf64_Sym) && k->sh[k->sh[i].sh_link].sh_size == k->str_len);
		}
	}
	MUST(symtab == 1);
	MUST((uintptr_t)k->sym >= (uintptr_t)fbsd_end);                 /* behind .bss */
	MUST(sym_find(k, "fbsd_kernel_value") == (uintptr_t)fbsd_kernel_value);
	MUST(sym_find(k, "guest_main") == (uintptr_t)guest_main && !sym_find(k, "no such symbol"));
	MUST(pattern == 0x600df00d);
	for (unsigned i = 0; i < sizeof(untouched); i++)
		MUST(!((volatile uint8_t *)untouched)[i]);
}

/* Where everything ends: nothing overlaps, everything but the kernel begins on a page. */
static void check_places(uint64_t env_end, uint64_t md_end, uint64_t kernend)
{
	uint64_t end = files[0].addr;

	for (unsigned i = 0; i < nfiles; i++) {
		MUST(files[i].addr >= end && (files[i].addr & (FBSD_PAGE - 1)) == 0);
		end = files[i].addr + files[i].size;
	}
	MUST((uintptr_t)envp >= end && arch_modulep() >= env_end);
	MUST((arch_modulep() & (FBSD_PAGE - 1)) == 0);
	MUST(kernend >= md_end && kernend - md_end < FBSD_PAGE && (kernend & (FBSD_PAGE - 1)) == 0);
}

static void call_modules(void)
{
	for (unsigned i = 1; i < nfiles; i++) {
		uint64_t one = sym_find(&files[i], "mod1_answer"), two = sym_find(&files[i], "mod2_answer");

		if (one && ((int (*)(int))one)(1) != MOD1_ANSWER(1))
			DIE("mod1_answer(1) is wrong");
		if (two && ((int (*)(int))two)(2) != MOD2_ANSWER(2) + 2)        /* mod1 counts its calls: one before */
			DIE("mod2_answer(2) is wrong");
		if (one || two)
			print("FBSD called %s\n", files[i].name);
	}
}

void guest_main(void)
{
	if (arch_bare())
		return;
	uint32_t *md = (uint32_t *)arch_modulep(), len = 0;
	uint64_t md_end = walk(md), env_end;
	const int *howto = md_find(md, MD_HOWTO, &len);

	for (const uint32_t *p = md; !at_end(p); p = next(p)) {
		if (p[0] == MD_NAME)
			read_file(p);
	}
	MUST(howto && len == 4);
	print("FBSD howto=0x%x\n", (unsigned)*howto);
	env_end = read_env(md);
	check_kernel();
	check_places(env_end, md_end, arch_virt(md_u64(md, MD_KERNEND)));
	arch_check(md);
	for (unsigned i = 1; i < nfiles; i++) {
		if (files[i].eh)
			link_module(&files[i]);
	}
	call_modules();
	print("FBSD ok %s files=%u\n", GUEST_ARCH, nfiles);
}

/*
 * What a FreeBSD kernel or module says of itself.  Every file has a linker set, "set_modmetadata_set": pointers to struct
 * mod_metadata, whose type says what its data are [FREEBSD sys/sys/module.h].  In a linked file the pointers are virtual
 * addresses, there already or as relocations; in an object file (amd64's modules) they are relocations only.
 *
 * To read both alike, bytes have an address here: the virtual one, or (section << OBJ_SHIFT) + offset in object files.
 * The file is untrusted: offsets are checked where they are used, and all loops are over tables inside the file whose
 * sizes together are no more than the file's.
 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

#define SET_SECTION "set_modmetadata_set"
#define SET_START "__start_" SET_SECTION
#define SET_STOP "__stop_" SET_SECTION
#define MDT_DEPEND 1
#define MDT_VERSION 3
#define RECORDS_MAX 16384               /* GENERIC has about 2000 */
#define OBJ_SHIFT 40
#define PHDRS_MAX 128

struct md {                             /* struct mod_metadata of LP64 */
	uint32_t version, type;
	uint64_t data, cval;
};

struct reloc {
	uint64_t addr, value;
};

struct reader {
	const char *name;
	const uint8_t *data;
	size_t len;
	Elf64_Ehdr eh;
	uint64_t nsec;
	struct reloc *rel;              /* sorted by address */
	size_t nrel;
	unsigned records;
	struct kld_info *out;
};

static int refuse(const struct reader *r, const char *why)
{
	return err_msg(-ENOEXEC, "'%s' %s", r->name, why);
}

/* --- the file --- */

/* len bytes at an offset of the file; NULL: not all there. */
static const uint8_t *file_at(const struct reader *r, uint64_t off, uint64_t len)
{
	return off <= r->len && len <= r->len - off ? r->data + off : NULL;
}

static bool section(const struct reader *r, uint64_t n, Elf64_Shdr *sh)
{
	const uint8_t *p = n < r->nsec ? file_at(r, r->eh.e_shoff + n * sizeof(*sh), sizeof(*sh)) : NULL;
	if (p)
		memcpy(sh, p, sizeof(*sh));
	return p;
}

static bool has_bytes(const Elf64_Shdr *sh)
{
	return sh->sh_type != SHT_NOBITS && sh->sh_type != SHT_NULL;
}

/* Does the string table's entry say `want`? */
static bool string_is(const struct reader *r, const Elf64_Shdr *strtab, uint64_t off, const char *want)
{
	size_t len = strlen(want) + 1;
	if (strtab->sh_type != SHT_STRTAB || off > strtab->sh_size || len > strtab->sh_size - off)
		return false;
	const uint8_t *p = file_at(r, strtab->sh_offset, strtab->sh_size);
	return p && memcmp(p + off, want, len) == 0;
}

/* --- addresses --- */

static const uint8_t *object_at(const struct reader *r, uint64_t addr, uint64_t *avail)
{
	Elf64_Shdr sh;
	uint64_t off = addr & (BIT64(OBJ_SHIFT) - 1);
	if (!section(r, addr >> OBJ_SHIFT, &sh) || !has_bytes(&sh) || off >= sh.sh_size)
		return NULL;
	*avail = sh.sh_size - off;
	return file_at(r, sh.sh_offset, sh.sh_size) ? r->data + sh.sh_offset + off : NULL;
}

static const uint8_t *linked_at(const struct reader *r, uint64_t addr, uint64_t *avail)
{
	for (unsigned i = 0; i < r->eh.e_phnum; i++) {
		Elf64_Phdr ph;
		const uint8_t *p = file_at(r, r->eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (!p)
			return NULL;
		memcpy(&ph, p, sizeof(ph));
		if (ph.p_type != PT_LOAD || addr < ph.p_vaddr || addr - ph.p_vaddr >= ph.p_filesz)
			continue;
		*avail = ph.p_filesz - (addr - ph.p_vaddr);
		return file_at(r, ph.p_offset, ph.p_filesz) ? r->data + ph.p_offset + (addr - ph.p_vaddr) : NULL;
	}
	return NULL;
}

/* The bytes at an address; *avail is how many there are in that section or segment, at least 1. */
static const uint8_t *addr_at(const struct reader *r, uint64_t addr, uint64_t *avail)
{
	return r->eh.e_type == ET_REL ? object_at(r, addr, avail) : linked_at(r, addr, avail);
}

static bool read_at(const struct reader *r, uint64_t addr, void *buf, size_t len)
{
	uint64_t avail;
	const uint8_t *p = addr_at(r, addr, &avail);
	if (!p || avail < len)
		return false;
	memcpy(buf, p, len);
	return true;
}

static int reloc_order(const void *a, const void *b)
{
	const struct reloc *x = a, *y = b;
	return x->addr != y->addr ? (x->addr < y->addr ? -1 : 1) : x->value != y->value ? (x->value < y->value ? -1 : 1) : 0;
}

/* The pointer at an address: its relocation's value, else what is there. */
static bool pointer_at(const struct reader *r, uint64_t addr, uint64_t raw, uint64_t *out)
{
	size_t lo = 0, hi = r->nrel;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (r->rel[mid].addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	bool found = lo < r->nrel && r->rel[lo].addr == addr;
	*out = found ? r->rel[lo].value : raw;
	return found || r->eh.e_type != ET_REL;
}

/* --- relocations --- */

/* Where a symbol is.  False: nowhere in this file. */
static bool symbol_addr(const struct reader *r, const Elf64_Sym *sym, uint64_t *out)
{
	if (sym->st_shndx == SHN_UNDEF || sym->st_shndx >= SHN_LORESERVE)
		return false;
	*out = sym->st_value;
	if (r->eh.e_type == ET_REL) {
		if (sym->st_value >= BIT64(OBJ_SHIFT))
			return false;
		*out += (uint64_t)sym->st_shndx << OBJ_SHIFT;
	}
	return true;
}

static bool symbol_at(const struct reader *r, const Elf64_Shdr *symtab, uint64_t n, Elf64_Sym *sym)
{
	bool is_table = symtab->sh_type == SHT_SYMTAB || symtab->sh_type == SHT_DYNSYM;
	const uint8_t *p = is_table ? file_at(r, symtab->sh_offset, symtab->sh_size) : NULL;
	if (!p || n >= symtab->sh_size / sizeof(*sym))
		return false;
	memcpy(sym, p + n * sizeof(*sym), sizeof(*sym));
	return true;
}

/* What a relocation of a 64-bit pointer makes of it.  False: another kind, or a symbol of somebody else's. */
static bool reloc_value(const struct reader *r, const Elf64_Rela *rela, const Elf64_Shdr *symtab, uint64_t *out)
{
	uint32_t type = ELF64_R_TYPE(rela->r_info);
	bool arm = r->eh.e_machine == EM_AARCH64;
	Elf64_Sym sym;
	if (type == (arm ? R_AARCH64_RELATIVE : R_X86_64_RELATIVE)) {
		*out = (uint64_t)rela->r_addend;
		return r->eh.e_type != ET_REL;
	}
	if (type != (arm ? R_AARCH64_ABS64 : R_X86_64_64))
		return false;
	if (!symbol_at(r, symtab, ELF64_R_SYM(rela->r_info), &sym) || !symbol_addr(r, &sym, out))
		return false;
	*out += (uint64_t)rela->r_addend;
	return true;
}

/* RELR tables need nothing: their addends lie in place, and the file is read as if loaded at 0. */
static bool is_rela(const struct reader *r, const Elf64_Shdr *sh)
{
	if (sh->sh_type != SHT_RELA || !file_at(r, sh->sh_offset, sh->sh_size))
		return false;
	return r->eh.e_type == ET_REL || sh->sh_flags & SHF_ALLOC;
}

static void take_rela(struct reader *r, const Elf64_Shdr *sh)
{
	Elf64_Shdr symtab = { 0 };
	section(r, sh->sh_link, &symtab);
	for (uint64_t i = 0; i < sh->sh_size / sizeof(Elf64_Rela); i++) {
		Elf64_Rela rela;
		uint64_t value, at;
		memcpy(&rela, r->data + sh->sh_offset + i * sizeof(rela), sizeof(rela));
		at = rela.r_offset;
		if (r->eh.e_type == ET_REL) {
			if (at >= BIT64(OBJ_SHIFT))
				continue;
			at += (uint64_t)sh->sh_info << OBJ_SHIFT;
		}
		if (reloc_value(r, &rela, &symtab, &value))
			r->rel[r->nrel++] = (struct reloc){ at, value };
	}
}

static int read_relocs(struct reader *r)
{
	Elf64_Shdr sh;
	uint64_t n = 0;
	for (uint64_t i = 0; i < r->nsec; i++) {
		if (section(r, i, &sh) && is_rela(r, &sh))
			n += sh.sh_size / sizeof(Elf64_Rela);
		if (n > r->len / sizeof(Elf64_Rela))
			return refuse(r, "has relocation sections that overlap: the file is damaged, get another copy");
	}
	if (n == 0)
		return 0;
	r->rel = malloc(n * sizeof(*r->rel));
	if (!r->rel)
		return err_msg(-ENOMEM, "'%s': out of memory", r->name);
	for (uint64_t i = 0; i < r->nsec; i++) {
		if (section(r, i, &sh) && is_rela(r, &sh))
			take_rela(r, &sh);
	}
	qsort(r->rel, r->nrel, sizeof(*r->rel), reloc_order);
	return 0;
}

/* --- records --- */

static void *grow(void *array, unsigned n, size_t size)
{
	/* Powers of two: full whenever n is one. */
	return n & (n - 1) ? array : realloc(array, (n ? 2ul * n : 1) * size);
}

static int add_provides(struct reader *r, const char *name, int version)
{
	struct kld_info *out = r->out;
	struct kld_module *p = grow(out->provides, out->nprovides, sizeof(*p));
	if (!p)
		return err_msg(-ENOMEM, "'%s': out of memory", r->name);
	out->provides = p;
	p += out->nprovides++;
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->version = version;
	return 0;
}

static int add_need(struct reader *r, const char *name, const int32_t v[3])
{
	struct kld_info *out = r->out;
	struct kld_need *p = grow(out->needs, out->nneeds, sizeof(*p));
	if (!p)
		return err_msg(-ENOMEM, "'%s': out of memory", r->name);
	out->needs = p;
	p += out->nneeds++;
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->min = v[0];
	p->preferred = v[1];
	p->max = v[2];
	return 0;
}

static bool is_printable(const char *s)
{
	for (; *s; s++) {
		if (*s <= ' ' || *s > '~')
			return false;
	}
	return true;
}

/* A module's name, with its NUL. */
static bool name_at(const struct reader *r, uint64_t addr, char name[KLD_NAME_MAX])
{
	uint64_t avail;
	const uint8_t *p = addr_at(r, addr, &avail);
	if (!p)
		return false;
	size_t len = strnlen((const char *)p, (size_t)MIN(avail, (uint64_t)KLD_NAME_MAX));
	if (len == 0 || len >= MIN(avail, (uint64_t)KLD_NAME_MAX))
		return false;
	memcpy(name, p, len + 1);
	return is_printable(name);
}

/* The record that the pointer at `slot` leads to. */
static int read_record(struct reader *r, uint64_t slot)
{
	static const char damaged[] = "has module metadata that lead outside the file: it is damaged, get another copy";
	struct md md;
	uint64_t raw, at;
	int32_t v[3];
	char name[KLD_NAME_MAX];
	if (++r->records > RECORDS_MAX)
		return refuse(r, "has more module metadata than any kernel: it is damaged, get another copy");
	if (!read_at(r, slot, &raw, sizeof(raw)) || !pointer_at(r, slot, raw, &at) || !read_at(r, at, &md, sizeof(md)))
		return refuse(r, damaged);
	if (md.type != MDT_DEPEND && md.type != MDT_VERSION)
		return 0;       /* what loads a module needs no more */
	if (!pointer_at(r, at + offsetof(struct md, data), md.data, &md.data) ||
	    !pointer_at(r, at + offsetof(struct md, cval), md.cval, &md.cval))
		return refuse(r, damaged);
	if (!read_at(r, md.data, v, md.type == MDT_DEPEND ? sizeof(v) : sizeof(v[0])))
		return refuse(r, damaged);
	if (!name_at(r, md.cval, name))
		return refuse(r, "has module metadata without a proper name: it is damaged, get another copy");
	return md.type == MDT_DEPEND ? add_need(r, name, v) : add_provides(r, name, v[0]);
}

static int read_set(struct reader *r, uint64_t start, uint64_t len)
{
	int err = 0;
	for (uint64_t off = 0; len - off >= sizeof(uint64_t) && !err; off += sizeof(uint64_t))
		err = read_record(r, start + off);
	return err;
}

/* --- finding the set --- */

/* 1: there were sections of that name; 0: none; -errno. */
static int read_sections(struct reader *r)
{
	Elf64_Shdr sh, names;
	bool found = false;
	if (!section(r, r->eh.e_shstrndx, &names))
		return 0;
	for (uint64_t i = 0; i < r->nsec; i++) {
		if (!section(r, i, &sh) || !has_bytes(&sh) || !string_is(r, &names, sh.sh_name, SET_SECTION))
			continue;
		found = true;
		int err = read_set(r, r->eh.e_type == ET_REL ? i << OBJ_SHIFT : sh.sh_addr, sh.sh_size);
		if (err)
			return err;
	}
	return found;
}

/* Linked files whose sections have lost their names: the linker's symbols around the set. */
static int read_symbols(struct reader *r, const Elf64_Shdr *symtab)
{
	Elf64_Shdr names;
	Elf64_Sym sym;
	uint64_t start = 0, stop = 0;
	if (!section(r, symtab->sh_link, &names))
		return 0;
	for (uint64_t i = 0; symbol_at(r, symtab, i, &sym) && !(start && stop); i++) {
		if (string_is(r, &names, sym.st_name, SET_START))
			symbol_addr(r, &sym, &start);
		else if (string_is(r, &names, sym.st_name, SET_STOP))
			symbol_addr(r, &sym, &stop);
	}
	if (!start || !stop)
		return 0;
	if (stop < start)
		return refuse(r, "has a linker set that ends before it begins: the file is damaged, get another copy");
	int err = read_set(r, start, stop - start);
	return err ? err : 1;
}

static int read_metadata(struct reader *r)
{
	static const uint32_t types[] = { SHT_DYNSYM, SHT_SYMTAB };
	int found = read_sections(r);
	for (size_t t = 0; !found && t < NELEM(types) && r->eh.e_type != ET_REL; t++) {
		Elf64_Shdr sh;
		for (uint64_t i = 0; i < r->nsec; i++) {
			if (section(r, i, &sh) && sh.sh_type == types[t]) {
				found = read_symbols(r, &sh);
				break;          /* there is one of a kind */
			}
		}
	}
	return MIN(found, 0);
}

/* --- the header --- */

static int read_header(struct reader *r)
{
	Elf64_Ehdr *eh = &r->eh;
	Elf64_Shdr sh;
	if (r->len < sizeof(*eh) || memcmp(r->data, ELFMAG, SELFMAG) != 0)
		return refuse(r, "is no ELF file: give a FreeBSD kernel or module");
	memcpy(eh, r->data, sizeof(*eh));
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    (eh->e_machine != EM_X86_64 && eh->e_machine != EM_AARCH64))
		return refuse(r, "is an ELF file of another architecture: give a FreeBSD kernel or module for amd64 or arm64");
	if (eh->e_type != ET_REL && eh->e_type != ET_DYN && eh->e_type != ET_EXEC)
		return refuse(r, "is neither a kernel nor a module, but another kind of ELF file");
	if (eh->e_phnum > PHDRS_MAX)
		return refuse(r, "has more program headers than any kernel or module: it is damaged, get another copy");
	uint64_t ph_len = (uint64_t)eh->e_phnum * sizeof(Elf64_Phdr);
	if (ph_len && (eh->e_phentsize != sizeof(Elf64_Phdr) || !file_at(r, eh->e_phoff, ph_len)))
		return refuse(r, "is cut off: its program headers lie beyond the end of the file; get a complete copy");
	r->nsec = eh->e_shnum;
	if (eh->e_shoff == 0) {
		r->nsec = 0;
		return 0;
	}
	if (eh->e_shnum == 0) {         /* 0xff00 sections or more: the number is in the first */
		r->nsec = 1;
		if (!section(r, 0, &sh) || sh.sh_size > r->len)
			return refuse(r, "has a broken section table: get another copy");
		r->nsec = sh.sh_size;
	}
	if (eh->e_shentsize != sizeof(sh) || !file_at(r, eh->e_shoff, r->nsec * sizeof(sh)))
		return refuse(r, "is cut off: its section table lies beyond the end of the file; get a complete copy");
	return 0;
}

/* A file that was not copied to its end must not pass for one without metadata. */
static int check_complete(const struct reader *r)
{
	static const char cut[] = "is cut off: it ends before its last section; get a complete copy";
	for (uint64_t i = 0; i < r->nsec; i++) {
		Elf64_Shdr sh;
		if (section(r, i, &sh) && has_bytes(&sh) && !file_at(r, sh.sh_offset, sh.sh_size))
			return refuse(r, cut);
	}
	for (unsigned i = 0; i < r->eh.e_phnum; i++) {
		Elf64_Phdr ph;
		memcpy(&ph, r->data + r->eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_LOAD && !file_at(r, ph.p_offset, ph.p_filesz))
			return refuse(r, cut);
	}
	return 0;
}

/* "/boot/kernel/if_vtnet.ko" provides "if_vtnet" when it does not say otherwise. */
static int provide_own_name(struct reader *r)
{
	const char *base = strrchr(r->name, '/');
	base = base ? base + 1 : r->name;
	const char *dot = strrchr(base, '.');
	char name[KLD_NAME_MAX];
	snprintf(name, sizeof(name), "%.*s", (int)MIN(dot ? (size_t)(dot - base) : strlen(base), sizeof(name) - 1), base);
	return add_provides(r, name, 1);
}

int kld_read(const char *name, const uint8_t *data, size_t len, struct kld_info *out)
{
	struct reader r = { .name = name, .data = data, .len = len, .out = out };
	memset(out, 0, sizeof(*out));
	int err = read_header(&r);
	if (!err)
		err = check_complete(&r);
	if (!err)
		err = read_relocs(&r);
	if (!err)
		err = read_metadata(&r);
	if (!err && out->nprovides == 0)
		err = provide_own_name(&r);
	out->machine = r.eh.e_machine;
	out->elf_type = r.eh.e_type;
	free(r.rel);
	if (err)
		kld_free(out);
	return err;
}

void kld_free(struct kld_info *k)
{
	free(k->provides);
	free(k->needs);
	memset(k, 0, sizeof(*k));
}

/* --- choosing among versions --- */

/* Is `version` a better choice than *best, -1 for none yet? */
static bool better(int version, const struct kld_need *need, int best)
{
	if (!need)
		return best == -1;
	if (version == need->preferred || (best == need->preferred && best != -1))
		return version == need->preferred;
	return version >= need->min && version <= need->max && version > best;
}

int kld_provides(const struct kld_info *k, const char *module, const struct kld_need *need)
{
	int best = -1;
	for (unsigned i = 0; i < k->nprovides; i++) {
		const struct kld_module *m = &k->provides[i];
		if (strcmp(m->name, module) == 0 && m->version >= 0 && better(m->version, need, best))
			best = m->version;
	}
	return best;
}

/* --- linker.hints --- */

#define HINTS_VERSION_MAX 2

struct hint_reader {
	const uint8_t *data;
	size_t len, pos;
};

/* Numbers are aligned to their size from the beginning of the file [FREEBSD usr.sbin/kldxref/kldxref.c]. */
static bool hint_int(struct hint_reader *r, int32_t *out)
{
	r->pos = ALIGN_UP(r->pos, sizeof(*out));
	if (r->pos > r->len || r->len - r->pos < sizeof(*out))
		return false;
	memcpy(out, r->data + r->pos, sizeof(*out));
	r->pos += sizeof(*out);
	return true;
}

/* A length byte and as many characters. */
static bool hint_str(struct hint_reader *r, char out[256])
{
	if (r->pos >= r->len || r->data[r->pos] > r->len - r->pos - 1)
		return false;
	size_t len = r->data[r->pos];
	memcpy(out, r->data + r->pos + 1, len);
	out[len] = '\0';
	r->pos += 1 + len;
	return strlen(out) == len;
}

bool kld_hint(const uint8_t *hints, size_t len, const char *module, const struct kld_need *need, char file[256])
{
	struct hint_reader r = { hints, len, 0 };
	int32_t version, size, type;
	int best = -1;
	if (!hint_int(&r, &version) || version < 1 || version > HINTS_VERSION_MAX)
		return false;
	while (hint_int(&r, &size)) {
		struct hint_reader rec = { hints, r.pos + (size_t)MAX(size, 0), r.pos };
		char name[256], where[256];
		if (size < (int32_t)sizeof(type) || rec.len > len || !hint_int(&rec, &type))
			return best != -1;
		r.pos = rec.len;
		if (type != MDT_VERSION || !hint_str(&rec, name) || strcmp(name, module) != 0)
			continue;
		if (!hint_int(&rec, &version) || !hint_str(&rec, where) || version < 0 || !better(version, need, best))
			continue;
		if (!*where || strchr(where, '/') || !is_printable(where))
			continue;       /* a file beside the hints, never elsewhere */
		best = version;
		memcpy(file, where, strlen(where) + 1);
	}
	return best != -1;
}

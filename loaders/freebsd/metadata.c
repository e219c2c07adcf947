/*
 * A set of FreeBSD files in guest memory, and the metadata by which the kernel finds them, in the order of FreeBSD's own loaders
 * [FREEBSD stand/userboot/userboot/bootinfo64.c] [FREEBSD stand/efi/loader/bootinfo.c]: files, each from a page on, environment,
 * device tree, metadata.
 */
#include "loaders/freebsd/metadata.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/place.h"
#include "common/vm.h"
#include "loaders/freebsd/freebsd.h"

void fbsd_record(struct blob *b, uint32_t type, const void *data, size_t len)
{
	blob_u32(b, type);
	blob_u32(b, (uint32_t)len);
	blob_add(b, data, len);
	blob_align(b, 8);
}

void fbsd_md(struct blob *b, uint32_t type, const void *data, size_t len)
{
	fbsd_record(b, MODINFO_METADATA | type, data, len);
}

void fbsd_md_u64(struct blob *b, uint32_t type, uint64_t value)
{
	uint8_t le[8];

	put_le64(le, value);
	fbsd_md(b, type, le, sizeof(le));
}

static uint64_t page_up(uint64_t addr)
{
	return ALIGN_UP(addr, FBSD_PAGE);
}

const char *fbsd_uuid(const uint8_t u[16], char text[FBSD_UUID_LEN])
{
	snprintf(text, FBSD_UUID_LEN, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	return text;
}

static int take(const struct fbsd_mem *mem, uint64_t addr, uint64_t len, const char *what)
{
	return mem->take && len ? mem->take(mem->arg, addr, len, what) : 0;
}

/* --- files --- */

/* ELF files must be for the kernel's processor; what else is not an ELF file, fbsd_place_module() says. */
static int check_machine(const struct fbsd_file *f, uint16_t want)
{
	bool module = strcmp(f->type, FBSD_TYPE_OBJ) == 0 || strcmp(f->type, FBSD_TYPE_MODULE) == 0;

	if (!module || f->len < sizeof(Elf64_Ehdr) || memcmp(f->data, ELFMAG, SELFMAG) != 0)
		return 0;
	uint16_t machine = get_le16(f->data + offsetof(Elf64_Ehdr, e_machine));

	if (machine == want)
		return 0;
	return err_msg(-ENOEXEC, "module '%s' is for %s, the kernel for %s: give the module of this kernel's directory", f->host,
		       machine == EM_X86_64 ? "amd64" : machine == EM_AARCH64 ? "arm64" : "another processor",
		       want == EM_X86_64 ? "amd64" : "arm64");
}

static int take_file(const struct fbsd_mem *mem, const struct fbsd_file *f, bool kernel, const struct fbsd_placed *at)
{
	size_t len = strlen(f->host) + sizeof("kernel ''");
	char *what = malloc(len);

	if (!what)
		return err_msg(-ENOMEM, "FreeBSD: no memory for a list of its files");
	snprintf(what, len, "%s '%s'", kernel ? "kernel" : "module", f->host);
	int err = take(mem, at->addr, at->size, what);

	free(what);
	return err;
}

static int place_files(const struct fbsd_set *set, const struct fbsd_mem *mem, const struct fbsd_boot *b, struct fbsd_placed *out)
{
	int err = fbsd_place_kernel(&set->file[0], mem, b->off, &out[0]);

	if (!err)
		err = take_file(mem, &set->file[0], true, &out[0]);
	for (unsigned i = 1; i < set->nfiles && !err; i++) {
		err = check_machine(&set->file[i], b->machine);
		if (!err)
			err = fbsd_place_module(&set->file[i], mem, page_up(out[i - 1].addr + out[i - 1].size), &out[i]);
		if (!err)
			err = take_file(mem, &set->file[i], false, &out[i]);
	}
	return err;
}

/* --- environment: NAME=VALUE, each with a NUL, and a NUL [FREEBSD sys/kern/kern_environment.c] --- */

static void add_var(struct blob *env, const struct fbsd_var *v)
{
	blob_add(env, v->name, strlen(v->name));
	blob_u8(env, '=');
	blob_str(env, v->value);
}

static void build_env(const struct fbsd_set *set, const struct fbsd_boot *b, struct blob *env)
{
	/* The kernel's kern.bootfile: every loader sets it. */
	const struct fbsd_var kernelname = { "kernelname", set->file[0].name };

	for (unsigned i = 0; i < set->nvars; i++)
		add_var(env, &set->var[i]);
	if (!fbsd_getenv(set, kernelname.name))
		add_var(env, &kernelname);
	for (unsigned i = 0; i < b->nvars; i++) {
		if (!fbsd_getenv(set, b->var[i].name))
			add_var(env, &b->var[i]);
	}
	blob_u8(env, 0);
}

/* --- metadata --- */

struct extra {
	uint64_t envp, fdt;
};

static void add_text(struct blob *md, uint32_t type, const char *text)
{
	fbsd_record(md, type, text, strlen(text) + 1);
}

static void add_u64(struct blob *md, uint32_t type, uint64_t value)
{
	uint8_t le[8];

	put_le64(le, value);
	fbsd_record(md, type, le, sizeof(le));
}

/* What only the kernel's own file has. */
static void add_kernel(struct blob *md, const struct fbsd_set *set, const struct fbsd_boot *b, const struct extra *at)
{
	uint8_t howto[4];

	put_le32(howto, set->howto);
	fbsd_md(md, MODINFOMD_HOWTO, howto, sizeof(howto));
	fbsd_md_u64(md, MODINFOMD_ENVP, at->envp);
	if (b->fdt.len)
		fbsd_md_u64(md, MODINFOMD_ARM64_DTBP, at->fdt);
	fbsd_md_u64(md, MODINFOMD_KERNEND, b->kernend);
	if (b->machine == EM_X86_64)
		fbsd_md_u64(md, MODINFOMD_AMD64_MODULEP, b->modulep);
	if (b->smap.len)
		fbsd_md(md, MODINFOMD_AMD64_SMAP, b->smap.data, b->smap.len);
}

static void build_metadata(const struct fbsd_set *set, const struct fbsd_boot *b, const struct fbsd_placed *placed,
			   const struct extra *at, struct blob *md)
{
	for (unsigned i = 0; i < set->nfiles; i++) {
		const struct fbsd_file *f = &set->file[i];

		add_text(md, MODINFO_NAME, f->name);
		add_text(md, MODINFO_TYPE, f->type);
		if (*f->args)
			add_text(md, MODINFO_ARGS, f->args);
		add_u64(md, MODINFO_ADDR, placed[i].addr);
		add_u64(md, MODINFO_SIZE, placed[i].size);
		blob_add(md, placed[i].md.data, placed[i].md.len);
		if (i == 0)
			add_kernel(md, set, b, at);
	}
	fbsd_record(md, MODINFO_END, NULL, 0);
}

/* Built twice: once to know its length, which kernend, a part of it, follows from. */
static int put_metadata(const struct fbsd_set *set, const struct fbsd_mem *mem, struct fbsd_boot *b,
			const struct fbsd_placed *placed, const struct extra *at)
{
	struct blob md = { 0 };

	b->kernend = 0;
	build_metadata(set, b, placed, at, &md);
	b->kernend = page_up(b->modulep + md.len);
	blob_free(&md);
	md = (struct blob){ 0 };
	build_metadata(set, b, placed, at, &md);
	int err = mem->put(mem->arg, b->modulep, md.data, md.len);

	if (!err)
		err = take(mem, b->modulep, md.len, "FreeBSD's metadata");
	blob_free(&md);
	return err;
}

static int put_rest(const struct fbsd_set *set, const struct fbsd_mem *mem, struct fbsd_boot *b, const struct fbsd_placed *placed)
{
	const struct fbsd_placed *last = &placed[set->nfiles - 1];
	struct extra at = { .envp = page_up(last->addr + last->size) };
	struct blob env = { 0 };

	build_env(set, b, &env);
	int err = mem->put(mem->arg, at.envp, env.data, env.len);

	if (!err)
		err = take(mem, at.envp, env.len, "FreeBSD's environment");
	at.fdt = page_up(at.envp + env.len);
	blob_free(&env);
	if (!err && b->fdt.len)
		err = mem->put(mem->arg, at.fdt, b->fdt.data, b->fdt.len);
	if (!err)
		err = take(mem, at.fdt, b->fdt.len, PLACE_FDT);
	b->modulep = page_up(at.fdt + b->fdt.len);
	return err ? err : put_metadata(set, mem, b, placed, &at);
}

int fbsd_write(struct vm *vm, const struct image *im, uint64_t gpa, const void *data, uint64_t len)
{
	uint8_t *to = mem_at(&vm->mem, gpa, len);

	if (!to)
		return err_msg(-ENOSPC, "kernel '%s': no memory at 0x%" PRIx64 ": give more with -m", im->path, gpa);
	if (data)
		memcpy(to, data, len);
	else
		memset(to, 0, len);
	return 0;
}

int fbsd_place(const struct fbsd_set *set, const struct fbsd_mem *mem, struct fbsd_boot *b)
{
	struct fbsd_placed *placed = calloc(set->nfiles, sizeof(*placed));

	if (!placed)
		return err_msg(-ENOMEM, "FreeBSD: no memory for its metadata");
	int err = place_files(set, mem, b, placed);

	if (!err)
		err = put_rest(set, mem, b, placed);
	for (unsigned i = 0; i < set->nfiles; i++)
		blob_free(&placed[i].md);
	free(placed);
	return err;
}

/*
 * The FreeBSD stand-in: a kernel that checks, from inside, what FreeBSD's kernel would be given.  fbsd.c walks the metadata
 * as [FREEBSD sys/kern/subr_module.c] does, fbsd_link.c links the modules as the kernel's linker does, fbsd_x86.c and
 * fbsd_arm64.c know the architecture's entry.
 */
#ifndef TESTS_GUEST_FBSD_H
#define TESTS_GUEST_FBSD_H

#include <elf.h>

#include "tests/guest/guest.h"

#define DIE(...) (print("FBSD bad: "), print(__VA_ARGS__), print("\n"), cpu_die())
#define MUST(x) ((x) ? (void)0 : DIE("line %d of %s: %s", __LINE__, __FILE_NAME__, #x))
#define FBSD_PAGE 4096ul

/* Records [FREEBSD sys/sys/linker.h] [FREEBSD sys/x86/include/metadata.h] [FREEBSD sys/arm64/include/metadata.h] */
enum {
	MD_NAME = 1, MD_TYPE, MD_ADDR, MD_SIZE, MD_ARGS = 6,
	MD_ELFHDR = 0x8002, MD_SSYM, MD_ESYM, MD_DYNAMIC, MD_ENVP, MD_HOWTO, MD_KERNEND, MD_SHDR,
	MD_SMAP_AMD64 = 0x9001, MD_MODULEP_AMD64 = 0x9006, MD_DTBP_ARM64 = 0x9002,
};

/* One preloaded file, addresses virtual. */
struct file {
	const char *name, *type, *args;
	uint64_t addr, size;
	const Elf64_Ehdr *eh;                   /* these three: NULL where there is none */
	Elf64_Shdr *sh;
	const Elf64_Dyn *dynamic;
	const Elf64_Sym *sym;
	unsigned nsyms;
	const char *str;
	uint64_t str_len;
};
#define FILES_MAX 8
extern struct file files[FILES_MAX];
extern unsigned nfiles;

extern const char fbsd_begin[], fbsd_bss[], fbsd_end[];

/* --- fbsd.c --- */
/* The data of a record of the file whose first record is `mod`, its length in *len unless NULL; NULL: it has none. */
const void *md_find(const void *mod, uint32_t type, uint32_t *len);
uint64_t md_u64(const void *mod, uint32_t type);        /* dies when it is not there or not 8 bytes */
const char *env_find(const char *name);                 /* value, or NULL */
bool str_same(const char *a, const char *b);

/* --- fbsd_link.c --- */
/* Address of a symbol that a file defines; 0: it does not. */
uint64_t sym_find(const struct file *, const char *name);
/* Fills f->sym and its like, and relocates; files before it are linked already.  Dies when anything is not as it must be. */
void link_module(struct file *f);

/* --- fbsd_x86.c and fbsd_arm64.c --- */
uint64_t arch_modulep(void);                            /* virtual address */
uint64_t arch_virt(uint64_t meta_addr);                 /* of ENVP, KERNEND and what locore relocates */
bool arch_bare(void);                                   /* no metadata: started by another protocol, which it has checked */
bool arch_relocates(uint32_t type);                     /* does the kernel add KERNBASE to this record? */
void arch_check(const void *kernel);                    /* entry state and the records only this architecture has */

#endif

/*
 * A core file of the guest: ELF, with the registers of every vCPU and all RAM, in the form that gdb and crash read [ELF].
 */
#ifndef COMMON_DUMP_H
#define COMMON_DUMP_H

#include <stddef.h>
#include <stdint.h>

struct ctl_call;
struct debug_mmu;
struct vm;

/* A register's place in a note, by its name in the target description (common/debug.h). */
struct core_field {
	const char *reg;
	uint16_t off;
	uint8_t size;                           /* bytes; 0: all it has */
};
struct core_note {
	const char *owner;                      /* "CORE" */
	uint32_t type;                          /* NT_PRSTATUS ... */
	uint16_t size;
	uint16_t pid_off;                       /* where the vCPU's number + 1 goes as 32 bits; 0: nowhere */
	uint32_t head[2];                       /* the first words */
	const struct core_field *fields;        /* NULL reg ends */
};
struct arch_core {
	uint16_t machine;                       /* EM_* */
	uint8_t va_bits_max;                    /* of an address the page tables can map, counted from both ends of the space */
	const struct core_note *notes;          /* of one vCPU; NULL owner ends */
};

/* A stretch of guest-virtual addresses that guest-physical memory lies behind. */
struct core_map { uint64_t va, pa, len; };
#define CORE_MAPS_MAX 60000                     /* an ELF file counts its segments in 16 bits */
/*
 * What the page tables map to RAM, neighbours merged.  How many, at most max; -ENOMEM.  *out is to be freed.
 */
int core_maps(const struct vm *, const struct debug_mmu *, unsigned max, struct core_map **out);

/*
 * The method `dump`: the machine is held, the file written by a thread, "progress" events tell how far it is.  It must not exist
 * yet; it gets mode 0600, and holes where memory is zero.
 */
int dump_ctl(struct ctl_call *);

#endif

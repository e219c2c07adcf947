/*
 * Which firmware a VM starts, and where it keeps its variables: the keys firmware, lpc.bootrom, lpc.bootvars and
 * install.iso become two files, before the machine is built.  Main thread.
 */
#ifndef COMMON_FIRMWARE_H
#define COMMON_FIRMWARE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct arch_info;
struct conf;

/* A packaged firmware.  Rows of one architecture and kind stand in the order in which they are looked for. */
struct firmware_row {
	const char *arch, *kind;        /* "x86", "uefi"; NULL arch ends the table */
	const char *code;
	const char *vars;               /* template of its variables; NULL: none is packaged */
	uint32_t erased;                /* without a template: bytes of erased flash that firmware formats itself; 0: keeps none */
};
extern const struct firmware_row firmware_table[];

struct firmware {
	const char *root;               /* put before the table's paths, "" but in tests; set by the caller */
	char code[PATH_MAX];            /* "" when the VM starts without firmware */
	char vars[PATH_MAX];            /* "" when there are none */
	char template[PATH_MAX];        /* what vars is to be made from; "": erased bytes, or vars is there already */
	uint32_t erased;
};

/*
 * Finds the files and sets lpc.bootrom and lpc.bootvars in a checked configuration.  Variables that come from a package
 * become a private copy in the VM's state directory (common/statedir.h), which firmware_make_vars() then makes.  With
 * `dry`, a copy that is not there yet is not asked for: lpc.bootvars is the template, or unset.  0 or -errno (reported
 * in one sentence: what is missing or does not fit, and the package to install).
 */
int firmware_resolve(struct firmware *, struct conf *, const struct arch_info *, bool dry);
/*
 * Makes the private copy when there is none yet: complete and on stable storage, or not at all.  The caller holds the
 * run directory's lock of this VM.  0 or -errno (reported).
 */
int firmware_make_vars(const struct firmware *, const struct conf *);

#endif

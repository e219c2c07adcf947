/*
 * Loading FreeBSD without FreeBSD's loader: what is loaded, in which order, with which environment.
 *
 *   collect.c    the environment: from keys, loader.conf and its relatives; then everything below, in order
 *   set.c        struct fbsd_set: variables, files, boot flags
 *   modules.c    kernel and modules into the set: search path, dependencies, what fits what
 *   nextboot.c   boot/nextboot.conf: settings for one start
 *   hostdir.c    host0: paths, resolved beneath one directory only
 *   conf.c       loader.conf syntax
 *   kld.c        what a kernel or module says of itself: version, modules, dependencies; linker.hints
 *   elf.c        ELF files as the guest sees them: segments or sections, symbols
 *   metadata.c   the preload metadata the kernel reads
 *   prompt.c     the "OK " prompt: lines and words; prompt_cmd.c: its commands
 *
 * arch/<a>/freebsd.c places the result and makes the entry.  Main or loop thread, before the vCPUs run.
 */
#ifndef LOADERS_FREEBSD_FREEBSD_H
#define LOADERS_FREEBSD_FREEBSD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/blob.h"

struct conf;
struct image;
struct vm;

/* One preloaded file. */
struct fbsd_file {
	char *name;                     /* as the guest sees it: "/boot/kernel/if_vtnet.ko" */
	char *host;                     /* as the operator gave it, for messages: "host0:/boot/kernel/if_vtnet.ko" */
	const char *type;               /* FBSD_TYPE_*, or the operator's own word ("md_image", "mfs_root", "cpu_microcode") */
	char *type_buf;                 /* owner of `type` when it is the operator's; NULL */
	char *args;                     /* "" when there are none */
	uint8_t *data;                  /* decompressed */
	size_t len, map_len;            /* map_len above 0: data is a mapping */
	bool borrowed;                  /* data belongs to somebody else (the image's kernel) */
};
#define FBSD_TYPE_KERNEL "elf kernel"
#define FBSD_TYPE_MODULE "elf module"           /* arm64: ET_DYN */
#define FBSD_TYPE_OBJ "elf obj module"          /* amd64: ET_REL */
#define FBSD_FILES_MAX 128
#define FBSD_BYTES_MAX (1ull << 30)             /* of all files together: the kernel's first page tables reach no further */
#define FBSD_VARS_MAX 8192                      /* variables, and modules that settings name: each more than any system's */

struct fbsd_var {
	char *name, *value;
};

/* A module (in the sense of MODULE_VERSION) that a file of the set provides. */
struct fbsd_module {
	char *name;
	int version;
	unsigned file;                  /* index in file[] */
};

/* What NAME_load, NAME_name and so on of a loader.conf say; modules.c. */
struct fbsd_wanted {
	char *key;                      /* NAME */
	bool load;
	char *name, *type, *flags;      /* NULL: unset */
	char *unsupported;              /* "before", "after" or "error", set to a command; NULL: none */
	bool optional;                  /* asked for by boot/defaults/loader.conf only: missing without a word */
};

/* All of a start.  file[0] is the kernel. */
struct fbsd_set {
	struct fbsd_file *file;
	unsigned nfiles;
	struct fbsd_var *var;           /* sorted by name; each name once; all of it is the kernel's environment */
	unsigned nvars;
	uint32_t howto;                 /* fbsd_howto() when the set was made [FREEBSD sys/sys/reboot.h] */
	uint16_t machine;               /* ELF e_machine of the architecture's kernels */
	struct fbsd_module *module;     /* in order of loading */
	unsigned nmodules;
	struct fbsd_wanted *wanted;     /* in order of appearance */
	unsigned nwanted;
	char *nextboot;                 /* file beneath host0: whose settings are in here for this start only; NULL: none */
	size_t nextboot_at;             /* offset of its YES */
};

/* --- collect.c --- */
/*
 * Makes the set for a recognised FreeBSD kernel, whose bytes are image->data (the set's file[0] refers to them and
 * does not own them).  kernel NULL: environment only, no file at all (for the prompt).  0 or -errno (reported).
 *
 * Later wins: boot/defaults/loader.conf, the files and directories it names (boot/device.hints, boot/loader.conf,
 * boot/loader.conf.local, boot/loader.conf.d), boot/nextboot.conf, `append`, loader.env.N.
 */
int fbsd_collect(const struct conf *, const struct image *kernel, struct fbsd_set **out);
/*
 * The kernel that -h DIR alone starts, as FreeBSD's loader would choose it: variables kernel and bootfile.  path becomes
 * "host0:/boot/kernel/kernel" or so.  0 or -errno (reported).
 */
int fbsd_find_kernel(const struct conf *, char *path, size_t cap);

/* --- set.c (owner of struct fbsd_set) --- */
void fbsd_free(struct fbsd_set *);              /* NULL is fine */
const char *fbsd_getenv(const struct fbsd_set *, const char *name);     /* NULL: unset */
int fbsd_setenv(struct fbsd_set *, const char *name, const char *value);        /* 0, -E2BIG or -ENOMEM (reported) */
void fbsd_unsetenv(struct fbsd_set *, const char *name);
/* A setting as in loader.conf: NAME_load and its relatives are about modules, all else is a variable.  0, -E2BIG or -ENOMEM (reported). */
int fbsd_setting(struct fbsd_set *, const char *name, const char *value);
/*
 * Flags as for the loader's boot command ("-s -v", "-sv") and NAME=VALUE words become variables.  `what` names their origin.
 * 0, -EINVAL (reported) for what is neither, -E2BIG or -ENOMEM (reported).
 */
int fbsd_boot_args(struct fbsd_set *, const char *what, const char *text);
enum {                                          /* howto [FREEBSD sys/sys/reboot.h] */
	FBSD_RB_ASKNAME = 0x1, FBSD_RB_SINGLE = 0x2, FBSD_RB_DFLTROOT = 0x20, FBSD_RB_KDB = 0x40, FBSD_RB_VERBOSE = 0x800,
	FBSD_RB_SERIAL = 0x1000, FBSD_RB_CDROM = 0x2000, FBSD_RB_GDB = 0x8000, FBSD_RB_MUTE = 0x10000, FBSD_RB_PAUSE = 0x100000,
	FBSD_RB_MULTIPLE = 0x20000000,
};
uint32_t fbsd_howto(const struct fbsd_set *);   /* RB_* that the boot_* variables and `console` ask for */
/*
 * Appends a file and takes over its memory; nothing on failure.  0; -E2BIG, -EFBIG, -ENOMEM (reported).
 */
int fbsd_add_file(struct fbsd_set *, const struct fbsd_file *);
int fbsd_add_module(struct fbsd_set *, unsigned file, const char *name, int version);   /* 0 or -ENOMEM (reported) */
void fbsd_drop_files(struct fbsd_set *, unsigned keep);         /* all files but the first `keep`, and their modules */
void fbsd_unload(struct fbsd_set *);            /* all files; the variables stay */

/* --- modules.c --- */
/*
 * `path` is "host0:/...", a host's path with a slash in it, or, without a slash, the name of a module that variable module_path
 * and linker.hints lead to.  type NULL: a kernel module, behind everything it depends on, or - when something
 * is missing or does not match - nothing at all; else a file as it is.  -EEXIST: it is loaded already (not reported).
 * 0 or -errno (reported).
 */
int fbsd_load_kernel(struct fbsd_set *, const struct conf *, const char *path, const char *args);       /* nfiles is 0 */
/* The same with the file's bytes in `data`, which the set takes over unless they are borrowed; nothing on failure. */
int fbsd_add_kernel(struct fbsd_set *, const char *path, const char *args, const struct fbsd_file *data);
int fbsd_load_module(struct fbsd_set *, const struct conf *, const char *path, const char *type, const char *args);
/*
 * The modules that loader.conf wants.  One that is not there is a warning, as it is for the loader; one that does not
 * fit is refused.  0 or -errno (reported).
 */
int fbsd_load_configured(struct fbsd_set *, const struct conf *);

/* --- nextboot.c --- */
#define FBSD_NEXTBOOT_CONF "/boot/nextboot.conf"
/* Offset of the YES of nextboot_enable="YES"; -1: the settings are not to be used. */
long fbsd_nextboot_enabled(const char *text, size_t len);
/*
 * The guest has started with the set: its nextboot.conf, if there is one, is marked as used.  What cannot be marked is a
 * warning.
 */
void fbsd_nextboot_used(const struct conf *, const struct fbsd_set *);

/* --- hostdir.c --- */
/* The part behind "host0:" (or "host:"); NULL: a path of the host. */
const char *hostdir_beneath(const char *path);
/*
 * Opens "host0:/path" beneath the directory of key loader.hostdir, any other path as it is, for reading, without waiting for a
 * FIFO's writer.  What host0: does not have, it may have as "/path.gz".  Descriptor or -errno (reported, with `what` and path).
 */
int hostdir_open(const struct conf *, const char *what, const char *path);
/* Like open(2) beneath host0: ("/boot/loader.conf", without a prefix).  Descriptor or -errno (not reported). */
int hostdir_openat(const struct conf *, const char *path, int flags);
/* Is the directory of -h, if there is one, a directory one may read?  0 or -errno (reported). */
int hostdir_check(const struct conf *);
/* Is there such a regular file, perhaps as path.gz?  "host0:/..." or a path of the host. */
bool hostdir_has(const struct conf *, const char *path);
/*
 * Whole file in memory; what is called NAME.gz is inflated.  *map_len above 0: *data is a mapping; an empty file is NULL.
 * Refuses what is no regular file.  0 or -errno (reported).
 */
int hostdir_read(const struct conf *, const char *what, const char *path, uint8_t **data, size_t *len, size_t *map_len);
void hostdir_drop(uint8_t *data, size_t map_len);               /* gives it back */
/* A small text file beneath host0:, to be freed.  0; -ENOENT (not reported); -errno (reported). */
int hostdir_text(const struct conf *, const char *path, char **text, size_t *len);

/* --- conf.c --- */
/*
 * Calls set() for every NAME="VALUE" of a loader.conf text; `where` is PATH:LINE.  ${NAME} in a value is replaced by what get()
 * says (NULL: nothing); without get() it stays as it is.  A broken line is reported with its number and refuses; a
 * set() that fails ends it.  0 or -errno (reported).
 */
struct fbsd_conf_to {
	int (*set)(void *arg, const char *where, const char *name, const char *value);
	const char *(*get)(void *arg, const char *name);
	void *arg;
};
int fbsd_conf_parse(const char *path, const char *text, size_t len, const struct fbsd_conf_to *);

/* --- kld.c --- */
#define KLD_NAME_MAX 64
struct kld_module {                             /* MDT_VERSION: a module in the file */
	char name[KLD_NAME_MAX];
	int version;
};
struct kld_need {                               /* MDT_DEPEND: a module the file cannot do without */
	char name[KLD_NAME_MAX];
	int min, preferred, max;
};
struct kld_info {
	uint16_t machine;               /* ELF e_machine */
	uint16_t elf_type;              /* ET_EXEC, ET_DYN, ET_REL */
	struct kld_module *provides;    /* as the loader does, a file without one provides its own name, version 1 */
	unsigned nprovides;
	struct kld_need *needs;
	unsigned nneeds;
};
/*
 * Reads the linker set of module metadata of a kernel or module; `name` is its path, for messages and for files without
 * MDT_VERSION.  A kernel depends on nothing: ignore its needs.  On 0, kld_free() what it found.  0 or -errno (reported).
 */
int kld_read(const char *name, const uint8_t *data, size_t len, struct kld_info *out);
void kld_free(struct kld_info *);
/* The version at which the file provides a module; -1: not, or none in [need->min, need->max].  NULL need: any version. */
int kld_provides(const struct kld_info *, const char *module, const struct kld_need *need);
/*
 * The file (no directory: "if_vtnet.ko") that linker.hints names for a module in [min, max], `preferred` before the highest;
 * NULL need: any version.  false: it is not in there, or the file is damaged.
 */
bool kld_hint(const uint8_t *hints, size_t len, const char *module, const struct kld_need *need, char file[256]);

/* --- elf.c and metadata.c: for arch/<a>/freebsd.c --- */
/*
 * Everything is placed at the loader's addresses, which are those the metadata gives: guest-physical ones on amd64, whose kernel
 * adds KERNBASE to them; the kernel's virtual ones on arm64.  put() takes these and knows where in guest memory they are.
 */
struct fbsd_mem {
	int (*put)(void *arg, uint64_t addr, const void *data, uint64_t len);   /* data NULL: zeroes; 0 or -errno (reported) */
	/* Everything fbsd_place() places, by name: "module 'host0:/boot/kernel/x.ko'".  NULL: not wanted. */
	int (*take)(void *arg, uint64_t addr, uint64_t len, const char *what);
	void *arg;
};
/* Where one file of the set went, and its metadata of its own: the caller's to blob_free(), on failure as well. */
struct fbsd_placed {
	uint64_t addr;
	uint64_t size;                  /* bytes it takes there, symbols included */
	struct blob md;                 /* MODINFOMD_* records of ELF files */
};
#define FBSD_PAGE 4096ull
/* Segments and symbols of a kernel at the addresses of its file plus `off` (modulo 2^64).  0 or -errno (reported). */
int fbsd_place_kernel(const struct fbsd_file *, const struct fbsd_mem *, uint64_t off, struct fbsd_placed *);
/* A module, or a file of any other type as it is, from `at` on.  0 or -errno (reported). */
int fbsd_place_module(const struct fbsd_file *, const struct fbsd_mem *, uint64_t at, struct fbsd_placed *);
/* The lowest address of a kernel's segments, its e_entry and e_machine.  0 or -ENOEXEC (reported). */
int fbsd_kernel_span(const struct fbsd_file *, uint64_t *lowest, uint64_t *entry, uint16_t *machine);

/* What an architecture adds to a set, and where the start of it ended up. */
struct fbsd_boot {
	uint64_t off;                   /* of fbsd_place_kernel() */
	uint16_t machine;               /* EM_X86_64 or EM_AARCH64, as e_machine of every ELF file must be */
	const struct fbsd_var *var;     /* variables for those that the set does not have */
	unsigned nvars;
	struct blob smap;               /* amd64: struct bios_smap; empty: no record */
	struct blob fdt;                /* arm64: the device tree; empty: none */
	uint64_t modulep, kernend;      /* out: loader's addresses of the metadata and of the end of everything */
};
/*
 * Places kernel, modules, environment, device tree and metadata, in this order.  With a put() that writes nothing it measures:
 * kernend is the same.  0 or -errno (reported).
 */
int fbsd_place(const struct fbsd_set *, const struct fbsd_mem *, struct fbsd_boot *);
/* For put(): copies to guest RAM, or zeroes with data NULL.  0 or -ENOSPC (reported: the machine has no memory there). */
int fbsd_write(struct vm *, const struct image *, uint64_t gpa, const void *data, uint64_t len);
/* A UUID as smbios.system.uuid has it; returns text. */
#define FBSD_UUID_LEN 37
const char *fbsd_uuid(const uint8_t uuid[16], char text[FBSD_UUID_LEN]);

/* --- prompt.c --- */
struct prompt;
/* Leaving the prompt: boot with the set as it is, start over, or end the VM. */
enum prompt_end { PROMPT_BOOT = 1, PROMPT_REBOOT, PROMPT_QUIT };
/*
 * A line interpreter over a set, which it changes in place; reading and echo of characters included.  Paths are host0:'s,
 * whoever types.  Writes its greeting and the first "OK " at once.  NULL: no memory.
 */
struct prompt *prompt_new(const struct conf *, struct fbsd_set *, void (*write)(void *, const char *, size_t), void *arg);
void prompt_free(struct prompt *);              /* NULL is fine */
/* One byte from the console.  0: goes on; else a prompt_end. */
int prompt_input(struct prompt *, uint8_t byte);
/* Between PROMPT_BOOT and the boot: messages of this thread go to the console. */
void prompt_divert(struct prompt *, bool on);
/* The boot failed with -errno `err`: prompts again, after its name when nothing was reported. */
void prompt_resume(struct prompt *, int err);

#endif

/*
 * All that common/ may ask of an architecture.
 *
 * struct arch_info is the pure half: memory map, boards, loading and tables.  Both architectures' are in
 * every binary, so that `plan` works anywhere and both are tested everywhere.  The arch_vm_*, arch_vcpu_* and
 * arch_irq_* functions are the KVM half: exactly one arch/<a>/kvm_*.c set is linked, the host's own.
 */
#ifndef COMMON_ARCH_H
#define COMMON_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>

struct vm;
struct vcpu;
struct conf;
struct device;
struct image;
struct vm_arch;                                 /* opaque: struct vm holds a pointer */
struct vcpu_arch;                               /* opaque: struct vcpu holds a pointer */
struct kvm_irq_routing_entry;

/* A fixed chip of a board. */
struct board_chip {
	const char *cls;                        /* device class */
	const char *id;                         /* instance: "com1" */
	bool pio;
	uint64_t base;
	uint32_t gsi;                           /* DEV_NO_GSI: none */
	const char *if_key;                     /* present only when this key is set; NULL: always */
};
struct board {
	const char *name;                       /* "q35", "virt" */
	const struct board_chip *chips;         /* ends with a NULL cls */
	const struct board_chip *fw_chips;      /* only with firmware or fw_cfg items: fw_cfg and the like; same end */
};

/* Where things are: filled by memmap() from the configuration alone. */
#define MEMMAP_RAM_MAX 2
struct memmap {
	struct { uint64_t base, len; } ram[MEMMAP_RAM_MAX];
	unsigned nram;
	uint64_t ecam_base, ecam_len;           /* 1 MiB a bus */
	uint64_t pci_io_base, pci_io_len;       /* PCI I/O space as the guest's bus numbers it */
	uint64_t pci_io_mmio;                   /* where it appears in memory (arm64); 0: real ports */
	uint64_t pci32_base, pci32_len;
	uint64_t pci64_base, pci64_len;
};

/* What a loader hands to the vCPUs; meaning by architecture. */
enum entry_mode {
	ENTRY_NONE,
	ENTRY_X86_RESET,                        /* power-on: real mode at the top of the flash; nothing else is used */
	ENTRY_X86_REAL,                         /* real mode, CS = pc >> 4 */
	ENTRY_X86_PROT32,                       /* 32-bit protected mode, paging off, flat segments */
	ENTRY_X86_LONG,                         /* 64-bit mode; page tables of layout.h unless cr3 is given */
	ENTRY_ARM64,                            /* EL1, MMU off */
};
struct entry {
	enum entry_mode mode;
	uint64_t pc;
	uint64_t arg;                           /* x86: RSI (LONG) or EBX (PROT32); arm64: x0 (FDT) */
	uint64_t arg2;                          /* x86: RAX, such as Multiboot's magic; arm64: x1 */
	uint64_t sp, cr3;                       /* x86: 0 is the default */
};

struct arch_info {
	const char *name;                       /* "x86", "arm64" */
	const char *debian;                     /* "amd64", "arm64": for remedies */
	bool has_pio;
	unsigned max_vcpus;                     /* limit of the tables; KVM may set a lower one */
	const struct board *const *boards;      /* NULL-terminated; [0] is the default */
	uint16_t host_bridge_vendor, host_bridge_device;        /* PCI IDs firmware looks for at 0:0.0 */
	const char *serial_class;               /* chips behind -l comN */
	const char *cdrom_class;                /* of --cdrom: what the packaged UEFI can start from */
	/* -EINVAL (reported) when the memory size cannot be placed. */
	int (*memmap)(const struct conf *, struct memmap *out);
	/* GSI of a conventional PCI interrupt: slot 0..31, pin 0 (INTA#) .. 3. */
	uint32_t (*pci_intx_gsi)(unsigned slot, unsigned pin);
	/* Extra devices the machine always has, on the PCI bus, and flash when vm->firmware; after the configured ones. */
	int (*add_fixed)(struct vm *);
	/*
	 * With fw_cfg in the machine: the architecture's items (memory map, SMBIOS, ACPI with its loader script, kernel
	 * files).  At each boot, before load(); the items common to both are there.  0 or -errno (reported).
	 */
	int (*fill_fw_cfg)(struct vm *, struct device *fw_cfg, const struct image *);
	/*
	 * Copies the kernel and what belongs to it into guest memory, builds and places the tables, fills the
	 * entry; with vm->firmware the entry is the flash's, and the kernel is firmware's to load.  Every device
	 * exists and BARs are assigned, except for firmware.  Called again at each in-process reset.
	 * 0 or -errno (reported).
	 */
	int (*load)(struct vm *, const struct image *, struct entry *out);
	const struct arch_debug *debug;         /* common/debug.h */
	const struct arch_core *core;           /* common/dump.h */
	const struct arch_exits *exits;         /* common/kvmstats.h */
	/* `plan`: human-readable tables (DTS, decoded ACPI ...), byte-stable. */
	int (*print_tables)(struct vm *, FILE *);
	/* `plan --tables DIR`: writes them as files.  0 or -errno (reported). */
	int (*write_tables)(struct vm *, const char *dir);
};
extern const struct arch_info arch_x86, arch_arm64;
extern const struct arch_info *const arch_native;       /* defined by the linked KVM half */
const struct arch_info *arch_find(const char *name);    /* "x86", "amd64", "x86_64", "arm64", "aarch64"; NULL */

/* --- The KVM half.  Main thread unless said otherwise; 0 or -errno (reported). --- */
/* Argument of KVM_CREATE_VM: x86 0; arm64 the IPA bits the memory map needs, as far as the host offers them. */
unsigned long arch_vm_type(int kvm_fd, const struct memmap *);
int arch_vm_init(struct vm *);                  /* after KVM_CREATE_VM, before any memslot or vCPU */
int arch_irqchip_seal(struct vm *);             /* after the last vCPU exists */
void arch_vm_fini(struct vm *);
int arch_vm_reset(struct vm *);                 /* interrupt chip and timers to power-on state; vCPUs parked */
int arch_vcpu_init(struct vcpu *);              /* on the vCPU's thread, once */
void arch_vcpu_fini(struct vcpu *);
/* vCPU parked: power-on state; vCPU 0 gets the entry, the others wait for INIT/SIPI or PSCI. */
int arch_vcpu_reset(struct vcpu *, const struct entry *);
enum exit_next { EXIT_CONTINUE, EXIT_STOP };    /* STOP: vm_request() has been called */
/* On the vCPU's thread: exits common/vcpu.c does not claim. */
enum exit_next arch_vcpu_exit(struct vcpu *);
int arch_irq_line(struct vm *, uint32_t gsi, bool level);       /* any thread */
/*
 * How a message reaches a vCPU: 1 and *gsi when it is an existing pin (arm64 v2m), 0 when `e` was filled as a
 * routing entry, -EINVAL when the message means nothing to the interrupt chip.
 */
int arch_msi_route(struct vm *, uint64_t addr, uint32_t data, uint32_t devid, struct kvm_irq_routing_entry *e, uint32_t *gsi);
/* Fills the routing entries of fixed pins, which KVM wants in every table; returns how many (at most max). */
unsigned arch_fixed_routes(struct vm *, struct kvm_irq_routing_entry *, unsigned max);
/* Parked vCPU or its own thread: registers, for a crash report and exit.json. */
void arch_vcpu_dump(struct vcpu *, FILE *);
json_t *arch_vcpu_regs_json(struct vcpu *);
/* A non-maskable interrupt for one vCPU: 0, or -errno (reported): arm64 has none.  Any thread. */
int arch_nmi(struct vcpu *);
/*
 * The host's counter: rises at one rate, the same on all CPUs, and is read without the kernel.  Its frequency in Hz, of a VM with
 * a vCPU; 0: this host has none to rely on.  Any thread.
 */
uint64_t arch_ticks(void);
uint64_t arch_ticks_hz(const struct vcpu *);
/* Facts for exit profiles: "cpu", "kvm" ("svm", "vmx", "vhe", "nvhe" ...) and "irqchip" of this host. */
void arch_host_facts(struct vm *, json_t *host);
/* Presses the power button; false when the machine's button is not wired.  Loop thread. */
bool arch_power_button(struct vm *);

/*
 * `doctor`, demo and tests: does KVM really run this architecture's guests?  Runs a tiny guest in the mode
 * kernels need (long mode, EL1 with the MMU off) that must compute an answer within 2 seconds.
 * 0 it does; -errno it does not, with one sentence in why[].
 */
int arch_kvm_probe(char *why, size_t why_len);
void arch_doctor(FILE *);                       /* lines about CPU and KVM of this host */

#endif

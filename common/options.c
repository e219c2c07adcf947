/*
 * The tables: every configuration key, every option of `skep run`, and what bhyve has but this version has not.
 * Parser, --help, man pages, configuration files and `config dump` all read these rows and nothing else.
 */
#include "common/cli.h"
#include "common/util.h"

static const char *const actions[] = { "restart", "exit", "pause", NULL };
static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const backings[] = { "auto", "anonymous", "memfd", NULL };
static const char *const protocols[] = { "auto", "linux", "pvh", "multiboot", "freebsd", "elf", NULL };
static const char *const entry_modes[] = { "real", "protected", "long", NULL };
static const char *const arches[] = { "x86", "amd64", "x86_64", "arm64", "aarch64", NULL };

/* name, type, min, max, default, unit, help, choices */
const struct opt conf_global_opts[] = {
	{ "name", OPT_STR, 0, 63, NULL, NULL, "name of the VM", NULL },
	{ "uuid", OPT_UUID, 0, 0, NULL, NULL, "UUID the guest sees; made from the VM's name when unset", NULL },
	{ "arch", OPT_ENUM, 0, 0, NULL, NULL, "machine to plan; run takes only the host's own", arches },
	{ "cpus", OPT_U64, 1, 512, "1", "vCPUs", "number of virtual CPUs", NULL },
	{ "sockets", OPT_U64, 1, 512, "1", NULL, "CPU sockets the guest sees", NULL },
	{ "cores", OPT_U64, 1, 512, "1", NULL, "cores in a socket", NULL },
	{ "threads", OPT_U64, 1, 512, "1", NULL, "vCPUs in a core", NULL },
	{ "vcpu.N.cpuset", OPT_STR, 0, 0, NULL, NULL, "host CPUs vCPU N may run on: 2, or 0,4-7", NULL },
	{ "memory.size", OPT_SIZE, MIB(16), GIB(65536), "256M", "MiB", "guest memory; a plain number below 1048576 means MiB",
	  NULL },
	{ "memory.wired", OPT_BOOL, 0, 0, "false", NULL, "lock guest memory in the host's memory", NULL },
	{ "memory.backing", OPT_ENUM, 0, 0, "auto", NULL,
	  "what guest memory is: anonymous, memfd, or auto (memfd where the host gives it huge pages)", backings },
	{ "memory.guest_in_core", OPT_BOOL, 0, 0, "false", NULL, "include guest memory in a core file of skep", NULL },
	{ "acpi_tables", OPT_BOOL, 0, 0, "true", NULL, "give the guest ACPI tables (x86; arm64: to its firmware)", NULL },
	{ "rtc.use_localtime", OPT_BOOL, 0, 0, "false", NULL, "the clock shows local time instead of UTC", NULL },
	{ "virtio_msix", OPT_BOOL, 0, 0, "true", NULL, "virtio devices offer MSI-X", NULL },
	{ "destroy_on_poweroff", OPT_BOOL, 0, 0, "false", NULL, "accepted as in bhyve: nothing outlives a VM here", NULL },
	{ "x86.mptable", OPT_BOOL, 0, 0, "true", NULL, "give the guest an MP table (x86)", NULL },
	{ "x86.x2apic", OPT_BOOL, 0, 0, "true", NULL, "offer the guest x2APIC mode (x86)", NULL },
	{ "x86.strictio", OPT_BOOL, 0, 0, "false", NULL, "a port nobody emulates ends the VM (x86)", NULL },
	{ "x86.strictmsr", OPT_BOOL, 0, 0, "true", NULL, "an unknown MSR faults instead of reading 0 (x86)", NULL },
	{ "x86.vmexit_on_hlt", OPT_BOOL, 0, 0, "true", NULL, "accepted as in bhyve: an idle vCPU always yields its CPU", NULL },
	{ "x86.vmexit_on_pause", OPT_BOOL, 0, 0, "true", NULL, "accepted as in bhyve: KVM watches for spinning vCPUs", NULL },
	{ "kernel", OPT_STR, 0, 4096, NULL, NULL, "kernel to start; its own header tells which kind it is", NULL },
	{ "kernel.protocol", OPT_ENUM, 0, 0, "auto", NULL, "boot protocol, for kernels that know several", protocols },
	{ "initrd", OPT_STR, 0, 4096, NULL, NULL, "initial RAM disk", NULL },
	{ "append", OPT_STR, 0, 4095, NULL, NULL, "kernel command line", NULL },
	{ "module.N", OPT_STR, 0, 4096, NULL, NULL,
	  "FILE[,type=TYPE][,args=TEXT]: module N for the kernel (FreeBSD, PVH, Multiboot), from 0", NULL },
	{ "load.N", OPT_STR, 0, 4096, NULL, NULL, "FILE@ADDR: copied to a guest-physical address, from 0", NULL },
	{ "entry", OPT_SIZE, 0, 0, NULL, NULL, "where the guest starts when load.N is all there is", NULL },
	{ "entry.mode", OPT_ENUM, 0, 0, "protected", NULL, "processor mode at entry (x86)", entry_modes },
	{ "loader.hostdir", OPT_STR, 0, 4096, NULL, NULL, "host directory the FreeBSD loader sees as host0:", NULL },
	{ "loader.env.N", OPT_STR, 0, 4096, NULL, NULL, "NAME=VALUE: variable N of the FreeBSD kernel's environment, from 0", NULL },
	{ "loader.prompt", OPT_BOOL, 0, 0, "false", NULL, "stop at the FreeBSD loader's prompt", NULL },
	{ "firmware", OPT_STR, 0, 4096, NULL, NULL, "uefi, u-boot or a file: firmware found in the usual places", NULL },
	{ "lpc.bootrom", OPT_STR, 0, 4096, NULL, NULL, "firmware: file of the first flash device", NULL },
	{ "lpc.bootvars", OPT_STR, 0, 4096, NULL, NULL, "firmware: file of its variables, the second flash device", NULL },
	{ "lpc.debugexit.port", OPT_U64, 0, 0xfffc, NULL, NULL, "port whose written value v ends skep with status 2v+1 (x86)", NULL },
	{ "fwcfg.N", OPT_STR, 0, 65536, NULL, NULL, "NAME,string=TEXT or NAME,file=PATH: item N for firmware, from 0", NULL },
	{ "install.iso", OPT_STR, 0, 4096, NULL, NULL, "installation medium: started from while the first disk has no boot sector", NULL },
	{ "install.force", OPT_BOOL, 0, 0, "false", NULL, "start from install.iso although the disk could start", NULL },
	{ "on_reboot", OPT_ENUM, 0, 0, "restart", NULL, "when the guest resets", actions },
	{ "on_poweroff", OPT_ENUM, 0, 0, "exit", NULL, "when the guest powers off", actions },
	{ "on_crash", OPT_ENUM, 0, 0, "exit", NULL, "when the guest crashes", actions },
	{ "daemon", OPT_BOOL, 0, 0, "false", NULL, "go to the background once the VM is there", NULL },
	{ "pidfile", OPT_STR, 0, 4000, NULL, NULL, "file that has the process's number while the VM is there", NULL },
	{ "log.file", OPT_STR, 0, 4096, NULL, NULL, "file that gets every message as well", NULL },
	{ "log.level", OPT_ENUM, 0, 0, "info", NULL, "least severe message for the log file", levels },
	{ "exits.count", OPT_BOOL, 0, 0, "true", NULL, "count exits and keep the last ones; false: for comparing speed", NULL },
	{ "exits.ring", OPT_U64, 64, 65536, "4096", NULL, "how many of the last exits of a vCPU are kept", NULL },
	{ "exits.file", OPT_STR, 0, 4000, NULL, NULL, "file that gets the exit profile when the VM ends", NULL },
	{ "exits.trace", OPT_BOOL, 0, 0, "false", NULL, "also count exits that KVM handles itself, by its tracepoints; needs root", NULL },
	{ "gdb.port", OPT_U64, 0, 65535, "0", NULL, "TCP port of the debug server; 0: none", NULL },
	{ "gdb.address", OPT_STR, 0, 255, "localhost", NULL, "address of the debug server, in numbers", NULL },
	{ "gdb.path", OPT_STR, 0, 107, NULL, NULL, "unix socket of the debug server, instead of a port", NULL },
	{ "gdb.wait", OPT_BOOL, 0, 0, "false", NULL, "the guest waits for a debugger before its first instruction", NULL },
	OPT_LAST
};

/*
 * Refusals are rows too: removing one, with the feature behind it, is all that a later version has to do here.
 * A refused key is accepted at its harmless value.
 */
const struct conf_refusal conf_refused_keys[] = {
	{ "restore", NULL, "restoring checkpoints is not in this version; start the VM without it" },
	{ "lpc.fwcfg", "qemu", "skep's fw_cfg is always QEMU's; leave lpc.fwcfg out or set it to qemu" },
	{ "keyboard.layout", NULL, "keyboards and VNC are not in this version; use the serial console" },
	{ NULL, NULL, NULL }
};

#define DISK_REMEDY " is not in this version; use virtio-blk"
#define NET_REMEDY " is not in this version; use virtio-net"
#define DISPLAY_REMEDY " is not in this version; use the serial console"
const struct conf_refusal conf_refused_classes[] = {
	{ "e1000", NULL, "the Intel e1000" NET_REMEDY },
	{ "virtio-9p", NULL, "sharing host directories is not in this version; use a disk image" },
	{ "virtio-input", NULL, "virtio input" DISPLAY_REMEDY },
	{ "fbuf", NULL, "the framebuffer" DISPLAY_REMEDY },
	{ "xhci", NULL, "the USB controller is not in this version; leave it out" },
	{ "hda", NULL, "sound is not in this version; leave it out" },
	{ "uart", NULL, "the PCI serial port is not in this version; use -l com2,BACKEND or virtio-console" },
	{ "passthru", NULL, "passing host devices through is not in this version; use a virtio device" },
	{ NULL, NULL, NULL }
};

const char *const cli_group_names[CLI_GROUPS] = {
	[CLI_MACHINE] = "Machine", [CLI_DEVICES] = "Devices", [CLI_BOOT] = "Booting", [CLI_LIFE] = "Life of the VM",
	[CLI_CONFIG] = "Configuration and messages", [CLI_COMPAT] = "Accepted for bhyve's sake",
};

const struct cli_opt cli_run_opts[] = {
	{ .letter = 'c', .name = "cpus", .arg = "[cpus=]N[,sockets=S][,cores=C][,threads=T]", .fn = cli_opt_cpus,
	  .group = CLI_MACHINE,
	  .help = "number of vCPUs and their topology (default 1)" },
	{ .letter = 'm', .name = "memory", .arg = "SIZE", .key = "memory.size", .group = CLI_MACHINE,
	  .help = "guest memory with suffix K, M, G or T; a plain small number is MiB (default 256M)" },
	{ .letter = 'M', .arg = "SIZE", .fn = cli_opt_high_mem, .group = CLI_COMPAT,
	  .help = "memory above 4 GiB in bhyve of 2012: added to -m" },
	{ .letter = 'p', .name = "pin", .arg = "VCPU:HOSTCPU", .fn = cli_opt_pin, .group = CLI_MACHINE,
	  .help = "pin a vCPU to a host CPU; repeat to allow several" },
	{ .letter = 'S', .name = "wired", .key = "memory.wired", .value = "true", .group = CLI_MACHINE,
	  .help = "lock guest memory in the host's memory" },
	{ .letter = 'C', .key = "memory.guest_in_core", .value = "true", .group = CLI_MACHINE,
	  .help = "include guest memory in a core file of skep" },
	{ .letter = 'U', .name = "uuid", .arg = "UUID", .key = "uuid", .group = CLI_MACHINE,
	  .help = "UUID the guest sees (default: made from the VM's name)" },
	{ .name = "arch", .arg = "ARCH", .key = "arch", .group = CLI_MACHINE,
	  .help = "machine for 'skep plan': x86 or arm64 (default: this host's)" },

	{ .letter = 's', .name = "device", .arg = "[[BUS:]SLOT[:FN]],DEVICE[,CONF]", .fn = cli_opt_slot, .group = CLI_DEVICES,
	  .help = "PCI device by bhyve's name; '-s help' lists them, '-s DEVICE,help' its options; write ',,' for a comma" },
	{ .letter = 'l', .name = "lpc", .arg = "PORT,BACKEND", .fn = cli_opt_port, .group = CLI_DEVICES,
	  .help = "connect com1 to com4, bootrom or debugexit; '-l help' lists ports and back ends" },
	{ .name = "disk", .arg = "PATH[,CONF]", .key = "virtio-blk", .fn = cli_opt_auto, .group = CLI_DEVICES,
	  .help = "disk image or block device (virtio-blk) on the next free slot" },
	{ .name = "net", .arg = "BACKEND[,CONF]", .key = "virtio-net", .fn = cli_opt_auto, .group = CLI_DEVICES,
	  .help = "network card (virtio-net) on the next free slot" },
	{ .name = "console", .arg = "BACKEND", .fn = cli_opt_console, .group = CLI_DEVICES,
	  .help = "connect the first serial port (default: stdio, when nothing else uses it)" },
	{ .name = "cdrom", .arg = "ISO[,CONF]", .value = "ro=true", .fn = cli_opt_auto, .group = CLI_DEVICES,
	  .help = "CD-ROM image (x86: ahci-cd; arm64: read-only virtio-blk) on the next free slot" },

	{ .name = "kernel", .arg = "FILE", .key = "kernel", .group = CLI_BOOT,
	  .help = "kernel to start; its own header tells which kind it is" },
	{ .name = "initrd", .arg = "FILE", .key = "initrd", .group = CLI_BOOT, .help = "initial RAM disk" },
	{ .name = "append", .arg = "STRING", .key = "append", .group = CLI_BOOT, .help = "kernel command line" },
	{ .letter = 'r', .name = "restore", .arg = "CHECKPOINT", .key = "restore", .group = CLI_BOOT,
	  .help = "start from a checkpoint" },
	{ .name = "protocol", .arg = "NAME", .key = "kernel.protocol", .group = CLI_BOOT,
	  .help = "boot protocol for kernels that know several: linux, pvh, multiboot, freebsd or elf (default: auto)" },
	{ .name = "module", .arg = "FILE[,type=TYPE][,args=TEXT]", .key = "module", .fn = cli_opt_list, .group = CLI_BOOT,
	  .help = "module for the kernel (FreeBSD, PVH, Multiboot); repeat for several" },
	{ .name = "load", .arg = "FILE@ADDR", .key = "load", .fn = cli_opt_list, .group = CLI_BOOT,
	  .help = "copy a file to a guest-physical address; with --entry instead of a kernel" },
	{ .name = "entry", .arg = "ADDR", .key = "entry", .group = CLI_BOOT, .help = "where the guest starts, with --load" },
	{ .letter = 'h', .arg = "DIR", .key = "loader.hostdir", .group = CLI_BOOT,
	  .help = "host directory the FreeBSD loader sees as host0: (help is --help)" },
	{ .letter = 'e', .arg = "NAME=VALUE", .key = "loader.env", .fn = cli_opt_list, .group = CLI_BOOT,
	  .help = "variable for FreeBSD's kernel environment; repeat for several" },
	{ .name = "loader-prompt", .key = "loader.prompt", .value = "true", .group = CLI_BOOT,
	  .help = "stop at the FreeBSD loader's prompt on the console" },
	{ .name = "firmware", .arg = "uefi|u-boot|FILE", .key = "firmware", .group = CLI_BOOT,
	  .help = "start firmware, found in the usual places, with variables of this VM's own" },
	{ .letter = 'f', .name = "fwcfg", .arg = "NAME,string=TEXT|file=PATH", .key = "fwcfg", .fn = cli_opt_list, .group = CLI_BOOT,
	  .help = "item for firmware and guest in fw_cfg; repeat for several" },
	{ .name = "install", .arg = "ISO", .key = "install.iso", .group = CLI_BOOT,
	  .help = "installation medium: started from while the first disk has no boot sector" },
	{ .name = "force-install", .key = "install.force", .value = "true", .group = CLI_BOOT,
	  .help = "start from the installation medium although the disk could start" },

	{ .name = "once", .key = "on_reboot", .value = "exit", .group = CLI_LIFE,
	  .help = "do not start the guest again when it resets (--on-reboot=exit)" },
	{ .name = "on-reboot", .arg = "ACTION", .key = "on_reboot", .group = CLI_LIFE,
	  .help = "restart, exit or pause when the guest resets (default restart)" },
	{ .name = "on-poweroff", .arg = "ACTION", .key = "on_poweroff", .group = CLI_LIFE,
	  .help = "the same for power-off (default exit)" },
	{ .name = "on-crash", .arg = "ACTION", .key = "on_crash", .group = CLI_LIFE,
	  .help = "the same for a crash of the guest (default exit)" },
	{ .name = "daemon", .key = "daemon", .value = "true", .group = CLI_LIFE,
	  .help = "go to the background once the VM is there; 'skep console' attaches to its first serial port" },
	{ .name = "pidfile", .arg = "FILE", .key = "pidfile", .group = CLI_LIFE,
	  .help = "file that has the process's number while the VM is there" },
	{ .letter = 'G', .name = "gdb", .arg = "[w][ADDR:]PORT|[w]PATH", .key = "gdb.port", .fn = cli_opt_gdb, .group = CLI_LIFE,
	  .help = "debug server for GDB at a TCP port of localhost, or a unix socket; w: the guest waits for it" },
	{ .letter = 'g', .arg = "PORT", .key = "gdb.port", .group = CLI_COMPAT, .help = "older form of -G; 0: none" },

	{ .letter = 'k', .name = "config", .arg = "FILE", .fn = cli_opt_file, .group = CLI_CONFIG,
	  .help = "read keys from a file, see skep-config(5)" },
	{ .letter = 'o', .name = "set", .arg = "KEY=VALUE", .fn = cli_opt_set, .group = CLI_CONFIG,
	  .help = "set one key; 'skep help keys' lists them" },
	{ .name = "log", .arg = "FILE", .key = "log.file", .group = CLI_CONFIG, .help = "write every message to a file as well" },
	{ .name = "log-level", .arg = "LEVEL", .key = "log.level", .group = CLI_CONFIG,
	  .help = "error, warn, info or debug: what the log file gets (default info)" },
	{ .name = "help", .fn = cli_opt_help, .group = CLI_CONFIG, .help = "show this text" },

	{ .letter = 'A', .key = "acpi_tables", .value = "true", .group = CLI_COMPAT, .help = "ACPI tables: always there on x86 and for firmware" },
	{ .letter = 'H', .key = "x86.vmexit_on_hlt", .value = "true", .group = CLI_COMPAT,
	  .help = "idle vCPUs yield: they always do" },
	{ .letter = 'P', .key = "x86.vmexit_on_pause", .value = "true", .group = CLI_COMPAT,
	  .help = "spinning vCPUs yield: KVM decides" },
	{ .letter = 'D', .key = "destroy_on_poweroff", .value = "true", .group = CLI_COMPAT,
	  .help = "destroy the VM at power-off: nothing outlives it" },
	{ .letter = 'I', .fn = cli_opt_nothing, .group = CLI_COMPAT, .help = "IOAPIC: always there on x86" },
	{ .letter = 'w', .key = "x86.strictmsr", .value = "false", .group = CLI_COMPAT,
	  .help = "unknown MSRs read 0 instead of faulting" },
	{ .letter = 'x', .key = "x86.x2apic", .value = "true", .group = CLI_COMPAT, .help = "offer x2APIC mode: the default" },
	{ .letter = 'a', .key = "x86.x2apic", .value = "false", .group = CLI_COMPAT, .help = "do not offer x2APIC mode" },
	{ .letter = 'u', .key = "rtc.use_localtime", .value = "false", .group = CLI_COMPAT,
	  .help = "the clock shows UTC: the default" },
	{ .letter = 'W', .key = "virtio_msix", .value = "false", .group = CLI_COMPAT, .help = "virtio devices without MSI-X" },
	{ .letter = 'Y', .key = "x86.mptable", .value = "false", .group = CLI_COMPAT, .help = "no MP table" },
	{ .letter = 'K', .arg = "LAYOUT", .key = "keyboard.layout", .group = CLI_COMPAT, .help = "keyboard layout for VNC" },
	{ .help = NULL }
};

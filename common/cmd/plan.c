/*
 * `skep plan`: the whole machine a command line describes, of either architecture, on any host and without KVM.
 * The VM is really built, only dry; what is printed is read back from it.  Byte-stable.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/bootorder.h"
#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/pci/pci.h"

struct plan {
	const char *tables_dir;
};

static int opt_tables(struct cli *cli, const struct cli_opt *o, const char *arg, const char *origin)
{
	(void)o;
	(void)origin;
	((struct plan *)cli->user)->tables_dir = arg;
	return 0;
}

static const struct cli_opt plan_opts[] = {
	{ .name = "tables", .arg = "DIR", .fn = opt_tables, .group = CLI_CONFIG, .help = "also write the tables as files into DIR" },
	{ 0 }
};

static void print_span(FILE *f, uint64_t base, uint64_t len, const char *what)
{
	fprintf(f, "  %016" PRIx64 "-%016" PRIx64 "  %s\n", base, base + len - 1, what);
}

static void print_memory(FILE *f, const struct vm *vm)
{
	const struct memmap *m = &vm->map;
	fprintf(f, "memory map\n");
	for (unsigned i = 0; i < m->nram; i++) {
		char what[48];
		snprintf(what, sizeof(what), "RAM, %" PRIu64 " MiB", m->ram[i].len >> 20);
		print_span(f, m->ram[i].base, m->ram[i].len, what);
	}
	print_span(f, m->ecam_base, m->ecam_len, "PCI configuration (ECAM)");
	if (m->pci_io_mmio)
		print_span(f, m->pci_io_mmio, m->pci_io_len, "PCI I/O space");
	print_span(f, m->pci32_base, m->pci32_len, "PCI memory, 32-bit");
	print_span(f, m->pci64_base, m->pci64_len, "PCI memory, 64-bit");
}

static void print_chips(FILE *f, const struct vm *vm)
{
	fprintf(f, "\nchips\n");
	for (unsigned i = 0; i < vm->ndevs; i++) {
		const struct device *d = vm->devs[i];
		if (!d->io.mapped)
			continue;
		fprintf(f, "  %-10s %-12s %s %#" PRIx64 "-%#" PRIx64, d->id, d->cls->name, d->io_bus == &vm->pio ? "ports" : "memory",
			d->io.base, d->io.base + d->io.len - 1);
		if (d->gsi != DEV_NO_GSI)
			fprintf(f, "  interrupt %u", d->gsi);
		fputc('\n', f);
	}
}

static void print_bars(FILE *f, const struct pci_dev *p)
{
	static const char *const types[] = { "", "I/O", "32-bit", "64-bit" };
	for (unsigned n = 0; n < PCI_BARS; n++) {
		const struct pci_bar *b = &p->bar[n];
		if (b->type == PCI_BAR_NONE)
			continue;
		uint64_t addr = get_le32(&p->cfg[PCI_BAR0 + 4 * n]) & (b->type == PCI_BAR_IO ? ~3u : ~15u);
		if (b->type == PCI_BAR_MEM64)
			addr |= (uint64_t)get_le32(&p->cfg[PCI_BAR0 + 4 * n + 4]) << 32;
		fprintf(f, "             BAR %u %-6s %#" PRIx64 ", %" PRIu64 " bytes\n", n, types[b->type], addr, b->size);
	}
}

static void print_pci(FILE *f, const struct vm *vm)
{
	fprintf(f, "\nPCI\n");
	for (unsigned i = 0; i < 32 * 8; i++) {
		const struct pci_dev *p = pci_at(vm->pci, 0, i / 8, i % 8);
		if (!p)
			continue;
		fprintf(f, "  %02x:%02x.%x    %04x:%04x class %02x%02x%02x  %s", p->bus, p->slot, p->fn, get_le16(&p->cfg[PCI_VENDOR]),
			get_le16(&p->cfg[PCI_DEVICE]), p->cfg[PCI_CLASS], p->cfg[PCI_SUBCLASS], p->cfg[PCI_PROG_IF], p->dev.cls->name);
		if (p->cfg[PCI_IRQ_PIN])
			fprintf(f, ", INT%c# is interrupt %u", 'A' + p->cfg[PCI_IRQ_PIN] - 1, p->dev.gsi);
		fputc('\n', f);
		print_bars(f, p);
	}
}

static void print_entry(FILE *f, const struct entry *e)
{
	static const char *const modes[] = {
		[ENTRY_NONE] = "", [ENTRY_X86_RESET] = "the processor's own after power-on, real mode", [ENTRY_X86_REAL] = "real mode",
		[ENTRY_X86_PROT32] = "32-bit protected mode", [ENTRY_X86_LONG] = "64-bit mode", [ENTRY_ARM64] = "EL1, MMU off",
	};

	if (e->mode == ENTRY_NONE)
		return;
	if (e->mode == ENTRY_X86_RESET) {
		fprintf(f, "  entry        %s\n", modes[e->mode]);
		return;
	}
	fprintf(f, "  entry        %#" PRIx64 ", %s", e->pc, modes[e->mode]);
	if (e->arg)
		fprintf(f, ", argument %#" PRIx64, e->arg);
	if (e->arg2)
		fprintf(f, ", second argument %#" PRIx64, e->arg2);
	fputc('\n', f);
}

/* What is where in guest memory when the guest starts. */
static void print_places(FILE *f, const struct vm *vm)
{
	if (vm->places.n)
		fprintf(f, "\nplaced in memory\n");
	for (unsigned i = 0; i < vm->places.n; i++)
		print_span(f, vm->places.p[i].gpa, vm->places.p[i].len, vm->places.p[i].what);
}

static void print_firmware(FILE *f, const struct vm *vm)
{
	const char *vars = conf_str(vm->conf, "lpc.bootvars");
	struct boot_entry order[BOOT_ORDER_MAX];
	unsigned n = boot_order(vm, order, BOOT_ORDER_MAX);

	fprintf(f, "  firmware     %s\n", conf_str(vm->conf, "lpc.bootrom"));
	if (vars)
		fprintf(f, "  variables    %s\n", vars);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, order[i].unit ? "  %-12s %s, %s, disk %u\n" : "  %-12s %s, %s\n", i ? "" : "boot order", order[i].dev->id,
			order[i].dev->cls->name, order[i].unit);
}

static void print_boot(FILE *f, const struct vm *vm)
{
	const char *append = conf_str(vm->conf, "append");
	fprintf(f, "\nboot\n");
	if (vm->firmware)
		print_firmware(f, vm);
	if (vm->image.path)
		fprintf(f, "  kernel       %s\n  recognised   %s\n", vm->image.path, image_kind_name(vm->image.kind));
	else if (vm->image.kind == IMAGE_RAW)
		fprintf(f, "  kernel       none, files at their addresses\n");
	else
		fprintf(f, "  no kernel given\n");
	print_entry(f, &vm->entry);
	if (vm->image.initrd_path)
		fprintf(f, "  initrd       %s, %zu bytes\n", vm->image.initrd_path, vm->image.initrd_len);
	if (append)
		fprintf(f, "  command line %s\n", append);
	print_places(f, vm);
}

static int print_plan(FILE *f, struct vm *vm)
{
	fprintf(f, "machine %s (%s), %u vCPU%s, %" PRIu64 " MiB\n\n", vm->arch->boards[0]->name, vm->arch->name, vm->nvcpus,
		vm->nvcpus == 1 ? "" : "s", mem_total(&vm->mem) >> 20);
	print_memory(f, vm);
	print_chips(f, vm);
	print_pci(f, vm);
	print_boot(f, vm);
	fputc('\n', f);
	return vm->arch->print_tables(vm, f);
}

static int plan(struct conf *conf, const struct plan *p)
{
	const char *name = conf_str(conf, "arch");
	struct vm *vm;
	if (vm_create(conf, name ? arch_find(name) : arch_native, true, &vm))
		return STATUS_REFUSED;
	int err = print_plan(stdout, vm);
	if (!err && p->tables_dir)
		err = vm->arch->write_tables(vm, p->tables_dir);
	vm_free(vm);
	return err ? STATUS_REFUSED : 0;
}

int cmd_plan(int argc, char **argv)
{
	struct plan p = { 0 };
	struct cli cli = { .prog = "skep plan", .synopsis = "[options] [NAME]", .name_optional = true, .any_arch = true, .extra = plan_opts, .user = &p };
	struct conf *conf = conf_new();
	int status = cli_parse_run(&cli, argc, argv, conf);
	if (status == 0)
		status = plan(conf, &p);
	conf_free(conf);
	return status == CLI_ANSWERED ? 0 : status;
}

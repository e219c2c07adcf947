/*
 * GDB's `monitor` commands: one table.
 */
#include <stdlib.h>

#include "common/gdb/gdb.h"
#include "common/log.h"

struct command {
	const char *name, *arg;
	void (*fn)(struct gdb *, FILE *, const char *arg);
	const char *help;
};
static const struct command commands[];

static void cmd_help(struct gdb *g UNUSED, FILE *f, const char *arg UNUSED)
{
	char left[24];

	for (const struct command *c = commands; c->name; c++) {
		snprintf(left, sizeof(left), "%s %s", c->name, c->arg);
		fprintf(f, "%-14s %s\n", left, c->help);
	}
}

/* The vCPU of an argument, without one GDB's current thread's; NULL: said why. */
static struct vcpu *vcpu_of(struct gdb *g, FILE *f, const char *arg)
{
	char *end;
	const unsigned long n = strtoul(arg, &end, 10);

	if (!*arg)
		return &g->vm->vcpus[g->thread];
	if (!*end && *arg != '-' && n < g->vm->nvcpus)
		return &g->vm->vcpus[n];
	fprintf(f, "There is no vCPU '%.32s': they are 0 to %u.\n", arg, g->vm->nvcpus - 1);
	return NULL;
}

static void cmd_regs(struct gdb *g, FILE *f, const char *arg)
{
	struct vcpu *v = vcpu_of(g, f, arg);

	if (v)
		arch_vcpu_dump(v, f);
}

static void cmd_exits(struct gdb *g, FILE *f, const char *arg)
{
	const unsigned long n = strtoul(arg, NULL, 10);

	exits_print(&g->vm->vcpus[g->thread].exits, f, g->thread, n && n < UINT16_MAX ? (unsigned)n : 20);
}

static void cmd_reset(struct gdb *g, FILE *f, const char *arg UNUSED)
{
	vm_request(g->vm, CAUSE_RESET, NULL, "'monitor reset' of GDB");
	fputs("The guest is reset. Forget its registers with 'maintenance flush register-cache'.\n", f);
}

static void cmd_nmi(struct gdb *g, FILE *f, const char *arg)
{
	struct vcpu *v = vcpu_of(g, f, arg);

	if (v && !arch_nmi(v))
		fprintf(f, "vCPU %u has an NMI pending.\n", v->id);
}

static void cmd_phys(struct gdb *g, FILE *f, const char *arg)
{
	if (*arg && strcmp(arg, "on") != 0 && strcmp(arg, "off") != 0) {
		fputs("'monitor phys' is on or off.\n", f);
		return;
	}
	g->phys = *arg ? !strcmp(arg, "on") : g->phys;
	fprintf(f, "Addresses are %s.\n", g->phys ? "guest-physical" : "those of the current thread's page tables");
}

static void cmd_poweroff(struct gdb *g, FILE *f, const char *arg UNUSED)
{
	fputs(arch_power_button(g->vm) ? "Its power button is pressed; the guest sees it when it runs.\n"
				       : "The guest does not listen to its power button; 'kill' ends the machine.\n", f);
}

static void cmd_info(struct gdb *g, FILE *f, const char *arg UNUSED)
{
	unsigned hw = 0, sw = 0;

	for (unsigned i = 0; i < g->npoints; i++)
		*(g->points[i].hw ? &hw : &sw) += 1;
	fprintf(f, "%s: %s, %u vCPUs, %llu MiB, %s, start %u\n", g->vm->name, g->vm->arch->name, g->vm->nvcpus,
		(unsigned long long)(mem_total(&g->vm->mem) >> 20), vm_state_names[g->vm->state], g->vm->boots);
	fprintf(f, "breakpoints: %u in memory, %u in debug registers\n", sw, hw);
}

static const struct command commands[] = {
	{ "help", "", cmd_help, "this list" },
	{ "info", "", cmd_info, "the machine" },
	{ "regs", "[VCPU]", cmd_regs, "registers of a vCPU, the current thread's by default" },
	{ "exits", "[N]", cmd_exits, "what the current thread last left the guest for" },
	{ "phys", "[on|off]", cmd_phys, "take addresses as guest-physical" },
	{ "nmi", "[VCPU]", cmd_nmi, "a non-maskable interrupt (x86)" },
	{ "reset", "", cmd_reset, "reset the machine" },
	{ "poweroff", "", cmd_poweroff, "press its power button" },
	{ NULL, NULL, NULL, NULL }
};

/* What the code below reports is for GDB's user. */
static void to_user(void *arg, enum log_level level UNUSED, const char *text)
{
	fprintf(arg, "%s\n", text);
}

void gdb_monitor(struct gdb *g, const char *line)
{
	const size_t n = strcspn(line, " ");
	const char *arg = line + n + strspn(line + n, " ");
	const struct command *c = commands;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	while (c->name && (strlen(c->name) != n || strncmp(c->name, line, n) != 0))
		c++;
	log_divert(to_user, f);
	if (c->name)
		c->fn(g, f, arg);
	else
		fprintf(f, "There is no command '%.*s': 'monitor help' lists them.\n", (int)MIN(n, 40u), line);
	log_divert(NULL, NULL);
	fclose(f);
	gdb_say(g, text, len);
	free(text);
}

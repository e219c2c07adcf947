/*
 * Texts made from the tables: --help, lists of keys and devices, and their scdoc forms for the man pages.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"

#define HELP_COLUMN 26
#define HELP_WIDTH 96

int cli_flush(FILE *f)
{
	if (fflush(f) || ferror(f))
		return err_sys("standard output: write");
	return 0;
}

/* Words broken at HELP_WIDTH; continuation lines begin at HELP_COLUMN.  The cursor stands in column `col`. */
static void print_wrapped(FILE *f, const char *text, int col)
{
	while (*text) {
		int n = (int)strcspn(text, " ");

		if (col + 1 + n > HELP_WIDTH) {
			fprintf(f, "\n%*s", HELP_COLUMN, "");
			col = HELP_COLUMN;
		} else if (col > HELP_COLUMN) {
			col += fprintf(f, " ");
		}
		col += fprintf(f, "%.*s", n, text);
		text += n;
		text += strspn(text, " ");
	}
	fprintf(f, "\n");
}

/* A left column and its explanation, which moves to the next line when the left one is long. */
static void print_row(FILE *f, const char *left, const char *text)
{
	int col = fprintf(f, "  %s", left);

	if (col > HELP_COLUMN - 2) {
		fprintf(f, "\n");
		col = 0;
	}
	fprintf(f, "%*s", HELP_COLUMN - col, "");
	print_wrapped(f, text, HELP_COLUMN);
}

/* Its refusal is in its own row or in the one of the key it sets. */
static bool unavailable(const struct cli_opt *o)
{
	return o->refuse || (o->key && conf_refusal_find(conf_refused_keys, o->key));
}

static void print_opt(FILE *f, const struct cli_opt *o)
{
	char left[128], name[64] = "", text[320];

	if (o->name)
		snprintf(name, sizeof(name), "%s--%s", o->letter ? ", " : "", o->name);
	if (o->letter)
		snprintf(left, sizeof(left), "-%c%s%s%s", o->letter, name, o->arg ? " " : "", o->arg ? o->arg : "");
	else
		snprintf(left, sizeof(left), "    %s%s%s", name, o->arg ? " " : "", o->arg ? o->arg : "");
	snprintf(text, sizeof(text), "%s%s", o->help, unavailable(o) ? " (not in this version)" : "");
	print_row(f, left, text);
}

static void print_group(FILE *f, const struct cli_opt *o, enum cli_group g, const char *title)
{
	bool any = false;

	for (; o && o->help; o++) {
		if (o->group != g)
			continue;
		if (!any)
			fprintf(f, "\n%s:\n", title);
		any = true;
		print_opt(f, o);
	}
}

void cli_print_help(FILE *f, const struct cli *c)
{
	fprintf(f, "usage: %s %s\n", c->prog, c->synopsis ? c->synopsis : "[options] NAME");
	if (c->rows)
		fprintf(f, "\n");
	for (const struct cli_opt *o = c->rows; o && o->help; o++)
		print_opt(f, o);
	if (c->rows)
		return;
	for (int g = 0; g < CLI_GROUPS; g++) {
		print_group(f, cli_run_opts, g, cli_group_names[g]);
		if (g == CLI_DEVICES && c->extra)
			fprintf(f, "\nOf this command:\n");
		for (const struct cli_opt *o = c->extra; g == CLI_DEVICES && o && o->help; o++)
			print_opt(f, o);
	}
	fprintf(f, "\nSizes take K, M, G and T. The console's escape is Ctrl-A: Ctrl-A x ends the VM, Ctrl-A h helps.\n");
}

void cli_opt_limits(const struct opt *o, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = 0;
	if (o->type == OPT_BOOL)
		n += (size_t)snprintf(buf, len, "true or false");
	else if (o->type == OPT_U64 && o->max)
		n += (size_t)snprintf(buf, len, "%llu to %llu", (unsigned long long)o->min, (unsigned long long)o->max);
	else if (o->type == OPT_SIZE)
		n += (size_t)snprintf(buf, len, "size");
	for (const char *const *c = o->choices; c && *c && n < len; c++)
		n += (size_t)snprintf(buf + n, len - n, "%s%s", n ? ", " : "", *c);
	if (o->def && n < len)
		snprintf(buf + n, len - n, "%sdefault %s", n ? "; " : "", o->def);
}

void cli_scdoc_text(FILE *f, const char *s)
{
	for (; *s; s++)
		fprintf(f, strchr("_*\\`~#[]<>", *s) ? "\\%c" : "%c", *s);
}

static void scdoc_item(FILE *f, const char *name, const char *help, const char *limits)
{
	fprintf(f, "*");
	cli_scdoc_text(f, name);
	fprintf(f, "*\n\t");
	cli_scdoc_text(f, help);
	if (*limits) {
		fprintf(f, " (");
		cli_scdoc_text(f, limits);
		fprintf(f, ")");
	}
	fprintf(f, ".\n\n");
}

static void print_table(FILE *f, const struct opt *o, const char *prefix, bool scdoc)
{
	char limits[160], text[400], name[80];

	for (; o && o->name; o++) {
		cli_opt_limits(o, limits, sizeof(limits));
		snprintf(name, sizeof(name), "%s%s", prefix, o->name);
		snprintf(text, sizeof(text), limits[0] ? "%s (%s)" : "%s", o->help, limits);
		if (scdoc)
			scdoc_item(f, name, o->help, limits);
		else
			print_row(f, name, text);
	}
}

void cli_print_keys(FILE *f, bool scdoc)
{
	print_table(f, conf_global_opts, "", scdoc);
	if (scdoc)
		return;
	print_row(f, "pci.BUS.SLOT.FN.device", "class of the PCI device there; 'skep help devices' lists classes and their keys");
	print_row(f, "lpc.comN.path", "back end of a serial port; 'skep run -l help' lists them");
	print_row(f, "lpc.comN.history", "bytes of output kept for whoever attaches");
}

void cli_print_classes(FILE *f)
{
	for (const struct device_class *const *c = device_classes; *c; c++)
		if ((*c)->pci)
			print_row(f, (*c)->name, (*c)->help);
}

void cli_print_class(FILE *f, const struct device_class *cls)
{
	fprintf(f, "%s: %s\n", cls->name, cls->help);
	if (cls->positional)
		fprintf(f, "The first word is '%s'.\n", cls->positional);
	if (!cls->opts || !cls->opts->name)
		fprintf(f, "  takes no options\n");
	print_table(f, cls->opts, "", false);
}

void cli_print_devices(FILE *f, bool scdoc)
{
	for (const struct device_class *const *c = device_classes; *c; c++) {
		if (!(*c)->pci)
			continue;
		if (!scdoc) {
			cli_print_class(f, *c);
			fprintf(f, "\n");
			continue;
		}
		fprintf(f, "## %s\n\n", (*c)->name);
		cli_scdoc_text(f, (*c)->help);
		if ((*c)->positional)
			fprintf(f, "; the first word is *%s*", (*c)->positional);
		fprintf(f, ".\n\n");
		print_table(f, (*c)->opts, "", true);
	}
}

void cli_print_ports(FILE *f, const struct conf *conf)
{
	const struct arch_info *a = conf_arch(conf);
	const struct device_class *cls = device_class_find(a->serial_class);

	fprintf(f, "Serial ports of the %s machine of %s:\n", a->boards[0]->name, a->name);
	for (const struct board_chip *c = a->boards[0]->chips; c->cls; c++)
		if (!strncmp(c->id, "lpc.com", 7))
			print_row(f, c->id + 4, cls ? cls->help : c->cls);
	fprintf(f, "\n-l PORT,BACKEND[,OPTION=VALUE...], with\n");
	print_table(f, cls ? cls->opts : NULL, "", false);
	fprintf(f, "\nOther than serial ports:\n");
	print_row(f, "bootrom,CODE[,VARS]", "firmware, and the file of its variables");
	print_row(f, "debugexit[,PORT]", "port 0x501, or PORT: a byte v written there ends skep with status 2v+1 (x86)");
}

static void scdoc_opt(FILE *f, const struct cli_opt *o)
{
	if (o->letter)
		fprintf(f, "*-%c*%s", o->letter, o->name ? ", " : "");
	if (o->name) {
		fprintf(f, "*--");
		cli_scdoc_text(f, o->name);
		fprintf(f, "*");
	}
	if (o->arg) {
		fprintf(f, " _");
		cli_scdoc_text(f, o->arg);
		fprintf(f, "_");
	}
	fprintf(f, "\n\t");
	cli_scdoc_text(f, o->help);
	fprintf(f, ".%s\n\n", unavailable(o) ? " Not in this version." : "");
}

void cli_print_scdoc(FILE *f)
{
	for (int g = 0; g < CLI_GROUPS; g++) {
		fprintf(f, "## %s\n\n", cli_group_names[g]);
		for (const struct cli_opt *o = cli_run_opts; o->help; o++)
			if (o->group == (enum cli_group)g)
				scdoc_opt(f, o);
	}
}

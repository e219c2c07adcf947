/*
 * What GDB reads by qXfer: the target description, made from the architecture's table of registers [GDB G], and the list of
 * threads [GDB E.14].
 */
#include <linux/kvm.h>
#include <stdlib.h>

#include "common/gdb/gdb.h"

static void put_feature(FILE *f, const struct debug_feature *ft, unsigned first)
{
	fprintf(f, "<feature name=\"%s\">%s", ft->name, ft->types ? ft->types : "");
	for (unsigned i = 0; i < ft->nregs; i++) {
		const struct debug_reg *r = &ft->regs[i];

		fprintf(f, "<reg name=\"%s\" bitsize=\"%u\" regnum=\"%u\"", r->name, r->bits, first + i);
		if (r->type)
			fprintf(f, " type=\"%s\"", r->type);
		if (r->group)
			fprintf(f, " group=\"%s\"", r->group);
		fputs("/>", f);
	}
	fputs("</feature>", f);
}

static void put_target(struct gdb *g, FILE *f)
{
	unsigned n = 0;

	fprintf(f, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\"><architecture>%s</architecture>",
		g->arch->gdb_arch);
	for (const struct debug_feature *ft = g->arch->features; ft->name; n += ft++->nregs)
		put_feature(f, ft, n);
	fputs("</target>", f);
}

const char *gdb_thread_state(struct gdb *g, unsigned i)
{
	switch (g->ops->mp_state(&g->vm->vcpus[i])) {
	case KVM_MP_STATE_RUNNABLE:
		return "running";
	case KVM_MP_STATE_HALTED:
		return "halted";
	default:
		return "not started";
	}
}

static void put_threads(struct gdb *g, FILE *f)
{
	fputs("<?xml version=\"1.0\"?><threads>", f);
	for (unsigned i = 0; i < g->vm->nvcpus; i++)
		fprintf(f, "<thread id=\"%x\" core=\"%u\" name=\"CPU %u\">%s</thread>", i + 1, i, i, gdb_thread_state(g, i));
	fputs("</threads>", f);
}

static char *text_of(struct gdb *g, void (*put)(struct gdb *, FILE *))
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f) {
		put(g, f);
		fclose(f);
	}
	return text;
}

/* A piece of text, in binary, of which '}' is the escape [GDB E.1]. */
static void reply_piece(struct gdb *g, const char *text, uint64_t off, uint64_t len)
{
	const size_t all = strlen(text);
	const char *p = text + MIN(off, all), *end = p + MIN(len, (size_t)(text + all - p));

	gdb_text(g, "m");
	for (; p < end && g->reply_len < PACKET_MAX - 2; p++)
		gdb_text(g, strchr("#$}*", *p) ? "}%c" : "%c", strchr("#$}*", *p) ? *p ^ 0x20 : *p);
	if (!*p)
		g->reply[0] = 'l';
}

void gdb_xfer(struct gdb *g, const char *args)
{
	static const char target[] = "features:read:target.xml:", threads[] = "threads:read::";
	const bool is_target = !strncmp(args, target, sizeof(target) - 1);
	char **kept = is_target ? &g->target : &g->threads;
	uint64_t off, len;

	if (!is_target && strncmp(args, threads, sizeof(threads) - 1) != 0)
		return;
	args = gdb_num(args + (is_target ? sizeof(target) : sizeof(threads)) - 1, &off);
	if (!args || *args != ',' || !gdb_num(args + 1, &len)) {
		gdb_text(g, "E00");
		return;
	}
	/* Threads are looked at when GDB begins to read; it may need several pieces. */
	if (!off || !*kept) {
		free(*kept);
		*kept = text_of(g, is_target ? put_target : put_threads);
	}
	if (*kept)
		reply_piece(g, *kept, off, len);
	else
		gdb_text(g, "E0c");
}

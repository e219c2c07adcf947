/*
 * Registers by the debugger's tables: one by its number, all of a vCPU's as text and as JSON.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "common/debug.h"
#include "common/util.h"
#include "common/vm.h"

const struct debug_reg *debug_reg_by_no(const struct arch_debug *d, unsigned no)
{
	for (const struct debug_feature *f = d->features; f->name; no -= f->nregs, f++) {
		if (no < f->nregs)
			return &f->regs[no];
	}
	return NULL;
}

/* The next register from *no on that is no floating-point or vector register and that this vCPU has; NULL: there is none. */
static const struct debug_reg *next_reg(struct vcpu *v, unsigned *no, uint64_t *val)
{
	const struct debug_reg *r;

	while ((r = debug_reg_by_no(v->vm->arch->debug, *no))) {
		uint8_t raw[DEBUG_REG_MAX] = { 0 };
		bool wanted = r->bits <= 64 && !(r->group && strcmp(r->group, "system") != 0);
		if (wanted && arch_debug_get(v, *no, raw) == 0) {
			*val = get_le64(raw);
			return r;
		}
		++*no;
	}
	return NULL;
}

void debug_regs_print(struct vcpu *v, FILE *f)
{
	const struct debug_reg *r;
	unsigned col = 0;
	uint64_t val;

	for (unsigned no = 0; (r = next_reg(v, &no, &val)); no++) {
		fprintf(f, "%*s %016" PRIx64 "%s", col ? 15 : 16, r->name, val, col == 2 ? "\n" : "");
		col = (col + 1) % 3;
	}
	if (col)
		fputc('\n', f);
}

json_t *debug_regs_json(struct vcpu *v)
{
	const struct debug_reg *r;
	json_t *o = json_object();
	uint64_t val;

	for (unsigned no = 0; (r = next_reg(v, &no, &val)); no++) {
		char hex[24];
		snprintf(hex, sizeof(hex), "%#" PRIx64, val);
		json_object_set_new(o, r->name, json_string(hex));
	}
	return o;
}

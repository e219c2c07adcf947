#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "common/debug.h"
#include "common/dump.h"
#include "common/util.h"
#include "common/vm.h"

#define RAM MIB(1)
#define HIGH (-MIB(4))

/*
 * A guest with 1 MiB of RAM at 1 MiB. Mapped are: two pages below that follow each other there as well, one that does not; at the
 * top of the space a block that begins with a device and covers the RAM.
 */
static int walk(const struct debug_mmu *mmu UNUSED, uint64_t va, uint64_t *pa, uint64_t *len)
{
	static const struct { uint64_t va, pa, len; } map[] = {
		{ 0x10000, MIB(1), 0x1000 }, { 0x11000, MIB(1) + 0x1000, 0x1000 }, { 0x12000, MIB(1) + 0x8000, 0x1000 },
		{ HIGH, 0, MIB(4) },
	};

	for (unsigned i = 0; i < NELEM(map); i++) {
		if (va - map[i].va < map[i].len) {
			*pa = map[i].pa + (va - map[i].va);
			*len = map[i].len - (va - map[i].va);
			return 0;
		}
		if (map[i].va > va) {
			*len = map[i].va - va;
			return -EFAULT;
		}
	}
	ck_abort_msg("past the end");
}

static const struct arch_debug debug = { .walk = walk };
static const struct arch_core core = { .va_bits_max = 40 };
static const struct arch_info arch = { .debug = &debug, .core = &core };

START_TEST(maps)
{
	struct vm vm = { .arch = &arch };
	struct core_map *m;

	ck_assert_int_eq(mem_add(&vm.mem, "ram", MIB(1), RAM, MEM_ANONYMOUS), 0);
	ck_assert_int_eq(core_maps(&vm, NULL, 8, &m), 3);
	ck_assert_uint_eq(m[0].va, HIGH + MIB(1));
	ck_assert_uint_eq(m[0].pa, MIB(1));
	ck_assert_uint_eq(m[0].len, RAM);
	ck_assert_uint_eq(m[1].va, 0x10000);
	ck_assert_uint_eq(m[1].pa, MIB(1));
	ck_assert_uint_eq(m[1].len, 0x2000);
	ck_assert_uint_eq(m[2].va, 0x12000);
	ck_assert_uint_eq(m[2].pa, MIB(1) + 0x8000);
	ck_assert_uint_eq(m[2].len, 0x1000);
	free(m);
	/* No more than there is room for: the kernel's half is kept. */
	ck_assert_int_eq(core_maps(&vm, NULL, 1, &m), 1);
	ck_assert_uint_eq(m[0].va, HIGH + MIB(1));
	free(m);
	mem_fini(&vm.mem);
}
END_TEST

/* Every register a note wants is one of the target description, and fits. */
START_TEST(notes)
{
	static const struct arch_info *const archs[] = { &arch_x86, &arch_arm64 };

	for (unsigned a = 0; a < NELEM(archs); a++)
		for (const struct core_note *n = archs[a]->core->notes; n->owner; n++)
			for (const struct core_field *f = n->fields; f->reg; f++) {
				const struct debug_reg *r = NULL;

				for (const struct debug_feature *d = archs[a]->debug->features; d->name; d++)
					for (unsigned i = 0; i < d->nregs; i++)
						if (!strcmp(d->regs[i].name, f->reg))
							r = &d->regs[i];
				ck_assert_msg(r != NULL, "%s: no register '%s'", archs[a]->name, f->reg);
				ck_assert_uint_le(f->off + (f->size ? MIN(f->size, r->bits / 8u) : r->bits / 8u), n->size);
			}
}
END_TEST

UNIT_MAIN("common/dump", maps, notes)

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/ctl_int.h"
#include "common/debug.h"
#include "common/dump.h"
#include "common/util.h"
#include "common/vm.h"
#include "tests/unit/capture.h"

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

/* Tables that point to each other: a device in every page of the space, or the RAM and gigabytes of nothing in every block. */
static unsigned walks;

static int walk_devices(const struct debug_mmu *mmu UNUSED, uint64_t va, uint64_t *pa, uint64_t *len)
{
	*pa = MIB(64) + va % 4096;
	*len = 4096 - va % 4096;
	walks++;
	return 0;
}

static int walk_blocks(const struct debug_mmu *mmu UNUSED, uint64_t va, uint64_t *pa, uint64_t *len)
{
	*pa = va % (1ull << 39);
	*len = (1ull << 39) - *pa;
	walks++;
	return 0;
}

START_TEST(loops)
{
	static const struct arch_core wide = { .va_bits_max = 56 };
	const struct arch_debug devices = { .walk = walk_devices }, blocks = { .walk = walk_blocks };
	struct arch_info a = { .debug = &devices, .core = &wide };
	struct vm vm = { .arch = &a };
	struct core_map *m;

	ck_assert_int_eq(mem_add(&vm.mem, "ram", MIB(1), RAM, MEM_ANONYMOUS), 0);
	ck_assert_int_eq(core_maps(&vm, NULL, 8, &m), 0);
	ck_assert_uint_ge(walks, 1000000);
	ck_assert_uint_le(walks, 4000000);
	free(m);
	walks = 0;
	a.debug = &blocks;
	ck_assert_int_eq(core_maps(&vm, NULL, 1000, &m), 1000);
	ck_assert_uint_le(walks, 2002);
	ck_assert_uint_eq(m[1].va - m[0].va, 1ull << 39);
	ck_assert_uint_eq(m[0].pa, MIB(1));
	free(m);
	mem_fini(&vm.mem);
}
END_TEST

/* A second dump is refused and touches nothing, least of all standard input. */
START_TEST(one_at_a_time)
{
	struct vm vm = { .arch = &arch };
	struct ctl ctl = { .vm = &vm };
	struct ctl_call first = { .vm = &vm, .ctl = &ctl, .method = ctl_method_find("dump") }, second = first;
	struct capture c;

	first.next = &second;
	ctl.calls = &first;
	second.params = json_pack("{s:s}", "path", "/nonexistent/core");
	capture_start(&c, STDERR_FILENO);
	ck_assert_int_eq(dump_ctl(&second), -EBUSY);
	ck_assert_ptr_nonnull(strstr(capture_stop(&c), "a core file is being written"));
	ck_assert_int_ne(fcntl(STDIN_FILENO, F_GETFD), -1);
	json_decref(second.params);
	ck_assert_uint_eq(vm.holds, 0);
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

UNIT_MAIN("common/dump", maps, loops, one_at_a_time, notes)

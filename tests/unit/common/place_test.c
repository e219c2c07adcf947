/* The list of what is where: order, overlaps, free places. */
#include <errno.h>

#include "common/place.h"
#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture err;
static struct vm vm;

static void set_up(void)
{
	memset(&vm, 0, sizeof(vm));
	ck_assert_int_eq(mem_add(&vm.mem, "low", MIB(1), MIB(4), MEM_ANONYMOUS), 0);
	ck_assert_int_eq(mem_add(&vm.mem, "high", MIB(16), MIB(1), MEM_ANONYMOUS), 0);
}

static void tear_down(void)
{
	boot_places_clear(&vm);
	mem_fini(&vm.mem);
}

static int place(uint64_t gpa, uint64_t len, const char *what)
{
	capture_start(&err, 2);
	int r = boot_place(&vm, gpa, len, "%s", what);
	capture_stop(&err);
	return r;
}

START_TEST(sorted)
{
	set_up();
	ck_assert_int_eq(place(MIB(3), 100, "c"), 0);
	ck_assert_int_eq(place(MIB(1), 100, "a"), 0);
	ck_assert_int_eq(place(MIB(2), 100, "b"), 0);
	ck_assert_int_eq(place(MIB(2), 0, "nothing"), 0);
	ck_assert_uint_eq(vm.places.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(vm.places.p[i].what[0], "abc"[i]);
		ck_assert_uint_eq(vm.places.p[i].gpa, MIB(i + 1));
	}
	ck_assert_ptr_eq(boot_placed(&vm, "b"), &vm.places.p[1]);
	ck_assert_ptr_null(boot_placed(&vm, "d"));
	boot_places_clear(&vm);
	ck_assert_uint_eq(vm.places.n, 0);
	ck_assert_int_eq(place(MIB(2), 100, "again"), 0);
	tear_down();
}
END_TEST

START_TEST(overlaps)
{
	set_up();
	ck_assert_int_eq(place(MIB(2), 0x1000, "kernel 'k'"), 0);
	ck_assert_int_eq(place(MIB(2) + 0x1000, 1, "initrd 'i'"), 0);
	ck_assert_int_eq(place(MIB(2) - 1, 1, "page tables"), 0);
	ck_assert_int_eq(place(MIB(2) + 0xfff, 1, "load.0 'f'"), -EEXIST);
	ck_assert_str_eq(err.text, "skep: load.0 'f' (0x200fff-0x200fff) and kernel 'k' (0x200000-0x200fff) overlap in guest "
		"memory: choose "
			 "another address for --load\n");
	ck_assert_int_eq(place(MIB(2) - 10, MIB(1), "zero page"), -EEXIST);
	ck_assert_str_eq(err.text, "skep: zero page (0x1ffff6-0x2ffff5) and page tables (0x1fffff-0x1fffff) overlap in guest "
		"memory: link one "
			 "of them elsewhere\n");
	ck_assert_uint_eq(vm.places.n, 3);
	tear_down();
}
END_TEST

START_TEST(only_ram)
{
	set_up();
	ck_assert_int_eq(place(MIB(16), MIB(1) + 1, "a"), -ENOSPC);
	ck_assert_str_eq(err.text, "skep: a has 1025 KiB for 0x1000000, and the machine's memory ends at 0x1100000: give more with "
		"-m\n");
	ck_assert_int_eq(place(0, 1, "a"), -ENOSPC);
	ck_assert_str_eq(err.text, "skep: a has 1 KiB for 0, where the machine has no memory: 'skep plan' shows its memory map; "
		"choose another "
			 "address, or give more memory with -m\n");
	ck_assert_int_eq(place(MIB(4), MIB(2), "a"), -ENOSPC);          /* into the hole */
	ck_assert_int_eq(place(UINT64_MAX, 1, "a"), -ENOSPC);
	ck_assert_int_eq(place(MIB(1), UINT64_MAX, "a"), -ENOSPC);
	ck_assert_uint_eq(vm.places.n, 0);
	tear_down();
}
END_TEST

START_TEST(copies)
{
	set_up();
	uint8_t *p = mem_at(&vm.mem, MIB(2), 16);

	memset(p, 0xee, 16);
	ck_assert_int_eq(boot_copy(&vm, MIB(2), "abc", 3, 8, "x%u", 1), 0);
	ck_assert_mem_eq(p, "abc\0\0\0\0\0\xee", 9);
	ck_assert_uint_eq(vm.places.p[0].len, 8);
	ck_assert_str_eq(vm.places.p[0].what, "x1");
	ck_assert_int_eq(boot_copy(&vm, MIB(2) + 8, "defg", 4, 0, "y"), 0);
	ck_assert_mem_eq(p + 8, "defg\xee", 5);
	capture_start(&err, 2);
	ck_assert_int_eq(boot_copy(&vm, MIB(2) + 11, "defg", 4, 0, "z"), -EEXIST);
	capture_stop(&err);
	ck_assert_mem_eq(p + 8, "defg\xee", 5);
	ck_assert_int_eq(boot_copy(&vm, MIB(3), NULL, 0, 0, "nothing"), 0);
	ck_assert_int_eq(boot_copy(&vm, MIB(2) + 12, NULL, 0, 2, "zeroes"), 0);
	ck_assert_mem_eq(p + 12, "\0\0\xee", 3);
	tear_down();
}
END_TEST

START_TEST(free_places)
{
	uint64_t at = 0;

	set_up();
	ck_assert_int_eq(place(MIB(2), MIB(1), "a"), 0);
	ck_assert(boot_find_high(&vm, MIB(1), MIB(5), KIB(4), KIB(4), &at));
	ck_assert_uint_eq(at, MIB(5) - KIB(4));
	ck_assert(boot_find_high(&vm, MIB(1), MIB(3) + KIB(4), KIB(8), KIB(4), &at));
	ck_assert_uint_eq(at, MIB(2) - KIB(8));
	ck_assert(!boot_find_high(&vm, MIB(1) + 1, MIB(3), MIB(1), 1, &at));
	ck_assert(boot_find_high(&vm, MIB(1), MIB(3), MIB(1), KIB(4), &at));
	ck_assert_uint_eq(at, MIB(1));
	ck_assert(!boot_find_high(&vm, MIB(1), MIB(1), 1, 1, &at));
	ck_assert(!boot_find_high(&vm, MIB(2), MIB(1), 1, 1, &at));
	ck_assert(boot_find_low(&vm, MIB(2) - KIB(4), MIB(5), KIB(8), KIB(4), &at));
	ck_assert_uint_eq(at, MIB(3));
	ck_assert(boot_find_low(&vm, MIB(1) + 1, MIB(5), 1, KIB(4), &at));
	ck_assert_uint_eq(at, MIB(1) + KIB(4));
	ck_assert(!boot_find_low(&vm, MIB(2), MIB(3), 1, 1, &at));
	ck_assert(!boot_find_low(&vm, MIB(3), MIB(4), MIB(1) + 1, 1, &at));
	ck_assert(!boot_find_low(&vm, UINT64_MAX - 1, UINT64_MAX, 1, KIB(4), &at));
	tear_down();
}
END_TEST

START_TEST(blobs)
{
	struct image im = { .nblobs = 2, .blob = {
		{ .path = "one", .gpa = MIB(2), .data = (uint8_t *)"1111", .len = 4 }, { .path = "two", .gpa = MIB(2) + 4,
			.data = (uint8_t *)"2", .len = 1 },
	} };

	set_up();
	ck_assert_int_eq(boot_blobs(&vm, &im), 0);
	ck_assert_mem_eq(mem_at(&vm.mem, MIB(2), 5), "11112", 5);
	boot_places_clear(&vm);
	im.blob[1].gpa--;
	capture_start(&err, 2);
	ck_assert_int_eq(boot_blobs(&vm, &im), -EEXIST);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "skep: load.1 'two' (0x200003-0x200003) and load.0 'one' (0x200000-0x200003) overlap in guest "
		"memory: choose "
			 "another address for --load\n");
	tear_down();
}
END_TEST

UNIT_MAIN("common/place", sorted, overlaps, only_ram, copies, free_places, blobs)

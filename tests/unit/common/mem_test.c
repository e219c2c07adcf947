#include "common/mem.h"

#include <errno.h>
#include <unistd.h>

#include "tests/unit/unit.h"

START_TEST(test_backings)
{
	struct guest_mem m = { 0 };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint8_t v = 7;
	ck_assert_int_eq(mem_add(&m, "anonymous", 0, page, MEM_ANONYMOUS), 0);
	ck_assert_int_eq(mem_add(&m, "memfd", page, page, MEM_MEMFD), 0);
	ck_assert_int_lt(m.r[0].fd, 0);
	ck_assert_int_ge(m.r[1].fd, 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq((uintptr_t)m.r[i].hva % (2u << 20), 0);
		ck_assert_uint_eq(m.r[i].hva[page - 1], 0);
		ck_assert(mem_write(&m, i * page, &v, 1));
	}
	ck_assert_int_eq(pread(m.r[1].fd, &v, 1, 0), 1);        /* the file is the memory */
	ck_assert_uint_eq(v, 7);
	mem_fini(&m);
}
END_TEST

START_TEST(test_translation)
{
	struct guest_mem m = { 0 };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	ck_assert_int_eq(mem_add(&m, "high", 1ull << 32, page, MEM_AUTO), 0);
	ck_assert_int_eq(mem_add(&m, "low", 0, 4 * page, MEM_AUTO), 0);
	ck_assert_uint_eq(m.r[0].gpa, 0);               /* sorted */
	ck_assert_ptr_nonnull(mem_at(&m, 0, 4 * page));
	ck_assert_ptr_null(mem_at(&m, 0, 4 * page + 1));
	ck_assert_ptr_null(mem_at(&m, 4 * page, 1));
	ck_assert_ptr_null(mem_at(&m, 0, 0));
	ck_assert_ptr_null(mem_at(&m, page, UINT64_MAX));
	ck_assert_ptr_null(mem_at(&m, UINT64_MAX, 2));
	ck_assert_ptr_nonnull(mem_at(&m, (1ull << 32) + page - 1, 1));
	ck_assert_uint_eq(mem_run(&m, page), 3 * page);
	ck_assert_uint_eq(mem_run(&m, 1ull << 33), 0);
	ck_assert_uint_eq(mem_total(&m), 5 * page);
	mem_fini(&m);
}
END_TEST

START_TEST(test_copies)
{
	struct guest_mem m = { 0 };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t v = 0x12345678, back = 0;
	ck_assert_int_eq(mem_add(&m, "low", 0, page, MEM_AUTO), 0);
	ck_assert(mem_write(&m, page - 4, &v, 4));
	ck_assert(mem_read(&m, page - 4, &back, 4));
	ck_assert_uint_eq(back, v);
	ck_assert(!mem_write(&m, page - 3, &v, 4));
	ck_assert(!mem_read(&m, page - 3, &back, 4));
	ck_assert(mem_read(&m, 1ull << 40, &back, 0));  /* nothing is always there */
	mem_fini(&m);
}
END_TEST

START_TEST(test_refusals)
{
	struct guest_mem m = { 0 };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	ck_assert_int_eq(mem_add(&m, "a", page, 2 * page, MEM_AUTO), 0);
	ck_assert_int_eq(mem_add(&m, "zero", 0, 0, MEM_AUTO), -EINVAL);
	ck_assert_int_eq(mem_add(&m, "odd", 0, page + 1, MEM_AUTO), -EINVAL);
	ck_assert_int_eq(mem_add(&m, "wrap", UINT64_MAX - page + 1, 2 * page, MEM_AUTO), -EINVAL);
	ck_assert_int_eq(mem_add(&m, "below", 0, 2 * page, MEM_AUTO), -EEXIST);
	ck_assert_int_eq(mem_add(&m, "above", 2 * page, page, MEM_AUTO), -EEXIST);
	ck_assert_int_eq(mem_add(&m, "around", 0, 8 * page, MEM_AUTO), -EEXIST);
	ck_assert_int_eq(mem_add(&m, "touching", 0, page, MEM_AUTO), 0);
	for (unsigned i = m.n; i < MEM_REGIONS_MAX; i++)
		ck_assert_int_eq(mem_add(&m, "more", (16 + i) * page, page, MEM_AUTO), 0);
	ck_assert_int_eq(mem_add(&m, "one too many", 1000 * page, page, MEM_AUTO), -ENOSPC);
	mem_fini(&m);
}
END_TEST

UNIT_MAIN("common/mem", test_backings, test_translation, test_copies, test_refusals)

#include "tests/unit/unit.h"

#include "common/iov.h"

START_TEST(copies)
{
	char a[4] = "abcd", b[1] = "e", c[3] = "fgh", out[16] = "";
	const struct iovec v[3] = { { a, 4 }, { b, 1 }, { c, 3 } };
	ck_assert_uint_eq(iov_read(v, 3, 2, out, 5), 5);
	ck_assert_mem_eq(out, "cdefg", 5);
	ck_assert_uint_eq(iov_read(v, 3, 6, out, 9), 2);
	ck_assert_uint_eq(iov_read(v, 3, 8, out, 1), 0);
	ck_assert_uint_eq(iov_read(v, 0, 0, out, 1), 0);
	ck_assert_uint_eq(iov_write(v, 3, 3, "XYZ", 3), 3);
	ck_assert_mem_eq(a, "abcX", 4);
	ck_assert_mem_eq(b, "Y", 1);
	ck_assert_mem_eq(c, "Zgh", 3);
	ck_assert_uint_eq(iov_zero(v, 3, 1, SIZE_MAX), 7);
	ck_assert_mem_eq(a, "a\0\0\0", 4);
	ck_assert_mem_eq(c, "\0\0\0", 3);
}
END_TEST

START_TEST(cuts)
{
	char m[8];
	struct iovec v[3] = { { m, 4 }, { m + 4, 1 }, { m + 5, 3 } }, *p = v;
	ck_assert_uint_eq(iov_skip(&p, 3, 4), 2);
	ck_assert_ptr_eq(p, v + 1);
	ck_assert_uint_eq(iov_skip(&p, 2, 2), 1);
	ck_assert_ptr_eq(p[0].iov_base, m + 6);
	ck_assert_uint_eq(iov_skip(&p, 1, 2), 0);
	struct iovec w[2] = { { m, 4 }, { m + 4, 4 } };
	ck_assert_uint_eq(iov_trim(w, 2, 8), 2);
	ck_assert_uint_eq(iov_trim(w, 2, 6), 2);
	ck_assert_uint_eq(w[1].iov_len, 2);
	ck_assert_uint_eq(iov_trim(w, 2, 4), 1);
	ck_assert_uint_eq(iov_trim(w, 2, 0), 0);
}
END_TEST

UNIT_MAIN("common/iov", copies, cuts)

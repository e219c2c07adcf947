#include "common/arch.h"
#include "tests/unit/unit.h"

START_TEST(test_names)
{
	ck_assert_ptr_eq(arch_find("x86"), &arch_x86);
	ck_assert_ptr_eq(arch_find("amd64"), &arch_x86);
	ck_assert_ptr_eq(arch_find("x86_64"), &arch_x86);
	ck_assert_ptr_eq(arch_find("arm64"), &arch_arm64);
	ck_assert_ptr_eq(arch_find("aarch64"), &arch_arm64);
	ck_assert_ptr_null(arch_find("arm"));
	ck_assert_ptr_null(arch_find(""));
	ck_assert_ptr_eq(arch_find(arch_native->name), arch_native);
}
END_TEST

UNIT_MAIN("common/arch", test_names)

/*
 * Every unit test file is a program: START_TEST functions, then UNIT_MAIN("common/bus", test_a, test_b ...).
 * The closing "N%: Checks: ..." line of check(3) is what tests/unit/run.sh adds up.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <check.h>
#include <stdlib.h>

#include "common/util.h"

#define UNIT_MAIN(suite_name, ...)                                              \
	int main(void)                                                          \
	{                                                                       \
		const TTest *const tests[] = { __VA_ARGS__ };                   \
		Suite *s = suite_create(suite_name);                            \
		TCase *tc = tcase_create("all");                                \
		tcase_set_timeout(tc, 60);                                      \
		for (size_t i = 0; i < NELEM(tests); i++)                       \
			tcase_add_test(tc, tests[i]);                           \
		suite_add_tcase(s, tc);                                         \
		SRunner *sr = srunner_create(s);                                \
		srunner_set_fork_status(sr, CK_NOFORK);                         \
		srunner_run_all(sr, CK_NORMAL);                                 \
		int failed = srunner_ntests_failed(sr);                         \
		srunner_free(sr);                                               \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                    \
	}

#endif

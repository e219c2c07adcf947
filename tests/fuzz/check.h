/*
 * For fuzz targets that use a driver of the unit tests.  Included by one file of a program.
 */
#ifndef TESTS_FUZZ_CHECK_H
#define TESTS_FUZZ_CHECK_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The driver's checks, which libcheck would want to report to a test runner. */
void _mark_point(const char *file, int line)
{
	(void)file, (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: %s: ", file, line, expr);
	va_start(ap, msg);
	if (msg)
		vfprintf(stderr, msg, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

#endif

/*
 * The common half of a bare-metal guest's library: printing, memory functions, random numbers, command line.
 */
#include "tests/guest/guest.h"

struct machine machine = { .cmdline = "" };

/* --- memory; simple loops that the compiler must not turn back into calls of themselves --- */

#define NOT_BUILTIN __attribute__((used)) /* with -ffreestanding */

NOT_BUILTIN void *memset(void *to, int c, size_t n)
{
	volatile uint8_t *p = to;

	while (n--)
		*p++ = (uint8_t)c;
	return to;
}

NOT_BUILTIN void *memcpy(void *to, const void *from, size_t n)
{
	volatile uint8_t *p = to;
	const volatile uint8_t *q = from;

	while (n--)
		*p++ = *q++;
	return to;
}

NOT_BUILTIN void *memmove(void *to, const void *from, size_t n)
{
	volatile uint8_t *p = to;
	const volatile uint8_t *q = from;

	if ((uintptr_t)to <= (uintptr_t)from)
		return memcpy(to, from, n);
	while (n--)
		p[n] = q[n];
	return to;
}

NOT_BUILTIN int memcmp(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *p = a, *q = b;

	for (; n; n--, p++, q++) {
		if (*p != *q)
			return *p - *q;
	}
	return 0;
}

size_t strlen(const char *s)
{
	const volatile char *p = s;
	size_t n = 0;

	while (p[n])
		n++;
	return n;
}

bool str_starts(const char *s, const char *prefix)
{
	while (*prefix) {
		if (*s++ != *prefix++)
			return false;
	}
	return true;
}

/* --- printing --- */

static void put(char c)
{
	if (c == '\n')
		console_putc('\r');
	console_putc(c);
}

static void put_number(uint64_t v, unsigned base, unsigned width, char fill)
{
	char buf[24];
	unsigned n = 0;

	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	for (; width > n; width--)
		put(fill);
	while (n)
		put(buf[--n]);
}

static void put_string(const char *s)
{
	while (*s)
		put(*s++);
}

static const char *put_one(const char *p, va_list *ap)
{
	char fill = *p == '0' ? '0' : ' ';
	unsigned width = 0, longs = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		width = width * 10 + (unsigned)(*p - '0');
	for (; *p == 'l'; p++)
		longs++;
	if (*p == 's') {
		put_string(va_arg(*ap, const char *));
	} else if (*p == 'c') {
		put((char)va_arg(*ap, int));
	} else if (*p == 'p') {
		put_string("0x");
		put_number((uintptr_t)va_arg(*ap, void *), 16, 0, ' ');
	} else if (*p == 'd') {
		int64_t v = longs ? va_arg(*ap, int64_t) : va_arg(*ap, int);

		if (v < 0)
			put('-');
		put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, fill);
	} else if (*p == 'u' || *p == 'x') {
		put_number(longs ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned), *p == 'x' ? 16 : 10, width, fill);
	} else {
		put(*p);
	}
	return p + 1;
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	while (*fmt) {
		if (*fmt != '%')
			put(*fmt++);
		else
			fmt = put_one(fmt + 1, &ap);
	}
	va_end(ap);
}

/* --- random numbers --- */

static uint64_t random_state = 0x9e3779b97f4a7c15;

void random_seed(uint64_t seed)
{
	/* Mixed, since neighbouring seeds would give similar beginnings; never 0, where xorshift stays. */
	random_state = (seed + 1) * 0x9e3779b97f4a7c15;
	random_state ^= random_state >> 31;
	if (!random_state)
		random_state = 1;
}

uint64_t random_get(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* --- command line --- */

static const char *arg_find(const char *name)
{
	const char *p = machine.cmdline;
	size_t n = strlen(name);

	while (*p) {
		if (str_starts(p, name) && p[n] == '=')
			return p + n + 1;
		while (*p && *p != ' ')
			p++;
		while (*p == ' ')
			p++;
	}
	return NULL;
}

uint64_t arg_u64(const char *name, uint64_t otherwise)
{
	const char *p = arg_find(name);
	unsigned base = 10;
	uint64_t v = 0;

	if (!p)
		return otherwise;
	if (str_starts(p, "0x")) {
		base = 16;
		p += 2;
	}
	for (; *p && *p != ' '; p++) {
		unsigned digit = *p <= '9' ? (unsigned)(*p - '0') : (unsigned)((*p | 0x20) - 'a' + 10);

		if (digit >= base)
			return otherwise;
		v = v * base + digit;
	}
	return v;
}

bool arg_is(const char *name, const char *value)
{
	const char *p = arg_find(name);
	size_t n = strlen(value);

	return p && str_starts(p, value) && (p[n] == ' ' || p[n] == '\0');
}

void delay_us(uint64_t us)
{
	uint64_t start = clock_us();

	while (clock_us() - start < us)
		;
}

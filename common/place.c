/*
 * The list of what is where in guest memory when the guest starts.
 */
#include "common/place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/image.h"
#include "common/log.h"
#include "common/vm.h"

void boot_places_clear(struct vm *vm)
{
	for (unsigned i = 0; i < vm->places.n; i++)
		free(vm->places.p[i].what);
	free(vm->places.p);
	vm->places = (struct places){ 0 };
}

/* The first placement that meets a range; NULL: it is free. */
static const struct placement *meets(const struct vm *vm, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < vm->places.n; i++) {
		const struct placement *p = &vm->places.p[i];

		if (ranges_overlap(p->gpa, p->len, gpa, len))
			return p;
	}
	return NULL;
}

static bool is_load(const char *what)
{
	return strncmp(what, "load.", 5) == 0;
}

static int refuse_overlap(const char *what, uint64_t gpa, uint64_t len, const struct placement *p)
{
	const char *remedy = is_load(what) || is_load(p->what) ? "choose another address for --load" : "link one of them elsewhere";

	return err_msg(-EEXIST, "%s (%#" PRIx64 "-%#" PRIx64 ") and %s (%#" PRIx64 "-%#" PRIx64 ") overlap in guest memory: %s",
		       what, gpa, gpa + len - 1, p->what, p->gpa, p->gpa + p->len - 1, remedy);
}

static int refuse_not_ram(const struct vm *vm, const char *what, uint64_t gpa, uint64_t len)
{
	const struct mem_region *last = vm->mem.n ? &vm->mem.r[vm->mem.n - 1] : NULL;
	uint64_t end = last ? last->gpa + last->len_bytes : 0;

	if (end && gpa < end && gpa >= vm->mem.r[0].gpa && len > end - gpa)
		return err_msg(-ENOSPC, "%s has %" PRIu64 " KiB for %#" PRIx64 ", and the machine's memory ends at %#" PRIx64
			       ": give more with -m", what, (len + 1023) >> 10, gpa, end);
	return err_msg(-ENOSPC, "%s has %" PRIu64 " KiB for %#" PRIx64 ", where the machine has no memory: 'skep plan' shows its "
		       "memory map; choose another address, or give more memory with -m", what, (len + 1023) >> 10, gpa);
}

/* Takes over `what`. */
static int add(struct vm *vm, char *what, uint64_t gpa, uint64_t len)
{
	struct places *l = &vm->places;
	struct placement *p = realloc(l->p, (l->n + 1) * sizeof(*p));
	unsigned at = l->n;

	if (!p) {
		free(what);
		return -ENOMEM;
	}
	l->p = p;
	while (at > 0 && p[at - 1].gpa > gpa)
		at--;
	memmove(p + at + 1, p + at, (l->n - at) * sizeof(*p));
	p[at] = (struct placement){ what, gpa, len };
	l->n++;
	return 0;
}

static int place(struct vm *vm, uint64_t gpa, uint64_t len, const char *fmt, va_list ap)
{
	const struct placement *p;
	char *what;

	if (len == 0)
		return 0;
	if (vasprintf(&what, fmt, ap) < 0)
		return err_msg(-ENOMEM, "boot: no memory");
	int err = 0;

	if (!mem_at(&vm->mem, gpa, len))
		err = refuse_not_ram(vm, what, gpa, len);
	else if ((p = meets(vm, gpa, len)))
		err = refuse_overlap(what, gpa, len, p);
	if (err) {
		free(what);
		return err;
	}
	return add(vm, what, gpa, len);
}

int boot_place(struct vm *vm, uint64_t gpa, uint64_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int err = place(vm, gpa, len, fmt, ap);

	va_end(ap);
	return err;
}

int boot_copy(struct vm *vm, uint64_t gpa, const void *data, uint64_t len, uint64_t mem_len, const char *fmt, ...)
{
	uint64_t size = MAX(len, mem_len);
	va_list ap;

	va_start(ap, fmt);
	int err = place(vm, gpa, size, fmt, ap);

	va_end(ap);
	if (err || size == 0)
		return err;
	uint8_t *to = mem_at(&vm->mem, gpa, size);

	if (len)
		memcpy(to, data, len);
	memset(to + len, 0, size - len);
	return 0;
}

int boot_blobs(struct vm *vm, const struct image *im)
{
	int err = 0;

	for (unsigned i = 0; i < im->nblobs && !err; i++) {
		const struct image_blob *b = &im->blob[i];

		err = boot_copy(vm, b->gpa, b->data, b->len, b->len, "load.%u '%s'", i, b->path);
	}
	return err;
}

bool boot_find_high(const struct vm *vm, uint64_t lo, uint64_t hi, uint64_t len, uint64_t align, uint64_t *gpa)
{
	while (hi > lo && hi - lo >= len) {
		uint64_t at = ALIGN_DOWN(hi - len, align);

		if (at < lo)
			return false;
		const struct placement *p = len ? meets(vm, at, len) : NULL;

		if (!p) {
			*gpa = at;
			return true;
		}
		hi = p->gpa;
	}
	return false;
}

bool boot_find_low(const struct vm *vm, uint64_t lo, uint64_t hi, uint64_t len, uint64_t align, uint64_t *gpa)
{
	while (lo < hi) {
		uint64_t at = ALIGN_UP(lo, align);

		if (at < lo || at >= hi || hi - at < len)
			return false;
		const struct placement *p = len ? meets(vm, at, len) : NULL;

		if (!p) {
			*gpa = at;
			return true;
		}
		lo = p->gpa + p->len;
	}
	return false;
}

const struct placement *boot_placed(const struct vm *vm, const char *what)
{
	for (unsigned i = 0; i < vm->places.n; i++) {
		if (strcmp(vm->places.p[i].what, what) == 0)
			return &vm->places.p[i];
	}
	return NULL;
}

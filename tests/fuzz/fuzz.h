/*
 * A fuzz target is one function; what it finds ends in an assertion or a sanitizer's report.  Linked with main.c it
 * replays and mutates its corpus, deterministically; linked by clang with -fsanitize=fuzzer it is guided by coverage.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/image.h"
#include "common/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Checks hold whatever NDEBUG says. */
#define MUST(x) ((x) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #x))
static inline void fuzz_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s does not hold\n", file, line, what);
	abort();
}

/* A dry machine of 64 MiB with nothing but its board on it. */
static inline struct vm *fuzz_vm(const struct arch_info *arch)
{
	struct conf *conf = conf_new();
	struct vm *vm = NULL;
	conf_set(conf, "memory.size", "64M", "fuzz");
	MUST(vm_create(conf, arch, true, &vm) == 0);
	return vm;
}

/* A copy in a block of exactly its size, so that sanitizers see the first byte behind it. */
static inline void *fuzz_copy(const uint8_t *data, size_t len)
{
	void *p = malloc(len ? len : 1);
	MUST(p);
	if (len)
		memcpy(p, data, len);
	return p;
}

/* What a probe said, and what the loader of the architecture makes of it.  Frees the image's data. */
static inline void fuzz_image(struct image *im, int probed, struct vm *vm)
{
	MUST(probed <= 1);
	for (unsigned i = 0; probed == 1 && i < im->nseg; i++) {
		const struct image_seg *s = &im->seg[i];
		MUST(s->len <= s->mem_len);
		MUST(s->len == 0 || (s->data >= im->data && s->len <= im->len && s->data - im->data <= (ptrdiff_t)(im->len - s->len)));
	}
	if (probed == 1) {
		struct entry entry = { 0 };
		MUST(im->nseg > 0 && im->nseg <= IMAGE_SEGS_MAX && im->kind != IMAGE_NONE);
		if (vm->arch->load(vm, im, &entry) == 0)
			MUST(entry.mode != ENTRY_NONE && mem_at(&vm->mem, entry.pc, 4));
	}
	image_release(im);
}

#endif

/*
 * Files without a header: --load put them where they belong, --entry says where and in which mode the processor starts.
 * No boot protocol: registers are zero but for those the mode needs (layout.h), and the machine's tables lie where a PC's
 * firmware has them.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/vm.h"

int x86_load_raw(struct vm *vm, const struct image *im, struct entry *out)
{
	static const struct {
		const char *name;
		enum entry_mode mode;
		uint64_t limit;
	} modes[] = {
		{ "real", ENTRY_X86_REAL, X86_HIGH_START },
		{ "protected", ENTRY_X86_PROT32, GIB(4) },
		{ "long", ENTRY_X86_LONG, GIB(4) },             /* as far as the page tables reach */
	};
	const char *name = conf_str(vm->conf, "entry.mode");

	for (size_t i = 0; i < NELEM(modes); i++) {
		if (strcmp(modes[i].name, name) != 0)
			continue;
		if (im->entry >= modes[i].limit)
			return err_msg(-EINVAL, "--entry %#" PRIx64 ": the processor in %s mode reaches %" PRIu64 " MiB; choose a "
				       "lower address, or another mode with -o entry.mode", im->entry, name, modes[i].limit >> 20);
		*out = (struct entry){ .mode = modes[i].mode, .pc = im->entry };
		return 0;
	}
	return err_msg(-EINVAL, "entry.mode: '%s' is not one of real, protected, long", name);
}

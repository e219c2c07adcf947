#include "common/arch.h"

#include <string.h>

#include "common/util.h"

const struct arch_info *arch_find(const char *name)
{
	static const struct {
		const char *name;
		const struct arch_info *arch;
	} names[] = {
		{ "x86", &arch_x86 }, { "amd64", &arch_x86 }, { "x86_64", &arch_x86 }, { "x86-64", &arch_x86 },
		{ "arm64", &arch_arm64 }, { "aarch64", &arch_arm64 },
	};
	for (size_t i = 0; i < NELEM(names); i++) {
		if (strcmp(names[i].name, name) == 0)
			return names[i].arch;
	}
	return NULL;
}

/* Module metadata and linker.hints: the input is the file, read as either. */
#include "tests/fuzz/fuzz.h"

#include "loaders/freebsd/freebsd.h"

static bool terminated(const char *name)
{
	return *name && strnlen(name, KLD_NAME_MAX) < KLD_NAME_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct kld_need need = { "if_vtnet", 2, 4, 9 };
	uint8_t *copy = fuzz_copy(data, len);
	struct kld_info info;
	char file[256];

	if (kld_read("/boot/kernel/input.ko", copy, len, &info) == 0) {
		MUST(info.nprovides > 0);
		for (unsigned i = 0; i < info.nprovides; i++)
			MUST(terminated(info.provides[i].name));
		for (unsigned i = 0; i < info.nneeds; i++) {
			MUST(terminated(info.needs[i].name));
			MUST(kld_provides(&info, info.needs[i].name, &info.needs[i]) >= -1);
		}
		kld_free(&info);
	}
	if (kld_hint(copy, len, "if_vtnet", &need, file))
		MUST(*file && strnlen(file, sizeof(file)) < sizeof(file) && !strchr(file, '/'));
	kld_hint(copy, len, "if_vtnet", NULL, file);
	free(copy);
	return 0;
}

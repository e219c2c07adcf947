/*
 * What a FreeBSD kernel or module says of itself, in FreeBSD's layout [FREEBSD sys/sys/module.h] [FREEBSD sys/sys/linker_set.h]:
 * pointers in section set_modmetadata_set, each to a record of what the file provides or needs.
 */
#ifndef TESTS_GUEST_FBSD_MOD_H
#define TESTS_GUEST_FBSD_MOD_H

enum { MDT_DEPEND = 1, MDT_MODULE, MDT_VERSION };

struct mod_depend {
	int minimum, preferred, maximum;
};
struct mod_version {
	int version;
};
struct mod_metadata {
	int version, type;
	const void *data;
	const char *label;
};

#define MOD_ENTRY(id, kind, what, name)                                                                         \
	static struct mod_metadata entry_##id = { 1, kind, what, name };                                        \
	static const void *const set_##id __attribute__((section("set_modmetadata_set"), used)) = &entry_##id
#define MOD_PROVIDES(name, number)                                                                              \
	static struct mod_version version_##name = { number };                                                  \
	MOD_ENTRY(version_##name, MDT_VERSION, &version_##name, #name)
#define MOD_NEEDS(name, lowest, best, highest)                                                                  \
	static struct mod_depend needs_##name = { lowest, best, highest };                                      \
	MOD_ENTRY(needs_##name, MDT_DEPEND, &needs_##name, #name)

/* A version as FreeBSD 15 has it. */
#define FBSD_VERSION 1500068
#define FBSD_VERSION_MAX 1599999

/* Provided by the kernel (fbsd.c), mod1.ko and mod2.ko in this order. */
int fbsd_kernel_value(int n);
int mod1_answer(int n);
int mod2_answer(int n);
#define FBSD_KERNEL_VALUE(n) ((n) + 1000)
#define MOD1_ANSWER(n) (FBSD_KERNEL_VALUE(n) + 7)
#define MOD2_ANSWER(n) (2 * MOD1_ANSWER(n) + 1)

#endif

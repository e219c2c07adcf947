/* SMBIOS structures as a guest walks them [SMBIOS-3.4 6.1]. */
#include "common/smbios.h"
#include "tests/unit/arch/x86/testvm.h"

struct smbios {
	struct blob b;
	uint8_t ep[SM3_LEN];
};

static void build(struct vm *vm, struct smbios *s)
{
	smbios_build(vm, 0xf2000, &s->b, s->ep);
	ck_assert_mem_eq(s->ep, "_SM3_", 5);
	ck_assert_uint_eq(byte_sum(s->ep, SM3_LEN), 0);
	ck_assert_uint_eq(get_le32(s->ep + 12), s->b.len);
	ck_assert_uint_eq(get_le64(s->ep + 16), 0xf2000);
}

/* The n-th structure of a type; walks to type 127 and checks that it is the last. */
static const uint8_t *find(const struct smbios *s, uint8_t type, unsigned n)
{
	const uint8_t *p = s->b.data, *end = p + s->b.len, *found = NULL;

	for (;;) {
		ck_assert_int_ge(end - p, 6);
		ck_assert_uint_ge(p[1], 4);
		if (p[0] == type && n-- == 0)
			found = p;
		bool last = p[0] == 127;

		for (p += p[1]; p[0] || p[1]; p++)
			ck_assert_int_gt(end - p, 2);
		p += 2;
		if (last)
			break;
	}
	ck_assert_ptr_eq(p, end);
	return found;
}

/* String number `no` of a structure. */
static const char *string(const uint8_t *s, uint8_t no)
{
	const char *p = (const char *)s + s[1];

	while (--no)
		p += strlen(p) + 1;
	return p;
}

START_TEST(structures)
{
	static const uint8_t types[] = { 0, 1, 3, 4, 16, 17, 19, 32, 127 };
	struct vm *vm = TEST_VM("cpus", "2");
	struct smbios s;

	build(vm, &s);
	for (size_t i = 0; i < NELEM(types); i++)
		ck_assert_msg(find(&s, types[i], 0) != NULL, "type %u is missing", types[i]);
	ck_assert_str_eq(string(find(&s, 1, 0), 2), "q35");
	blob_free(&s.b);
	test_vm_free(vm);
}
END_TEST

START_TEST(uuid)
{
	/* 00112233-... goes out with its first three fields reversed. */
	static const uint8_t wire[16] = {
		0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
	};
	struct vm *set = TEST_VM("uuid", "00112233-4455-6677-8899-aAbBcCdDeEfF"), *a = TEST_VM("cpus", "1");
	struct vm *b = TEST_VM("name", "other"), *c = TEST_VM("cpus", "2");
	struct smbios s, sa, sb, sc;

	build(set, &s);
	build(a, &sa);
	build(b, &sb);
	build(c, &sc);
	ck_assert_mem_eq(find(&s, 1, 0) + 8, wire, 16);
	const uint8_t *ua = find(&sa, 1, 0) + 8;

	ck_assert_mem_eq(ua, find(&sc, 1, 0) + 8, 16);
	ck_assert_mem_ne(ua, find(&sb, 1, 0) + 8, 16);
	ck_assert_uint_eq(ua[7] >> 4, 8);       /* version */
	ck_assert_uint_eq(ua[8] >> 6, 2);       /* variant */
	blob_free(&s.b);
	blob_free(&sa.b);
	blob_free(&sb.b);
	blob_free(&sc.b);
	test_vm_free(set);
	test_vm_free(a);
	test_vm_free(b);
	test_vm_free(c);
}
END_TEST

START_TEST(memory_sizes)
{
	static const struct { const char *size; uint16_t mib; uint32_t ext; uint32_t kib; uint64_t bytes; unsigned ranges; } t[] = {
		{ "256M", 256, 0, 256 << 10, 0, 1 },
		{ "3G", 3072, 0, 3 << 20, 0, 2 },
		{ "32766M", 32766, 0, 32766 << 10, 0, 2 },
		{ "32767M", 0x7fff, 32767, 32767 << 10, 0, 2 },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		struct vm *vm = TEST_VM("memory.size", t[i].size);
		struct smbios s;

		build(vm, &s);
		ck_assert_uint_eq(get_le16(find(&s, 17, 0) + 0x0c), t[i].mib);
		ck_assert_uint_eq(get_le32(find(&s, 17, 0) + 0x1c), t[i].ext);
		ck_assert_uint_eq(get_le32(find(&s, 16, 0) + 0x07), t[i].kib);
		ck_assert_uint_eq(get_le64(find(&s, 16, 0) + 0x0f), t[i].bytes);
		ck_assert_ptr_nonnull(find(&s, 19, t[i].ranges - 1));
		ck_assert_ptr_null(find(&s, 19, t[i].ranges));
		blob_free(&s.b);
		test_vm_free(vm);
	}
}
END_TEST

START_TEST(topology)
{
	struct vm *vm = TEST_VM("cpus", "8", "sockets", "2", "cores", "2", "threads", "2");
	struct smbios s;

	build(vm, &s);
	ck_assert_ptr_nonnull(find(&s, 4, 1));
	ck_assert_ptr_null(find(&s, 4, 2));
	ck_assert_uint_eq(find(&s, 4, 1)[0x23], 2);
	ck_assert_uint_eq(find(&s, 4, 1)[0x25], 4);
	blob_free(&s.b);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("common/smbios", structures, uuid, memory_sizes, topology)

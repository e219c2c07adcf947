#include "common/snap.h"

#include <errno.h>
#include <stdbool.h>

#include "tests/unit/unit.h"

struct inner { uint16_t a; };
struct thing {
	bool flag;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32, arr[3];
	uint64_t u64;
	uint8_t fixed[5], buf[8];
	uint32_t buf_len;
	struct inner one, many[2];
	uint8_t later;
};
static const struct snap_field inner_fields[] = { SNAP_U16(struct inner, a, 1), SNAP_END };
static const struct snap_field fields[] = {
	SNAP_BOOL(struct thing, flag, 1), SNAP_U8(struct thing, u8, 1), SNAP_U16(struct thing, u16, 1), SNAP_U32(struct thing, u32, 1),
	SNAP_U64(struct thing, u64, 1), SNAP_ARRAY(SNAP_T_U32, struct thing, arr, 1), SNAP_BYTES(struct thing, fixed, 1),
	SNAP_BUF(struct thing, buf, buf_len, 1), SNAP_STRUCT(struct thing, one, inner_fields, 1),
	SNAP_STRUCTS(struct thing, many, inner_fields, 1), SNAP_U8(struct thing, later, 2), SNAP_END
};
static const struct thing sample = {
	.flag = true, .u8 = 255, .u16 = 65535, .u32 = UINT32_MAX, .u64 = UINT64_MAX, .arr = { 1, 2, 3 }, .fixed = { 0, 255, 1, 254, 2 },
	.buf = "abc", .buf_len = 4, .one = { 7 }, .many = { { 8 }, { 9 } }, .later = 1,
};

START_TEST(test_round_trip)
{
	struct thing back = { 0 };
	json_t *a = snap_save(fields, &sample);
	ck_assert_int_eq(snap_load(fields, 2, &back, a, "thing"), 0);
	json_t *b = snap_save(fields, &back);
	ck_assert(json_equal(a, b));
	ck_assert_int_eq(memcmp(back.fixed, sample.fixed, 5), 0);
	ck_assert_uint_eq(back.u64, UINT64_MAX);
	ck_assert_uint_eq(back.many[1].a, 9);
	ck_assert_str_eq((char *)back.buf, "abc");
	ck_assert_ptr_nonnull(json_object_get(a, "u8$uint8"));
	json_decref(a);
	json_decref(b);
}
END_TEST

START_TEST(test_older_version)
{
	struct thing back = { .later = 9 };
	json_t *a = snap_save(fields, &sample);
	json_object_del(a, "later$uint8");
	ck_assert_int_eq(snap_load(fields, 2, &back, a, "thing"), -EINVAL);
	ck_assert_int_eq(snap_load(fields, 1, &back, a, "thing"), 0);
	ck_assert_uint_eq(back.later, 0);
	json_decref(a);
}
END_TEST

/* Each spoiled record is refused, and nothing of the object changes. */
static void refuse(const char *key, json_t *value)
{
	struct thing back = { .u8 = 42 }, before = back;
	json_t *a = snap_save(fields, &sample);
	if (value)
		json_object_set_new(a, key, value);
	else
		json_object_del(a, key);
	ck_assert_int_eq(snap_load(fields, 2, &back, a, "thing"), -EINVAL);
	ck_assert_int_eq(memcmp(&back, &before, sizeof(back)), 0);
	json_decref(a);
}

START_TEST(test_refusals)
{
	refuse("u8$uint8", json_integer(256));
	refuse("u8$uint8", json_integer(-1));
	refuse("u8$uint8", json_string("1"));
	refuse("flag$bool", json_integer(1));
	refuse("unknown", json_integer(1));
	for (const struct snap_field *f = fields; f->name; f++) {
		json_t *a = snap_save(fields, &sample);
		const char *key;
		json_t *v;
		size_t n = strlen(f->name);
		json_object_foreach(a, key, v) {
			if (strncmp(key, f->name, n) == 0 && key[n] == '$')
				refuse(key, NULL);
		}
		json_decref(a);
	}
	refuse("fixed$base64", json_string("AAAA"));            /* three bytes for five */
	refuse("fixed$base64", json_string("AAAAAAA"));         /* no multiple of four */
	refuse("fixed$base64", json_string("AAAAA!A="));
	refuse("fixed$base64", json_string("A=AAAAA="));
	refuse("fixed$base64", json_string("===="));
	refuse("buf$base64", json_string("AAAAAAAAAAAAAAAA"));  /* twelve bytes for eight */
	refuse("arr$uint32[]", json_array());
	refuse("one$struct", json_array());
	refuse("many$struct[]", json_pack("[o,o]", json_object(), json_object()));
}
END_TEST

struct heap { uint8_t *p; uint32_t len; };
static const struct snap_field heap_fields[] = { SNAP_HEAP(struct heap, p, len, 1), SNAP_END };

START_TEST(test_heap)
{
	static const char *const bad[] = { "AAA", "A!==", "====" };
	struct heap h = { 0 }, back = { 0 };
	json_t *none = snap_save(heap_fields, &h);
	h.p = malloc(5);
	h.len = 5;
	memcpy(h.p, "\0\xff\1\2\3", 5);
	json_t *some = snap_save(heap_fields, &h);
	ck_assert_str_eq(json_string_value(json_object_get(some, "p$base64")), "AP8BAgM=");
	ck_assert_int_eq(snap_load(heap_fields, 1, &back, some, "heap"), 0);
	ck_assert_uint_eq(back.len, 5);
	ck_assert_int_eq(memcmp(back.p, h.p, 5), 0);
	for (size_t i = 0; i < NELEM(bad); i++) {
		json_t *rec = json_pack("{s:s}", "p$base64", bad[i]);
		ck_assert_int_eq(snap_load(heap_fields, 1, &back, rec, "heap"), -EINVAL);
		json_decref(rec);
	}
	ck_assert_uint_eq(back.len, 5);                         /* unchanged by what was refused */
	ck_assert_int_eq(snap_load(heap_fields, 1, &back, none, "heap"), 0);
	ck_assert_uint_eq(back.len, 0);
	json_decref(none);
	json_decref(some);
	free(h.p);
	free(back.p);
}
END_TEST

UNIT_MAIN("common/snap", test_round_trip, test_older_version, test_refusals, test_heap)

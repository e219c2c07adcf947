/*
 * Flash as the drivers of unmodified firmware use it: the command sequences of OVMF (bytes), EDK2 for arm64 and U-Boot
 * (two 16-bit chips), the query table, the file behind it, and what a hostile guest may try.
 */
#include "devices/pflash.h"

#include <signal.h>
#include <sys/resource.h>

#include "devices/pflash_bank.h"
#include "tests/unit/devices/anyvm.h"

#define ARM_BLOCK (256u << 10)

static struct vm *vm;
static struct device *d;
static struct capture cap;
static char path[] = "/tmp/skep-pflash-XXXXXX";

/* A file of len bytes: byte n holds n / 4096, so that blocks differ. */
static void make_file(uint64_t len)
{
	strcpy(path + strlen(path) - 6, "XXXXXX");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	for (uint64_t off = 0; off < len; off += 4096) {
		uint8_t page[4096];
		memset(page, (int)(off / 4096), sizeof(page));
		ck_assert_int_eq(pwrite(fd, page, MIN((uint64_t)4096, len - off), (off_t)off), (ssize_t)MIN((uint64_t)4096, len - off));
	}
	close(fd);
}

static uint8_t file_byte(uint64_t off)
{
	uint8_t b = 0x5a;
	int fd = open(path, O_RDONLY);
	ck_assert_int_eq(pread(fd, &b, 1, (off_t)off), 1);
	close(fd);
	return b;
}

static struct pflash_spec spec_of(bool arm, bool persistent, bool with_file)
{
	return (struct pflash_spec){
		.id = "flash0", .path = with_file ? path : NULL, .block = arm ? ARM_BLOCK : 4096, .width = arm ? 4 : 1,
		.len = arm ? MIB(1) : with_file ? 0 : KIB(64), .persistent = persistent,
	};
}

/* The machine stays dry, but the file is opened as for a real one. */
static struct device *open_live(const struct pflash_spec *s, int *err)
{
	vm->dry = false;
	struct device *dev = pflash_new(vm, s, err);
	vm->dry = true;
	return dev;
}

static void start(bool arm, struct pflash_spec s)
{
	int err = 0;
	vm = any_vm(arm ? &arch_arm64 : &arch_x86);
	d = open_live(&s, &err);
	ck_assert_msg(d != NULL, "pflash_new: %d", err);
	ck_assert_int_eq(device_place(d, &vm->mmio, ANY_BASE), 0);
}

/* --- the bus of each machine --- */

static void w8(uint64_t off, uint8_t v) { any_wr(vm, off, 1, v); }
static uint8_t r8(uint64_t off) { return (uint8_t)any_rd(vm, off, 1); }
static void w32(uint64_t off, uint32_t v) { any_wr(vm, off, 4, v); }
static uint32_t r32(uint64_t off) { return (uint32_t)any_rd(vm, off, 4); }
static void both(uint64_t off, uint16_t cmd) { w32(off, (uint32_t)cmd << 16 | cmd); }

/* --- OVMF --- */

/* True when OVMF takes the device for writable flash: it looks at a byte that is no command. */
static bool ovmf_detects(uint64_t off)
{
	uint8_t original = r8(off), probe;
	w8(off, 0x50);
	probe = r8(off);
	if (original != 0x50 && probe == 0x50)
		return false;           /* RAM */
	w8(off, 0x70);
	probe = r8(off);
	if (probe == original || probe == 0x70 || probe != 0)
		return false;
	w8(off, 0x10);
	w8(off, original);
	w8(off, 0x70);
	probe = r8(off);
	w8(off, 0xff);
	return !(probe & 0x10);
}

static void ovmf_write(uint64_t off, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		w8(off + i, 0x10);
		w8(off + i, ((const uint8_t *)data)[i]);
	}
	w8(off + len - 1, 0xff);
}

START_TEST(ovmf)
{
	start(false, spec_of(false, false, false));
	ck_assert(ovmf_detects(0x10));
	ck_assert_uint_eq(r8(0x10), 0xff);
	ovmf_write(0x1ffe, "variable", 8);                      /* across two blocks */
	uint64_t v = any_rd(vm, 0x1ffe, 8);
	ck_assert_int_eq(memcmp(&v, "variable", 8), 0);
	ovmf_write(0x1ffe, "\xf0", 1);                          /* bits are only cleared */
	ck_assert_uint_eq(r8(0x1ffe), 'v' & 0xf0);
	w8(0x1000, 0x20);
	w8(0x1000, 0xd0);
	ck_assert_uint_eq(r8(0x1000), 0x80);                    /* OVMF leaves it in status mode */
	ovmf_write(0x1000, "new", 3);
	ck_assert_uint_eq(r8(0x1000), 'n');
	ck_assert_uint_eq(r8(0x1ffe), 0xff);
	ck_assert_uint_eq(r8(0x2000), 'r');                     /* the next block */
	any_vm_free(vm);
}
END_TEST

START_TEST(ovmf_and_a_read_only_file)
{
	make_file(KIB(64));
	struct pflash_spec s = spec_of(false, false, true);
	s.readonly = true;
	start(false, s);
	ck_assert(!ovmf_detects(0x1010));
	ck_assert_uint_eq(r8(0x1010), 1);
	w8(0x1000, 0x50);
	w8(0x1000, 0x20);
	w8(0x1000, 0xd0);
	ck_assert_uint_eq(r8(0x1000), 0x80 | 0x20 | 0x02);
	w8(0x1000, 0x70);
	ck_assert_uint_eq(r8(0x1000), 0xa2);                    /* errors stay until they are cleared */
	w8(0x1000, 0x50);
	w8(0x1000, 0x70);
	ck_assert_uint_eq(r8(0x1000), 0);
	w8(0x1000, 0xff);
	ck_assert_uint_eq(r8(0x1fff), 1);
	any_vm_free(vm);
	unlink(path);
}
END_TEST

/* --- EDK2's driver for two 16-bit chips --- */

static uint32_t edk2_status(void)
{
	both(0, 0x70);
	return r32(0);
}

static void edk2_unlock_and_erase(uint64_t block)
{
	both(block + 8, 0x90);
	ck_assert_uint_eq(r32(block + 8), 0);                   /* unlocked */
	both(block, 0x60);
	both(block, 0xd0);
	ck_assert_uint_eq(edk2_status() & 0x00800080, 0x00800080);
	both(block, 0xff);
	both(block, 0x20);
	both(block, 0xd0);
	ck_assert_uint_eq(edk2_status(), 0x00800080);
	both(0, 0xff);
}

static void edk2_buffer(uint64_t at, const uint32_t *words, uint32_t n)
{
	both(at, 0xe8);
	ck_assert_uint_eq(r32(at) & 0x00800080, 0x00800080);
	both(at, (uint16_t)(n - 1));
	for (uint32_t i = 0; i < n; i++)
		w32(at + 4 * i, words[i]);
	both(0, 0xd0);
	ck_assert_uint_eq(edk2_status(), 0x00800080);
	both(0, 0xff);
}

START_TEST(edk2)
{
	uint32_t words[32];
	start(true, spec_of(true, false, false));
	for (uint32_t i = 0; i < 32; i++)
		words[i] = i * 0x01020304 + 7;
	edk2_buffer(ARM_BLOCK + 0x80, words, 32);
	for (uint32_t i = 0; i < 32; i++)
		ck_assert_uint_eq(r32(ARM_BLOCK + 0x80 + 4 * i), words[i]);
	ck_assert_uint_eq(r32(ARM_BLOCK + 0x100), 0xffffffff);
	both(ARM_BLOCK, 0x40);
	w32(ARM_BLOCK, 0x12345678);
	ck_assert_uint_eq(edk2_status(), 0x00800080);
	both(0, 0xff);
	ck_assert_uint_eq(r32(ARM_BLOCK), 0x12345678);
	edk2_unlock_and_erase(ARM_BLOCK);
	ck_assert_uint_eq(r32(ARM_BLOCK), 0xffffffff);
	ck_assert_uint_eq(any_rd(vm, ARM_BLOCK + 0x80, 8), ~0ull);
	any_vm_free(vm);
}
END_TEST

/* --- query: what U-Boot and Linux derive the geometry from --- */

static uint8_t query8(uint64_t index)
{
	uint32_t v = r32(index * 4);
	ck_assert_uint_eq(v >> 16, v & 0xffff);                 /* both chips */
	return (uint8_t)v;
}

START_TEST(query_of_two_chips)
{
	start(true, spec_of(true, false, false));
	both(0x55 * 4, 0x98);
	ck_assert_uint_eq(r32(0x40), 0x00510051);
	ck_assert_uint_eq(r32(0x44), 0x00520052);
	ck_assert_uint_eq(r32(0x48), 0x00590059);
	ck_assert_uint_eq(query8(0x13) | query8(0x14) << 8, 1);
	uint32_t chips = 2, blocks = (query8(0x2d) | query8(0x2e) << 8) + 1u, block = (query8(0x2f) | query8(0x30) << 8) * 256u;
	ck_assert_uint_eq((1u << query8(0x27)) * chips, MIB(1));
	ck_assert_uint_eq(query8(0x2c), 1);
	ck_assert_uint_eq(blocks * block * chips, MIB(1));
	ck_assert_uint_eq(block * chips, ARM_BLOCK);
	uint32_t ext = query8(0x15);
	ck_assert(query8(ext) == 'P' && query8(ext + 1) == 'R' && query8(ext + 2) == 'I' && query8(ext + 3) == '1');
	ck_assert_uint_eq(any_rd(vm, 0x40, 8), 0x0052005200510051);
	ck_assert_uint_eq(any_rd(vm, 0x41, 1), 0);              /* byte lanes */
	ck_assert_uint_eq(any_rd(vm, 0x42, 1), 'Q');
	/* A whole write buffer, as U-Boot fills it: 16-bit words of each chip. */
	uint32_t bytes = (1u << query8(0x2a)) * chips, words = bytes / 4;
	both(0, 0xff);
	both(ARM_BLOCK, 0x50);
	both(ARM_BLOCK, 0x70);
	both(ARM_BLOCK, 0xe8);
	ck_assert_uint_eq(r32(ARM_BLOCK) & 0x80, 0x80);
	both(ARM_BLOCK, (uint16_t)(words - 1));
	for (uint32_t i = 0; i < words; i++)
		w32(ARM_BLOCK + 4 * i, i);
	both(ARM_BLOCK, 0xd0);
	ck_assert_uint_eq(r32(ARM_BLOCK), 0x00800080);
	both(ARM_BLOCK, 0xff);
	ck_assert_uint_eq(r32(ARM_BLOCK + bytes - 4), words - 1);
	ck_assert_uint_eq(r32(ARM_BLOCK + bytes), 0xffffffff);
	both(0, 0x90);
	ck_assert_uint_eq(r32(0), 0x00890089);
	ck_assert_uint_eq(r32(4), 0x00180018);
	any_vm_free(vm);
}
END_TEST

START_TEST(query_of_one_chip)
{
	start(false, spec_of(false, false, false));
	w8(0, 0xf0);                                            /* another maker's reset: U-Boot sends both */
	w8(0, 0xff);
	w8(0x55, 0x98);
	ck_assert_int_eq((int)r32(0x10), 'Q' | 'R' << 8 | 'Y' << 16 | 1 << 24);
	ck_assert_uint_eq(r8(0x28), 0);
	ck_assert_uint_eq(1u << r8(0x27), KIB(64));
	ck_assert_uint_eq((r8(0x2d) + 1u) * (r8(0x2f) | r8(0x30) << 8) * 256u, KIB(64));
	ck_assert_uint_eq(r8(0x110), 'Q');                      /* the table repeats */
	ck_assert_uint_eq(r8(0xff), 0);
	w8(0, 0x90);
	ck_assert_uint_eq(r8(0), 0x89);
	w8(0, 0xff);
	/* 256 bytes of buffer */
	w8(0x100, 0xe8);
	w8(0x100, 0xff);
	for (unsigned i = 0; i < 256; i++)
		w8(0x100 + i, (uint8_t)~i);
	w8(0x100, 0xd0);
	ck_assert_uint_eq(r8(0), 0x80);
	w8(0, 0xff);
	ck_assert_uint_eq(r8(0x1fe), 1);
	ck_assert_uint_eq(r8(0x200), 0xff);
	any_vm_free(vm);
}
END_TEST

/* --- sequences that are wrong --- */

START_TEST(wrong_sequences)
{
	start(true, spec_of(true, false, false));
	both(0, 0x50);
	both(0, 0x20);
	both(0, 0x70);                                          /* no confirmation */
	ck_assert_uint_eq(r32(0), 0x00b000b0);
	both(0, 0x50);
	both(0, 0x20);
	both(0, 0xff);                                          /* a change of mind */
	ck_assert_uint_eq(r32(0), 0xffffffff);
	both(0, 0x60);
	both(0, 0x99);
	ck_assert_uint_eq(r32(0), 0x00b000b0);
	both(0, 0x50);
	both(0, 0xe8);
	both(0, 0x0400);                                        /* one more than fits */
	ck_assert_uint_eq(r32(0), 0x00b000b0);
	both(0, 0x50);
	both(0, 0xe8);
	both(0, 1);
	w32(0, 0);
	w32(0x2000, 0);                                         /* outside of the buffer's piece */
	both(0, 0xd0);
	ck_assert_uint_eq(r32(0), 0x00b000b0);
	both(0, 0x50);
	both(0, 0xe8);
	both(0, 0);
	w32(0, 0);
	both(0, 0x40);                                          /* no confirmation */
	ck_assert_uint_eq(r32(0), 0x00b000b0);
	both(0, 0x50);
	both(0, 0xe8);
	both(0, 0);
	w32(0, 0);
	both(0, 0xff);
	ck_assert_uint_eq(r32(0), 0xffffffff);                  /* nothing of all that was programmed */
	both(0, 0x77);                                          /* no command */
	ck_assert_uint_eq(r32(0x2000), 0xffffffff);
	any_vm_free(vm);
}
END_TEST

/* --- the file --- */

START_TEST(variables_survive)
{
	make_file(KIB(64));
	start(false, spec_of(false, true, true));
	ck_assert_uint_eq(r8(0x3000), 3);
	w8(0x3000, 0x20);
	w8(0x3000, 0xd0);
	ovmf_write(0x3004, "boot", 4);
	ck_assert_uint_eq(file_byte(0x3004), 'b');              /* at once */
	ck_assert_uint_eq(file_byte(0x3003), 0xff);
	ck_assert_uint_eq(file_byte(0x4000), 4);
	d->cls->pause(d);
	ck_assert_int_ge(loop_step(vm->loop, 1000), 0);         /* the timer; pause() has done its work before */
	device_reset(d);
	ck_assert_uint_eq(r8(0x3004), 'b');
	any_vm_free(vm);
	start(false, spec_of(false, true, true));               /* the lock is gone with the machine */
	ck_assert_uint_eq(r8(0x3004), 'b');
	ck_assert_uint_eq(r8(0x3003), 0xff);
	any_vm_free(vm);
	unlink(path);
}
END_TEST

START_TEST(volatile_changes_are_lost)
{
	make_file(KIB(64));
	start(false, spec_of(false, false, true));
	ovmf_write(0x3004, "\0", 1);
	ck_assert_uint_eq(r8(0x3004), 0);
	device_reset(d);
	ck_assert_uint_eq(r8(0x3004), 0);                       /* but not by a reset */
	any_vm_free(vm);
	ck_assert_uint_eq(file_byte(0x3004), 3);
	unlink(path);
}
END_TEST

START_TEST(short_file_is_followed_by_erased_bytes)
{
	make_file(KIB(20));
	start(true, spec_of(true, true, true));
	ck_assert_uint_eq(r8(KIB(20) - 1), 4);
	ck_assert_uint_eq(r8(KIB(20)), 0xff);
	ck_assert_uint_eq(r32(MIB(1) - 4), 0xffffffff);
	both(KIB(40), 0x40);
	w32(KIB(40), 0x11223344);
	ck_assert_uint_eq(edk2_status(), 0x00800080);
	ck_assert_uint_eq(file_byte(KIB(40)), 0x44);            /* it grows, erased in between */
	ck_assert_uint_eq(file_byte(KIB(40) - 1), 0xff);
	ck_assert_uint_eq(file_byte(KIB(20) - 1), 4);
	any_vm_free(vm);
	unlink(path);
}
END_TEST

START_TEST(dry_machine_writes_nothing)
{
	make_file(KIB(64));
	chmod(path, 0400);
	struct pflash_spec s = spec_of(false, true, true);
	int err = 1;
	vm = any_vm(&arch_x86);
	d = pflash_new(vm, &s, &err);
	ck_assert_int_eq(err, 0);
	ck_assert_uint_eq(d->io.len, KIB(64));
	ck_assert_int_eq(device_place(d, &vm->mmio, ANY_BASE), 0);
	ovmf_write(0, "\0", 1);
	ovmf_write(0x3004, "\0", 1);
	ck_assert_uint_eq(r8(0x3004), 0);
	ck_assert_uint_eq(file_byte(0x3004), 3);
	any_vm_free(vm);
	unlink(path);
}
END_TEST

START_TEST(one_machine_at_a_time)
{
	make_file(KIB(64));
	struct pflash_spec s = spec_of(false, true, true), other = s;
	int err = 0;
	start(false, s);
	capture_start(&cap, STDERR_FILENO);
	other.id = "flash1";
	ck_assert_ptr_null(open_live(&other, &err));
	ck_assert_int_eq(err, -EBUSY);
	const char *text = capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(text, path));
	ck_assert_ptr_nonnull(strstr(text, "another machine uses these variables"));
	other.persistent = false;                               /* code may be shared */
	ck_assert_ptr_nonnull(open_live(&other, &err));
	any_vm_free(vm);
	unlink(path);
}
END_TEST

START_TEST(impossible_files)
{
	static const struct { uint64_t size, len, max; bool persistent; const char *text; } rows[] = {
		{ 0, 0, 0, false, "it is empty; give a firmware image" },
		{ 0, MIB(1), 0, true, "it is empty; give a firmware image" },
		{ 5000, 0, 0, false, "5000 bytes are no multiple of 4 KiB" },
		{ 5000, MIB(1), 0, true, "5000 bytes are no multiple of 4 KiB" },
		{ MIB(2), MIB(1), 0, false, "2048 KiB are more than the 1024 KiB of this machine's flash" },
		{ MIB(2), 0, MIB(1), false, "2048 KiB are more than the 1024 KiB of this machine's flash" },
	};
	int err = 0;
	vm = any_vm(&arch_x86);
	for (size_t i = 0; i < NELEM(rows); i++) {
		make_file(rows[i].size);
		struct pflash_spec s = { .id = "flash0", .path = path, .block = 4096, .width = 1, .len = rows[i].len,
			.max = rows[i].max, .persistent = rows[i].persistent };
		capture_start(&cap, STDERR_FILENO);
		ck_assert_ptr_null(open_live(&s, &err));
		ck_assert_int_eq(err, -EINVAL);
		ck_assert_msg(strstr(capture_stop(&cap), rows[i].text) && strstr(cap.text, path), "%zu: %s", i, cap.text);
		unlink(path);
	}
	make_file(5000);                                        /* U-Boot's image is of any size */
	struct pflash_spec s = { .id = "flash0", .path = path, .block = ARM_BLOCK, .width = 4, .len = MIB(1) };
	ck_assert_ptr_nonnull(open_live(&s, &err));
	unlink(path);
	s.path = "/tmp";
	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(open_live(&s, &err));
	s.path = "/nowhere/at/all";
	ck_assert_ptr_null(open_live(&s, &err));
	ck_assert_int_eq(err, -ENOENT);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "'/tmp': it is not a file"));
	any_vm_free(vm);
}
END_TEST

/* A file that cannot grow stands for a full disk. */
START_TEST(full_disk)
{
	struct rlimit old, small = { KIB(20), RLIM_INFINITY };
	make_file(KIB(20));
	start(true, spec_of(true, true, true));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	setrlimit(RLIMIT_FSIZE, &small);
	capture_start(&cap, STDERR_FILENO);
	both(0, 0x50);
	for (int i = 0; i < 3; i++) {
		both(KIB(40), 0x40);
		w32(KIB(40), 0);
	}
	ck_assert_uint_eq(edk2_status(), 0x00900090);
	both(0, 0x50);
	both(0, 0x20);
	both(0, 0xd0);
	ck_assert_uint_eq(edk2_status(), 0x00a000a0);
	setrlimit(RLIMIT_FSIZE, &old);
	const char *text = capture_stop(&cap), *first = strstr(text, "a variable could not be written");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + 1, "a variable could not be written"));
	both(0, 0xff);
	ck_assert_uint_eq(r32(KIB(40)), 0xffffffff);            /* nothing has changed */
	ck_assert_uint_eq(r8(KIB(8)), 2);
	both(0, 0x50);
	both(KIB(40), 0x40);
	w32(KIB(40), 0x55aa55aa);                               /* and it works again */
	ck_assert_uint_eq(edk2_status(), 0x00800080);
	ck_assert_uint_eq(file_byte(KIB(40)), 0xaa);
	any_vm_free(vm);
	unlink(path);
}
END_TEST

START_TEST(bank_goes_to_the_disk)
{
	make_file(KIB(64));
	struct pflash_spec s = spec_of(false, true, true);
	struct pflash_bank b;
	ck_assert_int_eq(pflash_bank_open(&b, &s, false), 0);
	ck_assert(!b.dirty);
	ck_assert_int_eq(pflash_bank_program(&b, 4095, (const uint8_t *)"\0\0", 2), 0);
	ck_assert(b.dirty);
	pflash_bank_sync(&b);
	ck_assert(!b.dirty);
	ck_assert_uint_eq(file_byte(4096), 0);
	pflash_bank_close(&b);
	pflash_bank_close(&b);
	unlink(path);
}
END_TEST

/* --- snapshots --- */

START_TEST(snapshots)
{
	for (unsigned arm = 0; arm < 2; arm++) {
		start(arm, spec_of(arm, false, false));
		uint64_t block = arm ? ARM_BLOCK : 4096;
		if (arm) {
			both(block, 0x40);
			w32(block, 0);
			both(block, 0xe8);
			both(block, 1);
			w32(block + 4, 0x01010101);
		} else {
			ovmf_write(block, "\0\0\0\0", 4);
			w8(block, 0xe8);
			w8(block, 1);
			w8(block + 4, 1);
		}
		any_round_trip(d);
		json_t *rec = device_save(d);
		any_vm_free(vm);
		start(arm, spec_of(arm, false, false));                 /* another machine goes on in the middle of it */
		ck_assert_int_eq(device_load(d, rec), 0);
		if (arm) {
			w32(block + 8, 0x02020202);
			both(block, 0xd0);
			both(block, 0xff);
			ck_assert_uint_eq(any_rd(vm, block + 4, 8), 0x0202020201010101);
		} else {
			w8(block + 5, 2);
			w8(block, 0xd0);
			w8(block, 0xff);
			ck_assert_uint_eq(any_rd(vm, block + 4, 2), 0x0201);
		}
		ck_assert_uint_eq(r32(block), 0);
		ck_assert_uint_eq(r32(0), 0xffffffff);
		json_decref(rec);
		any_vm_free(vm);
	}
}
END_TEST

START_TEST(damaged_snapshots)
{
	static const struct { const char *key; json_int_t value; } rows[] = {
		{ "show$uint8", 4 }, { "next$uint8", 7 }, { "words$uint32", 100000 }, { "base$uint64", 0x10000000 }, { "base$uint64", 1 },
		{ "high$uint32", 5000 }, { "next$uint8", 5 }, { "next$uint8", 6 },
	};
	start(false, spec_of(false, false, false));
	capture_start(&cap, STDERR_FILENO);
	for (size_t i = 0; i < NELEM(rows); i++) {
		json_t *rec = device_save(d), *state = json_object_get(rec, "state");
		json_object_set_new(state, rows[i].key, json_integer(rows[i].value));
		ck_assert_msg(device_load(d, rec) == -EINVAL, "%s = %d", rows[i].key, (int)rows[i].value);
		json_decref(rec);
	}
	static const char *const changes[] = { "AAAA", "not base64!", "/////w==" };
	for (size_t i = 0; i < NELEM(changes); i++) {
		json_t *rec = device_save(d), *state = json_object_get(rec, "state");
		json_object_set_new(state, "changes$base64", json_string(changes[i]));
		ck_assert_int_eq(device_load(d, rec), -EINVAL);
		json_decref(rec);
	}
	capture_stop(&cap);
	w8(0, 0xff);
	ck_assert_uint_eq(r8(0), 0xff);
	any_vm_free(vm);
}
END_TEST

UNIT_MAIN("devices/pflash", ovmf, ovmf_and_a_read_only_file, edk2, query_of_two_chips, query_of_one_chip, wrong_sequences,
	  variables_survive, volatile_changes_are_lost, short_file_is_followed_by_erased_bytes, dry_machine_writes_nothing,
	  one_machine_at_a_time, impossible_files, full_disk, bank_goes_to_the_disk, snapshots, damaged_snapshots)

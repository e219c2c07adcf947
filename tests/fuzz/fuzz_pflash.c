/*
 * Flash commands.  Byte 0: bit 0 the machine, bit 1 a file to write through to.  Then steps of 1 byte what, 3 bytes offset,
 * 1 byte value: bits 0 and 1 of what are the size, bit 2 reads; the value is repeated in every byte but for bit 3, which
 * puts it into the low byte of each 16 bits, as drivers of two chips do; bit 4 resets the machine.  Afterwards array mode
 * comes back, and shows what is in the file.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "devices/classes.h"
#include "devices/pflash.h"

#define BASE 0x3f000000ull
#define STEP 5
#define FILE_LEN (20u << 10)

static struct device *open_flash(struct vm *vm, bool with_file, char *path, size_t path_len, int *fd)
{
	bool arm = !vm->arch->has_pio;
	struct pflash_spec s = { .id = "flash0", .len = arm ? KIB(64) : FILE_LEN, .block = arm ? 16384 : 4096, .width = arm ? 4 : 1 };

	*fd = memfd_create("flash", 0);
	MUST(*fd >= 0 && ftruncate(*fd, FILE_LEN) == 0);
	snprintf(path, path_len, "/proc/self/fd/%d", *fd);
	if (with_file) {
		s.path = path;
		s.persistent = true;
	}
	vm->dry = false;                /* the file is opened as for a real machine; there is no memslot in this one */
	struct device *d = pflash_new(vm, &s, NULL);
	vm->dry = true;
	MUST(d && device_place(d, &vm->mmio, BASE) == 0);
	return d;
}

static void step(struct vm *vm, struct device *d, const uint8_t *p)
{
	uint64_t at = BASE + ((uint64_t)p[1] | p[2] << 8 | p[3] << 16) % d->io.len, v;
	unsigned size = 1u << (p[0] & 3);

	if (p[0] & 16)
		device_reset(d);
	else if (p[0] & 4)
		bus_read(&vm->mmio, at, size, &v);
	else
		bus_write(&vm->mmio, at, size, p[4] * (p[0] & 8 ? 0x0001000100010001ull : 0x0101010101010101ull));
}

static void check_file(struct vm *vm, struct device *d, int fd)
{
	uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END), len = d->io.len, v;

	MUST(size <= len);
	for (uint64_t off = 0; off < len; off += 8) {
		uint64_t want = ~0ull;

		bus_read(&vm->mmio, BASE + off, 8, &v);
		MUST(pread(fd, &want, 8, (off_t)off) >= 0);
		MUST(v == want);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vm *vm = fuzz_vm(len && data[0] & 1 ? &arch_arm64 : &arch_x86);
	struct conf *conf = vm->conf;
	bool with_file = len && data[0] & 2;
	char path[32];
	int fd;

	struct device *d = open_flash(vm, with_file, path, sizeof(path), &fd);
	if (len)
		data++, len--;
	for (; len >= STEP; data += STEP, len -= STEP)
		step(vm, d, data);
	for (unsigned i = 0; i < 1024 + 3; i++)         /* out of any command: a buffer may still wait for its words */
		bus_write(&vm->mmio, BASE, 1, 0xff);
	json_t *rec = device_save(d);
	device_reset(d);
	MUST(rec && device_load(d, rec) == 0);
	json_decref(rec);
	if (with_file)
		check_file(vm, d, fd);
	vm_free(vm);
	conf_free(conf);
	close(fd);
	return 0;
}

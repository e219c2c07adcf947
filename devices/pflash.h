/*
 * Parallel NOR flash with the Intel command set, as CFI describes it [JEDEC-CFI] [INTEL-P30].  Class "pflash".
 * In array mode a read-only memslot shows the content, so that the guest runs from it without exits; a command
 * takes the slot away until the array is back.
 */
#ifndef DEVICES_PFLASH_H
#define DEVICES_PFLASH_H

#include <stdbool.h>
#include <stdint.h>

struct device;
struct vm;

#define PFLASH_LEN_MAX (64u << 20)

struct pflash_spec {
	const char *id;                 /* "flash0", "flash1" */
	const char *path;               /* file of the content; NULL: erased and volatile */
	uint64_t len;                   /* bytes of the device; 0: the file's.  A shorter file is followed by erased bytes */
	uint64_t max;                   /* with len 0: the largest file; 0: PFLASH_LEN_MAX */
	uint32_t block;                 /* bytes of an erase block as the guest sees them: all chips of a bank together */
	uint8_t width;                  /* bytes of the bus: x86 1, arm64 4 (two 16-bit chips side by side) */
	unsigned slot;                  /* of kvm_rom_map() */
	bool readonly;                  /* commands are obeyed, programming and erasing fail */
	/*
	 * Write-through: what the guest programs is in the file at once, and on the disk (fdatasync) a moment after the
	 * end of a write burst, at pause and at close; the file is locked against a second VM.  False: changes are
	 * lost when the VM ends.  Persistent needs a path and excludes readonly.
	 */
	bool persistent;
};
/*
 * Creates the device; it is placed with device_place(), at a multiple of the host's page size.  spec and its strings are
 * copied.  NULL (reported), *err gets -errno.  In a dry VM the file is read all the same (plan shows its size) but never
 * opened for writing nor locked.  A file that is empty, too large or, where its size is the device's or it is
 * persistent, not a multiple of the erase block or 4 KiB is refused.
 */
struct device *pflash_new(struct vm *, const struct pflash_spec *, int *err);

#endif

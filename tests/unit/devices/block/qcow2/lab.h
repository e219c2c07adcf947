/*
 * A directory for images that qemu-img and qcow2.c work on in turns: qemu-img is the oracle.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_QCOW2_LAB_H
#define TESTS_UNIT_DEVICES_BLOCK_QCOW2_LAB_H

#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/devices/block/powercut.h"

struct lab {
	char dir[64], path[96];         /* DIR/i is the image */
};

struct lab_check {
	int status;
	uint64_t corruptions, leaks, clusters, allocated, compressed, fragmented, image_end;
};

/* `qemu-img create -o OPTIONS i SIZE` in a new directory, which then is where lab_sh() runs. */
void lab_new(struct lab *, const char *options, const char *size);
void lab_free(struct lab *);
/* A shell command in the directory, output discarded; its exit status. */
int lab_sh(const struct lab *, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What a shell command in the directory prints, at most size - 1 bytes. */
const char *lab_out(const struct lab *, char *buf, size_t size, const char *cmd);
/* `qemu-img check`, of i */
struct lab_check lab_check(const struct lab *);
/* Asserts that qemu-img finds i clean. */
void lab_clean(const struct lab *);
/* The image, asserted to open; backing files are followed. */
struct img *lab_open(const struct lab *, bool writable);
/* As lab_open(), to be checked: what is wrong is left alone. */
struct img *lab_open_check(const struct lab *, bool writable);
void lab_close(struct img *);
/* Big-endian numbers in i. */
uint64_t lab_get(const struct lab *, uint64_t off, unsigned bytes);
void lab_put(const struct lab *, uint64_t off, uint64_t v, unsigned bytes);
/* Where the first active L2 table and the first refcount block are. */
uint64_t lab_l2(const struct lab *);
uint64_t lab_refblock(const struct lab *);
/* Every byte of the range is `byte`? */
bool lab_holds(struct img *, uint64_t off, uint64_t len, uint8_t byte);
void lab_write(struct img *, uint64_t off, uint64_t len, uint8_t byte);

#endif

/*
 * Writing ACPI machine language [ACPI-6.4 20.2]: only the constructs the DSDTs of these machines need.
 * Everything is appended to a blob.  Constructs with a length are opened and closed: aml_close() puts the
 * package length in.  They nest.
 */
#ifndef COMMON_ACPI_AML_H
#define COMMON_ACPI_AML_H

#include "common/blob.h"

/* PkgLength for a construct of content_len bytes after it; returns the bytes written to out (1..4). */
unsigned aml_pkg_length(size_t content_len, uint8_t out[4]);

/* Each returns a mark for aml_close(). */
size_t aml_scope(struct blob *, const char *path);
size_t aml_device(struct blob *, const char *name);
size_t aml_method(struct blob *, const char *name, unsigned nargs);    /* serialized */
size_t aml_package(struct blob *, unsigned nelements);                  /* at most 255 */
size_t aml_if(struct blob *);
void aml_close(struct blob *, size_t mark);

/* "\\_SB.PCI0", "_CRS": segments shorter than four characters are padded with '_'. */
void aml_path(struct blob *, const char *path);
void aml_name(struct blob *, const char *name);         /* Name (name, ...): the value is appended next */
void aml_int(struct blob *, uint64_t);                  /* shortest encoding */
void aml_string(struct blob *, const char *);
/* Seven-character EISA IDs become integers, anything else a string. */
void aml_hid(struct blob *, const char *id);
void aml_buffer(struct blob *, const void *data, size_t len);
void aml_op(struct blob *, uint8_t opcode);

/* Opcodes used directly [ACPI-6.4 20.2.5] */
enum {
	AML_ARG0 = 0x68, AML_ARG3 = 0x6b, AML_OR = 0x7d, AML_NOTIFY = 0x86, AML_CREATE_DWORD_FIELD = 0x8a, AML_LEQUAL = 0x93, AML_RETURN = 0xa4,
};

/* Resource descriptors [ACPI-6.4 6.4], collected in a blob of their own and closed by res_end(). */
void res_io(struct blob *, uint16_t base, uint8_t len);                 /* fixed ports */
void res_irq(struct blob *, uint32_t gsi);                              /* rising edge, exclusive */
void res_gsi(struct blob *, uint32_t gsi);                              /* level, active high, exclusive */
/* Rising edge of a pin of the GPIO controller at path [ACPI-6.4 6.4.3.8.1]. */
void res_gpio_int(struct blob *, uint16_t pin, const char *path);
void res_mem32(struct blob *, uint32_t base, uint32_t len);             /* fixed, read-write */
void res_mem64(struct blob *, uint64_t base, uint64_t len);
void res_bus(struct blob *, uint16_t min, uint16_t max);                /* windows of a bridge, [min, max] */
void res_io_window(struct blob *, uint16_t min, uint16_t max);
void res_io_window_at(struct blob *, uint32_t min, uint32_t max, uint32_t mmio);        /* I/O space that appears in memory */
void res_mem32_window(struct blob *, uint32_t min, uint32_t max);
void res_mem64_window(struct blob *, uint64_t min, uint64_t max);
void res_end(struct blob *);
/* Name (NAME, ResourceTemplate () {...}) from a finished blob, which is freed. */
void aml_resources(struct blob *, const char *name, struct blob *res);
void aml_crs(struct blob *, struct blob *res);

#endif

/*
 * SMBIOS structures of a VM [SMBIOS-3.4], for either architecture.  Pure.
 */
#ifndef COMMON_SMBIOS_H
#define COMMON_SMBIOS_H

#include <stdint.h>
#include <stdio.h>

#include "common/blob.h"

struct vm;

#define SM3_LEN 24
/* The machine's UUID as its text reads, first digit first: the configured one, else made from the VM's name. */
void vm_uuid(const struct vm *, uint8_t out[16]);
/* Structures to be placed at `base`, and the 64-bit entry point. */
void smbios_build(const struct vm *, uint64_t base, struct blob *structs, uint8_t entry[SM3_LEN]);
/* Decoded text for `plan`, byte-stable. */
void smbios_print(const struct blob *structs, FILE *);

#endif

/*
 * What fw_cfg holds in a machine of either architecture [QEMU-FWCFG].  Main thread, at each boot: fw_cfg_clear(), then
 * fw_items_machine(), the architecture's own, fw_items_user().
 */
#ifndef COMMON_FW_ITEMS_H
#define COMMON_FW_ITEMS_H

#include <stddef.h>
#include <stdio.h>

#include "common/blob.h"

struct vm;
struct device;
struct image;

/* UUID, memory size, processors, boot order, SMBIOS.  0 or -errno (reported). */
int fw_items_machine(struct vm *, struct device *fw_cfg);
/*
 * Kernel, initrd and command line for firmware to start.  The first `setup_len` bytes of the file are an item of their own
 * (bzImage); 0: the file is one item.  0 or -errno (reported).
 */
int fw_items_kernel(struct device *fw_cfg, const struct image *, const char *cmdline, size_t setup_len);
/* The keys fwcfg.N; the last, so that a name the machine has taken is refused.  0 or -errno (reported). */
int fw_items_user(struct vm *, struct device *fw_cfg);
/*
 * The devices of boot_order() as OpenFirmware paths, one a line, with a NUL behind the last; empty when the order is left
 * to firmware.
 */
void fw_items_bootorder(const struct vm *, struct blob *out);
/* `plan`: the files in fw_cfg, read as a guest reads them; byte-stable. */
void fw_items_print(struct vm *, FILE *);

#endif

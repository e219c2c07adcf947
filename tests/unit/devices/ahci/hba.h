/*
 * An AHCI driver inside the test: a machine without KVM, and a driver that speaks to the controller through its BAR and
 * through command lists in guest memory, as [AHCI-1.3.1 10] has it.
 */
#ifndef TESTS_UNIT_DEVICES_AHCI_HBA_H
#define TESTS_UNIT_DEVICES_AHCI_HBA_H

#include "devices/ahci/ahci.h"
#include "devices/classes.h"
#include "tests/unit/devices/virtio/driver.h"

#define HBA_ID "pci.0.3.0"
/* Where everything of port n lies: command list, received FISes, 32 command tables; data behind. */
#define HBA_CLB(n) (DRV_RAM_BASE + (n) * 0x20000ull)
#define HBA_FB(n) (HBA_CLB(n) + 0x400)
#define HBA_TABLE(n, slot) (HBA_CLB(n) + 0x1000 + (slot) * 0x800ull)
#define HBA_DATA (DRV_RAM_BASE + 0x400000ull)

enum { P_CLB = 0x00, P_FB = 0x08, P_IS = 0x10, P_IE = 0x14, P_CMD = 0x18, P_TFD = 0x20, P_SIG = 0x24, P_SSTS = 0x28, P_SCTL = 0x2c,
       P_SERR = 0x30, P_SACT = 0x34, P_CI = 0x38 };

struct hba {
	struct vm *vm;
	struct ahci *a;
	char path[32];                          /* of a test's image; hba_end() removes it */
};

/* A file of that many bytes, each 512 of them beginning with their number; its path is h->path. */
void hba_image(struct hba *, uint64_t size);
/* The machine and a controller with h->path as its disk (cls ahci_hd_class), or with the keys that were set. */
bool hba_open(struct hba *, const struct device_class *);
void hba_vm(struct hba *);                      /* the machine alone: before drv_conf() and hba_open() */
void hba_end(struct hba *);

uint32_t hba_rd(struct hba *, unsigned off);
void hba_wr(struct hba *, unsigned off, uint32_t v);
uint32_t port_rd(struct hba *, unsigned port, unsigned off);
void port_wr(struct hba *, unsigned port, unsigned off, uint32_t v);
void *hba_ptr(struct hba *, uint64_t gpa, uint64_t len);
void hba_cfg_wr(struct hba *, unsigned off, unsigned size, uint64_t v);

/* AE, IE; addresses, FRE, IE, ST of a port. */
void hba_start(struct hba *, unsigned port);
/* Stops and starts it again, clearing what an error has left. */
void hba_recover(struct hba *, unsigned port);

struct hba_cmd {
	uint8_t op, feature;
	uint16_t count;
	uint64_t lba;
	uint8_t device;                         /* 0: LBA */
	uint64_t data;                          /* guest address; 0: none */
	uint32_t len;                           /* of the data */
	unsigned pieces;                        /* entries the data is cut into; 0: as few as it takes */
	bool write, ioc;
	const uint8_t *cdb;                     /* 12 bytes */
	bool ncq;                               /* count and feature are set as READ/WRITE FPDMA QUEUED want */
};
/* Fills slot's header and table. */
void hba_build(struct hba *, unsigned port, unsigned slot, const struct hba_cmd *);
/* Runs the loop until the slots' CI and SACT are clear, or an error is told, or for a second: then it fails. */
void hba_wait(struct hba *, unsigned port, uint32_t slots);
/* Builds in slot 0, issues, waits; status and error as in PxTFD. */
uint32_t hba_do(struct hba *, unsigned port, const struct hba_cmd *);
/* Runs the loop until it has nothing to do. */
void hba_settle(struct hba *);
/* PRDBC of a slot. */
uint32_t hba_count(struct hba *, unsigned port, unsigned slot);

#endif

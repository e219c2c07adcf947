/*
 * An NVMe driver inside the test: speaks to a controller only through its BAR and queues in guest memory.  On top of the
 * machine of tests/unit/devices/virtio/driver.h.
 */
#ifndef TESTS_UNIT_DEVICES_NVME_NVDRV_H
#define TESTS_UNIT_DEVICES_NVME_NVDRV_H

#include "devices/nvme/nvme.h"
#include "tests/unit/devices/virtio/driver.h"

#define NV_ID "pci.0.5.0"
#define NV_QUEUES 4
#define NV_NONE 0xffff                  /* as a status: nothing was completed */

struct nv_queue {
	uint64_t sq, cq;                /* guest-physical */
	uint32_t size, tail, head;
	bool phase;
};

struct nv_cqe {
	uint32_t result;
	uint16_t sqhd, sqid, cid, status;
};

struct nv {
	struct drv *d;
	struct nvme *c;
	struct nv_queue q[NV_QUEUES];
	uint16_t next_cid;
	unsigned mps;                   /* for the next nv_enable(): CC.MPS */
	struct nv_cqe last;
};

/* A controller over `path` (NULL: options say what).  NULL when its init refuses; then the machine is gone as well. */
struct nv *nv_open(const char *path, const char *key, const char *val);
struct nv *nv_open_on(struct vm *, const char *id);     /* configured already */
void nv_close(struct nv *);
uint64_t nv_page(struct nv *, unsigned n);              /* n zeroed pages of guest memory, on a memory page */
void *nv_ptr(struct nv *, uint64_t gpa, uint64_t len);
uint32_t nv_rd(struct nv *, unsigned off);
void nv_wr(struct nv *, unsigned off, uint32_t val);
/* Admin queue of `size` entries, MSI-X on but masked so that the PBA shows interrupts, CC.EN. */
void nv_enable(struct nv *, uint32_t size);
/* The same for a driver that goes on with the queues it has. */
void nv_start(struct nv *, uint32_t admin_size, unsigned nqueues, uint32_t size);
void nv_disable(struct nv *);
uint16_t nv_create(struct nv *, unsigned q, uint32_t size);

/* Commands: opcode and namespace 1 set, all else zero. */
void nv_cmd(uint8_t cmd[NVME_SQE_LEN], uint8_t opcode);
void nv_dw(uint8_t *cmd, unsigned n, uint32_t val);
void nv_prp(uint8_t *cmd, uint64_t prp1, uint64_t prp2);
uint16_t nv_put(struct nv *, unsigned q, const uint8_t *cmd);   /* into the queue without ringing; its identifier */
void nv_ring(struct nv *, unsigned q);
bool nv_poll(struct nv *, unsigned q);                  /* takes a completion to ->last, without giving its place back */
void nv_ack(struct nv *, unsigned q);                   /* writes the head doorbell */
bool nv_wait(struct nv *, unsigned q);                  /* runs the loop until there is one or a second is over */
/* put, ring, wait, ack: status without More, or NV_NONE. */
uint16_t nv_do(struct nv *, unsigned q, const uint8_t *cmd);
/* Read, write, compare: len bytes at gpa, by PRPs with lists as needed. */
uint16_t nv_io(struct nv *, unsigned q, uint8_t opcode, uint64_t lba, uint64_t gpa, uint32_t len);
/* Points a command at len bytes. */
void nv_prps(struct nv *, uint8_t *cmd, uint64_t gpa, uint32_t len);

#endif

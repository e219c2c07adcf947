/*
 * Interrupts as devices see them: lines (level) and MSI vectors.  Devices never know a number.
 */
#ifndef COMMON_IRQ_H
#define COMMON_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;

/* One input of the interrupt chip; several devices may share it (wired-OR). */
struct irq_pin {
	struct vm *vm;
	uint32_t gsi;                   /* x86: IOAPIC input; arm64: SPI number from 0 (INTID - 32) */
	unsigned asserted;              /* lines now high */
	pthread_mutex_t lock;
	struct irq_pin *next;
};

/* A device's end of a pin. */
struct irq_line {
	struct irq_pin *pin;            /* NULL: not connected, setting it does nothing */
	bool level;
};

/* The VM's tables; main thread, before the first device and after the last. */
int irq_init(struct vm *);                      /* 0 or -ENOMEM */
void irq_fini(struct vm *);
/* After the interrupt chip was reset: tells it again which pins are high.  No vCPU runs, no device drives a line. */
void irq_reset(struct vm *);

/* Connects a line; pins are created on first use and live as long as the VM.  0 or -ENOMEM. */
int irq_connect(struct vm *, struct irq_line *, uint32_t gsi);
/* Any thread.  Idempotent: only changes reach the chip. */
void irq_set(struct irq_line *, bool level);
void irq_pulse(struct irq_line *);              /* high, then low: edge-triggered inputs */

/*
 * A message-signalled interrupt with its own irqfd.  Zero-initialised is unset.
 * Thread: msi_set/msi_clear under the device's lock; msi_fire on any thread.
 */
struct msi_vector {
	struct vm *vm;
	int fd;                         /* eventfd, the irqfd's trigger; valid while `set` */
	uint32_t gsi;                   /* route number in KVM's table */
	uint64_t addr;
	uint32_t data, devid;
	bool set;
};
/*
 * Points the vector at a message.  devid: PCI requester ID (arm64 ITS needs it).  Repeating the same values is
 * free.  0, or -errno (reported) when the host has no route left.
 */
int msi_set(struct vm *, struct msi_vector *, uint64_t addr, uint32_t data, uint32_t devid);
void msi_clear(struct msi_vector *);
void msi_fire(const struct msi_vector *);

#endif

/*
 * virtio-rnd: entropy [VIRTIO-1.2 5.4], from the host kernel's generator.
 */
#include <sys/random.h>

#include "common/vm.h"
#include "devices/classes.h"
#include "devices/virtio/virtio_pci.h"

#define QUEUE_SIZE 64
#define REQUEST_MAX 4096u                       /* bytes a request gets, however many it asks for */
#define BUDGET 64                               /* requests before other devices get their turn */

struct vrnd {
	struct virtio_dev v;                    /* first */
};

/*
 * Bytes written.  The host's pool is initialised long before skep runs; should it not be, the request is
 * answered with nothing rather than waited for.
 */
static uint32_t fill(const struct vq_chain *c)
{
	uint8_t buf[256];
	uint32_t done = 0;

	while (done < REQUEST_MAX && done < c->wlen) {
		const ssize_t n = getrandom(buf, MIN(sizeof(buf), REQUEST_MAX - done), GRND_NONBLOCK);

		if (n <= 0)
			break;
		done += (uint32_t)iov_write(c->iov + c->nr, c->nw, done, buf, (size_t)n);
	}
	return done;
}

static bool vrnd_kick(struct virtio_dev *v, unsigned q)
{
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;
	unsigned budget = BUDGET;
	bool more = true;

	while (more && budget) {
		vq_notify_off(&v->vq[q]);
		for (; budget && virtio_pop(v, q, &c, iov); budget--)
			virtio_push(v, q, &c, fill(&c));
		more = vq_notify_on(&v->vq[q]);
	}
	virtio_signal(v, q);
	return more && virtio_running(v, q);
}

static const struct virtio_type vrnd_type = { .id = 4, .class_code = 0x00ff00, .kick = vrnd_kick };

static int vrnd_init(struct device *dev)
{
	return virtio_init((struct virtio_dev *)dev, &vrnd_type, 0, 1, QUEUE_SIZE, 0);
}

static void vrnd_fini(struct device *dev) { virtio_fini((struct virtio_dev *)dev); }
static void vrnd_reset(struct device *dev) { virtio_reset((struct virtio_dev *)dev); }
static void vrnd_pause(struct device *dev) { virtio_pause((struct virtio_dev *)dev); }
static void vrnd_resume(struct device *dev) { virtio_resume((struct virtio_dev *)dev); }
static int vrnd_loaded(struct device *dev) { return virtio_loaded((struct virtio_dev *)dev); }

static const struct snap_field vrnd_fields[] = {
	SNAP_STRUCT(struct vrnd, v, virtio_fields, 1),
	SNAP_END
};

const struct device_class virtio_rnd_class = {
	.name = "virtio-rnd", .help = "entropy source", .size = sizeof(struct vrnd),
	.init = vrnd_init, .fini = vrnd_fini, .reset = vrnd_reset, .pause = vrnd_pause, .resume = vrnd_resume,
	.snap = vrnd_fields, .snap_version = 1, .loaded = vrnd_loaded, .pci = true,
};

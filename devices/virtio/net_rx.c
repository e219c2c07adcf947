/*
 * Receiving [VIRTIO-1.2 5.1.6.4]: packets go from the host's descriptor straight into guest buffers.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/virtio/virtio_net.h"

#define BUDGET 128                              /* packets before other devices get their turn */
#define HDR_NUM_BUFFERS 10                      /* offset in the header */
#define FRAME_MAX_PLAIN 1518u                   /* without segmentation offload, unless the MTU says more */

static bool merges(const struct vnet *d)
{
	return virtio_has(&d->v, VNET_F_MRG_RXBUF);
}

/* The largest packet that may come now. */
static uint32_t packet_max(const struct vnet *d)
{
	if (virtio_has(&d->v, VNET_F_GUEST_TSO4 | VNET_F_GUEST_TSO6))
		return NET_PACKET_MAX;
	return NET_HDR_LEN + MAX(FRAME_MAX_PLAIN, get_le16(d->v.cfg + VNET_CFG_MTU) + 18u);
}

static struct vnet_rx *rx_of(struct vnet *d, unsigned pair)
{
	if (!d->rx[pair])
		d->rx[pair] = calloc(1, sizeof(*d->rx[pair]));
	return d->rx[pair];
}

/* Takes buffers until the largest packet fits.  One chain is a packet's limit where buffers are not merged. */
static void fill(struct vnet *d, unsigned pair, struct vnet_rx *rx)
{
	const uint32_t want = packet_max(d);
	const unsigned limit = merges(d) ? VNET_QUEUE_SIZE : 1;

	while (rx->room < want && rx->nchains < limit && rx->niov + VQ_CHAIN_MAX <= VNET_RX_IOV_MAX) {
		struct vq_chain *c = &rx->chain[rx->nchains];

		if (!virtio_pop(&d->v, vnet_rxq(pair), c, rx->iov + rx->niov))
			return;
		if (c->nr) {
			virtio_broken(&d->v, "receive queue", "a buffer is not writable");
			virtio_push(&d->v, vnet_rxq(pair), c, 0);
			return;
		}
		rx->nchains++;
		rx->niov += c->nw;
		rx->room += c->wlen;
	}
}

/* Forgets the first n chains. */
static void consume(struct vnet_rx *rx, unsigned n)
{
	unsigned niov = 0;

	for (unsigned i = 0; i < n; i++) {
		niov += rx->chain[i].nw;
		rx->room -= rx->chain[i].wlen;
	}
	rx->nchains -= n;
	rx->niov -= niov;
	memmove(rx->chain, rx->chain + n, rx->nchains * sizeof(rx->chain[0]));
	memmove(rx->iov, rx->iov + niov, rx->niov * sizeof(rx->iov[0]));
	for (unsigned i = 0; i < rx->nchains; i++)
		rx->chain[i].iov -= niov;
}

/* A packet of len bytes lies in the first buffers: the driver gets those [VIRTIO-1.2 5.1.6.4.1]. */
static void deliver(struct vnet *d, unsigned pair, struct vnet_rx *rx, uint32_t len)
{
	uint32_t written[VNET_QUEUE_SIZE];
	uint8_t num[2];
	unsigned n = 0;

	while (len) {
		written[n] = (uint32_t)MIN(len, rx->chain[n].wlen);
		len -= written[n++];
	}
	put_le16(num, (uint16_t)n);
	iov_write(rx->iov, rx->niov, HDR_NUM_BUFFERS, num, sizeof(num));
	virtio_push_many(&d->v, vnet_rxq(pair), rx->chain, written, n);
	consume(rx, n);
}

/* Reads a packet, into the buffers if any fits there.  Its length with the header, or -errno. */
static ssize_t packet_read(struct vnet *d, unsigned pair, struct vnet_rx *rx)
{
	struct iovec iov;
	ssize_t n;

	if (rx->room >= packet_max(d) && vnet_link_up(d))
		return net_readv(d->net, pair, rx->iov, rx->niov);
	if (!rx->bounce)
		rx->bounce = malloc(NET_PACKET_MAX);
	if (!rx->bounce)
		return -EAGAIN;
	iov = (struct iovec){ rx->bounce, NET_PACKET_MAX };
	n = net_readv(d->net, pair, &iov, 1);
	rx->pending = n > 0 && vnet_link_up(d) ? (uint32_t)n : 0;
	return n <= 0 || rx->pending ? n : 0;           /* what comes while the cable is out is lost */
}

/* Can the ring never hold more at once than it does now? */
static bool ring_exhausted(const struct vnet *d, unsigned pair, const struct vnet_rx *rx)
{
	const struct virtqueue *q = &d->v.vq[vnet_rxq(pair)];

	return !merges(d) || q->inuse >= q->size || rx->niov + VQ_CHAIN_MAX > VNET_RX_IOV_MAX || rx->nchains == VNET_QUEUE_SIZE;
}

enum step { STEP_NEXT, STEP_NO_BUFFERS, STEP_NO_PACKET };

static enum step step(struct vnet *d, unsigned pair, struct vnet_rx *rx)
{
	ssize_t len = rx->pending;

	fill(d, pair, rx);
	if (rx->nchains == 0)
		return STEP_NO_BUFFERS;
	if (len == 0) {
		len = packet_read(d, pair, rx);
		if (len < (ssize_t)NET_HDR_LEN) {
			rx->pending = 0;
			d->rx_stat.dropped += len >= 0;
			return len < 0 ? STEP_NO_PACKET : STEP_NEXT;
		}
	}
	if (rx->pending) {
		if (rx->pending > rx->room && !ring_exhausted(d, pair, rx))
			return STEP_NO_BUFFERS;
		rx->pending = 0;
		if ((uint64_t)len > rx->room) {
			d->rx_stat.dropped++;   /* no buffers of this driver can hold it */
			return STEP_NEXT;
		}
		iov_write(rx->iov, rx->niov, 0, rx->bounce, (size_t)len);
	}
	vnet_count(&d->rx_stat, (size_t)len);
	deliver(d, pair, rx, (uint32_t)len);
	return STEP_NEXT;
}

bool vnet_rx_run(struct vnet *d, unsigned pair)
{
	const unsigned q = vnet_rxq(pair);
	struct vnet_rx *rx = d->net ? rx_of(d, pair) : NULL;
	enum step s = STEP_NEXT;

	if (!rx || !virtio_running(&d->v, q) || pair >= d->active) {
		if (d->net)
			net_watch_rx(d->net, pair, false);
		return false;
	}
	vq_notify_off(&d->v.vq[q]);
	for (unsigned i = 0; i < BUDGET && s != STEP_NO_PACKET; i++) {
		s = step(d, pair, rx);
		/* No buffers: look no more until the driver brings some, which it may just have done. */
		if (s == STEP_NO_BUFFERS && !vq_notify_on(&d->v.vq[q]))
			break;
	}
	virtio_signal(&d->v, q);
	/* The descriptor is level-triggered: what is left in it brings us back, where buffers are. */
	net_watch_rx(d->net, pair, s != STEP_NO_BUFFERS && virtio_running(&d->v, q));
	return false;
}

void vnet_rx_return(struct vnet *d, unsigned pair)
{
	struct vnet_rx *rx = d->rx[pair];

	if (d->net)
		net_watch_rx(d->net, pair, false);
	for (unsigned i = rx ? rx->nchains : 0; i-- > 0; )
		virtio_unpop(&d->v, vnet_rxq(pair), &rx->chain[i]);
	if (rx)
		rx->nchains = rx->niov = 0, rx->room = 0;
}

void vnet_rx_forget(struct vnet *d, unsigned pair)
{
	struct vnet_rx *rx = d->rx[pair];

	for (unsigned i = 0; rx && i < rx->nchains; i++)
		virtio_drop(&d->v, vnet_rxq(pair), &rx->chain[i]);
	if (rx) {
		rx->nchains = rx->niov = 0;
		rx->room = 0;
		rx->pending = 0;
	}
}

void vnet_rx_free(struct vnet *d, unsigned pair)
{
	if (d->rx[pair])
		free(d->rx[pair]->bounce);
	free(d->rx[pair]);
	d->rx[pair] = NULL;
}

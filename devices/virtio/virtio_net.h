/*
 * Inside of virtio-net: the device (virtio_net.c), its receive path (net_rx.c) and control queue (net_ctrl.c).
 */
#ifndef DEVICES_VIRTIO_VIRTIO_NET_H
#define DEVICES_VIRTIO_VIRTIO_NET_H

#include "devices/net/net.h"
#include "devices/virtio/virtio_pci.h"

/* Features [VIRTIO-1.2 5.1.3] */
#define VNET_F_CSUM BIT64(0)
#define VNET_F_GUEST_CSUM BIT64(1)
#define VNET_F_MTU BIT64(3)
#define VNET_F_MAC BIT64(5)
#define VNET_F_GUEST_TSO4 BIT64(7)
#define VNET_F_GUEST_TSO6 BIT64(8)
#define VNET_F_GUEST_ECN BIT64(9)
#define VNET_F_HOST_TSO4 BIT64(11)
#define VNET_F_HOST_TSO6 BIT64(12)
#define VNET_F_HOST_ECN BIT64(13)
#define VNET_F_MRG_RXBUF BIT64(15)
#define VNET_F_STATUS BIT64(16)
#define VNET_F_CTRL_VQ BIT64(17)
#define VNET_F_CTRL_RX BIT64(18)
#define VNET_F_MQ BIT64(22)
#define VNET_F_CTRL_MAC_ADDR BIT64(23)

/* Device configuration [VIRTIO-1.2 5.1.4] */
enum { VNET_CFG_MAC = 0, VNET_CFG_STATUS = 6, VNET_CFG_PAIRS = 8, VNET_CFG_MTU = 10, VNET_CFG_LEN = 12 };
#define VNET_S_LINK_UP 1u
#define VNET_QUEUE_SIZE 256
#define VNET_RX_IOV_MAX 1024u                   /* what one readv() takes */

/*
 * Receive buffers taken from the ring in advance, enough for the largest packet, as its size is known only
 * once it has been read.  A packet uses the first of them; the rest serves the next one.
 */
struct vnet_rx {
	struct vq_chain chain[VNET_QUEUE_SIZE];
	struct iovec iov[VNET_RX_IOV_MAX];
	unsigned nchains, niov;
	uint64_t room;                          /* bytes of all of them */
	/* A packet read while there was less room than the largest takes. */
	uint8_t *bounce;
	uint32_t pending;                       /* its bytes; 0: none */
};

struct vnet {
	struct virtio_dev v;                    /* first */
	struct net *net;                        /* NULL in a dry VM */
	unsigned pairs;
	uint16_t active;                        /* pairs the driver uses */
	uint8_t mac[6];                         /* at power-on */
	struct net_stat rx_stat, tx_stat;       /* bytes: of frames, without our header */
	struct vnet_rx *rx[NET_PAIRS_MAX];      /* made at the first use */
};

static inline unsigned vnet_rxq(unsigned pair) { return 2 * pair; }
static inline unsigned vnet_txq(unsigned pair) { return 2 * pair + 1; }
/* The control queue follows the pairs in use by the feature, not those that exist [VIRTIO-1.2 5.1.2]. */
static inline unsigned vnet_ctrlq(const struct vnet *d) { return virtio_has(&d->v, VNET_F_MQ) ? 2 * d->pairs : 2; }

static inline bool vnet_link_up(const struct vnet *d) { return get_le16(d->v.cfg + VNET_CFG_STATUS) & VNET_S_LINK_UP; }

static inline void vnet_count(struct net_stat *s, size_t frame_with_hdr)
{
	s->packets++;
	s->bytes += frame_with_hdr - NET_HDR_LEN;
}

/* net_rx.c; lock held, loop thread. */
bool vnet_rx_run(struct vnet *, unsigned pair);         /* true: call again soon */
/* Gives unused buffers back to the ring (for a pause), or forgets them (for a reset). */
void vnet_rx_return(struct vnet *, unsigned pair);
void vnet_rx_forget(struct vnet *, unsigned pair);
void vnet_rx_free(struct vnet *, unsigned pair);

/* net_ctrl.c; lock held, loop thread. */
bool vnet_ctrl_run(struct vnet *);                      /* true: call again soon */
int vnet_pairs_set(struct vnet *, uint16_t active);

#endif

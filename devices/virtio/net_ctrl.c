/*
 * The control queue [VIRTIO-1.2 5.1.6.5]: receive modes, MAC address and table, number of queue pairs.
 * Filtering is best effort by the specification, and a tap carries little that is not for its guest: modes and
 * tables are checked and accepted, and everything that arrives is passed on.
 */
#include <errno.h>

#include "devices/virtio/virtio_net.h"

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_MQ = 4 };
enum { RX_PROMISC = 0, RX_ALLMULTI = 1, MAC_TABLE_SET = 0, MAC_ADDR_SET = 1, MQ_PAIRS_SET = 0 };
enum { ACK_OK = 0, ACK_ERR = 1 };
#define CTRL_HDR_LEN 2u
#define MAC_LEN 6u
#define BUDGET 64                               /* commands before other devices get their turn */

struct ctrl {
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain chain;
};

/* Copies `len` bytes of the command's data from `off`; false when there are fewer. */
static bool data_get(const struct ctrl *c, size_t off, void *buf, size_t len)
{
	return iov_read(c->iov, c->chain.nr, CTRL_HDR_LEN + off, buf, len) == len;
}

static uint8_t rx_mode(const struct ctrl *c, uint8_t cmd)
{
	uint8_t on;

	return (cmd == RX_PROMISC || cmd == RX_ALLMULTI) && data_get(c, 0, &on, 1) ? ACK_OK : ACK_ERR;
}

/* Two lists, unicast and multicast: a 32-bit count and that many addresses. */
static uint8_t mac_table(const struct ctrl *c)
{
	uint64_t off = 0;

	for (int list = 0; list < 2; list++) {
		uint8_t count[4];

		if (!data_get(c, off, count, sizeof(count)))
			return ACK_ERR;
		off += sizeof(count) + (uint64_t)get_le32(count) * MAC_LEN;
		if (off > c->chain.rlen - CTRL_HDR_LEN)
			return ACK_ERR;
	}
	return ACK_OK;
}

static uint8_t mac_set(struct vnet *d, const struct ctrl *c, uint8_t cmd)
{
	uint8_t mac[MAC_LEN];

	if (cmd == MAC_TABLE_SET)
		return mac_table(c);
	if (cmd != MAC_ADDR_SET || !virtio_has(&d->v, VNET_F_CTRL_MAC_ADDR) || !data_get(c, 0, mac, sizeof(mac)))
		return ACK_ERR;
	memcpy(d->v.cfg + VNET_CFG_MAC, mac, sizeof(mac));
	return ACK_OK;
}

int vnet_pairs_set(struct vnet *d, uint16_t active)
{
	if (active < 1 || active > d->pairs)
		return -EINVAL;
	for (unsigned i = active; i < d->active; i++)
		vnet_rx_return(d, i);
	d->active = active;
	if (d->net && net_pairs_set(d->net, active))
		dev_warn(&d->v.pci.dev, "the host did not take %u queue pairs", active);
	for (unsigned i = 0; i < active; i++)
		virtio_kick_self(&d->v, vnet_rxq(i));
	return 0;
}

static uint8_t mq_set(struct vnet *d, const struct ctrl *c, uint8_t cmd)
{
	uint8_t n[2];

	if (cmd != MQ_PAIRS_SET || !virtio_has(&d->v, VNET_F_MQ) || !data_get(c, 0, n, sizeof(n)))
		return ACK_ERR;
	return vnet_pairs_set(d, get_le16(n)) ? ACK_ERR : ACK_OK;
}

static uint8_t command(struct vnet *d, const struct ctrl *c)
{
	uint8_t hdr[CTRL_HDR_LEN];

	if (iov_read(c->iov, c->chain.nr, 0, hdr, sizeof(hdr)) != sizeof(hdr))
		return ACK_ERR;
	switch (hdr[0]) {
	case CLASS_RX: return rx_mode(c, hdr[1]);
	case CLASS_MAC: return mac_set(d, c, hdr[1]);
	case CLASS_MQ: return mq_set(d, c, hdr[1]);
	default: return ACK_ERR;
	}
}

bool vnet_ctrl_run(struct vnet *d)
{
	const unsigned q = vnet_ctrlq(d);
	struct ctrl c;

	for (unsigned i = 0; i < BUDGET && virtio_pop(&d->v, q, &c.chain, c.iov); i++) {
		const uint8_t ack = command(d, &c);

		virtio_push(&d->v, q, &c.chain, (uint32_t)iov_write(c.iov + c.chain.nr, c.chain.nw, 0, &ack, 1));
	}
	virtio_signal(&d->v, q);
	return vq_notify_on(&d->v.vq[q]) && virtio_running(&d->v, q);
}

/*
 * virtio-net: a network interface [VIRTIO-1.2 5.1] over devices/net/.
 *
 * Modelled: mergeable receive buffers, checksum and TCP segmentation offload both ways (the host's kernel does
 * the work), several queue pairs, control queue, MTU.  Not modelled: receive filters (net_ctrl.c), VLAN
 * filters, UDP fragmentation, RSS, announcements.
 *
 * Without the option mac, the address is 02 followed by the low 40 bits (most significant octet first) of the
 * FNV-1a hash (64 bits) of "NAME/ID", such as "web/pci.0.4.0": the same for the same machine and slot on
 * every host, locally administered.
 */
#include "devices/virtio/virtio_net.h"

#include <errno.h>
#include <stdio.h>

#include "common/vm.h"
#include "devices/classes.h"

#define TX_BUDGET 256

/* --- Sending [VIRTIO-1.2 5.1.6.2] --- */

/* One packet; false: the host takes no more now, and the chain is back in the ring. */
static bool tx_one(struct vnet *d, unsigned pair, const struct vq_chain *c)
{
	const unsigned q = vnet_txq(pair);
	ssize_t n = -EINVAL;

	/* What is no packet, or what the kernel refuses (it checks the header), is dropped as a wire would. */
	if (d->net && c->rlen > NET_HDR_LEN && c->rlen <= NET_PACKET_MAX && vnet_link_up(d))
		n = net_writev(d->net, pair, c->iov, c->nr);
	if (n > (ssize_t)NET_HDR_LEN)
		vnet_count(&d->tx_stat, (size_t)n);
	else if (n != -EAGAIN)
		d->tx_stat.dropped++;
	if (n == -EAGAIN) {
		virtio_unpop(&d->v, q, c);
		net_watch_tx(d->net, pair, true);
		return false;
	}
	virtio_push(&d->v, q, c, 0);
	return true;
}

static bool tx_run(struct vnet *d, unsigned pair)
{
	const unsigned q = vnet_txq(pair);
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;
	unsigned budget = TX_BUDGET;
	bool more = true;

	while (more && budget) {
		vq_notify_off(&d->v.vq[q]);
		while (budget && virtio_pop(&d->v, q, &c, iov)) {
			budget--;
			if (!tx_one(d, pair, &c)) {
				virtio_signal(&d->v, q);
				return false;           /* writable() comes back; no kick is wanted before */
			}
		}
		more = vq_notify_on(&d->v.vq[q]);
	}
	virtio_signal(&d->v, q);
	return more && virtio_running(&d->v, q);
}

/* --- Events of the host's side --- */

static void on_readable(void *arg, unsigned pair)
{
	struct vnet *d = arg;

	dev_lock(&d->v.pci.dev);
	vnet_rx_run(d, pair);
	dev_unlock(&d->v.pci.dev);
}

static void on_writable(void *arg, unsigned pair)
{
	struct vnet *d = arg;

	dev_lock(&d->v.pci.dev);
	net_watch_tx(d->net, pair, false);
	if (virtio_running(&d->v, vnet_txq(pair)) && tx_run(d, pair))
		virtio_kick_self(&d->v, vnet_txq(pair));
	dev_unlock(&d->v.pci.dev);
}

static const struct net_ops vnet_net_ops = { on_readable, on_writable };

/* --- The virtio side --- */

static bool vnet_kick(struct virtio_dev *v, unsigned q)
{
	struct vnet *d = (struct vnet *)v;

	if (virtio_has(v, VNET_F_CTRL_VQ) && q == vnet_ctrlq(d))
		return vnet_ctrl_run(d);
	if (q / 2 >= d->pairs)
		return false;
	return q % 2 ? tx_run(d, q / 2) : vnet_rx_run(d, q / 2);
}

static void vnet_stop(struct virtio_dev *v, unsigned q)
{
	struct vnet *d = (struct vnet *)v;

	if (q % 2 == 0 && q / 2 < d->pairs)
		vnet_rx_forget(d, q / 2);
}

static void offloads_set(struct vnet *d)
{
	const struct virtio_dev *v = &d->v;
	unsigned off = 0;

	off |= virtio_has(v, VNET_F_GUEST_CSUM) ? NET_OFF_CSUM : 0;
	/* Segmentation needs checksums left undone [VIRTIO-1.2 5.1.3.1]; the kernel would refuse it alone. */
	if (off) {
		off |= virtio_has(v, VNET_F_GUEST_TSO4) ? NET_OFF_TSO4 : 0;
		off |= virtio_has(v, VNET_F_GUEST_TSO6) ? NET_OFF_TSO6 : 0;
		off |= off & (NET_OFF_TSO4 | NET_OFF_TSO6) && virtio_has(v, VNET_F_GUEST_ECN) ? NET_OFF_ECN : 0;
	}
	if (d->net && net_offload(d->net, off))
		dev_warn(&d->v.pci.dev, "the host did not take the offloads of the driver");
}

static void vnet_reset_type(struct virtio_dev *v)
{
	struct vnet *d = (struct vnet *)v;

	memcpy(v->cfg + VNET_CFG_MAC, d->mac, sizeof(d->mac));
	d->active = 1;
	if (!d->net)
		return;
	for (unsigned i = 0; i < d->pairs; i++) {
		net_watch_rx(d->net, i, false);
		net_watch_tx(d->net, i, false);
	}
	net_offload(d->net, 0);
	net_pairs_set(d->net, 1);
}

static void vnet_negotiated(struct virtio_dev *v)
{
	offloads_set((struct vnet *)v);
}

static const struct virtio_type vnet_type = {
	.id = 1, .class_code = 0x020000,
	.features = VNET_F_MAC | VNET_F_MRG_RXBUF | VNET_F_STATUS | VNET_F_CTRL_VQ | VNET_F_CTRL_RX | VNET_F_CTRL_MAC_ADDR,
	.kick = vnet_kick, .stop = vnet_stop, .reset = vnet_reset_type, .negotiated = vnet_negotiated,
};

/* --- Set-up --- */

static void mac_derive(const struct device *dev, uint8_t mac[6])
{
	char text[sizeof(dev->vm->name) + sizeof(dev->id) + 2];
	uint64_t h = 0xcbf29ce484222325;

	snprintf(text, sizeof(text), "%s/%s", dev->vm->name, dev->id);
	for (const char *p = text; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3;
	mac[0] = 0x02;
	for (unsigned i = 0; i < 5; i++)
		mac[1 + i] = (uint8_t)(h >> (32 - 8 * i));
}

static void mac_choose(struct vnet *d)
{
	const struct device *dev = &d->v.pci.dev;
	const char *text = dev_opt_str(dev, "mac");

	uint8_t *m = d->mac;

	if (!text || sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
		mac_derive(dev, m);
}

static int backend_open(struct vnet *d)
{
	struct device *dev = &d->v.pci.dev;
	const struct net_conf c = {
		.backend = dev_opt_str(dev, "backend"), .bridge = dev_opt_str(dev, "bridge"),
		.pairs = d->pairs, .mtu = (unsigned)dev_opt_u64(dev, "mtu"),
	};
	int err;

	if (!c.backend)
		return err_msg(-EINVAL, "%s: virtio-net needs a network: virtio-net,BACKEND with %s", dev->id, NET_FORMS);
	err = net_check(dev->id, c.backend);
	if (err || dev->vm->dry)
		return err;
	d->net = net_open(dev->vm, dev->id, &c, &vnet_net_ops, d, &err);
	return err;
}

static uint64_t features_offered(const struct vnet *d)
{
	uint64_t f = d->pairs > 1 ? VNET_F_MQ : 0;

	if (dev_opt_u64(&d->v.pci.dev, "mtu"))
		f |= VNET_F_MTU;
	/* A machine that never runs shows what a tap would give. */
	if (!d->net || d->net->offloads)
		f |= VNET_F_CSUM | VNET_F_HOST_TSO4 | VNET_F_HOST_TSO6 | VNET_F_HOST_ECN |
		     VNET_F_GUEST_CSUM | VNET_F_GUEST_TSO4 | VNET_F_GUEST_TSO6 | VNET_F_GUEST_ECN;
	return f;
}

static int vnet_init(struct device *dev)
{
	struct vnet *d = (struct vnet *)dev;
	int err;

	d->pairs = (unsigned)dev_opt_u64(dev, "queues");
	err = backend_open(d);
	if (err)
		return err;
	err = virtio_init(&d->v, &vnet_type, features_offered(d), 2 * d->pairs + 1, VNET_QUEUE_SIZE, VNET_CFG_LEN);
	if (err) {
		net_close(d->net);
		return err;
	}
	mac_choose(d);
	put_le16(d->v.cfg + VNET_CFG_STATUS, VNET_S_LINK_UP);
	put_le16(d->v.cfg + VNET_CFG_PAIRS, (uint16_t)d->pairs);
	put_le16(d->v.cfg + VNET_CFG_MTU, (uint16_t)dev_opt_u64(dev, "mtu"));
	return 0;
}

static void vnet_fini(struct device *dev)
{
	struct vnet *d = (struct vnet *)dev;

	for (unsigned i = 0; i < d->pairs; i++)
		vnet_rx_free(d, i);
	virtio_fini(&d->v);
	net_close(d->net);
}

static void vnet_reset(struct device *dev)
{
	virtio_reset(&((struct vnet *)dev)->v);
}

static void vnet_port(struct device *dev, struct net_port *out)
{
	struct vnet *d = (struct vnet *)dev;

	dev_lock(dev);
	*out = (struct net_port){
		.backend = dev_opt_str(dev, "backend"), .host = d->net ? d->net->name : NULL, .queues = d->pairs, .up = vnet_link_up(d),
		.rx = d->rx_stat, .tx = d->tx_stat,
	};
	memcpy(out->mac, d->v.cfg + VNET_CFG_MAC, sizeof(out->mac));
	dev_unlock(dev);
}

/* The driver is told [VIRTIO-1.2 5.1.4.2]; packets are lost as with a real cable, also where it does not listen. */
static void vnet_link(struct device *dev, bool up)
{
	struct vnet *d = (struct vnet *)dev;

	dev_lock(dev);
	if (up != vnet_link_up(d)) {
		put_le16(d->v.cfg + VNET_CFG_STATUS, up ? VNET_S_LINK_UP : 0);
		virtio_config_changed(&d->v);
	}
	dev_unlock(dev);
}

/* Nothing is ever in flight; only buffers taken in advance go back. */
static void vnet_pause(struct device *dev)
{
	struct vnet *d = (struct vnet *)dev;

	virtio_pause(&d->v);
	dev_lock(dev);
	for (unsigned i = 0; i < d->pairs; i++) {
		vnet_rx_return(d, i);
		if (d->net)
			net_watch_tx(d->net, i, false);
	}
	dev_unlock(dev);
}

static void vnet_resume(struct device *dev)
{
	virtio_resume(&((struct vnet *)dev)->v);
}

static int vnet_loaded(struct device *dev)
{
	struct vnet *d = (struct vnet *)dev;
	const uint16_t active = d->active;

	if (active < 1 || active > d->pairs || get_le16(d->v.cfg + VNET_CFG_PAIRS) != d->pairs)
		return err_msg(-EINVAL, "snapshot of %s: it used %u queue pairs, this machine gives %u; set 'queues'", dev->id,
			       get_le16(d->v.cfg + VNET_CFG_PAIRS), d->pairs);
	if (virtio_loaded(&d->v))
		return -EINVAL;
	offloads_set(d);
	return vnet_pairs_set(d, active);
}

/* "tap=NAME" and "fd=N" are words of bhyve's grammar, not options. */
static int vnet_conf_word(struct conf *conf, const char *id, const char *word, const char *origin)
{
	char key[64];

	if (strncmp(word, "tap=", 4) != 0 && strncmp(word, "fd=", 3) != 0)
		return 1;
	snprintf(key, sizeof(key), "%s.backend", id);
	return conf_set(conf, key, word, origin);
}

static const struct snap_field vnet_fields[] = {
	SNAP_STRUCT(struct vnet, v, virtio_fields, 1),
	SNAP_U16(struct vnet, active, 1),
	SNAP_END
};

static const struct opt vnet_opts[] = {
	{ "backend", OPT_STR, 0, 255, NULL, NULL, "network: " NET_FORMS, NULL },
	{ "mac", OPT_MAC, 0, 0, NULL, NULL, "MAC address; default: derived from name and slot", NULL },
	{ "mtu", OPT_U64, 0, 65535 - 18, "0", "bytes", "MTU told to the guest and set on the tap; 0: as it is", NULL },
	{ "queues", OPT_U64, 1, NET_PAIRS_MAX, "1", NULL, "queue pairs", NULL },
	{ "bridge", OPT_STR, 0, 15, NULL, NULL, "bridge the tap is added to", NULL },
	{ "bootindex", OPT_U64, 0, 255, NULL, NULL, "place in the firmware's boot order", NULL },
	OPT_LAST
};

const struct device_class virtio_net_class = {
	.name = "virtio-net", .help = "network interface", .size = sizeof(struct vnet),
	.opts = vnet_opts, .positional = "backend", .conf_word = vnet_conf_word,
	.init = vnet_init, .fini = vnet_fini, .reset = vnet_reset, .pause = vnet_pause, .resume = vnet_resume,
	.snap = vnet_fields, .snap_version = 1, .loaded = vnet_loaded, .net_port = vnet_port, .net_link = vnet_link, .pci = true,
};

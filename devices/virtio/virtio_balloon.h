/*
 * What the control socket does with a balloon.  Loop thread.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_VIRTIO_BALLOON_H

struct ctl_call;

/* The method `balloon`: sets how much memory the guest is to keep, and answers what it has given back and says of itself. */
int balloon_ctl(struct ctl_call *);

#endif

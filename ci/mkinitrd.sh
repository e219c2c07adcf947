#!/bin/sh
# ci/mkinitrd.sh guest|host|disks|full ARCH: build build/cache/ARCH/guest.cpio.gz (what boots inside skep) or host.cpio.gz (the fixed
# part of a test host) from busybox, the modules that ci/assets.sh fetched, and the init script; or disks.cpio.gz, drivers that
# few guests want, to be appended to a guest's; or full.cpio.gz, a guest's with all the drivers of Debian's general kernel.
# Instant when up to date.
set -eu
# shellcheck source=ci/apt.sh
. "$(dirname "$0")/apt.sh"

[ $# = 2 ] || die "usage: ci/mkinitrd.sh guest|host|disks|full ARCH"
kind=$1
cache=$top/build/cache/$2
from=$cache/modules
case $kind in
guest)
	init=$top/tests/guest-linux/init
	tools=ioload # of build/cache/ARCH/tools
	modules="virtio_pci virtio_blk virtio_net virtio_console virtio-rng virtio_balloon evdev button efivarfs qemu_fw_cfg" ;;
host)
	init=$top/tests/host/init
	tools='*'
	modules="kvm-amd kvm-intel tun vhost_net virtio_pci virtio_net" ;;
disks)
	init=$top/tests/guest-linux/init
	modules="virtio_scsi sd_mod sr_mod isofs" ;;
full)
	init=$top/tests/guest-linux/init
	tools=ioload
	from=$cache/full/modules
	modules=$(cut -d ' ' -f 1 "$from/deps") ;;
*) die "unknown kind of initramfs '$kind': use guest, host, disks or full" ;;
esac
[ -f "$cache/.stamp" ] || die "build/cache/$2 is empty: run ci/assets.sh $2"

out=$cache/$kind.cpio.gz
if [ -e "$out" ] && [ -z "$(find "$init" "$0" "$top/ci/cpio.py" "$cache/.stamp" "$from/deps" "$cache/tools" -newer "$out")" ]; then
	exit 0
fi

# programs: all but modules.
programs() {
	for d in bin dev proc sys run tmp root; do echo "dir /$d 0755"; done
	echo "nod /dev/console 0600 c 5 1"
	echo "nod /dev/null 0666 c 1 3"
	echo "file /bin/busybox $cache/busybox 0755"
	# Links, so that no script needs 'busybox --install', which costs a tenth of a second in a nested guest.
	while read -r applet; do
		if [ "$applet" != busybox ]; then echo "slink /bin/$applet busybox"; fi
	done <"$cache/applets"
	echo "slink /sbin bin"
	echo "file /init $init 0755"
	for tool in "$cache"/tools/$tools; do echo "file /bin/${tool##*/} $tool 0755"; done
	echo "file /m/deps $from/deps 0644"
}

list=$out.list
{
	if [ $kind = disks ]; then echo "dir /m 0755"; else programs; fi
	for m in $modules; do
		sed -n "s/^$m //p" "$from/deps"
	done | tr ' ' '\n' | sort -u | while read -r ko; do
		if [ -n "$ko" ]; then echo "file /m/$ko $from/$ko 0644"; fi
	done
} >"$list"
python3 "$top/ci/cpio.py" "$out" <"$list"
rm -f "$list"

#!/bin/sh
# ci/assets.sh ARCH: fill build/cache/ARCH (ARCH is x86 or arm64) with what test hosts and their guests are made of.
#
#   vmlinuz            Debian's cloud kernel, used as host and as guest
#   modules/*.ko deps  the modules either of them may load; a line of deps is "NAME FILE...", files in loading order
#   busybox applets    static busybox and the names of its applets
#   tools/*            tests/host/*.c, static
#   full/*             Debian's general kernel, for guests that want drivers the cloud kernel has not
#   guest.cpio.gz host.cpio.gz disks.cpio.gz full.cpio.gz   by ci/mkinitrd.sh
#
# Instant when up to date; installs nothing. Remove build/cache/ARCH to fetch a newer kernel.
set -eu
# shellcheck source=ci/apt.sh
. "$(dirname "$0")/apt.sh"

MODULES="kvm kvm-amd kvm-intel tun vhost_net virtio_pci virtio_mmio virtio_blk virtio_net virtio_console virtio-rng
	virtio_balloon virtio_scsi vmw_vsock_virtio_transport vhost_vsock virtiofs evdev button gpio_keys qemu_fw_cfg efivarfs
	sd_mod sr_mod isofs"
FULL_MODULES="virtio_pci virtio_blk virtio_net virtio_console ahci nvme virtio_scsi sd_mod sr_mod isofs evdev button"

[ $# = 1 ] || die "usage: ci/assets.sh x86|arm64"
arch=$1
deb=$(deb_arch "$arch")
cache=$top/build/cache/$arch
mkdir -p "$cache"

# kernel_package META: the image that the meta package stands for today.
kernel_package() {
	private_apt "$deb" apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

# find_module NAME: its path below the module directory; the kernel treats - and _ in names alike.
find_module() {
	_pat=$(echo "$1" | sed 's/[-_]/[-_]/g')
	(cd "$moddir" && find kernel -name "$_pat.ko*" | head -n 1)
}

# copy_module PATH: into $into/modules, uncompressed; prints its file name there.
copy_module() {
	_name=${1##*/}
	_name=${_name%%.ko*}.ko
	case $1 in
	*.ko) cp "$moddir/$1" "$into/modules/$_name" ;;
	*.ko.xz) xz -dc "$moddir/$1" >"$into/modules/$_name" ;;
	*.ko.zst) zstd -dqc "$moddir/$1" >"$into/modules/$_name" ;;
	*) die "do not know how to unpack module $1" ;;
	esac
	echo "$_name"
}

# fetch_kernel META DIR MODULES PACKAGE...: kernel, modules and deps into DIR; other packages are unpacked into $tree with it.
fetch_kernel() {
	_meta=$1
	into=$2
	_modules=$3
	shift 3
	command -v depmod >/dev/null || PATH=$PATH:/usr/sbin:/sbin
	command -v depmod >/dev/null || die "depmod is missing: run ci/setup.sh hosts"
	image=$(kernel_package "$_meta")
	if [ -z "$image" ]; then
		apt_refresh "$deb"
		image=$(kernel_package "$_meta")
		[ -n "$image" ] || die "Debian's package $_meta is not in the package sources of this machine"
	fi
	echo "assets: fetching $image $* for $deb"
	tree=$into/tree
	rm -rf "$tree" "$into/modules"
	mkdir -p "$into/modules"
	apt_unpack "$deb" "$tree" "$image" "$@"

	cp "$tree"/boot/vmlinuz-* "$into/vmlinuz"
	chmod 644 "$into/vmlinuz"
	for moddir in "$tree"/lib/modules/* "$tree"/usr/lib/modules/*; do
		if [ -d "$moddir/kernel" ]; then break; fi
	done
	release=${moddir##*/}
	depmod -b "${moddir%/lib/modules/*}" "$release"
	for m in $_modules; do
		path=$(find_module "$m")
		[ -n "$path" ] || continue # built in, or not in this kernel
		needs=$(sed -n "s,^$path: *,,p" "$moddir/modules.dep")
		line=
		for p in $path $needs; do # modules.dep names the nearest dependency first
			line="$(copy_module "$p") $line"
		done
		echo "$m ${line% }"
	done >"$into/modules/deps"
}

fetch() {
	fetch_kernel "linux-image-cloud-$deb" "$cache" "$MODULES" busybox-static
	for f in "$tree/bin/busybox" "$tree/usr/bin/busybox"; do
		if [ -f "$f" ]; then cp "$f" "$cache/busybox"; fi
	done
	rm -rf "$tree"
}

# build_applets: ask busybox itself, through qemu-user when it is of another architecture and binfmt is not set up.
build_applets() {
	case $arch in x86) emu=qemu-x86_64-static ;; arm64) emu=qemu-aarch64-static ;; esac
	if [ "$arch" = "$(host_arch)" ]; then
		emu=
	else
		command -v "$emu" >/dev/null || die "$emu is missing: run ci/setup.sh hosts"
	fi
	$emu "$cache/busybox" --list >"$cache/applets"
}

# build_tools: the C programs of tests/host, static.
build_tools() {
	case $arch in x86) cc=x86_64-linux-gnu-gcc ;; arm64) cc=aarch64-linux-gnu-gcc ;; esac
	if [ "$arch" = "$(host_arch)" ]; then cc=${CC:-gcc}; group=build; else group=cross; fi
	mkdir -p "$cache/tools"
	for src in "$top"/tests/host/*.c; do
		tool=$cache/tools/$(basename "$src" .c)
		if [ -e "$tool" ] && [ -z "$(find "$src" -newer "$tool")" ]; then continue; fi
		command -v "$cc" >/dev/null || die "$cc is missing: run ci/setup.sh $group"
		"$cc" -static -Os -s -Wall -Wextra -Werror -o "$tool" "$src"
	done
}

stamp="2 $MODULES"
if [ "$(cat "$cache/.stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -f "$cache/.stamp"
	fetch
	build_applets
	echo "$stamp" >"$cache/.stamp"
fi
stamp="1 $FULL_MODULES"
if [ "$(cat "$cache/full/.stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -f "$cache/full/.stamp"
	fetch_kernel "linux-image-$deb" "$cache/full" "$FULL_MODULES"
	rm -rf "$tree"
	echo "$stamp" >"$cache/full/.stamp"
fi
build_tools
"$top/ci/mkinitrd.sh" guest "$arch"
"$top/ci/mkinitrd.sh" host "$arch"
"$top/ci/mkinitrd.sh" disks "$arch"
"$top/ci/mkinitrd.sh" full "$arch"

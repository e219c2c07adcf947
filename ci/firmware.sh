#!/bin/sh
# ci/firmware.sh ARCH: fill build/cache/ARCH/firmware (ARCH is x86 or arm64) with what the firmware scenarios need.
#
#   usr/...               firmware files of Debian's packages, at the paths they have when installed
#   boot/*.efi            systemd-boot and GRUB, from packages
#   di/linux initrd.gz    Debian's installer, for direct boot
#   disk.img              GPT, an EFI system partition with systemd-boot, the cloud kernel and the guest initramfs
#   cd.iso                El Torito (EFI) with GRUB, kernel and initramfs in ISO 9660
#
# Instant when up to date; installs nothing, needs ci/setup.sh firmware. Call ci/assets.sh first.
set -eu
# shellcheck source=ci/apt.sh
. "$(dirname "$0")/apt.sh"

[ $# = 1 ] || die "usage: ci/firmware.sh x86|arm64"
arch=$1
deb=$(deb_arch "$arch")
cache=$top/build/cache/$arch
out=$cache/firmware
[ -f "$cache/.stamp" ] || die "build/cache/$arch is empty: run ci/assets.sh $arch"
case $arch in
x86)
	removable=BOOTX64.EFI tty=ttyS0 sd=systemd-bootx64.efi grub=x86_64-efi/monolithic/gcdx64.efi
	packages="ovmf u-boot-qemu grub-efi-amd64-bin"
	files="usr/share/OVMF/OVMF_CODE_4M.fd usr/share/OVMF/OVMF_VARS_4M.fd usr/share/OVMF/OVMF_CODE_4M.secboot.fd
		usr/share/ovmf/OVMF.fd usr/lib/u-boot/qemu-x86_64/u-boot.rom" ;;
arm64)
	removable=BOOTAA64.EFI tty=ttyAMA0 sd=systemd-bootaa64.efi grub=arm64-efi/monolithic/gcdaa64.efi
	packages="qemu-efi-aarch64 u-boot-qemu grub-efi-arm64-bin"
	files="usr/share/AAVMF/AAVMF_CODE.fd usr/share/AAVMF/AAVMF_VARS.fd usr/share/qemu-efi-aarch64/QEMU_EFI.fd
		usr/lib/u-boot/qemu_arm64/u-boot.bin" ;;
esac
packages="$packages systemd-boot-efi debian-installer-12-netboot-$deb"

fetch() {
	echo "firmware: fetching $packages for $deb"
	tree=$out/tree
	rm -rf "$out"
	mkdir -p "$out/boot" "$out/di"
	# shellcheck disable=SC2086
	apt_unpack "$deb" "$tree" $packages
	for f in $files; do
		mkdir -p "$out/${f%/*}"
		cp -L "$tree/$f" "$out/$f" || die "Debian's packages have no $f"
	done
	cp "$tree/usr/lib/systemd/boot/efi/$sd" "$out/boot/sd-boot.efi"
	cp "$tree/usr/lib/grub/$grub" "$out/boot/grub.efi"
	netboot=$tree/usr/lib/debian-installer/images/12/$deb/text/debian-installer/$deb
	cp "$netboot/linux" "$netboot/initrd.gz" "$out/di/"
	rm -rf "$tree"
}

options() { echo "console=$tty quiet panic=-1 skep.do=fw skep.from=$1"; }

# fat FILE MIB VOLUME: an empty file system with the directory that firmware looks into.
fat() {
	rm -f "$1"
	truncate -s "$2M" "$1"
	mformat -i "$1" -v "$3" ::
	mmd -i "$1" ::/EFI ::/EFI/BOOT
}

# What a distribution's installed disk looks like: GPT, one EFI system partition that systemd-boot starts the kernel from.
build_disk() {
	esp=$work/esp.img
	mib=$(($(cat "$cache/vmlinuz" "$cache/guest.cpio.gz" "$out/boot/sd-boot.efi" | wc -c) / 1048576 + 3))
	fat "$esp" $mib ESP
	mmd -i "$esp" ::/loader ::/loader/entries
	printf 'default skep.conf\ntimeout 0\n' >"$work/loader.conf"
	printf 'title skep\nlinux /vmlinuz\ninitrd /initrd.gz\noptions %s\n' "$(options disk)" >"$work/skep.conf"
	mcopy -i "$esp" "$out/boot/sd-boot.efi" "::/EFI/BOOT/$removable"
	mcopy -i "$esp" "$work/loader.conf" ::/loader/loader.conf
	mcopy -i "$esp" "$work/skep.conf" ::/loader/entries/skep.conf
	mcopy -i "$esp" "$cache/vmlinuz" ::/vmlinuz
	mcopy -i "$esp" "$cache/guest.cpio.gz" ::/initrd.gz

	rm -f "$work/disk.img"
	truncate -s $((mib + 2))M "$work/disk.img"
	sgdisk -o -n "1:2048:+${mib}M" -t 1:ef00 -c 1:ESP -u 1:5ce90000-0000-4000-8000-000000000001 "$work/disk.img" >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2; die "sgdisk failed"; }
	dd if="$esp" of="$work/disk.img" bs=1M seek=1 conv=notrunc,sparse status=none
	mv "$work/disk.img" "$out/disk.img"
}

# What an installation medium looks like: a boot image for EFI that holds GRUB, everything else in ISO 9660.
build_iso() {
	root=$work/iso
	mkdir -p "$root/boot/grub" "$root/.disk"
	echo skep >"$root/.disk/info"
	cat >"$root/boot/grub/grub.cfg" <<END
linux /vmlinuz $(options iso)
initrd /initrd.gz
boot
END
	cp "$cache/vmlinuz" "$root/vmlinuz"
	cp "$cache/guest.cpio.gz" "$root/initrd.gz"
	fat "$root/boot/efi.img" 5 EFIBOOT
	mcopy -i "$root/boot/efi.img" "$out/boot/grub.efi" "::/EFI/BOOT/$removable"
	xorriso -report_about SORRY -as mkisofs -o "$work/cd.iso" -V SKEP -R -J -c boot/boot.cat \
		-eltorito-alt-boot -e boot/efi.img -no-emul-boot "$root" >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2; die "xorriso failed"; }
	mv "$work/cd.iso" "$out/cd.iso"
}

for tool in mformat sgdisk xorriso; do
	command -v $tool >/dev/null || die "$tool is missing: run ci/setup.sh firmware"
done
stamp="1 $packages $files"
if [ "$(cat "$out/.stamp" 2>/dev/null)" != "$stamp" ]; then
	fetch
	echo "$stamp" >"$out/.stamp"
fi
if [ ! -e "$out/cd.iso" ] || [ -n "$(find "$cache/vmlinuz" "$cache/guest.cpio.gz" "$out/.stamp" "$0" -newer "$out/cd.iso")" ]; then
	work=$out/work
	rm -rf "$work"
	mkdir -p "$work"
	build_disk
	build_iso
	rm -rf "$work"
fi

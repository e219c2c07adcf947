#!/bin/bash
# ci/bench.sh [x86] [arm64]: figures under the instruction clock (one instruction is one nanosecond), so that they repeat
# whatever the machine is doing: boot of a 1-vCPU 256 MiB Linux guest from process start to process exit.  On x86, QEMU's
# microvm runs in the same host.  Then disk I/O of such a guest under skep and QEMU, each in a host of its own.  It misleads
# where real hardware is not one instruction a nanosecond: exits cost more there.
set -eu
cd "$(dirname "$0")/.."
. ci/apt.sh
ci/setup.sh build test hosts

# QEMU for arm64 is not installed: its package and those of the libraries it names are unpacked for the host.
qemu_files_arm64() {
	local root=build/cache/arm64/qemu f
	if [ ! -e $root/.stamp ]; then
		for f in $(ci/libs.py /usr/bin/qemu-system-x86_64 /); do
			dpkg -S "$(readlink -f "${f%%:*}")" 2>/dev/null || dpkg -S "${f%%:*}" 2>/dev/null
		done | cut -d: -f1 | sort -u >build/cache/arm64/qemu.packages
		# shellcheck disable=SC2046
		apt_unpack arm64 $root qemu-system-arm $(cat build/cache/arm64/qemu.packages)
		touch $root/.stamp
	fi
	echo "--add $root/usr/bin/qemu-system-aarch64:qemu/qemu-system-aarch64"
	for f in $(ci/libs.py $root/usr/bin/qemu-system-aarch64 $root); do
		echo "--add $f"
	done
}

# disk ARCH HOST FORMAT WHO FILES...: in a host of its own.  On the emulated SVM a guest now and then takes an interrupt where it
# has them off, and waits for itself for ever, whoever runs it.  That depends on the count of instructions, so the
# next try gets there another way.
disk() {
	local arch=$1 host=$2 fmt=$3 who=$4 try lines
	shift 4
	for try in 1 2 3; do
		lines=$(timeout 300 ci/host.py --icount --memory 3072 --skep "build/$arch/skep.stripped" "$@" --add tests/bench/disk.sh:t/disk.sh \
			--exec "fmt=$fmt who=$who try=$try; . /t/disk.sh" "$host" 2>&1 | grep -o 'BENCH.*') || :
		echo "$lines"
		[ "$(echo "$lines" | grep -c 'BENCH disk')" != 5 ] || return 0
		echo "try $try of $who with $fmt did not end"
	done
	return 1
}

qemu_files() {
	local data f
	echo "--add /usr/bin/qemu-system-x86_64:qemu/qemu-system-x86_64"
	for data in qboot.rom bios-microvm.bin bios-256k.bin linuxboot_dma.bin pvh.bin kvmvapic.bin; do
		for f in /usr/share/qemu /usr/share/seabios; do
			[ ! -e "$f/$data" ] || { echo "--add $f/$data:qemu/$data"; break; }
		done
	done
	for f in $(ci/libs.py /usr/bin/qemu-system-x86_64 /); do
		echo "--add $f"
	done
}

for arch in "${@:-x86 arm64}"; do
	for a in $arch; do
		ci/assets.sh "$a"
		make --no-print-directory "ARCH=$a" strip "build/$a/tests/bench/timed" >/dev/null
		host=svm extra=
		if [ "$a" = arm64 ]; then host=gicv3; else extra=$(qemu_files); fi
		echo "== $a, host $host, instruction clock; static binary $(stat -c %s "build/$a/skep.stripped") bytes"
		# shellcheck disable=SC2086
		ci/host.py --icount --memory 3072 --skep "build/$a/skep.stripped" $extra --add "build/$a/tests/bench/timed:bin/timed" \
			--add tests/bench/boot.sh:t/boot.sh --exec "sh /t/boot.sh ${RUNS:-3}" "$host" | grep BENCH
		[ "$a" = x86 ] || extra=$(qemu_files_arm64)
		for fmt in raw qcow2; do
			disk "$a" "$host" $fmt skep
			# shellcheck disable=SC2086
			disk "$a" "$host" $fmt qemu $extra
		done
	done
done

#!/bin/bash
# ci/bench.sh [x86] [arm64]: figures under the instruction clock (one instruction is one nanosecond), so that they repeat
# whatever the machine is doing: boot of a 1-vCPU 256 MiB Linux guest from process start to process exit.  On x86, QEMU's
# microvm runs in the same host.  It misleads where real hardware is not one instruction a nanosecond: exits cost
# more there.
set -eu
cd "$(dirname "$0")/.."
ci/setup.sh build test hosts

qemu_files() {
	local data f
	echo "--add /usr/bin/qemu-system-x86_64:qemu/qemu-system-x86_64"
	for data in qboot.rom bios-microvm.bin linuxboot_dma.bin pvh.bin; do
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
	done
done

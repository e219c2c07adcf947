#!/bin/bash
# ci/exits.sh report|cost [x86] [arm64]: exit profiles of the workload kit (tests/guest/exits.c), in test hosts under the instruction
# clock, so that they repeat.
#
#   report   every workload in a machine of its own, all in one, and a Linux boot, on both architectures.  build/exits/report.html
#            and report.txt say where the two differ, build/exits/ARCH/NAME.json are the profiles, NAME.html a page for each.
#   cost     what counting exits adds to a guest that does nothing but leave; at most 2 % (tests/bench/exits.sh)
set -eu
cd "$(dirname "$0")/.."
. ci/apt.sh

what=${1:-}
shift || :
[ $# -gt 0 ] || set -- x86 arm64
out=build/exits
host_of() { case $1 in x86) echo svm ;; arm64) echo gicv3 ;; *) die "no architecture '$1': use x86 or arm64" ;; esac; }

prepare() {
	ci/setup.sh build hosts
	ci/assets.sh "$1"
	make --no-print-directory "ARCH=$1" strip guests >/dev/null || die "skep or its guests do not build for $1"
}

# profiles ARCH: one run of its host; build/exits/ARCH/*.json.
profiles() {
	local arch=$1 host sent
	host=$(host_of "$arch")
	sent=build/hosts/$host/out/profiles.tgz
	rm -rf "${out:?}/$arch" "$sent"
	mkdir -p "$out/$arch"
	echo "send the profiles" >"$out/exits.conf"
	# The clock is the instructions', so limits of time are the emulator's business, not the machine's.
	ci/host.py --icount --slow 4 --skep "build/$arch/skep.stripped" --add "$out/exits.conf:t/exits.conf" "$host" exits ||
		die "the workloads failed in the $host host: see build/hosts/$host.log"
	[ -s "$sent" ] || die "the $host host sent no profiles: see build/hosts/$host.log"
	tar -xzf "$sent" -C "$out/$arch"
}

# names: what ran on both, in the kit's order, the whole and the large one last.
names() {
	sed -n 's/^WORK \([a-z]*\) count=.*/\1/p' $out/x86/works
	echo kit linux
}

title() {
	case $1 in
	uart) echo "uart: bytes to the first serial port" ;;
	mmio) echo "mmio: registers of a device, written and read in all widths" ;;
	kick) echo "kick: requests to a virtio device, each with its notification" ;;
	timer) echo "timer: interrupts of the CPU's own timer while it computes" ;;
	idle) echo "idle: sleeping until the timer wakes" ;;
	ipi) echo "ipi: interrupts between two sleeping CPUs, there and back" ;;
	pgtable) echo "pgtable: pages mapped, written for the first time, and unmapped" ;;
	fp) echo "fp: two contexts that take the floating-point registers from each other" ;;
	sysreg) echo "sysreg: a register whose reads trap" ;;
	hypercall) echo "hypercall: calls of the hypervisor" ;;
	reset) echo "reset: the machine resets itself" ;;
	kit) echo "kit: all workloads in one machine" ;;
	linux) echo "linux: a Linux kernel boots to its first program and powers off" ;;
	*) echo "$1" ;;
	esac
}

# The page of all workloads, then a picture for each.
page() {
	local skep=$1 name
	sed 's,</body>.*,,' $out/kit.html
	for name in $(names); do
		[ "$name" != kit ] || continue
		echo "<h2 id=\"$name\">$(title "$name")</h2><p><a href=\"$name.html\">All of it</a></p>"
		"$skep" exits compare --svg - $out/x86/"$name".json $out/arm64/"$name".json | sed '/^<?xml/d'
	done
	echo "</body></html>"
}

text() {
	local skep=$1 name
	echo "Exits of the workload kit, x86 (SVM host) and arm64 (GICv3 host), under the instruction clock: make exits"
	for name in $(names); do
		printf '\n== %s\n' "$(title "$name")"
		"$skep" exits compare $out/x86/"$name".json $out/arm64/"$name".json
	done
}

report() {
	local skep=build/$HOST_ARCH/skep.stripped arch name
	for arch; do
		prepare "$arch"
	done
	[ -x "$skep" ] || prepare "$HOST_ARCH"
	for arch; do
		profiles "$arch"
	done
	for name in $(names); do
		for arch in x86 arm64; do
			[ -s "$out/$arch/$name.json" ] || die "there is no profile $out/$arch/$name.json: run 'ci/exits.sh report $arch'"
		done
		"$skep" exits compare --html $out/"$name".html $out/x86/"$name".json $out/arm64/"$name".json >/dev/null ||
			die "no page of $name: 'skep exits compare' failed"
	done
	text "$skep" >$out/report.txt
	page "$skep" >$out/report.html
	echo "build/exits/report.html and build/exits/report.txt: $(names | wc -w) workloads on two architectures"
}

cost() {
	local arch status=0
	for arch; do
		prepare "$arch"
		echo "== $arch, host $(host_of "$arch"), instruction clock"
		ci/host.py --icount --skep "build/$arch/skep.stripped" --add tests/bench/exits.sh:t/cost.sh --exec "runs=${RUNS:-3} sh /t/cost.sh" \
			"$(host_of "$arch")" >build/exits-cost.log 2>&1 || status=1
		grep -o 'BENCH.*' build/exits-cost.log || { echo "no figures: see build/exits-cost.log"; status=1; }
	done
	return $status
}

HOST_ARCH=$(uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
case $what in
report | cost) "$what" "$@" ;;
*) die "usage: ci/exits.sh report|cost [x86] [arm64]" ;;
esac

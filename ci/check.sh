#!/bin/bash
# ci/check.sh GROUP...: builds what the groups need, runs them, adds up their closing lines.
#
#   unit-x86 unit-arm64   unit and device tests with sanitizers, or through qemu-user for the foreign architecture
#   fuzz                  fuzz targets on their corpus and some mutations, with sanitizers
#   img                   skep img against qemu-img and qemu-io, sanitized, and the foreign architecture's through qemu-user
#   html                  the page of skep exits in a browser
#   crash                 disk images after power failures, for two and a half minutes
#   clang                 both architectures build with clang, warnings being errors
#   size                  the static binaries of both architectures are at most 2 MiB
#   schema                what the control socket says, against docs/control.schema.json
#   tree                  rules of the source tree
#   svm gicv3 gicv2 vtx   scenarios in a test host
#   fw-svm fw-gicv3 fw-gicv2   the same with firmware: tests/host/firmware
#
# The last line is 'N passed, N failed'.  A group that could not run at all counts as failed and is named.
set -u
cd "$(dirname "$0")/.." || exit 1
out=build/check
mkdir -p "$out"
host=$(uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
jobs=$(nproc)

build() {
	make --no-print-directory -j"$jobs" "$@" >"$out/build-$BASHPID.log" 2>&1 || {
		grep -E 'error|Error|undefined|sysroot|setup' "$out/build-$BASHPID.log" | head -n 30
		return 1
	}
}

unit() {
	if [ "$1" = "$host" ]; then
		build "ARCH=$1" SAN=address,undefined unit-tests || return 1
		mapfile -t tests < <(find "build/$1/san-address-undefined/tests/unit" -name '*_test' -type f | sort)
		tests/unit/run.sh "unit-$1" "${tests[@]}"
	else
		build "ARCH=$1" unit-tests || return 1
		mapfile -t tests < <(find "build/$1/tests/unit" -name '*_test' -type f | sort)
		tests/unit/run.sh "unit-$1" -e "qemu-$(sed 's/x86/x86_64/; s/arm64/aarch64/' <<<"$1")-static" "${tests[@]}"
	fi
}

# The sanitizer build is dynamic: the host gets its libraries too.
san_files() {
	local bin=build/$1/san-address-undefined/skep root=/ lib
	[ "$1" = "$host" ] || root=/usr/$([ "$1" = arm64 ] && echo aarch64 || echo x86_64)-linux-gnu/
	echo "--add $bin:bin/skep-san"
	for lib in $(ci/libs.py "$bin" "$root"); do
		echo "--add $lib"
	done
}

arch_of() { case $1 in gic*) echo arm64 ;; *) echo x86 ;; esac; }

# Everything a host needs, so that hosts can then run side by side.
prepare() {
	local arch
	arch=$(arch_of "$1")
	ci/setup.sh hosts || return 1
	[ "$1" != vtx ] || ci/setup.sh vtx || return 1
	ci/assets.sh "$arch" || return 1
	build "ARCH=$arch" all guests || return 1
	build "ARCH=$arch" SAN=address,undefined all
}

scenarios() {
	# Two hosts share two cores, so time limits are doubled.
	# shellcheck disable=SC2046
	prepare "$1" && ci/host.py --slow 2 $(san_files "$(arch_of "$1")") "$1"
}

# Firmware needs memory for its files, and in the SVM host the instruction clock: OVMF's writes to CR8 abort the emulator without
# it. The host's seconds pass slowly then, so that much silence is no sign of a frozen host.
firmware() {
	local options=(--firmware --memory 3072 --slow 2)
	[ "$1" != svm ] || options+=(--icount --timeout 300)
	prepare_firmware "$1" && ci/host.py "${options[@]}" "$1"
}

prepare_firmware() {
	local arch
	arch=$(arch_of "$1")
	ci/setup.sh hosts firmware && ci/assets.sh "$arch" && ci/firmware.sh "$arch" && build "ARCH=$arch" all
}

fuzz() {
	local targets
	build SAN=address,undefined fuzz || return 1
	mapfile -t targets < <(find "build/$host/san-address-undefined/tests/fuzz" -maxdepth 1 -type f -executable | sort)
	tests/fuzz/run.sh fuzz "${targets[@]}"
}

img() {
	local arch emu passed=0 failed=0 counts p f
	ci/setup.sh test hosts || return 1
	for arch in x86 arm64; do
		emu=
		if [ "$arch" = "$host" ]; then
			build "ARCH=$arch" SAN=address,undefined all || return 1
			bin=build/$arch/san-address-undefined/skep
		else
			build "ARCH=$arch" all || return 1
			bin=build/$arch/skep
			emu=qemu-$(sed 's/x86/x86_64/; s/arm64/aarch64/' <<<"$arch")-static
		fi
		# shellcheck disable=SC2086
		counts=$(tests/img/run.sh "img-$arch" $emu $bin)
		grep -vE '^[0-9]+ passed' <<<"$counts"
		read -r p _ f _ <<<"$(tail -n 1 <<<"$counts")"
		passed=$((passed + p)) failed=$((failed + f))
	done
	echo "$passed passed, $failed failed"
}

html() {
	ci/setup.sh browser || return 1
	build "ARCH=$host" SAN=address,undefined all || return 1
	tests/html/run.sh "$host" "build/$host/san-address-undefined/skep"
}

# Seeds follow the day, so that no two days try the same; the failing one is printed.
crash() {
	build "ARCH=$host" crash || return 1
	timeout 600 "build/$host/tests/crash/crash" -t 150 -s "${CRASH_SEED:-$(date +%j000)}" 2>&1
}

clang() {
	local arch passed=0 failed=0
	ci/setup.sh clang || return 1
	for arch in x86 arm64; do
		if build "ARCH=$arch" CC=clang all; then
			passed=$((passed + 1))
			echo "ok   clang/$arch"
		else
			failed=$((failed + 1))
			echo "FAIL clang/$arch"
		fi
	done
	echo "$passed passed, $failed failed"
}

# The unit test of the control socket's methods writes down what was said.
schema() {
	ci/setup.sh test || return 1
	build "ARCH=$host" "build/$host/tests/unit/common/ctl_methods_test" || return 1
	rm -f "$out/control.transcript"
	CTL_TRANSCRIPT=$out/control.transcript "build/$host/tests/unit/common/ctl_methods_test" >/dev/null 2>&1
	ci/schema.py "$out/control.transcript"
}

# Static and stripped, at most 2 MiB.
size() {
	local arch bytes passed=0 failed=0
	for arch in x86 arm64; do
		if build "ARCH=$arch" strip && bytes=$(stat -c %s "build/$arch/skep.stripped") && [ "$bytes" -le 2097152 ] &&
			! readelf -l "build/$arch/skep.stripped" | grep -q INTERP; then
			passed=$((passed + 1))
			echo "ok   size/$arch ($bytes bytes)"
		else
			failed=$((failed + 1))
			echo "FAIL size/$arch (${bytes:-no} bytes)"
		fi
	done
	echo "$passed passed, $failed failed"
}

group() {
	case $1 in
	unit-x86 | unit-arm64) unit "${1#unit-}" ;;
	img) img ;;
	html) html ;;
	clang) clang ;;
	size) size ;;
	fuzz) fuzz ;;
	crash) crash ;;
	schema) schema ;;
	tree) ci/tree.sh ;;
	svm | gicv3 | gicv2 | vtx) scenarios "$1" ;;
	fw-svm | fw-gicv3 | fw-gicv2) firmware "${1#fw-}" ;;
	*) echo "no group '$1'"; return 1 ;;
	esac
}

passed=0 failed=0 skipped=

run_group() {
	local start=$SECONDS
	group "$1" >"$out/$1.log" 2>&1
	echo "$((SECONDS - start))" >"$out/$1.time"
}

report() {
	local counts p f
	echo "== $1: $(cat "$out/$1.time") s"
	grep -vE '^[0-9]+ passed, [0-9]+ failed$' "$out/$1.log"
	if counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out/$1.log" | tail -n 1) && [ "$counts" != "0 passed, 0 failed" ]; then
		read -r p _ f _ <<<"$counts"
		passed=$((passed + p))
		failed=$((failed + f))
	else
		skipped="$skipped $1"
		failed=$((failed + 1))
	fi
}

# The SVM host emulates one CPU: it runs beside the groups after it.
beside=
for g in "$@"; do
	case $g in
	svm | fw-svm)
		if [ "$#" -gt 1 ] && [ -z "$beside" ]; then
			for other in "$@"; do
				case $other in
				svm | gic*) prepare "$other" || echo "$other cannot be prepared" ;;
				fw-*) prepare_firmware "${other#fw-}" || echo "$other cannot be prepared" ;;
				esac
			done
			run_group "$g" &
			beside=$g pid=$!
			continue
		fi ;;
	esac
	run_group "$g"
	report "$g"
done
if [ -n "$beside" ]; then
	wait "$pid"
	report "$beside"
fi
[ -z "$skipped" ] || echo "did not run:$skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

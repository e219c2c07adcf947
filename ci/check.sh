#!/bin/bash
# ci/check.sh GROUP...: builds what the groups need, runs them, adds up their closing lines.
#
#   unit-x86 unit-arm64   unit and device tests with sanitizers, or through qemu-user for the foreign architecture
#   clang                 both architectures build with clang, warnings being errors
#   tree                  rules of the source tree
#   svm gicv3 gicv2 vtx   scenarios in a test host
#
# The last line is 'N passed, N failed'.  A group that could not run at all counts as failed and is named.
set -u
cd "$(dirname "$0")/.." || exit 1
out=build/check
mkdir -p "$out"
host=$(uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
jobs=$(nproc)

build() {
	make --no-print-directory -j"$jobs" "$@" >"$out/build.log" 2>&1 || {
		grep -E 'error|Error|undefined|sysroot|setup' "$out/build.log" | head -n 30
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

scenarios() {
	local arch=x86
	[ "${1#gic}" = "$1" ] || arch=arm64
	ci/setup.sh hosts || return 1
	[ "$1" != vtx ] || ci/setup.sh vtx || return 1
	ci/assets.sh "$arch" || return 1
	build "ARCH=$arch" all guests || return 1
	build "ARCH=$arch" SAN=address,undefined all || return 1
	# shellcheck disable=SC2046
	ci/host.py $(san_files "$arch") "$1"
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

group() {
	case $1 in
	unit-x86 | unit-arm64) unit "${1#unit-}" ;;
	clang) clang ;;
	tree) ci/tree.sh ;;
	svm | gicv3 | gicv2 | vtx) scenarios "$1" ;;
	*) echo "no group '$1'"; return 1 ;;
	esac
}

passed=0 failed=0 skipped=
for g in "$@"; do
	echo "== $g"
	start=$SECONDS
	group "$g" 2>&1 | tee "$out/$g.log" | grep -vE '^[0-9]+ passed, [0-9]+ failed$'
	if counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out/$g.log" | tail -n 1) && [ "$counts" != "0 passed, 0 failed" ]; then
		read -r p _ f _ <<<"$counts"
		passed=$((passed + p))
		failed=$((failed + f))
	else
		skipped="$skipped $g"
		failed=$((failed + 1))
	fi
	echo "== $g: $((SECONDS - start)) s"
done
[ -z "$skipped" ] || echo "did not run:$skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

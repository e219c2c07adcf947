#!/bin/sh
# ci/setup.sh: get the Debian packages that building and testing need.
#
#   ci/setup.sh GROUP...       install groups: build clang cross test hosts vtx firmware browser (or: all)
#   ci/setup.sh sysroot ARCH   unpack the libraries of ARCH (x86, arm64) into build/ARCH/sysroot, installing nothing
#
# Does nothing, and asks the network for nothing, when all is there already.
set -eu
# shellcheck source=ci/apt.sh
. "$(dirname "$0")/apt.sh"

LIBS="libfdt-dev libelf-dev libjansson-dev liburing-dev zlib1g-dev libzstd-dev"

group_packages() {
	case $1 in
	build) echo "gcc make libc6-dev $LIBS scdoc" ;;
	clang) echo "clang" ;;
	cross)
		case $(host_arch) in
		x86) echo "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
		arm64) echo "gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;;
		esac ;;
	test) echo "check qemu-user-static device-tree-compiler acpica-tools python3 python3-jsonschema python3-prometheus-client shellcheck qemu-utils" ;;
	hosts) echo "gdb-multiarch qemu-system-x86 qemu-system-arm qemu-user-static python3 gzip xz-utils kmod" ;;
	firmware) echo "mtools gdisk xorriso" ;;
	browser) echo "chromium fonts-dejavu-core python3" ;;
	vtx) echo "bochs bochsbios vgabios isolinux syslinux-common xorriso" ;;
	all) for _g in build clang cross test hosts firmware browser; do group_packages "$_g"; done
	     if [ "$(host_arch)" = x86 ]; then group_packages vtx; fi ;;
	*) die "unknown group '$1': use build, clang, cross, test, hosts, vtx, firmware, browser, all or 'sysroot ARCH'" ;;
	esac
}

# missing PACKAGE...: those not installed.
missing() {
	# shellcheck disable=SC2016
	_have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p') || :
	for _p in "$@"; do
		case "
$_have
" in
		*"
$_p
"*) ;;
		*) echo "$_p" ;;
		esac
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# known PACKAGE...: does apt know where to get all of them?
known() {
	for _p in "$@"; do
		apt-cache show --no-all-versions "$_p" >/dev/null 2>&1 || return 1
	done
}

install_packages() {
	# shellcheck disable=SC2046
	set -- $(missing "$@")
	[ $# -gt 0 ] || return 0
	echo "setup: installing $*"
	if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && command -v sudo >/dev/null; }; then
		die "these Debian packages are missing, and installing them needs root or sudo: $*"
	fi
	mkdir -p "$top/build"
	log=$top/build/setup.log
	: >"$log"
	known "$@" || apt_system update >>"$log" 2>&1 || :
	if ! apt_system install "$@" >>"$log" 2>&1; then
		# Lists older than the archive name files that are gone.
		apt_system update >>"$log" 2>&1 || :
		apt_system install "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "cannot install $* (log: build/setup.log)"; }
	fi
}

# apt_system update|install ...: the machine's own apt, waiting while another one holds the lock.
apt_system() {
	_what=$1
	shift
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
		--no-install-recommends "$_what" "$@"
}

# sysroot ARCH: headers and static libraries that the cross compiler lacks. check is for the unit tests.
sysroot() {
	deb=$(deb_arch "$1")
	dir=$top/build/$1/sysroot
	want="$LIBS check libsubunit-dev"
	if [ "$(cat "$dir/.stamp" 2>/dev/null)" = "$want" ]; then return 0; fi
	echo "setup: unpacking $want for $deb into build/$1/sysroot"
	rm -rf "$dir" "$dir.new"
	mkdir -p "$dir.new"
	# shellcheck disable=SC2086
	apt_unpack "$deb" "$dir.new" $want
	rm -rf "$dir.new/usr/share/doc" "$dir.new/usr/share/man"
	echo "$want" >"$dir.new/.stamp"
	mv "$dir.new" "$dir"
}

[ $# -gt 0 ] || die "usage: ci/setup.sh GROUP... | sysroot ARCH  (groups: build clang cross test hosts vtx firmware browser all)"
if [ "$1" = sysroot ]; then
	[ $# = 2 ] || die "usage: ci/setup.sh sysroot x86|arm64"
	sysroot "$2"
	exit 0
fi
packages=
for g in "$@"; do
	p=$(group_packages "$g")
	packages="$packages $p"
done
# shellcheck disable=SC2086
install_packages $packages

#!/bin/sh
# ci/man.sh SRC SKEP: prints the man page of docs/man/X.scd. A line @OPTIONS@, @KEYS@, @DEVICES@ or @METHODS@ stands for what
# SKEP says of itself: 'SKEP help --scdoc run', 'keys', 'devices' or 'ctl'. SKEP may be of the other architecture: qemu-user runs it.
# ci/man.sh --completion SKEP: prints the completion for bash.
set -eu

die() { echo "man.sh: $*" >&2; exit 1; }

[ $# = 2 ] || die "usage: ci/man.sh SRC|--completion SKEP"
src=$1 skep=$2
[ "$src" = --completion ] || [ -r "$src" ] || die "cannot read $src"
[ -x "$skep" ] || die "$skep is missing: run 'make'"
# emulator FILE: what it takes to run it here, by the machine number in its ELF header (62: x86-64, 183: arm64).
emulator() {
	case $(od -An -tu2 -j18 -N2 "$1" | tr -d ' ')/$(uname -m) in
	62/x86_64 | 183/aarch64) ;;
	62/*) echo qemu-x86_64-static ;;
	183/*) echo qemu-aarch64-static ;;
	*) die "$1 is no program for x86-64 or arm64" ;;
	esac
}
emu=$(emulator "$skep")
[ -z "$emu" ] || command -v "$emu" >/dev/null || die "$emu is missing: run 'ci/setup.sh hosts'"
[ "$src" != --completion ] || exec $emu "$skep" completion bash
command -v scdoc >/dev/null || die "scdoc is missing: run 'ci/setup.sh build'"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
page() {
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		@OPTIONS@) topic=run ;;
		@KEYS@) topic=keys ;;
		@DEVICES@) topic=devices ;;
		@METHODS@) topic=ctl ;;
		*) printf '%s\n' "$line"; continue ;;
		esac
		$emu "$skep" help --scdoc $topic || return
	done <"$src"
}
page >"$tmp/page.scd" || die "'$skep help --scdoc' failed"
scdoc <"$tmp/page.scd" >"$tmp/page" || die "scdoc refuses the page made from $src"
cat "$tmp/page"

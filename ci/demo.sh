#!/bin/sh
# ci/demo.sh [ARCH]: boot a Linux guest and show its console. 'make demo' builds skep first.
#
# On a terminal the guest gives a shell; else a scripted run prints the console, types 'exit', and exit status 0 means that
# the guest reached its userspace and skep ended with 0. The guest runs on this machine's KVM when `skep doctor` proves
# that it works, and in an emulated machine with KVM (ci/host.py) when it does not.
#
# 'ci/demo.sh inside shell|script [HINT]' is the part that runs beside skep, here or there: SKEP, GUEST and GUEST_TTY say where
# things are. It is for busybox sh, too.
set -eu

die() { echo "demo: $*" >&2; exit 1; }

# --- beside skep ---

# Replaces the shell that calls it.
skep_run() {
	exec "$SKEP" run -c "2" -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" \
		--append "console=$GUEST_TTY quiet panic=-1 skep.do=shell" --once demo
}

# The line that the scripted run's output begins with, see below.
say_command() {
	echo "\$ skep run -c 2 -m 256M --kernel vmlinuz --initrd initrd --append 'console=$GUEST_TTY quiet skep.do=shell' --once demo"
}

# wait_until SECONDS COMMAND...: false when the time is over or skep has ended.
wait_until() {
	left=$1
	shift
	until "$@"; do
		[ "$left" -gt 0 ] && [ ! -s "$dir/status" ] || return 1
		left=$((left - 1))
		sleep 1
	done
}

# The console goes through tee, what is typed comes from a FIFO. SIGHUP ends skep without asking the guest.
inside_script() {
	dir=$(mktemp -d)
	vm=
	trap '[ -z "$vm" ] || kill -HUP "$vm" 2>/dev/null; rm -rf "$dir"' EXIT
	trap 'exit 130' INT TERM HUP
	trap '' PIPE
	say_command
	mkfifo "$dir/in" "$dir/out"
	tee "$dir/log" <"$dir/out" &
	shown=$!
	(
		skep_run <"$dir/in" >"$dir/out" 2>&1 &
		echo $! >"$dir/pid"
		status=0
		wait $! || status=$?
		echo $status >"$dir/status"
	) &
	exec 3>"$dir/in"
	wait_until 10 [ -s "$dir/pid" ] || :
	vm=$(cat "$dir/pid")
	if wait_until 300 grep -q '^guest# ' "$dir/log"; then echo exit >&3 || :; fi
	if ! wait_until 60 [ -s "$dir/status" ] && [ ! -s "$dir/status" ]; then kill -HUP "$vm"; fi
	wait "$shown" || :
	wait_until 10 [ -s "$dir/status" ] || :
	vm=
	status=$(cat "$dir/status")
	echo "skep's exit status: $status"
	[ "$status" = 0 ] && grep -q 'GUEST-UP ' "$dir/log"
}

if [ "${1-}" = inside ]; then
	if [ "$2" = script ]; then
		inside_script
		exit
	fi
	echo "(the guest's console; 'exit' powers it off, Ctrl-A x ends it${3:+, $3})"
	status=0
	(skep_run) || status=$?
	[ $status != 143 ] || status=0 # Ctrl-A x
	exit $status
fi

# --- here ---

cd "$(dirname "$0")/.."
# shellcheck source=ci/apt.sh
. ci/apt.sh
arch=${1:-$(host_arch)}
deb_arch "$arch" >/dev/null
skep=build/$arch/skep
[ -x "$skep" ] || die "$skep is missing: run 'make demo ARCH=$arch'"
ci/setup.sh hosts
ci/assets.sh "$arch"

mode=script
if [ -t 0 ] && [ -t 1 ]; then mode=shell; fi

# no_kvm: why this machine's KVM is of no use for such a guest; fails, silently, when it is.
no_kvm() {
	[ "$arch" = "$(host_arch)" ] || { echo "an $arch guest on an $(host_arch) machine"; return; }
	if found=$("$skep" doctor); then return 1; fi
	# The remedy follows after ';' or ':' and is `skep doctor`'s to give.
	echo "$found" | sed -n 's/^fail  *[^ ]*  *//; t first; b; : first; s/^a test guest did not run: //; s/;.*//; p; q'
}

work=build/hosts/demo
rm -rf "$work"
mkdir -p "$work"

if why=$(no_kvm); then
	case $arch in
	x86) host=svm what="an emulated x86 host with SVM" ;;
	*) host=gicv3 what="an emulated arm64 host with a GICv3" ;;
	esac
	echo "no usable KVM here ($why): using $what"
	hint=
	if [ $mode = shell ]; then hint='"Ctrl-] x ends the emulated host"'; fi
	set -- ci/host.py --add ci/demo.sh:t/demo.sh --exec "sh /t/demo.sh inside $mode $hint" "$host"
else
	echo "running on this machine's KVM"
	SKEP=$PWD/$skep GUEST=$PWD/$work
	case $arch in x86) GUEST_TTY=ttyS0 ;; *) GUEST_TTY=ttyAMA0 ;; esac
	ln -s "$PWD/build/cache/$arch/vmlinuz" "$work/vmlinuz"
	ln -s "$PWD/build/cache/$arch/guest.cpio.gz" "$work/initrd"
	export SKEP GUEST GUEST_TTY
	set -- sh ci/demo.sh inside $mode
fi
if [ $mode = shell ]; then exec "$@"; fi

# Without the boot of the emulated host, escape sequences and carriage returns. host.py and the part beside skep end what they
# have started when they are told to end.
mkfifo "$work/out"
sed -u -n 's/\r//g; s/\x1b\[[0-9;?]*[a-zA-Z]//g; s/^.*\$ skep run/$ skep run/; /^\$ skep run/,$p' <"$work/out" &
shown=$!
"$@" </dev/null >"$work/out" &
runner=$!
trap 'kill "$runner" 2>/dev/null || :; wait "$runner" || :; exit 130' INT TERM HUP
status=0
wait "$runner" || status=$?
wait "$shown" || :
exit "$status"

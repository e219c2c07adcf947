# What makes a guest leave is counted, by kind and by device: bare-metal workloads, the same on every architecture, each in a VM of its
# own, and what their profiles must say.  With /t/exits.conf (ci/exits.sh) there is also one VM with all of them and a Linux boot,
# and the profiles are sent.
# needs: /bm/exits.elf|/bm/exits.img
# timeout: 150

. "$LIB"

[ ! -e /t/exits.conf ] || send=1
trace=${send:+true}
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null

# rows FILE TEXT: the innermost objects of a profile with that text, one a line without blanks.
rows() { tr -d ' \n\t' <"$1" | tr '{}' '\n\n' | grep -F -e "$2"; }

# sum MEMBER: of the objects on standard input; 0 when there are none.
sum() { sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p" | awk '{ n += $1 } END { print n + 0 }'; }

# kvm NAME STATISTIC: KVM's own count of the VM NAME.
kvm() { tr -d ' \n\t' <"$1.json" | tr '{},' '\n\n\n' | sed -n "s/^\"$2\":\([0-9][0-9]*\)\$/\1/p" | head -n 1; }

# kind NAME KIND MEMBER; user NAME: all exits to user space; traced NAME KIND: those that KVM's tracepoints saw.
kind() { rows "$1.json" "\"kind\":\"$2\"" | grep -v '"reason":' | sum "$3"; }
user() { rows "$1.json" '"kind":' | grep -v '"reason":' | sum count; }
traced() { rows "$1.json" "\"kind\":\"$2\"" | grep '"reason":' | sum count; }

# access NAME DEVICE WRITE MEMBER: WRITE is true or false.
access() { rows "$1.json" "\"device\":\"$2\"" | grep -F "\"write\":$3" | sum "$4"; }

at_least() { [ "$2" -ge "$3" ] || fail "$1: $2, expected at least $3"; }
at_most() { [ "$2" -le "$3" ] || fail "$1: $2, expected at most $3"; }

guest=$(ls "$BM"/exits.*)

# vm NAME WORDS OPTION...: one run with its profile in NAME.json.
vm() {
	_work=$1 _words=$2
	shift 2
	start_vm "$_work" -m 64M --kernel "$guest" --append "$_words" -s 9,virtio-rnd -o exits.file="$PWD/$_work.json" \
		-o exits.trace="${trace:-false}" "$@"
	wait_exit "$_work" 60 0
	expect_not "$_work.out" 'WORK .* FAIL|: crash'
	expect "$_work.out" 'WORK done'
	[ -s "$_work.json" ] || fail "no profile of $_work"
	expect "$_work.json" '"skep-exits"'
}

# work NAME COUNT OPTION...
work() {
	_name=$1 _count=$2
	shift 2
	vm "$_name" "work=$_name count=$_count" "$@"
	expect "$_name.out" "WORK $_name count=$_count ok"
}

case $(uname -m) in
x86_64) console=pio reset=pio ;;
*) console=mmio reset=system-event ;;
esac

work uart 1000
at_least "writes to com1" "$(access uart lpc.com1 true count)" 1000
at_least "uart: $console exits" "$(kind uart $console count)" 1000
equal "characters on the console" "$(tr -d -c '#' <uart.out | wc -c)" $((1000 - 1000 / 64 - 1))

work mmio 1000
at_least "mmio: exits" "$(kind mmio mmio count)" 1000
at_least "writes to virtio-rnd" "$(access mmio pci.0.9.0 true count)" 500
at_least "reads of virtio-rnd" "$(access mmio pci.0.9.0 false count)" 500

# Notifications end in the kernel, at an ioeventfd.
work kick 500
at_least "kick: exits of KVM's count" "$(kvm kick exits)" 500
at_most "kick: exits to user space" "$(user kick)" 450

work timer 200
at_least "timer: exits of KVM's count" "$(kvm timer exits)" 200
at_most "timer: exits to user space" "$(user timer)" 150

work idle 100
# On a busy machine the timer runs out before the guest sleeps, now and then.
at_least "idle: halts of KVM's count" "$(kind idle halt kvm_count)" 50
at_most "idle: halts in user space" "$(kind idle halt count)" 0

work ipi 200 -c 2
at_least "ipi: exits of KVM's count" "$(kvm ipi exits)" 400
at_most "ipi: exits to user space" "$(user ipi)" 200

# 256 MiB of it fresh, in a host that gives out 2 MiB at a time.
work pgtable 1000 -m 512M
at_least "pgtable: exits of KVM's count" "$(kvm pgtable exits)" 100
at_most "pgtable: exits to user space" "$(user pgtable)" 150

# The guest's own traps are its own business.
work fp 5000
at_most "fp: exits of KVM's count" "$(kvm fp exits)" 1000

work sysreg 1000
at_least "sysreg: exits of KVM's count" "$(kvm sysreg exits)" 1000
at_most "sysreg: exits to user space" "$(user sysreg)" 150

work hypercall 1000
at_least "hypercall: exits of KVM's count" "$(kind hypercall hypercall kvm_count)" 1000
at_most "hypercall: exits to user space" "$(user hypercall)" 150

work reset 3
at_least "reset: $reset exits" "$(kind reset $reset count)" 3

# What KVM handles itself, by its tracepoints.
if [ -e /sys/kernel/tracing/events/kvm ]; then
	trace=true
	vm traced "work=sysreg count=1000"
	at_least "traced: sysreg exits" "$(traced traced sysreg)" 1000
	vm nested "work=pgtable count=1000" -m 512M
	at_least "nested: memory-fault exits" "$(traced nested memory-fault)" 100
	trace=${send:+true}
fi

# Not counted, and said so: nothing.
vm off "work=mmio count=100" -o exits.count=false
at_most "exits counted although they should not be" "$(user off)" 0

if [ -n "${send-}" ]; then
	vm kit "work=all" -c 2 -m 512M
	start_linux linux skep.do=fastpoweroff -m 256M -o exits.file="$PWD/linux.json" -o exits.trace=true
	wait_exit linux 100 0
	rm -f off.json traced.json nested.json
	grep -h '^WORK' kit.out | tr -d '\r' >works
	tar -czf profiles.tgz works ./*.json
	send_file profiles.tgz
fi

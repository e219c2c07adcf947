# What operators get wrong: each mistake is answered by one sentence on standard error that names the object, the reason and
# the remedy, with status 1 (refused) or 2 (usage, and where help is), and leaves nothing behind.
# timeout: 150
# needs: /bm/hello.elf|/bm/hello.img /bm/crash.elf|/bm/crash.img

. "$LIB"

tty=/dev/$GUEST_TTY
kernel=$GUEST/vmlinuz
full=$PWD/full
asked=0 wrongs=0

cleanup() {
	[ ! -e /dev/kvm.away ] || mv /dev/kvm.away /dev/kvm
	chmod 600 /dev/kvm
	umount "$full" 2>/dev/null
	[ ! -e passwd ] || rm -f /etc/passwd
}
trap cleanup EXIT

modes() { stty -g <"$tty"; }

# wrong MESSAGE: a mistake was answered wrongly; the others are still tried.
wrong() { say "FAIL: $*"; wrongs=$((wrongs + 1)); }

# judge STATUS WANTED REGEX: looks at bad.err, and at what a refused start must not leave.
judge() {
	say "[$1] $(cat bad.err)"
	asked=$((asked + 1))
	[ "$1" = "$2" ] || wrong "status $1, expected $2: $(head -n 1 bad.err)"
	[ ! -s bad.out ] || wrong "something on standard output: $(head -n 1 bad.out)"
	lines=1
	if [ "$2" = 2 ]; then
		lines=2
		tail -n 1 bad.err | grep -q "^try 'skep run --help'$" || wrong "no hint where help is: $(tail -n 1 bad.err)"
	fi
	[ "$(wc -l <bad.err)" = $lines ] || wrong "$(wc -l <bad.err) lines instead of $lines"
	head -n 1 bad.err | grep -q -E -e "^skep: $3" || wrong "'$(head -n 1 bad.err)' does not match '$3'"
	head -n 1 bad.err | grep -q -i -E 'ioctl|errno|KVM_|0x[0-9a-f]{12}' && wrong "an internal in '$(head -n 1 bad.err)'"
	"$SKEP" list --json >list.out || wrong "skep list failed"
	grep -q '"bad"' list.out && wrong "the refused VM is in 'skep list'"
	for nic in /sys/class/net/*; do # eth0 is the test host's own
		case ${nic##*/} in lo | eth0) ;; *) wrong "network interface ${nic##*/} is left over" ;; esac
	done
	[ -z "$(pidof skep)" ] || [ -s locker.pid ] || wrong "a skep process is left over"
	[ "$(modes)" = "$before" ] || wrong "the terminal's modes are changed"
}

# refuse WANTED REGEX OPTION...: skep run, with the host's serial port as its terminal.
refuse() {
	want=$1 regex=$2 got=0
	shift 2
	"$SKEP" run "$@" <"$tty" >bad.out 2>bad.err || got=$?
	judge $got "$want" "$regex"
}

# refuse_user WANTED REGEX OPTION...: the same as a user without rights.  (The pid file keeps start-stop-daemon from looking
# for running programs of this name.)
refuse_user() {
	want=$1 regex=$2 got=0
	shift 2
	start-stop-daemon -S -q -c nobody -p "$PWD/no-such-pid" -x "$SKEP" -- run "$@" </dev/null >bad.out 2>bad.err || got=$?
	judge $got "$want" "$regex"
}

before=$(modes)

# --- usage ---
refuse 2 "unknown option '--kernal': did you mean '--kernel'\?" --kernal x bad
refuse 2 "unknown option '-Z'" -Z bad
refuse 2 "--kernel: needs a value: FILE" bad --kernel
refuse 2 "-o: unknown key 'memory.sise': did you mean 'memory.size'\?" -o memory.sise=1G bad
refuse 2 "-m: memory.size=12Q: " -m 12Q --kernel "$kernel" bad
refuse 2 "-m: memory.size=100T: above 64T" -m 100T --kernel "$kernel" bad
refuse 2 "-m: memory.size=-1: " -m -1 --kernel "$kernel" bad
refuse 2 "-c: cpus=0: " -c 0 --kernel "$kernel" bad
refuse 2 "-c: cpus=513: .*512" -c 513 --kernel "$kernel" bad
refuse 2 "--on-reboot: on_reboot=never: .*restart" --on-reboot never bad
refuse 2 "-s: slot 0:3:0 already holds virtio-rnd" -s 3,virtio-rnd -s 3,virtio-rnd bad
refuse 2 "-s: unknown device 'virtio-blok': did you mean 'virtio-blk'\?" -s 3,virtio-blok,x bad
refuse 2 "-s: e1000: .* is not in this version; use virtio-net" -s 3,e1000,x bad
refuse 2 "-s: virtio-blk has no option 'readonly': '-s virtio-blk,help' lists them" -s 3,virtio-blk,x,readonly bad
refuse 2 "-s: '32': slots are 0 to 31" -s 32,virtio-rnd bad
refuse 2 "VM name 'a/b': " --kernel "$kernel" a/b
refuse 2 "the VM has no name: " --kernel "$kernel"
printf 'cpus=1\nmemory.sise=1G\n' >bad.conf
refuse 2 "bad.conf:2: unknown key 'memory.sise': did you mean 'memory.size'\?" -k bad.conf bad
refuse 1 "configuration file 'none.conf': open: No such file or directory" -k none.conf bad

# --- kernels ---
refuse 1 "nothing to boot: give --kernel FILE" bad
refuse 1 "--initrd without --kernel: give --kernel FILE" --initrd "$GUEST/initrd" bad
refuse 1 "kernel '/no/kernel': No such file or directory" --kernel /no/kernel bad
refuse 1 "kernel '.*': this is no regular file; give a kernel" --kernel "$PWD" bad
: >empty
refuse 1 "kernel 'empty': the file is empty; give a kernel" --kernel empty bad
mkfifo fifo
refuse 1 "kernel 'fifo': this is no regular file; give a kernel" --kernel fifo bad
refuse 1 "kernel '/t/list': not a kernel skep knows \(" --kernel /t/list bad
if [ "$GUEST_TTY" = ttyS0 ]; then
	head -c 4096 /dev/zero >other
	printf 'ARMd' | dd of=other bs=1 seek=56 conv=notrunc 2>/dev/null
	refuse 1 "kernel 'other' is an arm64 Linux Image, this machine is x86: give a kernel for x86" --kernel other bad
else
	head -c 6656 /dev/zero >other
	poke() { printf "$2" | dd of=other bs=1 seek="$1" conv=notrunc 2>/dev/null; }
	poke 497 '\004' # setup sectors
	poke 500 '\000\001' # paragraphs
	poke 510 '\125\252'
	poke 514 'HdrS\017\002'
	poke 566 '\001' # 64-bit entry
	refuse 1 "kernel 'other' is an x86 Linux bzImage, this machine is arm64: give a kernel for arm64" --kernel other bad
fi
head -c 1000000 "$kernel" >short
refuse 1 "kernel 'short' is (cut off|truncated).*(get a complete copy|fetch the file again)" --kernel short bad
printf '\037\213\010\000\000\000\000\000' >gz
refuse 1 "kernel 'gz' is truncated: its gzip data ends early; fetch the file again" --kernel gz bad
refuse 1 "initrd '/no/initrd': No such file or directory" --kernel "$kernel" --initrd /no/initrd bad
refuse 1 "(kernel '.*' needs memory up to [0-9]+ MiB, .*: give more with -m|memory.size: 16 MiB are too little .*: give at least -m)" \
	--kernel "$kernel" -m 16M bad

# --- kernels of other systems and protocols ---
# file NAME BYTES: zeroes, to be written into with at.
file() { head -c "$2" /dev/zero >"$1"; }
# at NAME OFFSET TEXT
at() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null; }
file pe.exe 512
at pe.exe 0 'MZ'
at pe.exe 60 '\200'
at pe.exe 128 'PE\000\000'
refuse 1 "kernel 'pe.exe' is a Windows or EFI program: put it on a disk .* --firmware uefi" --kernel pe.exe bad
file mach 512
at mach 0 '\317\372\355\376'
refuse 1 "kernel 'mach' is a Mach-O file of macOS: give a kernel for " --kernel mach bad
file cd.iso 40000
at cd.iso 32769 'CD001'
refuse 1 "kernel 'cd.iso' is a CD image: start it with --cdrom and --firmware uefi" --kernel cd.iso bad
file mb2 512
at mb2 0 '\326\120\122\350\000\000\000\000\030\000\000\000\022\257\255\027'
refuse 1 "kernel 'mb2' is a Multiboot 2 kernel: skep knows Multiboot 1; " --kernel mb2 bad
# elf NAME CLASS MACHINE OSABI: a file with one segment, 0x100 bytes at 2 MiB.
elf() {
	file "$1" 512
	at "$1" 0 "\\177ELF\\$2\\001\\001\\$4"
	at "$1" 16 "\\002\\000\\$3\\000\\001"
	if [ "$2" = 002 ]; then
		at "$1" 32 '\100' # program headers
		at "$1" 52 '\100\000\070\000\001'
		at "$1" 64 '\001\000\000\000\007\000\000\000\000\001'
		at "$1" 90 '\040' # physical address
		at "$1" 97 '\001'
		at "$1" 105 '\001'
	else
		at "$1" 28 '\064'
		at "$1" 40 '\064\000\040\000\001'
		at "$1" 52 '\001\000\000\000\000\001'
		at "$1" 66 '\040'
		at "$1" 69 '\001'
		at "$1" 73 '\001'
	fi
}
elf vmlinux 002 076 000
refuse 1 "kernel 'vmlinux' is an ELF file without a PVH entry note, .*: give a bzImage, or a kernel built with CONFIG_PVH" \
	--kernel vmlinux bad
elf fbsd386 001 003 011
refuse 1 "kernel 'fbsd386' is a 32-bit \(i386\) FreeBSD kernel .*: give a FreeBSD kernel for amd64 or arm64" --kernel fbsd386 bad
elf riscv 002 363 000
refuse 1 "kernel 'riscv' is an ELF file of another architecture: give a kernel for x86 or arm64" --kernel riscv bad
head -c 300 vmlinux >cut.elf
refuse 1 "kernel 'cut.elf' is cut off: a segment lies beyond the end of the file; get a complete copy" --kernel cut.elf bad
head -c 50 vmlinux >cut.elf
refuse 1 "kernel 'cut.elf' is cut off inside its ELF header: get a complete copy" --kernel cut.elf bad
refuse 2 "--protocol: kernel.protocol=grub: not one of auto, linux, " --kernel "$kernel" --protocol grub bad
refuse 1 "kernel '.*' has nothing for --protocol multiboot, only for: linux; choose that, or leave --protocol out" \
	--kernel "$kernel" --protocol multiboot bad
refuse 1 "--module '/t/list' with an .*, which takes none: give --initrd, or --load FILE@ADDR" --kernel "$kernel" \
	--module /t/list bad
refuse 1 "module.0 '/no/module': No such file or directory" --kernel "$kernel" --module /no/module bad
if [ "$GUEST_TTY" = ttyS0 ]; then
	file mb 256
	at mb 0 '\002\260\255\033\000\010\001\000\376\107\121\344'
	refuse 1 "kernel 'mb' demands what its Multiboot flag 11 stands for, .*: build it without" --kernel mb bad
	at mb 4 '\004\000\001\000\372\117\121\344'
	refuse 1 "kernel 'mb' demands a video mode .*: build it without that flag" --kernel mb bad
	at mb 4 '\003\000\000\000\373\117\122\344'
	refuse 1 "kernel 'mb' has a Multiboot header without address fields .*: link it as 32-bit ELF" --kernel mb bad
	for guest in "$BM"/multi.*; do
		refuse 1 "kernel '.*multi.*' needs memory up to 17 MiB, the machine's ends at 16 MiB: give more with -m" \
			--kernel "$guest" -m 16M bad
	done
	ram=0x200000
else
	ram=0x40200000
fi

# --- files at addresses ---
head -c 8192 /dev/zero >data
refuse 2 "--load: load.0=data: not FILE@ADDR, such as data.bin@0x200000" --load data bad
refuse 2 "--load: load.0=data@here: not FILE@ADDR" --load data@here bad
refuse 1 "load.0 '/no/file': No such file or directory" --load /no/file@1M bad
refuse 1 "--load without --kernel: say with --entry ADDR where the guest starts" --load data@1M bad
refuse 1 "--entry 0x100 is in none of the files of --load: " --load data@$ram --entry 0x100 bad
refuse 1 "--entry with --kernel '.*', which says itself where it starts: leave one of them out" --kernel "$kernel" --entry 1M bad
refuse 1 "load.1 'data' \(0x.*\) and load.0 'data' \(0x.*\) overlap in guest memory: choose another address for --load" \
	--load data@$ram --load data@$ram --entry $ram bad
refuse 1 "load.0 'data' has 8 KiB for 0xfffff00000, where the machine has no memory: .*; choose another address" \
	--load data@0xfffff00000 --entry 0xfffff00000 bad
refuse 1 "kernel '.*' \(0x.*\) and load.0 'data' \(0x.*\) overlap in guest memory: choose another address for --load" \
	--kernel "$kernel" --load data@$((ram + 0xe10000)) bad
refuse 2 "--entry: entry=start: not a size" --load data@$ram --entry start bad

# --- resources ---
refuse 1 "memory.size: 65536 MiB asked for, this host has [0-9]+ MiB with swap; give a smaller -m" -m 64G --kernel "$kernel" bad
[ "$GUEST_TTY" = ttyS0 ] ||
	refuse 1 "cpus: 512 vCPUs asked for, an arm64 machine has at most [0-9]+" -c 512 --kernel "$kernel" bad
refuse 1 "image 'none.img': open: No such file or directory" --kernel "$kernel" --disk none.img bad
: >zero.img
refuse 1 "image 'zero.img': it is empty; give it a size with 'truncate" --kernel "$kernel" --disk zero.img bad
refuse 1 "image 'zero.img': it is empty; give an image with something in it" --kernel "$kernel" --cdrom zero.img bad
refuse 1 "image '/tmp': " --kernel "$kernel" --disk /tmp bad
refuse 1 "image 'fifo': it is neither a file nor a block device" --kernel "$kernel" --disk fifo,ro bad
new_disk a.img 1048576
refuse 1 "image 'a.img': it is in use, .*only readers \('ro'\) may share" --kernel "$kernel" --disk a.img --disk a.img bad
# The terminal is raw and the tap is there when the disk is refused: both are undone.
refuse 1 "image 'none.img': open: No such file" --kernel "$kernel" --net tap=skepbad --disk none.img bad
refuse 1 ".*bridge 'nobridge' does not exist; make it with: ip link add" --kernel "$kernel" --net tap=skepbad,bridge=nobridge bad
refuse 1 ".*back end 'carrier-pigeon' is unknown; use one of " --kernel "$kernel" --console carrier-pigeon bad
refuse 1 ".*'/no/dir/socket'.*: No such file or directory" --kernel "$kernel" --console unix=/no/dir/socket,server bad
refuse 1 ".*'/no/dir/file'.*: No such file or directory" --kernel "$kernel" --console file=/no/dir/file bad
refuse 1 "log file '/no/dir/log': open: No such file or directory" --kernel "$kernel" --log /no/dir/log bad
if [ "$GUEST_TTY" = ttyS0 ]; then
	refuse 1 "pci.0.31.0: the q35 machine has its own lpc in this place; choose another slot" --kernel "$kernel" -s 31,virtio-rnd bad
fi

# --- rights ---
if [ ! -e /etc/passwd ]; then
	mkdir -p /etc
	echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >passwd
	cp passwd /etc/passwd
fi
refuse_user 1 "/dev/kvm: no permission; join the group" --kernel "$kernel" bad
chmod 666 /dev/kvm
chmod 600 a.img
refuse_user 1 "image 'a.img': it may not be written: Permission denied; give 'ro' or change its rights" --kernel "$kernel" \
	--disk "a.img" bad
refuse_user 1 "image 'a.img': open: Permission denied" --kernel "$kernel" --disk a.img,ro bad
tun_mode=$(stat -c %a /dev/net/tun)
chmod 600 /dev/net/tun
refuse_user 1 "pci.0.2.0: /dev/net/tun: Permission denied; .* give this user access" --kernel "$kernel" --net tap=skepbad bad
chmod 666 /dev/net/tun
refuse_user 1 "pci.0.2.0: .*skepbad.*(not permitted|may not|CAP_NET_ADMIN|root|ip tuntap)" --kernel "$kernel" --net tap=skepbad bad
chmod "$tun_mode" /dev/net/tun
chmod 600 /dev/kvm
mv /dev/kvm /dev/kvm.away
refuse 1 "/dev/kvm does not exist: .*'skep doctor'" --kernel "$kernel" bad
mv /dev/kvm.away /dev/kvm

# --- a full disk ---
mkdir "$full"
mount -t tmpfs -o size=8k,mode=700 full "$full"
head -c 100000 /dev/zero >"$full/filler" 2>/dev/null
export XDG_RUNTIME_DIR="$full"
refuse 1 ".*'$full/skep.*: No space left on device" --kernel "$kernel" bad
unset XDG_RUNTIME_DIR
# The console's file: the guest runs on, and the loss is told once.
for guest in "$BM"/hello.*; do start_vm lossy -m 64M --kernel "$guest" --console file="$full/console"; done
wait_exit lossy 20 0
say "$(cat lossy.out)"
equal "lines about the lost output" "$(wc -l <lossy.out)" 1
expect lossy.out "^skep: warning: lpc.com1: its file takes no more output: No space left on device"
umount "$full"

# --- another VM ---
new_disk b.img 1048576
for guest in "$BM"/crash.*; do start_vm locker -m 64M --kernel "$guest" --on-crash=pause --disk b.img; done
wait_for locker.out 'paused after guest-crash' 20
refuse 1 "image 'b.img': it is in use, by another machine \(see 'skep list'\)" --kernel "$kernel" --disk b.img bad
refuse 1 "a VM named 'locker' is running \(pid [0-9]+\): choose another name or end it first" --kernel "$kernel" locker
signal_vm locker TERM
wait_exit locker 20 143

say "$asked mistakes, $wrongs answered wrongly"
[ $wrongs = 0 ]

# A stand-in for FreeBSD's kernel checks, from inside, what the native loader left: entry state, metadata, symbols, environment,
# memory map or device tree, and modules, which it links and calls.
# timeout: 240
# needs: /bm/fbsd-root/boot/kernel/kernel

. "$LIB"

ROOT=$BM/fbsd-root
KERNELS=host0:/boot/kernel

# boot FILES OPTION...: the guest finds everything in order, that many files included.
boot() {
	_files=$1
	shift
	start_vm vm "$@"
	wait_exit vm 40 0
	expect_not vm.out 'FBSD bad'
	expect vm.out "FBSD ok (x86|arm64) files=$_files"
}

say "from a host directory, with a module that needs another"
boot 3 -m 64M -h "$ROOT" --kernel $KERNELS/kernel --module $KERNELS/mod2.ko -e foo=bar -e empty=
expect vm.out 'FBSD file /boot/kernel/kernel type=elf kernel '
expect vm.out 'FBSD file /boot/kernel/mod1.ko type=elf (obj )?module size=[0-9]+ args=.?$'
expect vm.out 'FBSD called /boot/kernel/mod1.ko'
expect vm.out 'FBSD called /boot/kernel/mod2.ko'
expect vm.out 'FBSD env foo=bar.?$'
expect vm.out 'FBSD env empty=.?$'
expect vm.out 'FBSD env kernelname=/boot/kernel/kernel.?$'
expect vm.out 'FBSD env smbios.system.uuid=[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}.?$'
order=$(tr -d '\r' <vm.out | sed -n 's/^FBSD file \([^ ]*\) .*/\1/p' | tr '\n' ' ')
equal "the order of the files" "$order" "/boot/kernel/kernel /boot/kernel/mod1.ko /boot/kernel/mod2.ko "

say "two vCPUs, more memory"
boot 1 -c 2 -m 300M -h "$ROOT" --kernel $KERNELS/kernel

say "plain paths, a module with arguments, a root image, ACPI off"
seq 1 20000 >image
boot 3 -m 64M --kernel "$ROOT/boot/kernel/kernel" --module "$ROOT/boot/kernel/mod1.ko,args=one two" --module image,type=md_image \
	-e hint.acpi.0.disabled=1 -e boot_verbose=YES
expect vm.out 'FBSD file .*mod1.ko type=elf .*module size=[0-9]+ args=one two.?$'
expect vm.out "FBSD raw .*image type=md_image size=$(stat -c %s image)"
expect vm.out 'FBSD howto=0x1?8..'

case $HOSTKIND in
gic*)
	expect vm.out 'FBSD fdt bytes='
	start_vm vm -m 64M --kernel "$ROOT/boot/kernel/kernel.bin"
	wait_exit vm 40 0
	expect vm.out 'FBSD ok arm64 bare fdt'
	;;
*)
	expect vm.out 'FBSD acpi off'
	expect vm.out 'FBSD smap entries=[0-9]+ MiB=64'
	boot 1 -m 64M --kernel "$ROOT/boot/kernel/kernel"
	expect vm.out 'FBSD acpi on'
	;;
esac

# refused WORDS OPTION...: one sentence with these words.
refused() {
	_words=$1
	shift
	expect_status 1 "$SKEP" run -m 64M "$@" vm
	expect cmd.out "$_words"
	equal "the number of lines skep says" "$(wc -l <cmd.out)" 1
}

say "what is refused"
kernel=$ROOT/boot/kernel/kernel
refused 'too little for FreeBSD kernel .*give at least -m [0-9]+M' --kernel "$kernel" -m 18M
head -c 20000 "$kernel" >short
refused "'short' is cut off" --kernel short
head -c 1000 "$ROOT/boot/kernel/mod1.ko" >mod1.ko
refused "mod1.ko' is cut off" --kernel "$kernel" --module mod1.ko
refused 'is a FreeBSD kernel module: ' --kernel "$ROOT/boot/kernel/mod1.ko"
refused "^skep: kernel '$kernel' has " --kernel "$kernel" --protocol pvh

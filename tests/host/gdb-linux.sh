# GDB debugs a Linux kernel with two vCPUs: from its start by hardware breakpoint, by virtual address, with a watched variable, and lets
# it go on. The symbols are this host's own, which runs the same kernel.
# outside: 1234
# timeout: 240
# hosts: svm vtx gicv3

. "$LIB"

# Where the kernel would be without KASLR, which the guest is told to leave out.
case $(uname -m) in
x86_64) text=ffffffff81000000 ;;
*) text=ffff800008010000 ;; # behind 64 KiB of head
esac
names='_stext start_kernel do_sys_openat2'
pattern="^[0-9a-f]* . ($(echo "$names" | tr ' ' '|'))\$"
grep -E "$pattern" /proc/kallsyms | sort >symbols.here
equal "number of symbols" "$(wc -l <symbols.here)" "$(echo "$names" | wc -w)"
read -r here _ <symbols.here
# The shell's numbers have 64 bits with a sign, which is as good for a difference.
while read -r addr kind name; do
	printf '%016x %s %s\n' $((0x$addr - 0x$here + 0x$text)) "$kind" "$name"
done <symbols.here >symbols
send_file symbols

start_linux vm "nokaslr skep.do=smp,poweroff" -c 2 -m 256M -G w0.0.0.0:1234
wait_vm vm 20 has "$(rundir vm)/log" 'waits for GDB'
reach 1234
outside gdb-linux
wait_exit vm 60 0
expect vm.out 'SMP-END cpus=2'

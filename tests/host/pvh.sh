# A kernel with a PVH entry finds what the protocol promises: start info, memory map, RSDP, command line, initrd and modules with
# theirs; from a 64-bit and from a 32-bit ELF file.
# hosts: svm vtx
# timeout: 90
# needs: /bm/proto.elf /bm/proto32.elf

. "$LIB"

# sum FILE: of its bytes.
sum() { od -An -v -tu1 "$1" | tr -s ' ' '\n' | awk '{ n += $1 } END { print n }'; }

pattern 1 5000 >initrd
pattern 2 70000 >mod1
printf 'x' >mod2
want="mods=3 len0=5000 sum0=$(sum initrd) arg0= len1=70000 sum1=$(sum mod1) arg1=one len2=1 sum2=$(sum mod2) arg2="
for guest in "$BM"/proto.elf "$BM"/proto32.elf; do
	start_vm vm -m 64M --kernel "$guest" --initrd initrd --module mod1,args=one --module mod2 --append "proto ram=67108864 $want"
	wait_exit vm 30 0
	say "$(cat vm.out)"
	expect vm.out 'PROTO pvh'
	expect_not vm.out 'WRONG'
	expect vm.out "module 1 at .* 70000 bytes, sum [0-9]*, 'one'"
	expect vm.out 'PROTO done, 0 wrong'
done
# Nothing but the kernel.
start_vm vm -m 32M --kernel "$BM/proto.elf" --append "proto ram=33554432 mods=0"
wait_exit vm 30 0
expect vm.out 'PROTO done, 0 wrong'

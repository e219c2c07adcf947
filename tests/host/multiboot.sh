# A Multiboot kernel finds what the specification promises: magic, command line, memory sizes and map, modules with their strings,
# the loader's name; as an ELF file, as a flat file with addresses, and chosen over PVH.
# hosts: svm vtx
# timeout: 90
# needs: /bm/multi.elf /bm/multi.flat /bm/proto32.elf

. "$LIB"

# sum FILE: of its bytes.
sum() { od -An -v -tu1 "$1" | tr -s ' ' '\n' | awk '{ n += $1 } END { print n }'; }

pattern 1 5000 >initrd
pattern 2 70000 >mod1
printf 'x' >mod2
want="mods=3 len0=5000 sum0=$(sum initrd) arg0=initrd len1=70000 sum1=$(sum mod1) arg1=one,two len2=1 sum2=$(sum mod2) arg2=mod2"
for guest in "$BM"/multi.elf "$BM"/multi.flat "$BM"/proto32.elf; do
	case $guest in *.elf) syms=1 ;; *) syms=0 ;; esac
	start_vm vm -m 64M --kernel "$guest" --protocol multiboot --initrd initrd --module mod1,args=one,,two --module mod2 \
		--append "proto syms=$syms ram=67108864 $want"
	wait_exit vm 30 0
	say "$(cat vm.out)"
	expect vm.out 'PROTO multiboot'
	expect_not vm.out 'WRONG'
	expect vm.out "module 1 at .* 70000 bytes, sum [0-9]*, 'one,two'"
	expect vm.out 'PROTO done, 0 wrong'
done
# Recognised by themselves; PVH comes first where a file has both.
for guest in multi.elf multi.flat proto32.elf; do
	case $guest in *.elf) syms=1 ;; *) syms=0 ;; esac
	start_vm vm -m 32M --kernel "$BM/$guest" --append "proto syms=$syms ram=33554432 mods=0"
	wait_exit vm 30 0
	expect vm.out 'PROTO done, 0 wrong'
	case $guest in
	multi.*) expect vm.out 'PROTO multiboot' ;;
	*) expect vm.out 'PROTO pvh' ;;
	esac
done
# After a reset all of it is there again.
start_vm vm -m 32M --kernel "$BM/multi.flat" --module mod2 --append "proto resets=2 ram=33554432 mods=1 len0=1 sum0=120 arg0=mod2"
wait_exit vm 30 0
equal "good starts" "$(grep -c 'PROTO done, 0 wrong' vm.out)" 3

expect_status 0 "$SKEP" plan --kernel "$BM/multi.flat" --module mod1
expect cmd.out 'recognised   x86 Multiboot kernel'
expect cmd.out "module 'mod1'"

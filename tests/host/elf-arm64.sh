# An arm64 ELF file without another protocol's marks starts at its entry, with the device tree in x0, which says where RAM is.
# hosts: gicv3 gicv2
# needs: /bm/elfhello.elf

. "$LIB"

for protocol in auto elf; do
	start_vm vm -m 64M --kernel "$BM/elfhello.elf" --protocol $protocol
	wait_exit vm 20 0
	expect vm.out 'HELLO arm64'
done
expect_status 1 "$SKEP" run -m 64M --kernel "$BM/elfhello.elf" --protocol linux vm
expect cmd.out "has nothing for --protocol linux, only for: elf; choose that"
head -c 100 "$BM/elfhello.elf" >short
expect_status 1 "$SKEP" run --kernel short vm
expect cmd.out "kernel 'short' "

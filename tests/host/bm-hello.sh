# The smallest guest says hello and powers off; twice, since its name must be free again.
# needs: /bm/hello.elf|/bm/hello.img

. "$LIB"

for guest in "$BM"/hello.*; do
	start_vm vm -m 64M --kernel "$guest"
	wait_exit vm 20 0
	expect vm.out 'HELLO (x86|arm64)'
	start_vm vm -m 64M --kernel "$guest"
	wait_exit vm 20 0
	expect vm.out 'HELLO (x86|arm64)'
done

# Files without a header start where --entry says, in the mode it says, and find another file where --load put it.
# timeout: 90
# needs: /bm/raw-real.flat|/bm/hello.img

. "$LIB"

if [ "$GUEST_TTY" = ttyS0 ]; then
	echo "and data" >data
	start_vm vm -m 32M --load "$BM/raw-real.flat@0x7c00" --load data@128K --entry 0x7c00 -o entry.mode=real
	wait_exit vm 20 0
	expect vm.out 'RAW real mode: and data'
	start_vm vm -m 32M --load "$BM/raw-protected.flat@2M" --load data@3M --entry 0x200000
	wait_exit vm 20 0
	expect vm.out 'RAW protected mode: and data'
	start_vm vm -m 32M --load data@0x300000 --load "$BM/raw-long.flat@2M" --entry 2M -o entry.mode=long
	wait_exit vm 20 0
	expect vm.out 'RAW long mode: and data'
	expect_status 1 "$SKEP" run -m 32M --load "$BM/raw-long.flat@0x9000" --entry 0x9000 -o entry.mode=long vm
	expect cmd.out "load.0 '.*raw-long.flat' \(0x9000-0x.*\) and page tables \(0x9000-0xefff\) overlap in guest memory: choose another"
else
	# The same bytes as the Image, at an address of our choice.
	start_vm vm -m 64M --load "$BM/hello.img@0x40200000" --entry 0x40200000
	wait_exit vm 20 0
	expect vm.out 'HELLO arm64'
	# Where the device tree would go, something else is: it goes elsewhere.
	head -c 4194304 /dev/zero >big
	start_vm vm -m 64M --load "$BM/hello.img@0x40200000" --load big@0x43c00000 --entry 0x40200000
	wait_exit vm 20 0
	expect vm.out 'HELLO arm64'
	expect_status 0 "$SKEP" plan -m 64M --load "$BM/hello.img@0x40200000" --load big@0x43c00000 --entry 0x40200000
	expect cmd.out '0000000043a00000-0000000043bfffff  device tree'
fi

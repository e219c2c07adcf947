# The guest chooses skep's exit status: by isa-debug-exit on x86, where arm64 accepts the option and goes on; by a port connected to
# the test device on every machine.
# timeout: 120
# needs: /bm/debugexit.elf|/bm/debugexit.img

. "$LIB"

for guest in "$BM"/debugexit.*; do
	start_vm vm1 -m 64M -l debugexit --kernel "$guest"
	case $HOSTKIND in
	gic*)
		wait_exit vm1 20 0
		expect vm1.out 'NOBODY LISTENS' ;;
	*)
		wait_exit vm1 20 43
		expect_not vm1.out 'NOBODY LISTENS'
		expect "$(rundir vm1)/exit.json" 'lpc.debugexit: the guest asks for exit status 43' ;;
	esac
done

start_linux vm2 skep.do=testexit -m 256M -s 5,virtio-console,port1=testdev
wait_exit vm2 50 43
expect vm2.out 'GUEST-UP testexit'
expect "$(rundir vm2)/exit.json" '"cause"[^,]*guest-exit'

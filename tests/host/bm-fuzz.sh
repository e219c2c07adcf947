# 100,000 random accesses of all sizes to everything the machine has and has not.  skep must neither crash nor hang, and its
# sanitizer build (SKEP_SAN) must have nothing to report.
# needs: /bm/fuzz.elf|/bm/fuzz.img
# timeout: 420

. "$LIB"

SKEP=${SKEP_SAN:-$SKEP}
new_disk disk.img 1048576 1

for guest in "$BM"/fuzz.*; do
	start_vm vm -m 64M --once --console "file=$PWD/console" --kernel "$guest" \
		--append "seed=${FUZZ_SEED:-1} count=${FUZZ_COUNT:-100000}" \
		--disk disk.img --net null -s 8,virtio-console,port="file=$PWD/port" -s 9,virtio-rnd
	wait_exit vm 400 0
	expect_not vm.out 'AddressSanitizer|LeakSanitizer|runtime error'
	grep -a -q 'FUZZ ok count=' console || fail "the guest did not get to its end"
	tr -d '\r' <console | grep -a 'FUZZ '
done

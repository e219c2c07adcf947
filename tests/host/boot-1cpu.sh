# A Linux guest with one vCPU comes up to its userspace and powers off; the exit status says so.
# hosts: svm gicv3 gicv2 vtx

. "$LIB"

start_linux vm skep.do=poweroff -c 1 -m 256M
wait_exit vm 50 0
expect vm.out 'GUEST-UP nproc=1 '
mem=$(field vm.out GUEST-UP mem)
[ "$mem" -gt 150000 ] && [ "$mem" -lt 262144 ] || fail "a guest with -m 256M sees $mem KB"

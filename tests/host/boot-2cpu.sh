# Two vCPUs: both come online, both compute, both compute the same.

. "$LIB"

start_linux vm skep.do=smp,poweroff -c 2 -m 256M
wait_exit vm 55 0
expect vm.out 'GUEST-UP nproc=2 '
expect vm.out 'SMP-END cpus=2'
sum=$(pattern 7 200000 | md5)
expect vm.out "SMP cpu=0 md5=$sum"
expect vm.out "SMP cpu=1 md5=$sum"

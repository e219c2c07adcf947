# A Linux guest that panics with panic=-1 resets itself at once; under --once that is status 3, and its last words are shown.

. "$LIB"

start_linux vm skep.do=panic -m 256M --once
wait_exit vm 50 3
expect vm.out 'GUEST-UP panic'
expect vm.out 'Kernel panic - not syncing'

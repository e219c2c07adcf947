# What skep itself needs beyond guest RAM: private memory with one disk and an idle guest, at most 4 MiB.

. "$LIB"

new_disk disk.img 1048576
start_linux vm skep.do=wait-power -c 1 -m 256M --disk disk.img
wait_for vm.out 'WAIT-POWER ready' 50
pid=$(cat vm.pid)
# Guest RAM is the one mapping of its size.
private=$(awk '/^Size:/ { ram = $2 == 262144 } /^Private_/ && !ram { sum += $2 } END { print sum }' "/proc/$pid/smaps")
say "FOOTPRINT private=$private kB beyond guest RAM"
[ "$private" -gt 0 ] && [ "$private" -le 4096 ] || fail "skep uses $private kB beyond guest RAM"
signal_vm vm TERM
wait_exit vm 30 0

# A guest that crashes (triple fault, PSCI crash or the like): status 4, and the report shows the vCPU's registers.
# needs: /bm/crash.elf|/bm/crash.img

. "$LIB"

for guest in "$BM"/crash.*; do start_vm vm -m 64M --kernel "$guest"; done
wait_exit vm 20 4
expect vm.out '(rip|pc) *[:=]? *(0x)?[0-9a-f]+'
expect "$(rundir vm)/exit.json" '"cause"'

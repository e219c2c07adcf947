# Checkpoints of a running machine's disks through the control socket, under load: the snapshot inside a qcow2 image and the
# base below a new overlay are both sound, and the disks end as the guest's operations must leave them. What is wrong on the
# command line is answered by one sentence.
# hosts: svm gicv3
# timeout: 240

. "$LIB"

"$SKEP" img create -q -f qcow2 a.qcow2 16M
"$SKEP" img create -q -f raw b.raw 17M
start_linux vm skep.do=load,wait-power -c 2 -m 256M --disk a.qcow2 --disk b.raw
wait_for vm.out '^LOAD vdb' 60

# disk_id FILE: the bus path of the disk that is this file.
disk_id() { "$SKEP" ctl vm disks | sed -n "/^disk: /{s/^disk: //;h;};/^path: .*$1\$/{g;p;}"; }

expect_status 0 "$SKEP" ctl vm status
expect cmd.out '^state: running'
expect_status 0 "$SKEP" ctl vm disks
expect cmd.out 'a.qcow2'
expect_status 0 "$SKEP" ctl vm disk-checkpoint first --json
expect cmd.out '"store": *"overlay"'
expect cmd.out '"store": *"qcow2"'
expect_status 0 "$SKEP" ctl vm disk-checkpoint second "$(disk_id a.qcow2)"
expect_status 0 "$SKEP" ctl vm disk-checkpoints "$(disk_id a.qcow2)"
expect cmd.out '^name: second'
expect_status 1 "$SKEP" ctl vm disk-checkpoint first
expect_status 1 "$SKEP" ctl vm disk-checkpoint x pci.0.30.0
expect cmd.out "no disk 'pci.0.30.0'"
expect_status 1 "$SKEP" ctl other status
expect_status 2 "$SKEP" ctl vm nonsense
wait_for vm.out '^LOAD-END' 120
wait_for vm.out '^WAIT-POWER ready' 60
kill -TERM "$(cat vm.pid)"
wait_exit vm 60 0
tr -d '\r' <vm.out >console
expect_not console 'IOLOAD-ERROR'

for i in a.qcow2:16 b.first.qcow2:17; do
	truncate -s "${i#*:}M" shadow
	ioload shadow $((${i#*:} * 2048)) 4 300 512 >/dev/null
	"$SKEP" img compare -q "${i%:*}" shadow || fail "${i%:*} differs from what the guest wrote"
	expect_status 0 "$SKEP" img check "${i%:*}"
	rm shadow
done
expect_status 0 "$SKEP" img snapshot apply a.qcow2 first
expect_status 0 "$SKEP" img check a.qcow2

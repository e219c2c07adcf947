# Interrupts reach a guest: the UART's line, and a message of a virtio device.
# needs: /bm/irq.elf|/bm/irq.img

. "$LIB"

for guest in "$BM"/irq.*; do
	start_vm vm -m 64M --once --kernel "$guest" -s 9,virtio-rnd
	wait_exit vm 30 0
	expect vm.out 'IRQ uart ok'
	expect vm.out 'IRQ message ok'
	expect vm.out 'IRQ done'
done

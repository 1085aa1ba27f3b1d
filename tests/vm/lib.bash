# SPDX-License-Identifier: GPL-2.0-or-later
#
# Virtual machines for the tests: Debian's stock cloud kernel on unified cgroup v2, whatever the
# machine below is. Sourced by the scripts here.
#
# A machine has two disks: its root file system, built once by tests/vm/image and never written to
# (qemu's snapshot mode), and the work disk, made anew at each boot: this project's tree, built, with
# what the guest is to run in vm/order. It has two serial ports: the console, and one for what the
# order prints, so that kernel messages never get between lines of TAP. The guest finds the tree
# under the path that it has here.

vm_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
vm_cache=$vm_top/build/vm

# Files of the tree that a guest needs: what runs, and the tests; not objects nor caches.
vm_tree_files() {
	(cd "$vm_top" && find . -name .git -prune -o -path './build-*' -prune -o \
		-path ./build/vm -prune -o -path ./build/cache -prune -o -path ./build/test-logs -prune -o \
		-path './build/meson-*' -prune -o -path './*.p' -prune -o -name '*.a' -prune -o \
		-name '.cache' -prune -o \( -type f -o -type l \) -print0)
}

# vm_work_disk DIR ORDER [FILE=GUESTPATH...]: makes DIR/work.img; ORDER is the text of the script
# that the guest runs in the tree's directory. Further files go under vm/files. VPS_VM_ROOM: MiB that
# are free on it.
vm_work_disk() {
	local dir=$1 order=$2 file
	shift 2
	rm -rf "$dir/work"
	mkdir -p "$dir/work/tree" "$dir/work/files"
	vm_tree_files | tar -C "$vm_top" --null -T - -cf - | tar -C "$dir/work/tree" -xf -
	printf '%s' "$vm_top" >"$dir/work/top"
	printf '%s\n' "$order" >"$dir/work/order"
	for file in "$@"; do
		cp --sparse=always "${file%%=*}" "$dir/work/files/${file#*=}"
	done
	local size=$(($(du -sm "$dir/work" | cut -f1) * 12 / 10 + ${VPS_VM_ROOM:-256}))
	rm -f "$dir/work.img"
	mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$dir/work" "$dir/work.img" "${size}M" >/dev/null
	rm -rf "$dir/work"
}

# No address space randomisation: emulation keys what it has translated by virtual address, and
# translating libc anew for each process makes every exec three times as slow. On a busy machine the
# kernel sees no timer interrupts in the moment in which it tries them, and panics: it does not try.
vm_append="panic=-1 no_timer_check psi=1 quiet loglevel=4 norandmaps mitigations=off ${VPS_VM_APPEND-}"

# vm_qemu NAME WORK-DISK CONSOLE OUTPUT [QEMU-ARG...]: a machine in the foreground; CONSOLE and OUTPUT
# are qemu character devices. /dev/kvm may open without working, so TCG it is unless VPS_VM_ACCEL
# says otherwise; and its processors take turns in one thread, because kernels patch their own code
# while they run and with a thread each one of them meets a half-patched instruction now and then
# (Oops: int3). Debug registers panic guests under TCG.
vm_qemu() {
	local name=$1 work=$2 console=$3 output=$4
	shift 4
	exec qemu-system-x86_64 -name "vps-test-$name" -accel "${VPS_VM_ACCEL:-tcg,thread=single}" \
		-cpu max -smp "${VPS_VM_CPUS:-2}" -m "${VPS_VM_MEMORY:-1536}" \
		-display none -no-reboot -nodefaults -kernel "$vm_cache/kernel" -initrd "$vm_cache/initrd" \
		-append "console=ttyS0 $vm_append" -serial "$console" -serial "$output" \
		-drive "file=$vm_cache/root.img,if=virtio,format=raw,cache=unsafe,snapshot=on" \
		-drive "file=$work,if=virtio,format=raw,cache=unsafe" -device virtio-rng-pci "$@"
}

# vm_start DIR [QEMU-ARG...]: boots a machine whose disks and logs are in DIR (vm_work_disk first):
# DIR/console.log and DIR/output. Sets vm_pid. Two machines on one wire, for instance:
#	vm_start a -netdev dgram,id=n0,local.type=inet,… -device virtio-net-pci,netdev=n0
vm_start() {
	local dir=$1
	shift
	: >"$dir/console.log"
	: >"$dir/output"
	vm_qemu "$(basename "$dir")" "$dir/work.img" "file:$dir/console.log" "file:$dir/output" "$@" \
		</dev/null >"$dir/qemu.log" 2>&1 &
	vm_pid=$!
}

# vm_status DIR: the exit status of the order; fails when the guest did not get to its end.
vm_status() {
	local last
	last=$(tail -c 200 "$1/output" | tr -d '\r' | sed -n 's/^# vm: exit \([0-9]\{1,3\}\)$/\1/p' | tail -n 1)
	[ -n "$last" ] || return 1
	echo "$last"
}

# vm_wait DIR PID SECONDS: waits for the machine to power off. 1 when it had to be ended, as it had printed
# nothing for so long.
vm_wait() {
	local dir=$1 pid=$2 end=$((SECONDS + $3)) printed=0 now
	while kill -0 "$pid" 2>/dev/null; do
		now=$(stat -c %s "$dir/output")
		[ "$now" -eq "$printed" ] || printed=$now end=$((SECONDS + $3))
		if [ "$SECONDS" -ge "$end" ]; then
			kill -KILL "$pid"
			wait "$pid" 2>/dev/null
			echo "# the machine was ended: it had printed nothing for $3 seconds" >>"$dir/console.log"
			return 1
		fi
		sleep 0.2
	done
	wait "$pid" 2>/dev/null || true
}

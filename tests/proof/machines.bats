#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Two virtual machines, each with Debian's own kernel, joined by an emulated wire; `vps migrate` by ssh. Takes
# some minutes: only with VPS_PROOF_MACHINES=1, which `make proof` sets.
load ../lib

setup_file() { :; }
teardown_file() { :; }

setup() {
	requires root command qemu-system-x86_64
	[ -n "${VPS_PROOF_MACHINES-}" ] || skip "two virtual machines only with VPS_PROOF_MACHINES=1"
	. "$VPS_TOP/tests/vm/lib.bash"
	declare -gA machine=()
}

teardown() {
	local pid
	for pid in "${machine[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
	done
}

# machine NAME PORT PEER-PORT MAC: boots it
machine() {
	local dir=$BATS_TEST_TMPDIR/$1
	mkdir "$dir"
	vm_work_disk "$dir" "tests/proof/machine $1" "$BATS_TEST_TMPDIR/key=key" "$BATS_TEST_TMPDIR/key.pub=key.pub"
	VPS_VM_CPUS=1 VPS_VM_MEMORY=1024 vm_start "$dir" \
		-netdev "dgram,id=wire,local.type=inet,local.host=127.0.0.1,local.port=$2,remote.type=inet,remote.host=127.0.0.1,remote.port=$3" \
		-device "virtio-net-pci,netdev=wire,mac=$4" 3>&-
	machine[$1]=$vm_pid
}

@test "between two machines, by ssh" {
	local name port=$((20000 + RANDOM % 10000)) line
	"$VPS_TOP/tests/vm/image" 3>&-
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/key"
	machine host1 "$port" "$((port + 1))" 52:54:00:00:00:01
	machine host2 "$((port + 1))" "$port" 52:54:00:00:00:02
	vm_wait "$BATS_TEST_TMPDIR/host1" "${machine[host1]}" 1800
	# Nobody else could tell it to end.
	[ "$(vm_status "$BATS_TEST_TMPDIR/host1")" = 0 ] || kill -KILL "${machine[host2]}"
	vm_wait "$BATS_TEST_TMPDIR/host2" "${machine[host2]}" 60
	for name in host1 host2; do
		while read -r line; do
			echo "# $name: $line" >&3
		done < <(tr -d '\r' <"$BATS_TEST_TMPDIR/$name/output" | tail -n 20)
		tail -n 5 "$BATS_TEST_TMPDIR/$name/console.log"
		[ "$(vm_status "$BATS_TEST_TMPDIR/$name")" = 0 ]
	done
}

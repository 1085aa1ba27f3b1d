#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The disk a VPS shares. Rates are measured by bench/; here they are seen to act on the right disk.
load ../lib

setup_file() {
	root_new
	net_new
	vps create disk
	vps start disk
}

# The disk under the state root, as the kernel's io files want it: no partition.
disk() {
	local dev sys
	dev=$(stat -c '%Hd:%Ld' "$VPS_ROOT/lib")
	[ -e "/sys/dev/block/$dev" ] || return 1
	sys=$(realpath "/sys/dev/block/$dev")
	[ ! -e "$sys/partition" ] || sys=${sys%/*}
	cat "$sys/dev"
}

bound() { # v2 KEY | v1 FILE -> value, or "" for none
	if is_unified; then
		awk -v d="$(disk)" -v k="$1" '$1 == d { for (i = 2; i <= NF; i++) { split($i, a, "=")
			if (a[1] == k && a[2] != "max") print a[2] } }' "$(group_file disk io io.max)"
	else
		awk -v d="$(disk)" '$1 == d { print $2 }' "$(group_file disk blkio "blkio.throttle.$2")"
	fi
}

needs_disk() {
	disk >/dev/null || skip "the state root lies on no disk"
	[ -n "$(group_file disk "$(is_unified && echo io || echo blkio)" \
		"$(is_unified && echo io.max || echo blkio.throttle.write_bps_device)")" ] ||
		skip "this host has no io controller"
}

@test "the four bounds are the kernel's for the disk under the root" {
	needs_disk
	vps set disk io.write=4MiB/s io.read=8M io.read-ops=300 io.write-ops=200
	assert_equal "$(bound wbps write_bps_device)" $((4 << 20))
	assert_equal "$(bound rbps read_bps_device)" $((8 << 20))
	assert_equal "$(bound riops read_iops_device)" 300
	assert_equal "$(bound wiops write_iops_device)" 200
	vps restart --force disk
	assert_equal "$(bound wbps write_bps_device)" $((4 << 20))
	vps set disk io.write=max io.read= io.read-ops= io.write-ops=
	assert_equal "$(bound wbps write_bps_device)" ""
	assert_equal "$(bound rbps read_bps_device)" ""
}

@test "a writer is held to io.write" {
	needs_disk
	vps set disk io.write=1MiB/s
	# 3 MiB at 1 MiB/s: two seconds at the least, with the burst the kernel allows at the start.
	start=${EPOCHREALTIME/./}
	run vps exec disk -- dd if=/dev/zero of=/held bs=64k count=48 oflag=direct
	[ "$status" -eq 0 ] || skip "no direct writing here: $output"
	took=$((${EPOCHREALTIME/./} - start))
	[ "$took" -gt 1500000 ] || fail "3 MiB went through in $took us"
	vps set disk io.write=max
}

@test "a change lets go of a writer that waits" {
	needs_disk
	vps set disk io.write=4096
	"$VPS_BUILD/vps" exec disk -- dd if=/dev/zero of=/slow bs=64k count=64 oflag=direct 2>/dev/null &
	writer=$!
	vps set disk io.write=max
	# At 4 KiB/s it would be a quarter of an hour.
	wait_until 60 process_is_gone "$writer"
}

@test "a disk that is none is said" {
	[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || skip "no tmpfs at hand"
	(
		VPS_ROOT=$(mktemp -d /dev/shm/vt.XXXXXX)
		chmod 755 "$VPS_ROOT"
		VPS_TAG=$(root_tag "$VPS_ROOT")
		export VPS_ROOT VPS_TAG
		[ -z "${VPS_TEST_ROOTS-}" ] || echo "$VPS_ROOT" >>"$VPS_TEST_ROOTS"
		unset VPS_NET
		net_new
		vps create memory
		vps start memory
		fails_like 11 '^vps: set memory: .*lies on no disk \(tmpfs\) \(hint: io limits need a root on a disk of this host\)$' \
			vps set memory io.write=1M
		assert_equal "$(vps config memory | grep -c io.write)" 0
		root_done
	)
}

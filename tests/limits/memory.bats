#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The memory a VPS was sold: it meets its end inside, and nobody else notices.
load ../lib

setup_file() {
	root_new
	net_new
	vps create --ram 64M greedy
	vps create calm
	vps start greedy
	vps start calm
}

# The bound as the kernel holds it, in bytes or "max".
bound() {
	if is_unified; then
		cat "$(group_file "$1" memory memory.max)"
	else
		cat "$(group_file "$1" memory memory.limit_in_bytes)"
	fi
}

oom_kills() {
	local f
	f=$(group_file "$1" memory "$(is_unified && echo memory.events || echo memory.oom_control)")
	awk '$1 == "oom_kill" { print $2 }' "$f"
}

@test "memory.max is the kernel's bound from the start" {
	assert_equal "$(bound greedy)" $((64 << 20))
	assert_equal "$(vps config greedy memory.max)" 64M
	case $(bound calm) in max | 9223372036854771712) ;; *) fail "$(bound calm)" ;; esac
}

@test "beyond it something inside is killed, init and the neighbour live" {
	before=$(oom_kills greedy)
	greedy_pid=$(vps_pid greedy) calm_pid=$(vps_pid calm)
	run vps exec greedy -- tail /dev/zero
	assert_status 137
	[ "$(oom_kills greedy)" -gt "$before" ] || fail "no kill was counted"
	assert_equal "$(vps_pid greedy)" "$greedy_pid"
	assert_equal "$(vps_pid calm)" "$calm_pid"
	assert_equal "$(oom_kills calm)" 0
	succeeds vps exec greedy -- echo alive
	assert_output alive
	succeeds vps exec calm -- sh -c 'head -c 100000000 /dev/zero | tail -c 1 | wc -c'
	assert_output 1
}

@test "files in memory count, too" {
	# With all of it in a file there is nothing to gain by killing, and init goes as well.
	vps create --ram 32M filler
	vps start filler
	run vps exec filler -- sh -c 'head -c 100000000 /dev/zero >/dev/shm/big && echo fitted'
	refute_match fitted
	succeeds vps exec calm -- echo alive
	vps destroy --force filler
}

@test "a new value takes hold of the running VPS and is kept" {
	vps set greedy memory.max=48M
	assert_equal "$(bound greedy)" $((48 << 20))
	assert_equal "$(vps config greedy memory.max)" 48M
	vps set greedy --ram 96M
	assert_equal "$(bound greedy)" $((96 << 20))
	vps restart --force greedy
	assert_equal "$(bound greedy)" $((96 << 20))
	vps exec greedy -- sh -c 'head -c 80000000 /dev/zero >/dev/shm/x && rm /dev/shm/x'
}

@test "with --runtime it holds until the VPS stops" {
	vps set greedy memory.max=96M
	vps set --runtime greedy memory.max=40M
	assert_equal "$(bound greedy)" $((40 << 20))
	assert_equal "$(vps config greedy memory.max)" 96M
	vps restart --force greedy
	assert_equal "$(bound greedy)" $((96 << 20))
}

@test "an empty value lifts the bound" {
	vps set --runtime greedy memory.max=64M
	vps set greedy memory.max=
	case $(bound greedy) in max | 9223372036854771712) ;; *) fail "$(bound greedy)" ;; esac
	assert_equal "$(vps config greedy | grep -c memory.max)" 0
	vps set greedy memory.max=96M
}

@test "what the tenant holds already is said when it cannot be reclaimed" {
	requires hybrid
	vps exec greedy -- sh -c 'head -c 40000000 /dev/zero >/dev/shm/held'
	succeeds vps set greedy memory.max=16M
	assert_match '^memory\.max: [0-9]+ MiB are in use that could not be reclaimed, and are the bound now'
	[ "$(bound greedy)" -ge 40000000 ] && [ "$(bound greedy)" -lt $((64 << 20)) ] ||
		fail "the bound is $(bound greedy)"
	vps set greedy memory.max=96M
	vps exec greedy -- rm /dev/shm/held
	succeeds vps set greedy memory.max=16M
	assert_output ""
	assert_equal "$(bound greedy)" $((16 << 20))
	vps set greedy memory.max=96M
}

@test "memory.low protects, as far as the host can" {
	vps set greedy memory.low=8M
	if is_unified; then
		assert_equal "$(cat "$(group_file greedy memory memory.low)")" $((8 << 20))
	else
		assert_equal "$(cat "$(group_file greedy memory memory.soft_limit_in_bytes)")" $((8 << 20))
	fi
	vps set greedy memory.low=
}

@test "oom.group: when memory runs out all of it goes" {
	vps create --ram 64M whole oom.group=yes
	vps start whole
	vps exec whole -- sh -c 'tail /dev/zero & exec sleep 1000' >/dev/null 2>&1 || :
	wait_until 20 vps_is whole stopped
	# Live, too.
	vps start whole
	vps set whole oom.group=no
	run vps exec whole -- tail /dev/zero
	assert_status 137
	vps_is whole running
	vps destroy --force whole
	succeeds vps exec calm -- echo alive
}

@test "memory.high, memory.min and oom.group on unified cgroups" {
	requires unified
	vps set greedy memory.high=80M memory.min=4M oom.group=yes
	assert_equal "$(cat "$(group_file greedy memory memory.high)")" $((80 << 20))
	assert_equal "$(cat "$(group_file greedy memory memory.min)")" $((4 << 20))
	assert_equal "$(cat "$(group_file greedy memory memory.oom.group)")" 1
	vps set greedy memory.high= memory.min= oom.group=
	assert_equal "$(cat "$(group_file greedy memory memory.high)")" max
	assert_equal "$(cat "$(group_file greedy memory memory.oom.group)")" 0
}

@test "what cgroup v1 cannot give is named, and nothing is changed" {
	requires hybrid
	before=$(vps config greedy)
	for key in memory.high=32M memory.min=4M; do
		fails_like 11 "^vps: set greedy: ${key%=*}: the memory controller of this host is cgroup v1's, which has no such bound \(hint: boot it with systemd.unified_cgroup_hierarchy=1, or cgroup_no_v1=memory\)$" \
			vps set greedy memory.max=80M "$key"
	done
	assert_equal "$(vps config greedy)" "$before"
	assert_equal "$(bound greedy)" $((96 << 20))
}

@test "a bound below what init needs stops no other VPS" {
	vps create --ram 1M tiny
	run vps start tiny
	succeeds vps exec calm -- echo alive
	assert_output alive
	vps destroy --force tiny
}

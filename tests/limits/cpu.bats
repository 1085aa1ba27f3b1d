#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The CPU time a VPS was sold. What a bound costs is measured by bench/; here it is seen to act.
load ../lib

setup_file() {
	root_new
	net_new
	vps create --cpus 0.2 slow
	vps start slow
}

# QUOTA PERIOD, as the kernel has it.
quota() {
	if is_unified; then
		cat "$(group_file "$1" cpu cpu.max)"
	else
		echo "$(cat "$(group_file "$1" cpu cpu.cfs_quota_us)") $(cat "$(group_file "$1" cpu cpu.cfs_period_us)")"
	fi
}

stat_of() { # NAME FIELD
	awk -v f="$2" '$1 == f { print $2 }' "$(group_file "$1" cpu cpu.stat)"
}

usage_us() {
	# Without the controller, too, v2 tells the time used.
	awk '$1 == "usage_usec" { print $2 }' \
		"$(find "$(cgroup_v2_point)" -maxdepth 4 -path "*/$VPS_TAG/$1/cpu.stat")"
}

# thousandths of a CPU
allowed() {
	quota "$1" | awk '{ print $1 == "max" || $1 < 0 ? "max" : $1 * 1000 / $2 }'
}

@test "cpu.max is the kernel's bound from the start" {
	assert_equal "$(allowed slow)" 200
}

@test "a tenant that burns is held back, and gets no more than that" {
	vps exec slow -- sh -c 'for i in 1 2; do (while :; do :; done) & done >/dev/null 2>&1'
	# So little that it gets it beside whatever else runs on this machine.
	vps set --runtime slow cpu.max=0.05
	before=$(stat_of slow nr_throttled)
	# The time is taken around the use.
	now=${EPOCHREALTIME/./}
	used=$(usage_us slow)
	throttled_5_more() { [ "$(stat_of slow nr_throttled)" -ge $((before + 5)) ]; }
	wait_until 30 throttled_5_more
	used=$(($(usage_us slow) - used)) now=$((${EPOCHREALTIME/./} - now))
	# 0.05 of a CPU, and as much again and a period for what a short measurement cannot tell.
	[ "$used" -le $((now / 10 + 100000)) ] || fail "used $used of $now us"
	vps set slow cpu.max=0.2
	vps exec slow -- killall sh || true
}

@test "a new value takes hold of the running VPS and is kept" {
	vps set slow cpu.max=1.5
	assert_equal "$(allowed slow)" 1500
	vps set slow --cpus 50%
	assert_equal "$(allowed slow)" 500
	vps restart --force slow
	assert_equal "$(allowed slow)" 500
	vps set slow cpu.max=max
	assert_equal "$(allowed slow)" max
	vps set --runtime slow cpu.max=0.01
	assert_equal "$(allowed slow)" 10
	# The change itself may have used up the next seconds, where everything is slow.
	assert_equal "$(wait_until 60 vps exec slow -- echo still | tail -n 1)" still
	vps set slow cpu.max=0.2
	assert_equal "$(allowed slow)" 200
}

@test "the smallest share still lets a VPS start and stop" {
	vps create --cpus 0.01 crumb
	vps start crumb
	# Its own start may have used up the next seconds, where everything is slow.
	assert_equal "$(wait_until 60 vps exec crumb -- echo alive | tail -n 1)" alive
	vps destroy --force crumb
}

@test "cpu.weight is the kernel's share" {
	vps set slow cpu.weight=200
	if is_unified; then
		assert_equal "$(cat "$(group_file slow cpu cpu.weight)")" 200
	else
		assert_equal "$(cat "$(group_file slow cpu cpu.shares)")" 2048
	fi
	vps set slow cpu.weight=
	if is_unified; then
		assert_equal "$(cat "$(group_file slow cpu cpu.weight)")" 100
	else
		assert_equal "$(cat "$(group_file slow cpu cpu.shares)")" 1024
	fi
}

@test "cpu.pin keeps all processes on the CPUs named" {
	cpus=$(sed 's/.*[-,]//' /sys/devices/system/cpu/online)
	[ "$cpus" -ge 1 ] || skip "this host has one CPU"
	pid=$(vps_pid slow)
	vps set slow cpu.pin=1
	assert_equal "$(awk '/^Cpus_allowed_list/ { print $2 }' "/proc/$pid/status")" 1
	assert_equal "$(vps exec slow -- grep Cpus_allowed_list /proc/self/status | awk '{ print $2 }')" 1
	succeeds vps exec slow -- nproc
	assert_output 1
	run vps exec slow -- taskset 1 true
	[ "$status" -ne 0 ] || fail "the tenant chose a CPU that is not its own"
	vps restart --force slow
	assert_equal "$(awk '/^Cpus_allowed_list/ { print $2 }' "/proc/$(vps_pid slow)/status")" 1
	vps set slow cpu.pin=
	[ "$(awk '/^Cpus_allowed_list/ { print $2 }' "/proc/$(vps_pid slow)/status")" != 1 ] ||
		fail "still pinned"
}

@test "CPUs that are not there are named" {
	before=$(vps config slow)
	fails_like 2 '^vps: set slow: cpu\.pin: this host has no CPU 4000 \(hint: its CPUs are [0-9,-]+\)$' \
		vps set slow cpu.pin=4000 cpu.max=1
	assert_equal "$(vps config slow)" "$before"
	assert_equal "$(allowed slow)" 200
}

# The weight, as the kernel has it.
weight() {
	if is_unified; then
		cat "$(group_file "$1" cpu cpu.weight)"
	else
		echo $(($(cat "$(group_file "$1" cpu cpu.shares)") * 100 / 1024))
	fi
}

@test "what it is saved and restored with is its own share again" {
	vps set slow cpu.max=0.1 cpu.weight=50
	vps checkpoint --leave-running slow
	assert_equal "$(allowed slow) $(weight slow)" "100 50"
	vps suspend slow
	vps resume slow
	assert_equal "$(allowed slow) $(weight slow)" "100 50"
}

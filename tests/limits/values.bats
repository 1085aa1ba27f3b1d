#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is written as a limit: the same at creation and later, refused in one line when it is wrong,
# and never half applied.
load ../lib

setup_file() {
	root_new
	net_new
	vps create plain
}

refused() { # KEY=VALUE TEXT
	local before
	before=$(vps config plain)
	fails 2 "vps: set plain: $2" vps set plain description=half "$1"
	assert_equal "$(vps config plain)" "$before"
	fails 2 "vps: create other: $2" vps create other "$1"
	[ -z "$(vps list --json | jq -r '.[] | select(.name == "other").name')" ] || fail "it was made"
}

@test "wrong values are refused, named with what would do" {
	refused memory.max=12 "memory.max: 12 is too small (hint: at least 1M; a number without a unit is bytes)"
	refused memory.max=much "memory.max: much is not a size (hint: for example 512M, 2GiB or max)"
	refused memory.max=-1 "memory.max: -1 is not a size (hint: for example 512M, 2GiB or max)"
	refused cpu.max=banana "cpu.max: banana is not a number of CPUs (hint: for example 0.5, 2, 150% or max)"
	refused cpu.max=0 "cpu.max: 0 is too small (hint: at least 0.01)"
	refused cpu.weight=0 "cpu.weight: 0 is too small (hint: from 1 to 10000)"
	refused cpu.weight=20000 "cpu.weight: 20000 is too large (hint: from 1 to 10000)"
	refused pids.max=0 "pids.max: 0 is too small (hint: from 1 to 4194304 or max)"
	refused pids.max=1.5 "pids.max: 1.5 is not a whole number (hint: from 1 to 4194304 or max)"
	refused io.write=fast "io.write: fast is not a rate (hint: for example 500K, 10MiB/s or max)"
}

@test "a setting with a slip in its name is guessed" {
	fails 2 "vps: set plain: unknown setting memory.mx (hint: did you mean memory.max?)" \
		vps set plain memory.mx=64M
}

@test "units mean what they say, and are kept as they were written" {
	vps set plain memory.max=1.5G cpu.max=150% io.read=10MiB/s
	assert_equal "$(vps config plain memory.max)" 1.5G
	assert_equal "$(vps config plain cpu.max)" 150%
	assert_equal "$(vps config plain io.read)" 10MiB/s
	vps set plain io.read=
	vps start plain
	if is_unified; then
		assert_equal "$(cat "$(group_file plain memory memory.max)")" 1610612736
	else
		assert_equal "$(cat "$(group_file plain memory memory.limit_in_bytes)")" 1610612736
	fi
	vps stop --force plain
	vps set plain memory.max= cpu.max=
}

@test "a limit the host cannot give stops the start, with its name, and nothing is left" {
	requires hybrid
	vps create unable
	run vps set unable memory.high=32M
	run --separate-stderr vps start unable
	if [ "$status" -ne 0 ]; then
		[[ $stderr == "vps: start unable: memory.high: "*"(hint: "* ]] || fail "$stderr"
	else
		fail "it started without the bound it was sold"
	fi
	vps_is unable stopped
	assert_nothing_left --daemon --keep plain --keep unable
	vps destroy unable
}

@test "a VPS whose limits were changed while it was down comes up with them" {
	vps set plain pids.max=77
	vps start plain
	assert_equal "$(cat "$(group_file plain pids pids.max)")" 77
	daemon_kill
	vps set plain pids.max=78
	assert_equal "$(cat "$(group_file plain pids pids.max)")" 78
	vps stop --force plain
}

@test "rlimits reach init and all commands" {
	vps set plain rlimit=nofile=500:600
	vps start plain
	pid=$(vps_pid plain)
	assert_match_text() { [[ $1 =~ $2 ]] || fail "$1"; }
	assert_match_text "$(grep 'Max open files' "/proc/$pid/limits")" '500 +600'
	succeeds vps exec plain -- sh -c 'ulimit -n; ulimit -Hn'
	assert_output $'500\n600'
	vps stop --force plain
	vps set plain rlimit=
}

@test "CPUs that the host has not got are said, and an init with no room for files says whose limit that is" {
	succeeds vps create pinned cpu.pin=0,8191 rlimit=nofile=3
	assert_output "cpu.pin: this host has no CPU 8191; it does not start before there is"
	succeeds vps set pinned cpu.pin=0
	assert_output ""
	fails_like 1 'Too many open files.*rlimit=nofile of the VPS' vps start pinned
	vps destroy pinned
}

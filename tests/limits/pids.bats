#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The number of processes a VPS may have.
load ../lib

setup_file() {
	root_new
	net_new
	vps create bomb
	vps create calm
	vps start bomb
	vps start calm
}

pids() { # NAME FILE
	cat "$(group_file "$1" pids "pids.$2")"
}

@test "there is a bound that nobody had to ask for" {
	assert_equal "$(pids bomb max)" 16384
	assert_equal "$(pids calm max)" 16384
}

@test "a fork bomb meets it, the neighbour does not notice, and it can be ended" {
	vps set bomb pids.max=64
	assert_equal "$(pids bomb max)" 64
	pid=$(vps_pid bomb)
	vps exec bomb -- sh -c 'printf "#!/bin/sh\n/bomb & /bomb & wait\n" >/bomb; chmod 755 /bomb
		setsid /bomb >/dev/null 2>&1 </dev/null &'
	at_bound() { [ "$(pids bomb events | awk '$1 == "max" { print $2 }')" -gt 0 ]; }
	wait_until 30 at_bound
	[ "$(pids bomb current)" -le 64 ] || fail "$(pids bomb current) processes"
	assert_equal "$(vps_pid bomb)" "$pid"
	succeeds vps exec calm -- sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo $i | cat; done | wc -l'
	assert_output 9
	succeeds vps stop --force bomb
	vps_is bomb stopped
	vps start bomb
	assert_equal "$(pids bomb max)" 64
}

@test "a new value takes hold of the running VPS; below what runs, no more are let in" {
	vps set bomb pids.max=64
	vps exec bomb -- sh -c 'for i in 1 2 3 4 5 6; do sleep 1000 & done >/dev/null 2>&1'
	succeeds vps set bomb pids.max=4
	assert_match '^pids\.max: '
	assert_equal "$(pids bomb max)" 4
	[ "$(pids bomb current)" -ge 7 ] || fail "some were killed"
	run vps exec bomb -- sh -c 'echo a | cat'
	[ "$status" -ne 0 ] || fail "one more was let in"
	vps set bomb pids.max=200
	succeeds vps exec bomb -- sh -c 'echo a | cat'
	assert_output a
}

@test "--runtime does not outlive the VPS" {
	vps set bomb pids.max=200
	vps set --runtime bomb pids.max=50
	assert_equal "$(pids bomb max)" 50
	assert_equal "$(vps config bomb pids.max)" 200
	vps restart --force bomb
	assert_equal "$(pids bomb max)" 200
	vps stop --force bomb
	fails 5 "vps: set bomb: it is not running" vps set --runtime bomb pids.max=50
	vps start bomb
}

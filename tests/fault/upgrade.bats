#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The package is upgraded and vpsd restarted: it meets monitors of other versions, which hold VPSs that go on.
load ../lib

setup() {
	vps create web
	vps start web
	pid=$(vps_pid web)
}

teardown() {
	vps_clean
	daemon_stop
}

# between MODE: vpsd starts again and finds the monitor of web as one of another version
between() {
	daemon_kill
	"$VPS_TOP/tests/fault/between.py" "$VPS_ROOT/run/vps/web" "$1" >"$BATS_TEST_TMPDIR/between" &
	wait_until 20 grep -q ready "$BATS_TEST_TMPDIR/between"
	wait_until 20 vps_is web running
}

# What any two versions have to be able to do with each other.
all_works() {
	assert_equal "$(vps_pid web)" "$pid"
	succeeds vps exec web -- sh -c 'echo from within'
	assert_output "from within"
	succeeds vps set web pids.max=99
	[ "$(vps stats --json web | jq .pids.current)" -gt 0 ]
	succeeds vps pause web
	vps_is web paused
	succeeds vps resume web
	succeeds vps stop --force web
	vps_is web stopped
	succeeds vps start web
	succeeds vps exec web -- true
}

@test "a monitor that is older: what it cannot do waits for the next start" {
	between old
	succeeds vps set web net=name=eth1
	assert_output "net takes effect at the next start of web"
	succeeds vps exec web -- ls /sys/class/net
	refute_match eth1
	all_works
	succeeds vps exec web -- ls /sys/class/net
	assert_match eth1
}

@test "a monitor that is newer: what it says beyond is passed over" {
	between new
	all_works
}

@test "a suspended VPS of an older monitor comes back under the new one" {
	between old
	vps exec web -- sh -c 'echo kept >/run/mark'
	succeeds vps suspend web
	vps_is web suspended
	succeeds vps resume web
	assert_equal "$(vps exec web -- cat /run/mark)" kept
}

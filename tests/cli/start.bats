#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() {
	requires root
	vps create web1
}
teardown() { vps_clean; }

@test "it runs, with a pid on the host" {
	succeeds vps start web1
	assert_output ""
	vps_is web1 running
	kill -0 "$(vps_pid web1)"
}

@test "--wait returns when it is ready" {
	succeeds vps start --wait --timeout 20s --json web1
	assert_equal "$(jq -c '[.state, .ready]' <<<"$output")" '["running",true]'
}

@test "one that runs" {
	vps start web1
	fails 5 "vps: start web1: it is running already" vps start web1
	vps_is web1 running
}

@test "one that there is not" {
	fails 3 "vps: start web9: there is no VPS named web9 (hint: vps list shows those there are)" vps start web9
}

@test "several: the others start, the first error counts" {
	vps create db
	run --separate-stderr vps start web9 web1 db
	assert_status 3
	assert_equal "$stderr" "vps: start web9: there is no VPS named web9 (hint: vps list shows those there are)"
	vps_is web1 running
	vps_is db running
	run --separate-stderr vps start --json web9 web1
	assert_status 3
	assert_equal "$(jq -c 'map(.status)' <<<"$output")" '[3,5]'
}

@test "an init that there is not" {
	vps set web1 init=/sbin/nowhere
	fails_like 127 '^vps: start web1: .*/sbin/nowhere' vps start web1
	vps_is web1 stopped
	assert_nothing_left --daemon --keep web1
}

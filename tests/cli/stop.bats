#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load inside

setup() {
	requires root
	vps create web1
}
teardown() { vps_clean; }

@test "a clean stop leaves nothing in the kernel" {
	vps start --wait web1
	succeeds vps stop web1
	assert_output ""
	vps_is web1 stopped
	assert_equal "$(vps status web1 --json | jq -r .last_exit)" poweroff
	assert_nothing_left --daemon --keep web1
}

@test "--force kills" {
	vps start web1
	succeeds vps stop --force web1
	assert_equal "$(vps status web1 --json | jq -r .last_exit)" killed
}

@test "an init that ignores every signal is killed after the timeout" {
	give_init web1 'trap "" TERM INT HUP QUIT USR1 USR2 PWR; while :; do sleep 1000; done'
	vps start web1
	succeeds vps stop --timeout 100ms web1
	assert_equal "$(vps status web1 --json | jq -r .last_exit)" killed
	assert_nothing_left --daemon --keep web1
}

@test "one that does not run" {
	fails 5 "vps: stop web1: it is not running" vps stop web1
	fails 3 "vps: stop web9: there is no VPS named web9 (hint: vps list shows those there are)" vps stop web9
}

@test "restart: a new init, also of a stopped one" {
	succeeds vps restart web1
	vps_is web1 running
	before=$(vps_pid web1)
	succeeds vps restart --force web1
	vps_is web1 running
	[ "$(vps_pid web1)" != "$before" ]
}

@test "pause and resume" {
	vps start web1
	fails 5 "vps: resume web1: it is not paused" vps resume web1
	succeeds vps pause web1
	vps_is web1 paused
	fails 5 "vps: pause web1: it is paused already" vps pause web1
	fails 125 "vps: exec web1: it is paused (hint: vps resume web1)" vps exec web1 -- true
	succeeds vps resume web1
	succeeds vps exec web1 -- true
	vps pause web1
	succeeds vps stop web1
}

@test "pause of one that does not run" {
	fails 5 "vps: pause web1: it is not running" vps pause web1
	fails 5 "vps: resume web1: it is not running (hint: vps start web1)" vps resume web1
}

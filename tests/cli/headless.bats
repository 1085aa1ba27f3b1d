#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A VPS whose init's first thread has ended: it is a zombie in which there are no namespaces, and others go on.
load ../lib

setup() {
	requires root kernel 6.9
	vps create web1
	vps start web1
	vps exec web1 -- sh -c 'mkdir -p /srv && cat >/srv/headless && chmod 755 /srv/headless' \
		<"$VPS_TOP/build/tests/checkpoint/checkpoint_headless"
	vps stop web1
	vps set web1 init=/srv/headless stop.signal=TERM
	vps start web1
	wait_until 20 is_headless
}

teardown() {
	vps_clean
}

is_headless() {
	grep -q '^State:.Z' "/proc/$(vps_pid web1)/status" && [ -n "$(count)" ]
}

count() {
	vps exec web1 -- cat /srv/n
}

is_past() {
	[ "$(count)" -gt "$1" ]
}

@test "commands run in it, and it is suspended, resumed and stopped" {
	before=$(count)
	wait_until 20 is_past "$before"
	succeeds vps suspend web1
	vps_is web1 suspended
	assert_nothing_left --daemon --keep web1
	succeeds vps resume web1
	vps_is web1 running
	is_headless
	wait_until 20 is_past "$before"
	succeeds vps stop web1
	assert_equal "$(vps status web1 --json | jq -r .last_exit)" "exit 3"
}

@test "it is killed, with all that is in it" {
	vps exec web1 -- sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 &'
	succeeds vps stop --force web1
	vps_is web1 stopped
	assert_nothing_left --daemon --keep web1
}

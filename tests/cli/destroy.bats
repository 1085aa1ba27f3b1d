#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() {
	requires root
	vps create web1
}
teardown() { vps_clean; }

@test "a stopped one is gone, with its files" {
	succeeds vps destroy web1
	assert_output ""
	[ ! -e "$VPS_ROOT/lib/vps/web1" ]
	assert_nothing_left --daemon
}

@test "a running one only with --force" {
	vps start web1
	fails 5 "vps: destroy web1: it is running (hint: stop it first, or destroy it with --force)" \
		vps destroy web1
	vps_is web1 running
	succeeds vps destroy --force web1
	assert_nothing_left --daemon
}

@test "one that there is not" {
	fails 3 "vps: destroy web9: there is no VPS named web9 (hint: vps list shows those there are)" \
		vps destroy web9
}

@test "rename keeps all but the name" {
	uuid=$(vps status web1 --json | jq -r .uuid)
	succeeds vps rename web1 web2
	assert_equal "$(vps status web2 --json | jq -r .uuid)" "$uuid"
	fails_like 3 'no VPS named web1' vps status web1
	succeeds vps start web2
	assert_equal "$(vps exec web2 -- hostname)" web2
}

@test "rename to a name that is taken, is none, or of a running one" {
	vps create db
	fails 4 "vps: rename web1: there is a VPS named db already" vps rename web1 db
	fails_like 2 '^vps: rename web1: Bad is not a name' vps rename web1 Bad
	vps start web1
	fails 5 "vps: rename web1: it is running (hint: vps stop web1)" vps rename web1 web3
	vps_is web1 running
	vps_is db stopped
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() {
	on a vps_clean
	on b vps_clean
}

# A VPS that counts, in memory and in a file, ten times a second.
make_counter() {
	vps create web1 init='/bin/sh -c "n=0; while :; do n=$((n+1)); echo $n >/srv/n; sleep 0.1; done"'
	vps start web1
	wait_until 10 counts a 3
}

count() {
	on "$1" vps exec web1 -- cat /srv/n 2>/dev/null || echo 0
}

counts() {
	[ "$(count "$1")" -ge "$2" ]
}

@test "a running VPS" {
	make_counter
	succeeds vps migrate -e "$RSH" --json web1 host-b
	echo "$output"
	assert_only_on b web1
	assert_equal "$(on b vps list --json | jq -r '.[0].state')" running
	n=$(count b)
	wait_until 10 counts b "$((n + 3))"
}

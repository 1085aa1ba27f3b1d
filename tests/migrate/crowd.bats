#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Thousands of processes move, though hosts allow a monitor few open files.
load ../lib
load hosts

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() {
	on a vps_clean
	on b vps_clean
}

CROWD=1500 # more than 1,024

# Each waits until somebody opens the other end, and tells the number that it has in a variable.
make_crowd() {
	vps create web1 init='/bin/sh -c "mkdir -p /srv; mkfifo /srv/go; i=0; while [ $i -lt '"$CROWD"' ]; do i=$((i+1)); (read x </srv/go; echo $i >>/srv/told) & done; echo $i >/srv/ready; trap exit TERM; while :; do sleep 1; done"' stop.signal=SIGTERM
	vps start web1
	wait_until 60 vps exec web1 -- test -s /srv/ready
}

processes() {
	on "$1" vps exec web1 -- sh -c 'ls -d /proc/[0-9]* | wc -l'
}

have_told() {
	[ "$(on b vps exec web1 -- sh -c 'sort -u /srv/told | wc -l')" -eq "$CROWD" ]
}

@test "a VPS of many processes moves, is suspended and resumed, and all of them are there" {
	make_crowd
	before=$(processes a)
	[ "$before" -gt "$CROWD" ]
	succeeds vps migrate -e "$RSH" --json web1 host-b
	tail -n 1 <<<"$output"
	assert_only_on b web1
	assert_equal "$(processes b)" "$before"
	succeeds on b vps suspend web1
	succeeds on b vps resume web1
	assert_equal "$(processes b)" "$before"
	on b vps exec web1 -- sh -c ': >/srv/go'
	wait_until 60 have_told
}

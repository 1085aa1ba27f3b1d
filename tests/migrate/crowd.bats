#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Thousands of processes move, though hosts allow a monitor few open files.
load ../lib
load hosts

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() { hosts_clean; }

CROWD=1500 # more than 1,024

# Each waits until somebody opens the other end, and tells the number that it has in a variable. Their parent begins no
# other as long as there is one.
make_crowd() {
	vps create web1 init='/bin/sh -c "mkdir -p /srv; mkfifo /srv/go; i=0; while [ $i -lt '"$CROWD"' ]; do i=$((i+1)); (read x </srv/go; echo $i >>/srv/told) & done; echo $i >/srv/ready; trap exit TERM; wait; while :; do sleep 1; done"' stop.signal=SIGTERM
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

# Scripts that do nothing but begin processes, each of which counts what went well, and says what did not.
make_storm() {
	vps create web1 init='/bin/sh -c "mkdir -p /srv; for k in 1 2 3 4 5 6; do (n=0; while :; do /bin/true || echo true >>/srv/bad; (exit 3); [ \$? -eq 3 ] || echo exit >>/srv/bad; [ \$(echo some | cat) = some ] || echo pipe >>/srv/bad; n=\$((n+1)); echo \$n >/srv/now.\$k; mv /srv/now.\$k /srv/count.\$k; done) & done; trap exit TERM; while :; do sleep 1; done"' stop.signal=SIGTERM
	vps start web1
	wait_until 60 goes_on a 0
}

count() {
	on "$1" vps exec web1 -- sh -c 'for k in 1 2 3 4 5 6; do cat /srv/count.$k; done' | sort -n | head -n 1
}

# Each of them, beyond that.
goes_on() {
	[ "$(on "$1" vps exec web1 -- sh -c 'ls /srv/count.* | wc -l')" -eq 6 ] && [ "$(count "$1")" -gt "$2" ]
}

@test "a VPS that begins processes all the time moves, is suspended and resumed, and no script notices" {
	make_storm
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	wait_until 60 goes_on b "$(($(count b) + 3))"
	succeeds on b vps suspend web1
	succeeds on b vps resume web1
	wait_until 60 goes_on b "$(($(count b) + 3))"
	on b vps exec web1 -- test ! -e /srv/bad
}
